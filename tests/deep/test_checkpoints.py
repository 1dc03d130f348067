"""Checkpoints: what is read is exactly what was written, or an error of one line; a file is whole whatever happens."""

import copy
import errno
import math
import os
import pathlib
import random
import re
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from skhash.deep import _checkpoints  # noqa: E402
from skhash.deep._checkpoints import (  # noqa: E402
    CheckpointError,
    fingerprint_of,
    flatten_state,
    load_weights,
    read_checkpoint,
    save_weights,
    unflatten_state,
    write_checkpoint,
)

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]
STATE = {"epoch": 3, "best": math.inf, "weights": [torch.arange(12.0).reshape(3, 4), None], "betas": (0.9, 0.999)}


def octets(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


def assert_same(found, expected):
    """Compare values bit by bit, with their types, dtypes, shapes and the order of dicts."""
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert octets(found) == octets(expected)
    elif isinstance(expected, dict):
        assert len(found) == len(expected)
        for found_item, item in zip(found.items(), expected.items(), strict=True):
            assert_same(found_item, item)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for found_item, item in zip(found, expected, strict=True):
            assert_same(found_item, item)
    elif isinstance(expected, float):
        assert struct.pack("<d", found) == struct.pack("<d", expected)
    else:
        assert found == expected


def through_file(state, folder):
    write_checkpoint(folder / "state.checkpoint", state, fingerprint="f")
    return read_checkpoint(folder / "state.checkpoint", fingerprint="f")


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    tensor = torch.tensor(draw(st.binary(min_size=512, max_size=512).map(list)), dtype=torch.uint8)
    dtype = draw(st.sampled_from(DTYPES))
    # All bits occur, those of every NaN too; a bool has two values only.
    tensor = tensor > 127 if dtype is torch.bool else tensor.view(dtype)
    tensor = tensor[: math.prod(shape)].reshape(shape)
    return tensor.transpose(0, -1) if shape and draw(st.booleans()) else tensor


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters()),
    st.sampled_from([np.float32(0.1), np.float64(math.nan), np.int64(-5), np.bool_(True), np.uint64(2**64 - 1)]),
)
states = st.recursive(
    scalars | tensors(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(scalars | st.tuples(st.integers(), st.text()), inner, max_size=3),
        st.dictionaries(st.text(), inner, max_size=3).map(OrderedDict),
    ),
    max_leaves=12,
)


class TestRoundTrip:
    @settings(max_examples=100, deadline=None)
    @given(states)
    def test_any_nested_state_comes_back_exactly(self, tmp_path_factory, state):
        assert_same(through_file(state, tmp_path_factory.getbasetemp()), state)

    @pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -math.nan, -0.0, 5e-324, 0.1, 2**63, -(2**63)])
    def test_numbers_that_json_is_weak_at(self, tmp_path, value):
        assert_same(through_file(value, tmp_path), value)

    def test_integers_that_are_not_printed_in_decimals(self, tmp_path):
        state = [10**5000, -(10**5000)]
        assert through_file(state, tmp_path) == state

    def test_payload_of_nan(self, tmp_path):
        (value,) = struct.unpack("<d", bytes.fromhex("efbeadde0000f8ff"))
        assert_same(through_file(value, tmp_path), value)

    def test_lone_surrogates_and_lookalikes_of_the_own_notation(self, tmp_path):
        state = {"\ud800": ["tensor", "0"], "x": ["dict", []], "y": '"skhash_checksum":"' + "0" * 32 + '"'}
        assert_same(through_file(state, tmp_path), state)

    @pytest.mark.parametrize(
        "tensor",
        [
            torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
            torch.arange(6.0).reshape(2, 3).T,
            torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1),
        ],
    )
    def test_order_of_dense_memory_is_kept(self, tmp_path, tensor):
        found = through_file(tensor, tmp_path)
        assert_same(found, tensor)
        assert found.stride() == tensor.stride()

    @pytest.mark.parametrize(
        "tensor",
        [
            torch.arange(3.0).expand(4, 3),
            torch.arange(20)[::3],
            torch.arange(12.0).reshape(3, 4)[:, 1:3],
            torch._neg_view(torch.arange(4.0)),
            torch.arange(12.0).reshape(3, 4)[1],
        ],
        ids=["expanded", "every third", "columns", "negated", "row"],
    )
    def test_views(self, tmp_path, tensor):
        assert through_file(tensor, tmp_path).tolist() == tensor.tolist()

    def test_tensors_that_share_memory(self, tmp_path):
        whole = torch.arange(10.0)
        state = [whole, whole, whole[2:5], whole[:0]]
        found = through_file(state, tmp_path)
        assert_same(found, state)
        found[0][:] = 0
        assert found[1].tolist() == list(range(10))

    def test_state_is_left_alone_and_what_is_read_can_be_written_to(self, tmp_path):
        state = {"weights": torch.zeros(3, requires_grad=True)}
        found = through_file(state, tmp_path)
        found["weights"] += 1
        assert state["weights"].tolist() == [0, 0, 0]
        assert state["weights"].requires_grad

    def test_versions_of_modules(self, tmp_path):
        state = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).state_dict()
        found = through_file(state, tmp_path)
        assert_same(found, state)
        assert found._metadata == state._metadata
        assert found._metadata["1"] == {"version": 2}

    def test_random_state(self, tmp_path):
        generator = torch.Generator().manual_seed(3)
        torch.rand(5, generator=generator)
        state = through_file({"random": generator.get_state()}, tmp_path)
        expected = torch.rand(5, generator=generator)
        generator.set_state(state["random"])
        assert torch.equal(torch.rand(5, generator=generator), expected)

    def test_the_rest_is_json_and_the_tensors_are_plain(self):
        whole = torch.arange(10.0)
        found, rest = flatten_state({"a": [whole, whole[2:]], 1: (math.nan, None)})
        assert all(tensor.is_contiguous() for tensor in found.values())
        assert len({tensor.untyped_storage().data_ptr() for tensor in found.values()}) == 2
        assert_same(unflatten_state(found, rest), {"a": [whole, whole[2:]], 1: (math.nan, None)})

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ({"a": [1, {2}]}, "state['a'][1] is a set"),
            ({"a": {(1, b"x"): 3}}, "the key (1, b'x') of state['a'][1] is a bytes"),
            ([np.zeros(3)], "state[0] is a ndarray"),
            ([torch.nn.Parameter(torch.zeros(3))], "state[0] is a Parameter of dtype"),
            ([torch.zeros(3, dtype=torch.complex128)], "of dtype torch.complex128"),
            ([torch.zeros(3, device="meta")], "on the device meta"),
            ([torch.eye(3).to_sparse()], "state[0] is a Tensor"),
            ({"loss": torch.nn.ReLU()}, "state['loss'] is a ReLU"),
        ],
    )
    def test_what_it_cannot_hold_is_named_with_its_place(self, tmp_path, state, message):
        with pytest.raises(TypeError) as error:
            write_checkpoint(tmp_path / "state.checkpoint", state, fingerprint="f")
        assert message in str(error.value)
        assert "\n" not in str(error.value)
        assert files_in(tmp_path) == []

    def test_a_state_that_holds_itself(self):
        state = []
        state.append(state)
        with pytest.raises(TypeError, match="holds itself"):
            flatten_state(state)


OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, amsgrad=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, nesterov=True),
    "sgd without momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.01),
    "adadelta": torch.optim.Adadelta,
}


def new_training(optimizer):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3),
        torch.nn.BatchNorm2d(5),
        torch.nn.Dropout(0.2),
        torch.nn.Flatten(),
        torch.nn.Linear(80, 2),
    ).to(memory_format=torch.channels_last)
    return network, OPTIMIZERS[optimizer](network.parameters())


def train(network, optimizer, n_steps):
    for _ in range(n_steps):
        images = torch.randn(7, 3, 6, 6).to(memory_format=torch.channels_last)

        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()


class TestTraining:
    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_resumed_training_ends_with_the_same_bits(self, tmp_path, name):
        with torch.random.fork_rng([]):
            network, optimizer = new_training(name)
            train(network, optimizer, 3)
            state = {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "random": torch.get_rng_state(),
            }
            write_checkpoint(tmp_path / "a", state, fingerprint="f")
            written = copy.deepcopy(state)
            train(network, optimizer, 4)

            resumed, resumed_optimizer = new_training(name)
            state = read_checkpoint(tmp_path / "a", fingerprint="f")
            assert_same(state, written)
            resumed.load_state_dict(state["network"])
            resumed_optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            train(resumed, resumed_optimizer, 4)
        assert_same(resumed.state_dict(), network.state_dict())
        assert_same(resumed_optimizer.state_dict(), optimizer.state_dict())


class TestDamage:
    @pytest.fixture
    def path(self, tmp_path):
        network, optimizer = new_training("adam")
        train(network, optimizer, 1)
        path = tmp_path / "state.checkpoint"
        write_checkpoint(path, {"network": network.state_dict(), "optimizer": optimizer.state_dict()}, fingerprint="f")
        return path

    @staticmethod
    def assert_refused(path):
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(path, fingerprint="f")
        assert repr(str(path)) in str(error.value)
        assert "\n" not in str(error.value)

    def test_every_changed_byte_of_300_is_refused(self, path):
        data, random_ = path.read_bytes(), random.Random(0)
        n_header = 8 + struct.unpack_from("<Q", data)[0]
        for trial in range(300):
            changed = bytearray(data)
            position = random_.randrange(n_header if trial % 2 else len(data))
            changed[position] ^= random_.randrange(1, 256)
            path.write_bytes(changed)
            self.assert_refused(path)

    def test_every_byte_of_a_small_file_counts(self, tmp_path):
        path = tmp_path / "state.checkpoint"
        write_checkpoint(path, {"a": torch.arange(3.0)}, fingerprint="f")
        data, random_ = path.read_bytes(), random.Random(0)
        for position in range(len(data)):
            changed = bytearray(data)
            changed[position] ^= 1 << random_.randrange(8)
            path.write_bytes(changed)
            self.assert_refused(path)

    def test_space_that_other_readers_pass_over(self, path):
        data = bytearray(path.read_bytes())
        n_header = 8 + struct.unpack_from("<Q", data)[0]
        end = data.rindex(b"}", 0, n_header) + 1
        for position in range(end, n_header):
            changed = bytearray(data)
            changed[position] = ord("\t")
            path.write_bytes(changed)
            self.assert_refused(path)

    def test_every_truncation_of_100_is_refused(self, path):
        data, random_ = path.read_bytes(), random.Random(0)
        for length in [0, 1, 7, 8, 9, *(random_.randrange(len(data)) for _ in range(95))]:
            path.write_bytes(data[:length])
            self.assert_refused(path)

    @pytest.mark.parametrize(
        "data",
        [
            b"\xff" * 8 + b"{}",
            b"hello, this is no tensor",
            struct.pack("<Q", 2) + b"[]",
            struct.pack("<Q", 2) + b"{}",
            struct.pack("<Q", 100_000) + b"[" * 100_000,
            struct.pack("<Q", 20) + b'{"__metadata__":[1]}',
            struct.pack("<Q", 24) + b'{"__metadata__":{"a":1}}',
        ],
    )
    def test_hostile_headers(self, path, data):
        path.write_bytes(data)
        self.assert_refused(path)

    @pytest.mark.parametrize(
        "rest", ["", "[" * 100_000, '["tensor","7"]', '["what",3]', '["tuple"]', "[]", '["float","00"]', '["dict",[1]]']
    )
    def test_a_state_that_makes_no_sense(self, path, rest):
        metadata = {_checkpoints._CHECKPOINT_KEY: _checkpoints._VERSION, "fingerprint": "f", "state": rest}
        _checkpoints._write(path, {}, metadata)
        self.assert_refused(path)

    def test_bytes_that_follow(self, path):
        path.write_bytes(path.read_bytes() + b"\0")
        self.assert_refused(path)

    def test_other_version(self, path, monkeypatch):
        monkeypatch.setattr(_checkpoints, "_VERSION", "2")
        with pytest.raises(CheckpointError, match="of version '1', and this skhash reads version '2'; go on with"):
            read_checkpoint(path, fingerprint="f")

    def test_other_training(self, path):
        with pytest.raises(CheckpointError, match=r"of another training .*; delete it, or pass another file"):
            read_checkpoint(path, fingerprint="g")

    def test_other_safetensors_files(self, path):
        save_file({"a": torch.zeros(3)}, path)
        with pytest.raises(CheckpointError, match="is no checkpoint of a training; pass another file"):
            read_checkpoint(path, fingerprint="f")


class TestFiles:
    def test_no_file(self, tmp_path):
        assert read_checkpoint(tmp_path / "none", fingerprint="f") is None
        assert read_checkpoint(tmp_path / "no folder" / "none", fingerprint="f") is None

    def test_leftovers_of_this_file_alone_are_removed(self, tmp_path):
        others = [".b.writing-0123456789abcdef", ".a.writing-mine", ".a.writing-0123456789abcdef.b"]
        for name in [".a.writing-0123456789abcdef", *others]:
            (tmp_path / name).write_bytes(b"part")
        assert read_checkpoint(tmp_path / "a", fingerprint="f") is None
        assert files_in(tmp_path) == sorted(others)
        write_checkpoint(tmp_path / "a", STATE, fingerprint="f")
        (tmp_path / ".a.writing-fedcba9876543210").write_bytes(b"part")
        assert_same(read_checkpoint(tmp_path / "a", fingerprint="f"), STATE)
        assert files_in(tmp_path) == sorted([*others, "a"])

    def test_a_temporary_file_of_another_training_stays(self, tmp_path):
        write_checkpoint(tmp_path / "a", STATE, fingerprint="g")
        (tmp_path / ".a.writing-fedcba9876543210").write_bytes(b"part")
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / "a", fingerprint="f")
        assert len(files_in(tmp_path)) == 2

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path / "target")
        write_checkpoint(tmp_path / "link", STATE, fingerprint="f")
        assert (tmp_path / "link").is_symlink()
        assert_same(read_checkpoint(tmp_path / "target", fingerprint="f"), STATE)

    def test_path_without_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_checkpoint("a", STATE, fingerprint="f")
        assert_same(read_checkpoint("a", fingerprint="f"), STATE)

    @pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
    def test_others_may_read_it_as_the_umask_says(self, tmp_path):
        before = os.umask(0o022)
        try:
            write_checkpoint(tmp_path / "a", STATE, fingerprint="f")
        finally:
            os.umask(before)
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644

    def test_missing_folder_and_folder_in_place_of_the_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            write_checkpoint(tmp_path / "no folder" / "a", STATE, fingerprint="f")
        (tmp_path / "a").mkdir()
        with pytest.raises(OSError, match="directory"):
            write_checkpoint(tmp_path / "a", STATE, fingerprint="f")
        assert files_in(tmp_path) == ["a"]
        with pytest.raises(OSError, match="directory"):
            read_checkpoint(tmp_path / "a", fingerprint="f")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
    def test_missing_permission(self, tmp_path):
        tmp_path.chmod(0o555)
        try:
            with pytest.raises(PermissionError):
                write_checkpoint(tmp_path / "a", STATE, fingerprint="f")
        finally:
            tmp_path.chmod(0o755)

    @pytest.mark.parametrize("function", ["fsync", "replace"])
    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
    def test_failures_leave_the_file_before(self, tmp_path, monkeypatch, function, error):
        write_checkpoint(tmp_path / "a", STATE, fingerprint="f")

        def fail(*args):
            raise error

        monkeypatch.setattr(os, function, fail)
        with pytest.raises(type(error)) as caught:
            write_checkpoint(tmp_path / "a", {"epoch": 4}, fingerprint="f")
        assert caught.value is error
        monkeypatch.undo()
        assert files_in(tmp_path) == ["a"]
        assert_same(read_checkpoint(tmp_path / "a", fingerprint="f"), STATE)

    def test_file_and_folder_are_flushed_to_the_disk(self, tmp_path, monkeypatch):
        calls = []
        fsync, replace = os.fsync, os.replace

        def record_fsync(handle):
            calls.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
            fsync(handle)

        def record_replace(*args):
            calls.append("replace")
            replace(*args)

        monkeypatch.setattr(os, "fsync", record_fsync)
        monkeypatch.setattr(os, "replace", record_replace)
        write_checkpoint(tmp_path / "a", STATE, fingerprint="f")
        if pathlib.Path("/proc/self/fd").is_dir():
            assert calls == ["file", "replace", "folder"]
        else:
            assert calls.index("replace") == 1

    def test_full_disk(self, tmp_path):
        """A limit on the size of files stops the write in its middle, as a full disk does."""
        resource = pytest.importorskip("resource", reason="limits of POSIX")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        write_checkpoint(tmp_path / "a", STATE, fingerprint="f")
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            for n_floats in (30_000, 300_000):
                with pytest.raises(OSError, match="File too large"):
                    write_checkpoint(tmp_path / "a", {"a": torch.zeros(n_floats)}, fingerprint="f")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert files_in(tmp_path) == ["a"]
        assert_same(read_checkpoint(tmp_path / "a", fingerprint="f"), STATE)


# Forks a child for each line that it reads: importing torch for each would take seconds.
SAVE_IN_A_LOOP = """
import os, sys, torch
from skhash.deep._checkpoints import write_checkpoint
torch.set_num_threads(1)
path = sys.argv[1]
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        number = int(line) * 1_000_000
        while True:
            number += 1
            write_checkpoint(path, {"number": number, "numbers": torch.full((100_000,), number)}, fingerprint="f")
    print(child, flush=True)
    os.waitpid(child, 0)
"""


def kill_while_saving(folder, n_kills):
    """Kill writers at random moments; return how many left a temporary file."""
    path, random_ = folder / "a", random.Random(0)
    command = [sys.executable, "-W", "ignore", "-c", SAVE_IN_A_LOOP, str(path)]
    n_leftovers, last = 0, 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forking:
        for trial in range(1, n_kills + 1):
            forking.stdin.write(f"{trial}\n")
            forking.stdin.flush()
            child = int(forking.stdout.readline())
            time.sleep(random_.uniform(0.0, 0.05))
            os.kill(child, signal.SIGKILL)
            while pathlib.Path(f"/proc/{child}").exists():
                time.sleep(0.001)
            n_leftovers += len(set(files_in(folder)) - {"a"})
            state = read_checkpoint(path, fingerprint="f")
            assert set(files_in(folder)) <= {"a"}
            if state is not None or last:
                assert torch.equal(state["numbers"], torch.full((100_000,), state["number"]))
                assert state["number"] >= last
                last = state["number"]
        forking.stdin.close()
        assert forking.wait(60) == 0
    assert last > 1_000_000
    return n_leftovers


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="looks for processes where Linux lists them")
class TestKills:
    def test_the_file_is_whole_after_5_kills(self, tmp_path):
        kill_while_saving(tmp_path, 5)

    @pytest.mark.slow
    def test_the_file_is_whole_after_300_kills(self, tmp_path):
        # Some of them struck while a file was being written.
        assert kill_while_saving(tmp_path, 300) > 10

    @pytest.mark.slow
    def test_readers_meet_whole_files_while_they_are_replaced(self, tmp_path, monkeypatch):
        # The temporary file is alive here.
        monkeypatch.setattr(_checkpoints, "_remove_leftovers", lambda path: None)
        command = [sys.executable, "-W", "ignore", "-c", SAVE_IN_A_LOOP, str(tmp_path / "a")]
        seen = set()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forking:
            forking.stdin.write("0\n")
            forking.stdin.flush()
            child = int(forking.stdout.readline())
            try:
                until = time.monotonic() + 30
                while len(seen) < 20 and time.monotonic() < until:
                    state = read_checkpoint(tmp_path / "a", fingerprint="f")
                    if state is not None:
                        assert torch.equal(state["numbers"], torch.full((100_000,), state["number"]))
                        seen.add(state["number"])
            finally:
                os.kill(child, signal.SIGKILL)
                forking.stdin.close()
        assert len(seen) == 20


class TestFingerprint:
    def test_differs_by_each_part(self, tmp_path):
        file = tmp_path / "a.png"
        file.write_bytes(b"123")
        array = np.arange(6.0)
        parts = [
            None, True, False, 1, 1.0, "1", b"1", 0, 0.0, -0.0, "", b"", [], (), {}, [[]], [1, 2], [2, 1], (1, 2), [12],
            ["1", "2"], ["12"], ["1, 2"], {"a": 1}, {"a": 1.0}, {"b": 1}, {1: "a"}, {"a": 1, "b": 2}, {"a": 2, "b": 1},
            {"a": {"b": 1}}, [("a", 1)], math.inf, -math.inf, math.nan, 2**80, "\ud800", "None",
            array, array.astype(np.float32), array.reshape(2, 3), array.reshape(3, 2), array[:5], array + 1,
            array.astype(">f8"), array.view(np.int64), np.zeros(0), np.zeros((0, 3)), np.array(1.0),
            np.array(["a", "b"]), np.array(["a", "b"], dtype=object), np.array(["a", 1], dtype=object),
            np.array(["a", "1"], dtype=object), np.array([["a"], ["b"]], dtype=object),
            np.array(["2020"], dtype="M8[s]"), np.array(["2020"], dtype="M8[D]"),
            torch.arange(6.0), torch.arange(6.0).double(), torch.arange(6.0).reshape(2, 3),
            torch.arange(6.0).bfloat16(),
            torch.tensor(1.0), torch.tensor(1), torch.zeros(0), torch.nn.Linear(2, 2).state_dict(),
            file, str(file), [file], tmp_path / "." / "b" / ".." / "a.png",
        ]  # fmt: skip
        (tmp_path / "b").mkdir()
        found = [fingerprint_of(part) for part in parts]
        found += [fingerprint_of(), fingerprint_of(1, 2), fingerprint_of([1, 2], []), fingerprint_of([1], [2])]
        assert len(set(found)) == len(parts) + 4
        assert [fingerprint_of(part) for part in parts] == found[: len(parts)]
        assert all(re.fullmatch("[0-9a-f]{40}", digits) for digits in found)

    def test_files_are_told_by_size_and_time(self, tmp_path):
        file = tmp_path / "a.png"
        file.write_bytes(b"123")
        os.utime(file, ns=(0, 10**18))
        before = fingerprint_of([file])
        assert fingerprint_of([file]) == before
        os.utime(file, ns=(0, 10**18 + 1000))
        assert fingerprint_of([file]) != before
        file.write_bytes(b"1234")
        os.utime(file, ns=(0, 10**18))
        assert fingerprint_of([file]) != before
        file.unlink()
        with pytest.raises(FileNotFoundError):
            fingerprint_of([file])

    def test_order_of_keys_does_not_matter(self):
        one = {"a": 1, "b": {"c": [1], "d": None}, 3: "x"}
        other = {3: "x", "b": {"d": None, "c": [1]}, "a": 1}
        assert fingerprint_of(one) == fingerprint_of(other) == fingerprint_of(OrderedDict(one))

    @pytest.mark.parametrize(
        ("value", "equal"), [(np.int32(5), 5), (np.float32(0.5), 0.5), (np.bool_(True), True), (np.str_("a"), "a")]
    )
    def test_numpy_scalars_are_the_values_they_equal(self, value, equal):
        assert fingerprint_of({"n_bits": value}) == fingerprint_of({"n_bits": equal})

    def test_order_of_memory_does_not_matter(self, monkeypatch):
        array = np.random.default_rng(0).normal(size=(40, 30, 5))
        expected = fingerprint_of(array)
        assert fingerprint_of(np.asfortranarray(array)) == expected
        assert fingerprint_of(np.repeat(array, 2, axis=1)[:, ::2]) == expected
        monkeypatch.setattr(_checkpoints, "_BLOCK_BYTES", 800)
        assert fingerprint_of(array) == fingerprint_of(np.asfortranarray(array)) == expected
        tensor = torch.from_numpy(array)
        assert fingerprint_of(tensor) == fingerprint_of(tensor.permute(2, 0, 1).contiguous().permute(1, 2, 0))

    def test_every_byte_counts_in_blocks(self, monkeypatch):
        monkeypatch.setattr(_checkpoints, "_BLOCK_BYTES", 64)
        array = np.zeros(100, np.uint8)
        found = {fingerprint_of(array)}
        for i in range(100):
            array[i] = 1
            found.add(fingerprint_of(array))
            array[i] = 0
        assert len(found) == 101

    def test_memory_map_is_not_copied(self, tmp_path):
        np.save(tmp_path / "a.npy", np.arange(4_000_000.0).reshape(2000, 2000))
        mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
        tracemalloc.start()
        try:
            found = [fingerprint_of(mapped), fingerprint_of(mapped.T)]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert found == [fingerprint_of(np.array(mapped)), fingerprint_of(np.array(mapped.T))]
        assert peak < 16_000_000

    @pytest.mark.parametrize(
        ("part", "message"), [({1}, "parts[0] is a set"), ({"a": [torch.nn.ReLU]}, "parts[0]['a'][0] is a type")]
    )
    def test_what_has_no_fingerprint(self, part, message):
        with pytest.raises(TypeError) as error:
            fingerprint_of(part)
        assert message in str(error.value)


def new_modules(n_outputs=3, seed=0):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, n_outputs))
        return {"network": network.to(memory_format=torch.channels_last), "loss": torch.nn.Bilinear(2, 2, 2)}


def states_of(modules):
    return {name: copy.deepcopy(module.state_dict()) for name, module in modules.items()}


class TestWeights:
    def test_come_back_and_are_plain_safetensors(self, tmp_path):
        modules, others = new_modules(), new_modules(seed=1)
        save_weights(tmp_path / "a.safetensors", modules, {"n_bits": "3"})
        assert load_weights(tmp_path / "a.safetensors", others) == {"n_bits": "3"}
        assert_same(states_of(others), states_of(modules))
        plain = load_file(tmp_path / "a.safetensors")
        expected = {
            f"{name}.{key}": value for name, state in states_of(modules).items() for key, value in state.items()
        }
        assert "network.0.weight" in plain
        assert plain.keys() == expected.keys()
        for name, value in expected.items():
            assert_same(plain[name], value)

    def test_shared_parameters(self, tmp_path):
        modules = {"network": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))}
        modules["network"][1].weight = modules["network"][0].weight
        save_weights(tmp_path / "a", modules)
        before = states_of(modules)
        with torch.no_grad():
            modules["network"][0].weight.zero_()
        load_weights(tmp_path / "a", modules)
        assert_same(states_of(modules), before)

    def test_files_of_others(self, tmp_path):
        modules = new_modules()
        plain = {
            f"{name}.{key}": value.contiguous()
            for name, state in states_of(modules).items()
            for key, value in state.items()
        }
        save_file(plain, tmp_path / "a")
        others = new_modules(seed=1)
        assert load_weights(tmp_path / "a", others) == {}
        assert_same(states_of(others), states_of(modules))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda modules: modules.update(new_modules(5)),
                r"holds 'network.2.weight' with shape \(3, 4\) and dtype torch",
            ),
            (lambda modules: modules["loss"].double(), "holds 'loss.weight' .*float32, but the module has .*float64"),
            (lambda modules: modules["network"].append(torch.nn.Linear(2, 2)), "lacks 'network.3.bias' and 1 more"),
            (lambda modules: modules.pop("loss"), "holds, unlike the modules, 'loss.bias' and 1 more; build"),
        ],
    )
    def test_what_differs_is_said_and_nothing_is_changed(self, tmp_path, change, message):
        save_weights(tmp_path / "a", new_modules())
        modules = new_modules(seed=1)
        change(modules)
        before = states_of(modules)
        with pytest.raises(CheckpointError, match=message) as error:
            load_weights(tmp_path / "a", modules)
        assert "\n" not in str(error.value)
        assert_same(states_of(modules), before)

    def test_a_module_that_fails_to_load_changes_nothing(self, tmp_path):
        save_weights(tmp_path / "a", new_modules())
        modules = new_modules(seed=1)
        before = states_of(modules)
        n_calls = []

        def fail_once(*args):
            n_calls.append(1)
            if len(n_calls) == 1:
                raise RuntimeError("not today")

        modules["loss"].register_load_state_dict_pre_hook(fail_once)
        with pytest.raises(RuntimeError, match="not today"):
            load_weights(tmp_path / "a", modules)
        assert_same(states_of(modules), before)

    def test_damage_is_found(self, tmp_path):
        save_weights(tmp_path / "a", new_modules())
        data, random_ = (tmp_path / "a").read_bytes(), random.Random(0)
        modules = new_modules(seed=1)
        before = states_of(modules)
        for _ in range(200):
            changed = bytearray(data)
            changed[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
            (tmp_path / "a").write_bytes(changed)
            with pytest.raises(CheckpointError):
                load_weights(tmp_path / "a", modules)
            (tmp_path / "a").write_bytes(data[: random_.randrange(len(data))])
            with pytest.raises(CheckpointError):
                load_weights(tmp_path / "a", modules)
        assert_same(states_of(modules), before)

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            load_weights(tmp_path / "a", new_modules())

    def test_extra_state_is_refused(self, tmp_path):
        class Extra(torch.nn.Linear):
            def get_extra_state(self):
                return {"a": 1}

        with pytest.raises(TypeError, match=r"network\._extra_state is a dict"):
            save_weights(tmp_path / "a", {"network": Extra(2, 2)})
        assert files_in(tmp_path) == []


def test_no_pickle_is_used():
    source = pathlib.Path(_checkpoints.__file__).read_text(encoding="utf-8")
    assert not re.search(
        r"pickle|torch\.(load|save)\b|numpy\.load|np\.load|eval\(", source.replace("safetensors.torch.", "")
    )
