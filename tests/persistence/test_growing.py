"""Saved indexes that grow: against the search in memory, and against everything that may stop a writer."""

import errno
import functools
import itertools
import os
import signal
import struct
import subprocess
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from skhash import HammingNearestNeighbors, load, save
from skhash.persistence import CorruptFileError, FileFormatError, LockedFileError, SavedIndex, _growing, _log
from skhash.persistence._lock import WriterLock

pytestmark = pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="indexes are written on POSIX systems only")

CODES = np.arange(24, dtype=np.uint8).reshape(8, 3)


@pytest.fixture
def path(tmp_path):
    """A saved index of four codes with ids and labels."""
    path = tmp_path / "index.skhash"
    save(HammingNearestNeighbors(n_neighbors=2).fit(CODES[:4], [0, 1, 0, 1], ids=[10, 11, 12, 13]), path)
    return path


def log_of(path):
    return path.with_name(path.name + ".log")


def state(search):
    """All that searches, additions and removals depend on."""
    labels = search.labels_
    return search.ids_.tolist(), search.codes_.tolist(), None if labels is None else labels.tolist(), search._n_added


def stored_state(path):
    return state(load(path))


def grow(index):
    """Change an index three times, and return its states, the first one included."""
    states = [state(index.snapshot())]
    for change in (
        lambda: index.add(CODES[4:6], [2, 3], ids=[14, 15]),
        lambda: index.remove([11, 14]),
        lambda: index.add(CODES[6:7], [4], ids=[11]),
    ):
        change()
        states.append(state(index.snapshot()))
    return states


# The same as in memory


@pytest.mark.parametrize("labels", [None, "classes", "indicators", "strings"])
@pytest.mark.parametrize("ids_given", [True, False])
@pytest.mark.parametrize("mmap", [True, False])
def test_equals_the_search_in_memory(tmp_path, labels, ids_given, mmap):
    rng = np.random.default_rng(0)
    choices = {
        None: lambda n: None,
        "classes": lambda n: rng.integers(5, size=n),
        "indicators": lambda n: rng.integers(2, size=(n, 3)),
        "strings": lambda n: rng.choice(["a", "bcd"], size=n),
    }
    next_id = itertools.count(100)

    def arguments(n):
        ids = [next(next_id) for _ in range(n)] if ids_given else None
        return rng.integers(256, size=(n, 5)), choices[labels](n), ids

    def check():
        for found in (index.snapshot(), SavedIndex(path, mmap=mmap).snapshot(), load(path, mmap=mmap)):
            assert state(found) == state(search)
            np.testing.assert_array_equal(found.kneighbors(queries), search.kneighbors(queries))

    codes, y, ids = arguments(30)
    path, queries = tmp_path / "index.skhash", rng.integers(256, size=(4, 5))
    search = HammingNearestNeighbors(n_neighbors=3).fit(codes, y, ids=ids)
    save(search, path)
    with SavedIndex(path, mmap=mmap) as index:
        for step in range(8):
            codes, y, ids = arguments(3)
            index.add(codes, y, ids=ids)
            search.add(codes, y, ids=ids)
            removed = rng.choice(search.ids_, size=2, replace=False)
            index.remove(removed)
            search.remove(removed)
            if step % 3 == 2:
                check()
            assert index.n_samples == len(index) == search.n_samples_fit_
            if step == 5:
                index.compact()
                assert index.log_bytes == 0
                assert not log_of(path).exists()
        check()


@pytest.mark.parametrize(
    ("labels", "more"),
    [
        (["a", "b"], ["cde"]),
        (np.array(["a", "b"], dtype=object), np.array(["cde"], dtype=object)),
        (np.array([(1, "x"), 5], dtype=object), np.array([None.__class__.__name__], dtype=object)),
        ([1, 2], [2.5]),
        (np.array([1, 2], dtype=np.int8), np.array([300], dtype=np.int64)),
        ([True, False], [True]),
        (np.array([b"a", b"b"]), np.array(["cde"])),
        (np.array(["2024-01-01", "2024-01-02"], dtype="M8[D]"), np.array(["2025-01-01T10"], dtype="M8[h]")),
        (np.array([1, 2], dtype=">i4"), np.array([3], dtype=">i2")),
    ],
)
def test_labels_of_every_kind(tmp_path, labels, more):
    path = tmp_path / "index.skhash"
    search = HammingNearestNeighbors().fit(CODES[:2], labels)
    save(search, path)
    with SavedIndex(path) as index:
        index.add(CODES[2:3], more)
        index.add(CODES[3:4], more)
    search.add(CODES[2:3], more).add(CODES[3:4], more)
    for found in (index.snapshot(), load(path)):
        np.testing.assert_array_equal(found.labels_, search.labels_)
        assert found.labels_.dtype == search.labels_.dtype


@pytest.mark.parametrize(
    ("method", "arguments", "keywords"),
    [
        ("add", (CODES[:1], [0]), {"ids": [12]}),
        ("add", (CODES[:2], [0, 0]), {"ids": [20, 20]}),
        ("add", (CODES[:2], [0, 0]), {"ids": [20]}),
        ("add", (CODES[:1],), {"ids": [20]}),
        ("add", (CODES[:1], [0]), {}),
        ("add", (CODES[:1], ["a"]), {"ids": [20]}),
        ("add", (CODES[:1], [0.5, 1]), {"ids": [20]}),
        ("add", (CODES[:1, :2], [0]), {"ids": [20]}),
        ("add", (CODES[:1] * 100.5, [0]), {"ids": [20]}),
        ("add", (CODES[:0], []), {"ids": []}),
        ("add", (CODES[:1], [0]), {"ids": ["a"]}),
        ("remove", ([10, 99],), {}),
        ("remove", ([10, 10],), {}),
        ("remove", ([1.5],), {}),
        ("remove", ([11],), {}),
        ("remove", ([15],), {}),
    ],
)
def test_refuses_what_the_search_in_memory_refuses(path, method, arguments, keywords):
    with SavedIndex(path) as index:
        index.remove(11).add(CODES[5:6], [1], ids=[14]).add(CODES[5:6], [1], ids=[15]).remove([15])
        before = log_of(path).read_bytes()
        with pytest.raises((TypeError, ValueError)) as expected:
            getattr(index.snapshot(), method)(*arguments, **keywords)
        with pytest.raises(expected.type) as found:
            getattr(index, method)(*arguments, **keywords)
        assert str(found.value) == str(expected.value)
        assert log_of(path).read_bytes() == before


def test_counted_ids_go_on_counting(tmp_path):
    path = tmp_path / "index.skhash"
    save(HammingNearestNeighbors().fit(CODES[:3]), path)
    with SavedIndex(path) as index:
        index.add(CODES[3:5]).remove([4, 0]).add(CODES[5:6])
        assert index.snapshot().ids_.tolist() == [1, 2, 3, 5]
        with pytest.raises(ValueError, match="id 4 is not in the database"):
            index.remove(4)
        with pytest.raises(ValueError, match="id 6 is not in the database"):
            index.remove(6)
        index.compact().remove([5]).add(CODES[6:7])
    assert load(path).ids_.tolist() == [1, 2, 3, 6]


def test_changes_without_a_change_write_nothing(path):
    with SavedIndex(path) as index:
        index.remove([]).compact()
    assert not log_of(path).exists()


def test_all_codes_can_be_removed(path):
    with SavedIndex(path) as index:
        index.remove([10, 11, 12, 13])
        assert load(path).n_samples_fit_ == 0
        index.compact().add(CODES[:1], [3], ids=[7])
    assert load(path).ids_.tolist() == [7]


def test_names_of_columns(tmp_path):
    pandas = pytest.importorskip("pandas", reason="frames are pandas'")
    path, frame = tmp_path / "index.skhash", pandas.DataFrame(CODES, columns=["a", "b", "c"])
    save(HammingNearestNeighbors().fit(frame[:4]), path)
    with SavedIndex(path) as index:
        index.add(frame[4:])
        with pytest.raises(ValueError, match="feature names"):
            index.add(frame[4:].rename(columns={"a": "x"}))
    np.testing.assert_array_equal(load(path).codes_, CODES)


def test_snapshots_and_callers_keep_their_own(path):
    codes, y = CODES[4:6].copy(), np.array([2, 3])
    with SavedIndex(path) as index:
        first = index.snapshot()
        index.add(codes, y, ids=[14, 15])
        codes[:], y[:] = 0, 0
        second = index.snapshot()
        assert second.codes_[4:].tolist() == CODES[4:6].tolist()
        assert second.labels_[4:].tolist() == [2, 3]
        second.remove([10]).set_params(n_neighbors=1)
        assert state(index.snapshot()) == stored_state(path)
        assert index.snapshot().n_neighbors == 2
    assert first.n_samples_fit_ == 4


# Files that are none


def test_refuses_what_is_no_saved_search(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        SavedIndex(path)
    with pytest.raises(TypeError, match="must be the path of a file"):
        SavedIndex("s3://bucket/file")
    with pytest.raises(ValueError, match="timeout=-1 must be"):
        SavedIndex(path, timeout=-1)
    save(HammingNearestNeighbors(), path)
    with pytest.raises(FileFormatError, match="holds no fitted HammingNearestNeighbors"):
        SavedIndex(path)


def test_every_truncation_of_acknowledged_records_is_an_error(path):
    with SavedIndex(path) as index:
        grow(index)
    data = log_of(path).read_bytes()
    for n_bytes in range(len(data)):
        log_of(path).write_bytes(data[:n_bytes])
        for read in (load, SavedIndex, lambda path: SavedIndex(path).remove([10])):
            with pytest.raises(CorruptFileError) as caught:
                read(path)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flipped", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_is_an_error_or_harmless(path, flipped):
    with SavedIndex(path) as index:
        *_, expected = grow(index)
    data = log_of(path).read_bytes()
    n_harmless = 0
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= flipped
        log_of(path).write_bytes(damaged)
        try:
            found = stored_state(path)
        except FileFormatError:
            continue
        n_harmless += 1
        assert found == expected
    # The number of acknowledged bytes is there twice, in 12 bytes each.
    assert n_harmless <= 24


def unacknowledged(data, n_bytes, seed_of=slice(32, 40)):
    """Make a log as it is before bytes were acknowledged: only the first of them are."""
    seed = zlib.crc32(data[seed_of])
    raw = struct.pack("<Q", n_bytes)
    place = raw + struct.pack("<I", zlib.crc32(raw, seed))
    return data[:44] + place * 2 + data[68:]


def test_a_record_that_was_not_acknowledged_is_there_as_a_whole_or_not_at_all(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    with SavedIndex(path) as index:
        sizes, states = [_log.FIRST_RECORD], grow(index)
    data = log_of(path).read_bytes()
    for content in data[_log.FIRST_RECORD :].split(b"\x9dREC")[1:]:
        sizes.append(sizes[-1] + 4 + len(content))
    assert sizes[-1] == len(data)
    torn = unacknowledged(data, sizes[2])
    for n_bytes in range(sizes[2], len(data) + 1):
        for rest in (b"", bytes(100), b"\xff" * 7):
            found = torn[:n_bytes] + rest
            # The last bytes of the record are zeros, too.
            expected = states[3 if found.startswith(torn) else 2]
            log_of(path).write_bytes(found)
            assert stored_state(path) == expected
            with SavedIndex(path) as index:
                index.remove([12])
                assert index.snapshot().ids_.tolist() == [id for id in expected[0] if id != 12]
            assert stored_state(path) == state(index.snapshot())


def test_a_damaged_record_with_others_behind_it_is_an_error(path):
    with SavedIndex(path) as index:
        grow(index)
    data = bytearray(unacknowledged(log_of(path).read_bytes(), _log.FIRST_RECORD))
    for place in range(_log.FIRST_RECORD, data.index(b"\x9dREC", _log.FIRST_RECORD + 1)):
        damaged = data.copy()
        damaged[place] ^= 1
        log_of(path).write_bytes(damaged)
        with pytest.raises(CorruptFileError, match="its record 0, at byte 68, is damaged"):
            load(path)


def test_the_log_of_another_file_is_ignored_and_removed(path, tmp_path):
    other = tmp_path / "other.skhash"
    save(HammingNearestNeighbors().fit(CODES[:2], [5, 6], ids=[1, 2]), other)
    with SavedIndex(path) as index:
        grow(index)
    log_of(other).write_bytes(log_of(path).read_bytes())
    assert load(other).ids_.tolist() == [1, 2]
    assert log_of(other).exists()
    with SavedIndex(other) as index:
        index.add(CODES[:1], [7], ids=[3])
    assert load(other).ids_.tolist() == [1, 2, 3]


def test_a_crash_between_compaction_and_removal_of_the_log_is_harmless(path, monkeypatch):
    with SavedIndex(path) as index:
        *_, expected = grow(index)

        def fail(_):
            raise OSError(errno.EIO, "broken")

        with monkeypatch.context() as patch:
            patch.setattr(_growing, "remove_log", fail)
            with pytest.raises(OSError, match="broken"):
                index.compact()
        assert log_of(path).exists()
        assert stored_state(path) == expected
        assert state(index.snapshot()) == expected
    with SavedIndex(path) as index:
        index.remove(10)
    assert load(path).ids_.tolist() == [id for id in expected[0] if id != 10]


def write_record(path, kind, content):
    """Append a record with right checksums, whatever it says."""
    log = _log.open_log(os.fspath(log_of(path)), is_writable=True)
    list(log.acknowledged_records())
    log.append(kind, content)
    log.close()


def addition(n_samples, n_bytes, has_ids, has_labels, rest):
    return struct.pack("<QIBB", n_samples, n_bytes, has_ids, has_labels) + rest


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (3, b""),
        (2, b"1234567"),
        (2, struct.pack("<q", 99)),
        (2, struct.pack("<qq", 12, 12)),
        (1, b""),
        (1, addition(2**60, 3, 1, 1, b"")),
        (1, addition(1, 0, 1, 0, bytes(8))),
        (1, addition(1, 3, 1, 0, bytes(11))),
        (1, addition(1, 3, 1, 1, bytes(11))),
        (1, addition(1, 3, 1, 1, bytes(11) + b"xx\0\0" + bytes(16))),
        (1, addition(1, 3, 1, 1, bytes(11) + b"i8\0\0" + bytes(8) + bytes(9))),
        (1, addition(1, 3, 1, 1, bytes(11) + b"i8\0\0" + struct.pack("<Q", 2**63) + bytes(8))),
        (1, addition(1, 3, 1, 1, bytes(11) + bytes(12) + b"no container")),
        (1, addition(1, 3, 2, 2, bytes(60))),
        (1, addition(0, 3, 1, 1, b"i8\0\0" + bytes(8))),
        (1, addition(1, 4, 1, 1, bytes(4) + struct.pack("<q", 77) + b"i8\0\0" + bytes(16))),
        (1, addition(1, 3, 1, 1, bytes(3) + struct.pack("<q", 12) + b"i8\0\0" + bytes(16))),
    ],
)
def test_records_that_make_no_sense_are_refused(path, kind, content):
    with SavedIndex(path) as index:
        index.add(CODES[:1], [0], ids=[14])
    write_record(path, kind, content)
    for read in (load, SavedIndex, lambda path: index.refresh()):
        with pytest.raises(FileFormatError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileFormatError):
        index.snapshot()


def test_a_log_of_a_later_format_is_refused(path):
    with SavedIndex(path) as index:
        index.remove(10)
    data = bytearray(log_of(path).read_bytes())
    data[8:16] = struct.pack("<II", 2, 2)
    data[40:44] = struct.pack("<I", zlib.crc32(data[:40]))
    log_of(path).write_bytes(data)
    with pytest.raises(FileFormatError, match="is a log of format 2"):
        load(path)


# Writers that are stopped


class Stopped(BaseException):
    """The process ends here: nothing that follows, cleaning up included, has an effect."""


FUNCTIONS = ("pwrite", "fsync", "ftruncate", "replace", "unlink")


def stop_at(patch, n_calls, *, when):
    """Let the system stop at a call of one of its functions, before, after or in the midst of it."""
    calls, real = itertools.count(), {name: getattr(os, name) for name in FUNCTIONS}

    def make(name):
        def call(*arguments):
            number = next(calls)
            if number == n_calls:
                if when == "after":
                    real[name](*arguments)
                elif when == "within" and name == "pwrite":
                    descriptor, data, place = arguments
                    real[name](descriptor, data[: len(data) // 2], place)
            if number >= n_calls:
                raise Stopped
            return real[name](*arguments)

        return call

    for name in FUNCTIONS:
        patch.setattr(os, name, make(name))


@pytest.mark.parametrize("when", ["before", "within", "after"])
@pytest.mark.parametrize("compacts", [False, True])
def test_stopped_at_any_call_of_the_system(tmp_path, monkeypatch, when, compacts):
    fresh = HammingNearestNeighbors().fit(CODES[:4], [0, 1, 0, 1], ids=[10, 11, 12, 13])
    path = tmp_path / "index.skhash"
    for n_calls in itertools.count():
        save(fresh, path)
        log_of(path).unlink(missing_ok=True)
        index, acknowledged = SavedIndex(path), [state(fresh)]
        with monkeypatch.context() as patch:
            stop_at(patch, n_calls, when=when)
            try:
                search = load(path)
                for change in ("add", "remove", "compact", "remove again"):
                    if change == "add":
                        in_flight = state(search.add(CODES[4:6], [2, 3], ids=[14, 15]))
                        index.add(CODES[4:6], [2, 3], ids=[14, 15])
                    elif change == "compact":
                        if compacts:
                            index.compact()
                    else:
                        in_flight = state(search.remove([11] if change == "remove" else [14]))
                        index.remove([11] if change == "remove" else [14])
                    acknowledged.append(in_flight)
                is_stopped = False
            except Stopped:
                is_stopped = True
        index.close()
        found = stored_state(path)
        assert found in (acknowledged[-1], in_flight)
        with SavedIndex(path) as index:
            assert state(index.snapshot()) == found
            index.remove([12])
            assert index.snapshot().ids_.tolist() == [id for id in found[0] if id != 12]
        assert stored_state(path) == state(index.snapshot())
        if not is_stopped:
            assert n_calls > 10
            break


def test_a_loss_of_power_at_any_instant(path, tmp_path, monkeypatch):
    """Of what was not synchronised, any part may be on the disk, in any order."""
    index = SavedIndex(path)
    index.remove([])
    operations, states = [], [state(index.snapshot())]
    with monkeypatch.context() as patch:
        for name in ("pwrite", "fsync", "ftruncate"):
            real = getattr(os, name)

            def call(*arguments, name=name, real=real):
                operations.append(
                    (name, *(bytes(part) if isinstance(part, memoryview) else part for part in arguments))
                )
                return real(*arguments)

            patch.setattr(os, name, call)
        changes = (
            lambda: index.add(CODES[4:6], [2, 3], ids=[14, 15]),
            lambda: index.remove([11, 14]),
            lambda: index.add(CODES[6:7], [4], ids=[11]),
        )
        for change in changes:
            change()
            operations.append(("acknowledged",))
            states.append(state(index.snapshot()))
    index.close()
    # The log starts with what replaced it as a whole.
    start = next(place for place, operation in enumerate(operations) if operation[0] == "pwrite" and operation[3] >= 68)
    first = log_of(path).read_bytes()[:44]
    head = unacknowledged(first + bytes(24), _log.FIRST_RECORD)
    n_images = 0
    for stop in range(start, len(operations) + 1):
        synced, loose, n_acknowledged = bytearray(head), [], 0
        for name, *arguments in operations[start:stop]:
            if name == "pwrite":
                loose.append(arguments[1:])
            elif name == "fsync":
                for data, place in loose:
                    synced[place : place + len(data)] = data
                loose = []
            elif name == "acknowledged":
                n_acknowledged += 1
            else:
                raise AssertionError(name)
        for image in images(synced, loose):
            n_images += 1
            log_of(path).write_bytes(image)
            found = stored_state(path)
            assert found in states[n_acknowledged : n_acknowledged + 2]
    assert n_images > 100


def images(synced, loose):
    """Make what the file may be: each write missing, there, cut off or replaced by zeros."""
    variants = []
    for data, place in loose:
        if place < 68:
            # A sector is written or not.
            variants.append([None, (data, place)])
        else:
            cuts = [(data[:n_bytes], place) for n_bytes in range(0, len(data) + 1, 3)]
            variants.append([None, (data, place), (bytes(len(data)), place), *cuts])
    for writes in itertools.product(*variants):
        image = bytearray(synced)
        for write in writes:
            if write is not None:
                data, place = write
                image.extend(bytes(max(0, place + len(data) - len(image))))
                image[place : place + len(data)] = data
        yield image


@pytest.fixture
def many_threads_may_fork():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        yield


def in_child(function):
    """Run a function in a process that ends with it; return its number."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


@pytest.mark.usefixtures("many_threads_may_fork")
def test_killed_at_random_moments(path):
    rng = np.random.default_rng(0)

    def write(first, sender):
        with SavedIndex(path) as index:
            for number in itertools.count(first):
                index.add(np.full((1, 3), number % 256), [number], ids=[number])
                os.write(sender, struct.pack("<q", number))
                if number % 20 == 0:
                    index.compact()

    for _ in range(12):
        before = stored_state(path)
        receiver, sender = os.pipe()
        child = in_child(functools.partial(write, 1000 + before[3], sender))
        os.close(sender)
        first = os.read(receiver, 8)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(receiver, "rb") as file:
            rest = file.read()
        acknowledged = before[0] + [number for (number,) in struct.iter_unpack("<q", first + rest)]
        ids, codes, labels, _ = stored_state(path)
        assert ids[: len(acknowledged)] == acknowledged
        assert len(ids) <= len(acknowledged) + 1
        assert labels[4:] == ids[4:]
        assert codes[4:] == [[number % 256] * 3 for number in ids[4:]]


# Full disks


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("is_partial", [False, True])
def test_a_failing_call_changes_nothing(tmp_path, monkeypatch, code, is_partial):
    fresh = HammingNearestNeighbors().fit(CODES[:4], [0, 1, 0, 1], ids=[10, 11, 12, 13])
    path = tmp_path / "index.skhash"
    for n_calls in itertools.count():
        save(fresh, path)
        log_of(path).unlink(missing_ok=True)
        search, codes = load(path), []
        with SavedIndex(path) as index, monkeypatch.context() as patch:
            fail_at(patch, n_calls, code, is_partial)
            for change in ("add", "compact", "remove"):
                try:
                    {
                        "add": lambda: index.add(CODES[4:6], [2, 3], ids=[14, 15]),
                        "compact": index.compact,
                        "remove": lambda: index.remove([11]),
                    }[change]()
                except OSError as error:
                    codes.append(error.errno)
                else:
                    if change == "add":
                        search.add(CODES[4:6], [2, 3], ids=[14, 15])
                    elif change == "remove":
                        search.remove([11])
                assert state(index.snapshot()) == stored_state(path) == state(search)
        assert stored_state(path) == state(search)
        if not codes:
            break
        assert codes == [code]


def fail_at(patch, n_calls, code, is_partial):
    """Let one call of the system fail; a write may have written a part before."""
    calls = itertools.count()

    def make(name, real):
        def call(*arguments):
            if next(calls) == n_calls:
                if is_partial and name == "pwrite":
                    descriptor, data, place = arguments
                    real(descriptor, data[: len(data) // 2], place)
                raise OSError(code, os.strerror(code))
            return real(*arguments)

        return call

    # Not `ftruncate` and `unlink`, which free room, and which a failed call is undone by.
    for name in ("pwrite", "fsync", "replace"):
        patch.setattr(os, name, make(name, getattr(os, name)))


def test_a_limit_of_the_size_of_files(path):
    """Files larger than RLIMIT_FSIZE fail with EFBIG, after a part was written, as on a full disk."""
    resource = pytest.importorskip("resource", reason="sets a limit of POSIX systems")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with SavedIndex(path) as index:
        index.add(CODES[4:5], [2], ids=[14])
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (index.log_bytes + 50, limits[1]))
            for _ in range(3):
                with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
                    index.add(np.zeros((100, 3)), np.zeros(100, dtype=int), ids=range(100, 200))
                assert log_of(path).stat().st_size == index.log_bytes
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        index.add(CODES[5:6], [3], ids=[15])
    assert load(path).ids_.tolist() == [10, 11, 12, 13, 14, 15]


def test_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("a small disk is mounted by root only")
    try:
        path, rng = disk / "index.skhash", np.random.default_rng(0)
        save(HammingNearestNeighbors().fit(rng.integers(256, size=(1000, 8))), path)
        (disk / "filler").write_bytes(bytes(2**14))
        codes, n_samples = [], 1000
        with SavedIndex(path) as index:
            while len(codes) < 3:
                try:
                    index.add(rng.integers(256, size=(300, 8)))
                    n_samples += 300
                except OSError as error:
                    codes.append(error.errno)
                assert stored_state(path) == state(index.snapshot())
            assert codes == [errno.ENOSPC] * 3
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                index.compact()
            assert index.n_samples == load(path).n_samples_fit_ == n_samples
            (disk / "filler").unlink()
            index.remove(range(500))
            assert load(path).n_samples_fit_ == n_samples - 500
        assert sorted(os.listdir(disk)) == ["index.skhash", "index.skhash.lock", "index.skhash.log"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_interrupt_after_the_record_was_acknowledged(path, monkeypatch):
    with SavedIndex(path) as index:
        index.remove(10)
        real = _log.Log.acknowledge

        def interrupted(self, n_bytes):
            real(self, n_bytes)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(_log.Log, "acknowledge", interrupted)
            with pytest.raises(KeyboardInterrupt):
                index.remove(11)
        assert state(index.snapshot()) == stored_state(path)
        index.remove(12)
        assert index.snapshot().ids_.tolist() == load(path).ids_.tolist() == [13]


def test_a_record_that_cannot_be_cut_off_is_cut_off_later(path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "broken")

    with SavedIndex(path) as index:
        index.remove(10)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            patch.setattr(os, "ftruncate", fail)
            with pytest.raises(OSError, match="broken"):
                index.remove(11)
        assert load(path).ids_.tolist() == [11, 12, 13]
        index.remove(12)
        assert index.snapshot().ids_.tolist() == load(path).ids_.tolist() == [11, 13]


# One writer


def test_a_second_writer_is_refused(path):
    with SavedIndex(path) as first:
        first.remove(10)
        second = SavedIndex(path, timeout=0.05)
        with pytest.raises(LockedFileError) as caught:
            second.remove(11)
        assert f"process {os.getpid()}" in str(caught.value)
        assert f"{path}.lock" in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(LockedFileError):
            second.compact()
        assert second.refresh().n_samples == 3
    second.remove(11)
    with pytest.raises(LockedFileError):
        first.remove(12)
    second.close()
    assert first.remove(12).snapshot().ids_.tolist() == [13]
    first.close()


def test_a_second_writer_can_wait(path):
    first, second = SavedIndex(path), SavedIndex(path, timeout=30)
    first.remove(10)
    timer = threading.Timer(0.1, first.close)
    timer.start()
    second.remove(11)
    timer.join()
    second.close()
    assert load(path).ids_.tolist() == [12, 13]


def test_a_lock_is_free_when_its_holder_is_gone(path):
    SavedIndex(path).remove(10)
    with SavedIndex(path) as index:
        index.remove(11)


@pytest.mark.usefixtures("many_threads_may_fork")
def test_the_lock_of_a_dead_writer_is_free_even_if_it_has_children(path):
    receiver, sender = os.pipe()

    def write_and_leave_a_child():
        index = SavedIndex(path)
        index.remove(10)
        child = in_child(lambda: time.sleep(60))
        os.write(sender, struct.pack("<q", child))
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(in_child(write_and_leave_a_child), 0)
    (grandchild,) = struct.unpack("<q", os.read(receiver, 8))
    try:
        with SavedIndex(path) as index:
            assert index.remove(11).snapshot().ids_.tolist() == [12, 13]
    finally:
        os.kill(grandchild, signal.SIGKILL)
        os.close(receiver)
        os.close(sender)


@pytest.mark.usefixtures("many_threads_may_fork")
def test_a_child_does_not_write_for_its_parent(path):
    with SavedIndex(path) as index:
        index.remove(10)

        def write():
            with pytest.raises(LockedFileError):
                index.remove(11)

        assert os.waitpid(in_child(write), 0)[1] == 0
        index.remove(12)
    assert load(path).ids_.tolist() == [11, 13]


def test_readers_that_look_for_a_writer_do_not_refuse_one(path):
    lock = WriterLock(f"{path}.lock", os.fspath(path))
    lock.acquire(0)
    lock.release()
    import fcntl

    with open(f"{path}.lock", "rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        timer = threading.Timer(0.05, lambda: fcntl.flock(reader, fcntl.LOCK_UN))
        timer.start()
        lock.acquire(0)
        lock.release()
        timer.join()


def test_a_file_that_is_replaced_under_a_writer_is_noticed(path):
    with SavedIndex(path) as index:
        index.remove(10)
        os.utime(path)
        index.remove(11)
        save(HammingNearestNeighbors().fit(CODES[:2], [0, 1], ids=[1, 2]), path)
        with pytest.raises(FileFormatError, match="was replaced by somebody else"):
            index.remove(12)
        assert index.remove(1).snapshot().ids_.tolist() == [2]
    assert load(path).ids_.tolist() == [2]


def test_a_symbolic_link_leads_to_the_same_log(path, tmp_path):
    link = tmp_path / "folder" / "link"
    link.parent.mkdir()
    link.symlink_to(path)
    with SavedIndex(link) as index:
        index.remove(10).compact().remove(11)
    assert link.is_symlink()
    assert load(link).ids_.tolist() == load(path).ids_.tolist() == [12, 13]


# Compaction


def test_compacts_by_itself(path, monkeypatch):
    monkeypatch.setattr(_growing, "_FEWEST_BYTES_TO_COMPACT", 0)
    monkeypatch.setattr(_growing, "_BYTES_A_RECORD", 1)
    with SavedIndex(path) as never, SavedIndex(path) as index:
        n_samples, sizes = 4, []
        for number in range(100, 160):
            index.add(CODES[:2], [0, 1], ids=[number, -number])
            n_samples += 2
            sizes.append(index.log_bytes)
            assert index.n_samples == load(path).n_samples_fit_ == n_samples
        assert 2 <= sizes.count(0) <= 30
        index.close()
        never._compact_at = None
        for number in range(200, 260):
            never.add(CODES[:2], [0, 1], ids=[number, -number])
            assert never.log_bytes > 0


def test_a_compaction_that_fails_by_itself_is_named_and_loses_nothing(path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_growing, "_FEWEST_BYTES_TO_COMPACT", 0)
    monkeypatch.setattr(_growing, "write_container", fail)
    with SavedIndex(path, compact_at=0) as index:
        with pytest.warns(UserWarning, match="could not be compacted .*No space left"):
            index.remove(10)
        # The next try comes when the log is twice as long.
        index.remove(11)
        assert index.snapshot().ids_.tolist() == load(path).ids_.tolist() == [12, 13]


# Readers


def test_refreshing_reads_the_file_again_only_after_compaction(path, monkeypatch):
    reader, n_reads = SavedIndex(path), 0
    real = SavedIndex._load_search

    def counted(self, container):
        nonlocal n_reads
        n_reads += self is reader
        return real(self, container)

    monkeypatch.setattr(SavedIndex, "_load_search", counted)
    with SavedIndex(path) as index:
        for expected_reads, change in (
            (0, lambda: None),
            (0, lambda: index.remove(10)),
            (0, lambda: index.add(CODES[:1], [3], ids=[20])),
            (0, lambda: None),
            (1, index.compact),
            (1, lambda: index.remove(20)),
            (2, lambda: index.compact().remove(11)),
        ):
            change()
            before = state(reader.snapshot())
            assert state(reader.snapshot()) == before
            assert state(reader.refresh().snapshot()) == state(index.snapshot())
            assert n_reads == expected_reads


def check_of_readers(path, n_codes):
    """Read until all codes were added; each state is one that was acknowledged, and none comes after a later one."""
    reader, last, n_read = SavedIndex(path), (0, 0), 0
    while last[0] < n_codes:
        n_read += 1
        search = (reader.refresh(), reader.refresh(), SavedIndex(path))[n_read % 3].snapshot()
        # One code is added at a time, and then the one ten before it removed.
        n_added, first = search._n_added, int(search.ids_[0])
        ids = list(range(first, n_added))
        assert first in (max(0, n_added - 10), max(0, n_added - 11))
        assert state(search) == (ids, [[id % 256, id // 256, 7] for id in ids], [id % 5 for id in ids], n_added)
        assert (n_added, first) >= last
        last = n_added, first
    assert n_read > 1


def write_codes(path, n_codes):
    with SavedIndex(path) as index:
        for number in range(1, n_codes):
            index.add([[number % 256, number // 256, 7]], [number % 5])
            if number >= 10:
                index.remove(number - 10)
            if number % 23 == 0:
                index.compact()


@pytest.mark.usefixtures("many_threads_may_fork")
def test_readers_during_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    path, n_codes = tmp_path / "index.skhash", 300
    save(HammingNearestNeighbors().fit([[0, 0, 7]], [0]), path)
    failures = []

    def read():
        try:
            check_of_readers(path, n_codes)
        except BaseException as error:
            failures.append(error)

    children = [in_child(lambda: check_of_readers(path, n_codes)) for _ in range(2)]
    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    write_codes(path, n_codes)
    for thread in threads:
        thread.join()
    assert failures == []
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


def test_threads_share_an_index(path):
    index, failures = SavedIndex(path), []

    def write(first):
        try:
            for number in range(first, first + 20):
                index.add(np.full((1, 3), number), [number], ids=[number])
                assert number in index.snapshot().ids_
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(first,)) for first in (100, 130, 160)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index.close()
    assert failures == []
    assert sorted(load(path).ids_) == [10, 11, 12, 13, *range(100, 120), *range(130, 150), *range(160, 180)]


def test_a_mapped_index_grows_without_being_read(tmp_path):
    rng = np.random.default_rng(0)
    path, codes = tmp_path / "index.skhash", rng.integers(256, size=(3 * 2**20, 4), dtype=np.uint8)
    codes[5] = [1, 2, 3, 4]
    nearest = next(id for id in np.flatnonzero((np.r_[codes, codes[5:6]] == codes[5]).all(axis=1)) if id != 5)
    save(HammingNearestNeighbors(n_neighbors=1).fit(codes), path)
    with SavedIndex(path, mmap=True) as index:
        index.add([[1, 2, 3, 4]]).remove([5])
        for search in (index.snapshot(), load(path, mmap=True)):
            mapped = search._database.engine._codes._mapped
            assert not mapped._verified.any()
            distances, ids = search.kneighbors([[1, 2, 3, 4]])
            assert (distances[0, 0], ids[0, 0]) == (0, nearest)
        index.compact().add([[9, 9, 9, 9]])
        assert len(index.snapshot().codes_) == len(codes) + 1


# Any sequence of operations, against a dictionary


class GrowingIndex(RuleBasedStateMachine):
    """A dictionary of codes and labels by id, in order of adding, is what an index must be."""

    @initialize(ids_given=st.booleans(), mmap=st.booleans())
    def create(self, ids_given, mmap):
        self.folder = self.make_folder()
        self.path = os.path.join(self.folder, "index.skhash")
        self.mmap, self.ids_given, self.n_added = mmap, ids_given, 2
        self.model = {0: ([1, 2], 0), 1: ([3, 4], 1)}
        save(HammingNearestNeighbors().fit([[1, 2], [3, 4]], [0, 1], ids=[0, 1] if ids_given else None), self.path)
        self.index, self.reader = SavedIndex(self.path, mmap=mmap), SavedIndex(self.path)

    @rule(n_codes=st.integers(1, 4), value=st.integers(0, 255), data=st.data())
    def add(self, n_codes, value, data):
        codes = [[value, number] for number in range(n_codes)]
        labels = [value % 3] * n_codes
        if self.ids_given:
            free = st.integers(-5, 30).filter(lambda id: id not in self.model)
            ids = data.draw(st.lists(free, min_size=n_codes, max_size=n_codes, unique=True))
            self.index.add(codes, labels, ids=ids)
        else:
            ids = range(self.n_added, self.n_added + n_codes)
            self.index.add(codes, labels)
        self.n_added += n_codes
        self.model.update(zip(ids, zip(codes, labels, strict=True), strict=True))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data):
        ids = data.draw(st.lists(st.sampled_from(sorted(self.model)), unique=True, max_size=5))
        self.index.remove(ids)
        for id in ids:
            del self.model[id]

    @rule(data=st.data())
    def remove_unknown(self, data):
        unknown = data.draw(st.integers(-10, 60).filter(lambda id: id not in self.model))
        with pytest.raises(ValueError, match="is not in the database"):
            self.index.remove([*self.model, unknown])

    @precondition(lambda self: self.model and self.ids_given)
    @rule(data=st.data())
    def add_known(self, data):
        known = data.draw(st.sampled_from(sorted(self.model)))
        with pytest.raises(ValueError, match="is in use already"):
            self.index.add([[0, 0]], [0], ids=[known])

    @rule()
    def compact(self):
        self.index.compact()

    @rule()
    def close(self):
        self.index.close()

    @rule()
    def reopen(self):
        self.index.close()
        self.index = SavedIndex(self.path, mmap=self.mmap)

    @rule()
    def snapshot(self):
        self.check(self.index.snapshot())

    @rule()
    def refresh_reader(self):
        self.check(self.reader.refresh().snapshot())

    @rule()
    def load(self):
        self.check(load(self.path, mmap=self.mmap))

    def check(self, search):
        assert search.ids_.tolist() == list(self.model)
        assert search.codes_.tolist() == [codes for codes, _ in self.model.values()]
        assert search.labels_.tolist() == [labels for _, labels in self.model.values()]

    @invariant()
    def count(self):
        assert self.index.n_samples == len(self.model)

    def teardown(self):
        if hasattr(self, "index"):
            self.index.close()


def test_any_sequence_of_operations(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    numbers = itertools.count()

    def make_folder(self):
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return folder

    monkeypatch.setattr(GrowingIndex, "make_folder", make_folder, raising=False)
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        GrowingIndex,
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=checks),
    )
