import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest

import skhash
from skhash.__main__ import main
from skhash.persistence import (
    CorruptFileError,
    FileFormatError,
    SavedIndex,
    UnsupportedVersionError,
    inspect,
    model_card,
)
from skhash.persistence._container import open_container, write_container
from skhash.persistence._lock import HAS_LOCKS, WriterLock


@pytest.fixture
def path(tmp_path):
    search = skhash.HammingNearestNeighbors().fit(np.zeros((7, 4), dtype=np.uint8), ids=range(7))
    skhash.save(search, tmp_path / "a.skhash", card={"Data": "Zeros."})
    return tmp_path / "a.skhash"


def test_what_a_file_holds(path):
    lines = inspect(path).splitlines()
    assert lines[0] == f"{path}: format 1 (readers from 1), {path.stat().st_size} bytes"
    assert "estimator: HammingNearestNeighbors" in lines
    assert "  n_neighbors: 5" in lines
    assert "  _database: Database" in lines
    assert "model card: yes" in lines
    assert "2 tensors, 84 bytes" in lines
    assert "  _database.engine.codes  uint8  7x4  28 bytes" in lines
    assert "  _database.ids  int64  7  56 bytes" in lines


def test_no_tensor_is_read_unless_it_is_asked_for(path):
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(7).tobytes())] = 9
    path.write_bytes(data)
    assert "tensors not read" in inspect(path)
    with pytest.raises(CorruptFileError, match="ids"):
        inspect(path, verify=True)


def test_files_that_could_not_be_loaded_are_described():
    file = io.BytesIO()
    write_container(
        file,
        {
            "estimator": {"kind": "object", "class": "os.system\x1b[2J\n", "state": {"a\nb": ["\x1b"] * 1000}, "x": {}},
            "versions": {"a\n": 5},
            "skhash_version": ["\n"],
            "card": 5,
        },
        {"a\nb": np.zeros((2, 3))},
    )
    file.seek(0)
    text = inspect(file)
    assert text.replace("\n", "").isprintable()
    assert "more" in text
    assert len(text.splitlines()) < 250
    assert "'os.system\\x1b[2J\\n'" in text
    file.seek(0)
    with pytest.raises(FileFormatError, match="no text"):
        model_card(file)


@pytest.mark.parametrize(
    "node", [None, 5, [], {}, {"kind": 5}, {"kind": "object", "state": 5}, {"kind": "tuple", "items": 1}]
)
def test_estimators_that_are_none(node):
    file = io.BytesIO()
    write_container(file, {"estimator": node}, {})
    file.seek(0)
    assert "estimator: " in inspect(file)


def test_deep_values_are_cut_off():
    node = 1
    for _ in range(200):
        node = [node]
    file = io.BytesIO()
    write_container(file, {"estimator": node}, {})
    file.seek(0)
    assert inspect(file).count("list of 1") == 31


def test_command(path, capsys, tmp_path):
    assert main(["inspect", str(path)]) == 0
    assert capsys.readouterr().out == f"{inspect(path)}\n"
    assert main(["inspect", "--verify", str(path)]) == 0
    assert "all tensors are sound" in capsys.readouterr().out
    assert main(["inspect", "--card", str(path)]) == 0
    assert capsys.readouterr().out == f"{model_card(path)}\n"
    (tmp_path / "b").write_bytes(b"nothing")
    for name in ("b", "missing"):
        assert main(["inspect", str(tmp_path / name)]) == 1
        found = capsys.readouterr()
        assert not found.out
        assert str(tmp_path / name) in found.err
        assert found.err.count("\n") == 1
    skhash.save(skhash.ITQ(), path)
    assert main(["inspect", "--card", str(path)]) == 0
    assert capsys.readouterr().out == "no model card\n"


def test_command_in_a_process(path):
    done = subprocess.run(
        [sys.executable, "-m", "skhash", "inspect", str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{inspect(path)}\n"


# Logs, made by hand as the page about the format of files says


def record(number, kind, content, *, n_bytes=None, crc=None, seed):
    crc = zlib.crc32(content, seed) if crc is None else crc
    n_bytes = len(content) if n_bytes is None else n_bytes
    head = b"\x9dREC" + struct.pack("<B3xQQI", kind, number, n_bytes, crc)
    return head + struct.pack("<I", zlib.crc32(head, seed)) + content


SEED = zlib.crc32(b"12345678")
# Two codes of four bytes with ids; one code without; three ids.
ADDITION = struct.pack("<QIBB", 2, 4, 1, 0) + bytes(8) + struct.pack("<2q", 20, 21)
SECOND_ADDITION = struct.pack("<QIBB", 1, 4, 0, 0) + bytes(4)
REMOVAL = struct.pack("<3q", 1, 2, 20)
RECORDS = [record(number, *parts, seed=SEED) for number, parts in enumerate([(1, ADDITION), (2, REMOVAL)])]


def log_of(path):
    return path.with_name(f"{path.name}.log")


def write_log(path, records, *, behind=b"", n_acknowledged=None, fingerprint=None, versions=(1, 1)):
    """Write a log of a file, in which all records but those behind are acknowledged."""
    if fingerprint is None:
        with open_container(path) as container:
            fingerprint = container.fingerprint
    head = b"\x89SKHLOG\n" + struct.pack("<II", *versions) + fingerprint.encode() + b"12345678"
    body = b"".join(records)
    size = struct.pack("<Q", 68 + len(body) if n_acknowledged is None else n_acknowledged)
    place = size + struct.pack("<I", zlib.crc32(size, SEED))
    log_of(path).write_bytes(head + struct.pack("<I", zlib.crc32(head)) + 2 * place + body + behind)


def lines_about_log(path):
    text = inspect(path)
    assert text.replace("\n", "").isprintable()
    lines = text.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith("log: ")]
    return lines[start:]


def test_a_file_without_a_log(path):
    assert lines_about_log(path) == ["log: none"]
    with open(path, "rb") as file:
        assert "log: " not in inspect(file)
    assert "log: " not in inspect(io.BytesIO(path.read_bytes()))


def test_what_a_log_adds_and_removes(path):
    write_log(path, RECORDS)
    # 68 bytes of head, 2 x 32 of heads of records, contents of 14 + 8 + 16 and of 24 bytes.
    n_bytes = 68 + 64 + 38 + 24
    assert lines_about_log(path) == [
        f"log: {log_of(path)}: format 1 (readers from 1), {n_bytes} bytes",
        "  belongs to this file",
        f"  acknowledged: {n_bytes} bytes, 2 records, 2 codes added, 3 removed",
        "  checks: head and all records are sound; whether they fit the file is seen when it is loaded",
    ]
    assert skhash.load(path).n_samples_fit_ == 7 + 2 - 3
    link = path.with_name("link")
    link.symlink_to(path)
    assert lines_about_log(link) == lines_about_log(path)


def test_an_empty_log(path):
    write_log(path, [])
    assert "  acknowledged: 68 bytes, 0 records, 0 codes added, 0 removed" in lines_about_log(path)


@pytest.mark.skipif(not HAS_LOCKS, reason="indexes are written where there are locks only")
def test_the_log_of_a_growing_index(path):
    with SavedIndex(path) as index:
        index.add(np.ones((3, 4), dtype=np.uint8), ids=[7, 8, 9]).remove([0, 9])
        index.add(np.ones((1, 4), dtype=np.uint8), ids=[0])
        lines = lines_about_log(path)
        n_bytes = log_of(path).stat().st_size
        assert lines[2] == f"  acknowledged: {n_bytes} bytes, 3 records, 4 codes added, 2 removed"
        index.compact()
        assert lines_about_log(path) == ["log: none"]


@pytest.mark.parametrize("torn", [b"", b"\x9dREC torn"])
def test_what_a_stopped_writer_left_is_told_from_what_is_acknowledged(path, torn):
    last = record(2, 1, SECOND_ADDITION, seed=SEED)
    write_log(path, RECORDS, behind=last + torn)
    lines = lines_about_log(path)
    assert lines[2] == "  acknowledged: 194 bytes, 2 records, 2 codes added, 3 removed"
    assert lines[3] == (
        f"  behind them: {len(last) + len(torn)} bytes, 1 whole records, 1 codes added, 0 removed; "
        "left by a writer that was stopped"
    )
    assert "all records are sound" in lines[4]


@pytest.mark.skipif(not HAS_LOCKS, reason="indexes are written where there are locks only")
def test_what_is_being_written_is_not_taken_for_damaged(path):
    write_log(path, RECORDS, behind=b"torn" + record(3, 2, b"", seed=SEED))
    with pytest.raises(CorruptFileError, match="its record 2, at byte 194, is damaged"):
        inspect(path)
    lock = WriterLock(f"{path}.lock", str(path))
    lock.acquire(0)
    try:
        lines = lines_about_log(path)
    finally:
        lock.release()
    assert lines[3] == "  behind them: 36 bytes, not checked, as somebody may be writing them"
    assert lines[4].startswith("  checks: head and acknowledged records are sound; ")


@pytest.mark.skipif(not HAS_LOCKS, reason="indexes are written where there are locks only")
def test_what_is_acknowledged_while_a_log_is_read_is_counted_once(path, monkeypatch):
    last = record(2, 1, SECOND_ADDITION, seed=SEED)
    write_log(path, RECORDS, behind=last)
    from skhash.persistence import _inspection

    really = _inspection.no_writer

    def acknowledge(lock_path):
        write_log(path, [*RECORDS, last])
        return really(lock_path)

    monkeypatch.setattr(_inspection, "no_writer", acknowledge)
    n_bytes = 194 + len(last)
    lines = lines_about_log(path)
    assert lines[2] == f"  acknowledged: {n_bytes} bytes, 3 records, 3 codes added, 3 removed"
    assert lines[3].startswith("  checks: head and all records are sound")


def test_the_log_of_another_file_is_named_as_such(path):
    with open_container(path) as container:
        own = container.fingerprint
    # What is not read cannot be in the way.
    write_log(path, [], behind=b"damaged", n_acknowledged=2**63, fingerprint="00000000\x1b[2J\n\n\n\n")
    assert lines_about_log(path) == [
        f"log: {log_of(path)}: format 1 (readers from 1), 75 bytes",
        f"  belongs to another file, '00000000\\x1b[2J\\n\\n\\n\\n'; this is '{own}': loading ignores the log",
        "  checks: its head is sound; records not read",
    ]
    assert skhash.load(path).n_samples_fit_ == 7


def test_damage_anywhere_in_a_log_is_an_error_of_one_line(path, capsys):
    write_log(path, RECORDS)
    data = log_of(path).read_bytes()
    sound, n_sound = inspect(path), 0
    damaged = [data[:n_bytes] for n_bytes in range(len(data))]
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x21
        damaged.append(bytes(flipped))
    for content in damaged:
        log_of(path).write_bytes(content)
        status, found = main(["inspect", str(path)]), capsys.readouterr()
        if status == 0:
            n_sound += 1
            assert found.out == f"{sound}\n"
        else:
            assert not found.out
            assert found.err.startswith(f"{log_of(path)}: ")
            assert found.err[:-1].isprintable()
            with pytest.raises(FileFormatError):
                inspect(path)
    # The number of acknowledged bytes is there twice, in 12 bytes each.
    assert n_sound == 24


@pytest.mark.parametrize(
    "records",
    [
        [record(0, 3, b"", seed=SEED)],
        [record(0, 2, b"1234567", seed=SEED)],
        [record(0, 1, b"", seed=SEED)],
        [record(0, 1, ADDITION[:13], seed=SEED)],
        [record(0, 1, ADDITION[:-1], seed=SEED)],
        [record(0, 1, ADDITION + b"x", seed=SEED)],
        [record(0, 1, struct.pack("<QIBB", 2**63, 2**31, 1, 1), seed=SEED)],
        [record(0, 1, struct.pack("<QIBB", 0, 4, 0, 0), seed=SEED)],
        [record(0, 1, ADDITION, n_bytes=2**63, seed=SEED)],
        [record(0, 1, ADDITION, n_bytes=2**64 - 32, seed=SEED)],
        [record(0, 1, ADDITION, crc=0, seed=SEED)],
        [record(1, 1, ADDITION, seed=SEED)],
        RECORDS[:1] * 2,
    ],
)
def test_hostile_records_are_refused_although_their_checksums_are_right(path, records):
    write_log(path, records)
    with pytest.raises(FileFormatError) as caught:
        inspect(path)
    assert str(caught.value).startswith(f"{log_of(path)}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("n_acknowledged", [0, 67, 69, 193, 195, 2**63, 2**64 - 1])
def test_numbers_of_acknowledged_bytes_that_cannot_be(path, n_acknowledged):
    write_log(path, RECORDS, n_acknowledged=n_acknowledged)
    with pytest.raises(CorruptFileError, match=r"acknowledged bytes|is damaged"):
        inspect(path)


def test_a_log_of_a_later_format(path):
    write_log(path, RECORDS, versions=(3, 2))
    with pytest.raises(UnsupportedVersionError, match="is a log of format 3"):
        inspect(path)
    write_log(path, RECORDS, versions=(3, 1))
    assert "format 3 (readers from 1)" in lines_about_log(path)[0]


def test_a_large_record_does_not_take_its_memory(path):
    n_codes = 2**25
    head = struct.pack("<QIBB", n_codes, 4, 0, 0)
    crc = zlib.crc32(head, SEED)
    for _ in range(128):
        crc = zlib.crc32(bytes(2**20), crc)
    n_bytes = len(head) + 4 * n_codes
    write_log(path, [record(0, 1, head, n_bytes=n_bytes, crc=crc, seed=SEED)], n_acknowledged=68 + 32 + n_bytes)
    with open(log_of(path), "r+b") as file:
        file.truncate(68 + 32 + n_bytes)
    tracemalloc.start()
    try:
        assert lines_about_log(path)[2].endswith(f"1 records, {n_codes} codes added, 0 removed")
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(os.name == "nt", reason="pipes are files on POSIX only")
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda name: os.symlink("/dev/zero", name)])
def test_a_log_that_is_no_file_is_refused_and_waited_for_by_nobody(path, make):
    make(log_of(path))
    for read in (inspect, skhash.load, SavedIndex):
        with pytest.raises(CorruptFileError, match="log: it is no regular file"):
            read(path)


@pytest.mark.skipif(os.name == "nt", reason="pipes are files on POSIX only")
def test_a_lock_that_is_no_file_is_waited_for_by_nobody(path):
    write_log(path, RECORDS, behind=b"torn")
    os.mkfifo(path.with_name(f"{path.name}.lock"))
    assert "4 bytes" in lines_about_log(path)[3]
    assert skhash.load(path).n_samples_fit_ == 6
