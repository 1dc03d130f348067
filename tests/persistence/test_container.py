import io
import json
import struct
import zlib

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

from skhash.persistence import _container, _json
from skhash.persistence._container import BLOCK_BYTES, block_checksums, open_container, write_container
from skhash.persistence._errors import CorruptFileError, FileFormatError, UnsupportedVersionError

ARRAYS = {
    "bits": np.array([[True, False, True]]),
    "empty": np.empty((0, 3)),
    "floats": np.array([0.5, -0.0, np.inf, np.nan]),
    "halves": np.array([1, 2], dtype=np.float16),
    "large": np.array(7, dtype=np.uint64),
}


def written(manifest, arrays):
    file = io.BytesIO()
    write_container(file, manifest, arrays)
    return file.getvalue()


def opened(data):
    return open_container(io.BytesIO(data))


def read_all(data):
    with opened(data) as container:
        return container.manifest, {name: container.read(name) for name in container.tensors}


def by_hand(manifest, header, body, *, version=1, oldest_reader=1, lengths=()):
    """Put a file together from texts, with sound checksums."""
    lengths = dict(lengths)
    header += b" " * (-(8 + len(header)) % 64)
    section = struct.pack("<Q", lengths.get("header", len(header))) + header
    manifest = manifest.replace(b"HEADER_CRC", str(zlib.crc32(section)).encode())
    section += body(zlib.crc32(manifest)) if callable(body) else body
    head = b"\x89SKHASH\n" + struct.pack(
        "<IIQQI",
        version,
        oldest_reader,
        lengths.get("manifest", len(manifest)),
        lengths.get("section", len(section)),
        zlib.crc32(manifest),
    )
    file = head + struct.pack("<I", zlib.crc32(head)) + manifest
    return file + bytes(-len(file) % 64) + section


def table(*blocks, before=b""):
    """The checksums of blocks, whose own starts with that of the manifest; and bytes before them."""
    sums = b"".join(struct.pack("<I", zlib.crc32(block)) for block in blocks)
    return lambda manifest_crc: before + sums + struct.pack("<I", zlib.crc32(sums, manifest_crc))


MANIFEST = b'{"section_header_crc32":HEADER_CRC}'
NO_TENSORS = b'{"#checksums":{"data_offsets":[0,4],"dtype":"U32","shape":[1]}}'


def test_bytes_of_a_small_file():
    """As docs/file_format.rst says."""
    header = (
        b'{"#checksums":{"data_offsets":[64,72],"dtype":"U32","shape":[2]},'
        b'"#padding.0":{"data_offsets":[4,64],"dtype":"U8","shape":[60]},'
        b'"ids":{"data_offsets":[0,4],"dtype":"I16","shape":[2]}}'
    )
    body = table(b"\x01\x00\xfe\xff", before=b"\x01\x00\xfe\xff" + bytes(60))
    expected = by_hand(b'{"a":[1,null],"section_header_crc32":HEADER_CRC}', header, body)
    assert written({"a": [1, None]}, {"ids": np.array([1, -2], dtype=np.int16)}) == expected


def test_checksums_are_those_of_the_standard():
    # The check value of CRC-32/ISO-HDLC.
    assert block_checksums(memoryview(b"123456789")).tolist() == [0xCBF43926]


def test_arrays_come_back():
    manifest, arrays = read_all(written({"x": {"y": "ä\udc80"}}, ARRAYS))
    assert manifest == {"x": {"y": "ä\udc80"}}
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].tobytes() == array.tobytes()
        assert arrays[name].shape == array.shape
        assert arrays[name].flags.writeable


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i1", "<u2", ">u2", "<i2", "<f2", ">u4", "<i4", ">f4", "<u8", ">i8", ">f8"]
)
def test_all_dtypes_orders_and_strides_are_stored(dtype):
    array = np.arange(24).reshape(4, 6).astype(dtype)[::2, ::-2]
    _, arrays = read_all(written({}, {"a": array}))
    np.testing.assert_array_equal(arrays["a"], array)
    assert arrays["a"].dtype == np.dtype(dtype).newbyteorder("=")
    assert arrays["a"].flags.c_contiguous


@pytest.mark.parametrize("array", [np.zeros(2, complex), np.array(["a"]), np.array([None]), np.zeros([1] * 33)])
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match=r"array 'a' .* cannot be stored"):
        written({}, {"a": array})


def test_reserved_names_are_refused():
    with pytest.raises(ValueError, match="#checksums"):
        written({}, {"#checksums": np.zeros(2)})
    with pytest.raises(ValueError, match="section_header_crc32"):
        written({"section_header_crc32": 1}, {})


def test_the_section_is_a_safetensors_file():
    data = written({"a": 1}, ARRAYS)
    start = -(-(40 + int.from_bytes(data[16:24], "little")) // 64) * 64
    tensors = load_safetensors(data[start:])
    assert {name for name in tensors if not name.startswith("#")} == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(tensors[name], array)


def test_tensors_are_aligned():
    with opened(written({"a": "b" * 17}, ARRAYS)) as container:
        assert {tensor.offset % 64 for tensor in container.tensors.values()} == {0}


def test_files_cut_off_anywhere_are_refused():
    data = written({"a": 1}, ARRAYS)
    for length in range(len(data)):
        with pytest.raises(FileFormatError):
            read_all(data[:length])


def test_the_start_of_a_file_does_not_fit_the_rest_of_another():
    one, other = (written({"a": name}, {"x": np.full(9, number)}) for name, number in (("b", 1), ("c", 2)))
    assert len(one) == len(other)
    for place in range(1, len(one)):
        spliced = one[:place] + other[place:]
        if spliced not in (one, other):
            with pytest.raises(CorruptFileError):
                read_all(spliced)


def test_bytes_after_the_end_are_refused():
    for more in (b"\0", b"x", bytes(64)):
        with pytest.raises(CorruptFileError, match="after its end"):
            read_all(written({"a": 1}, ARRAYS) + more)


def test_every_flipped_byte_is_found():
    data = written({"a": 1}, ARRAYS)
    for place in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] ^= mask
            with pytest.raises(FileFormatError) as found:
                read_all(bytes(damaged))
            assert "\n" not in str(found.value)


def test_a_damaged_block_is_named_and_only_when_read():
    array = np.arange(3 * BLOCK_BYTES // 8 + 1)
    data = bytearray(written({}, {"first": np.zeros(3), "ids": array}))
    with opened(data) as container:
        offset = container.tensors["ids"].offset
    data[offset + 2 * BLOCK_BYTES + 5] ^= 4
    with opened(data) as container:
        np.testing.assert_array_equal(container.read("first"), np.zeros(3))
        start = offset + 2 * BLOCK_BYTES
        with pytest.raises(CorruptFileError, match=f"'ids' .* block 2 .*bytes {start} to {start + BLOCK_BYTES - 1} "):
            container.read("ids")
        with pytest.raises(CorruptFileError, match=r"'ids' .* block 2 "):
            container.verify()


def test_large_arrays_are_written_and_read_on_threads(monkeypatch):
    monkeypatch.setattr(_container, "_FEWEST_BYTES_FOR_THREADS", BLOCK_BYTES)
    array = np.random.default_rng(0).integers(256, size=5 * BLOCK_BYTES + 3, dtype=np.uint8)
    data = written({}, {"a": array})
    monkeypatch.undo()
    assert data == written({}, {"a": array})
    monkeypatch.setattr(_container, "_FEWEST_BYTES_FOR_THREADS", BLOCK_BYTES)
    monkeypatch.setattr(_container, "_BYTES_READ_TOGETHER", 2 * BLOCK_BYTES)
    np.testing.assert_array_equal(read_all(data)[1]["a"], array)


class Pipe(io.RawIOBase):
    """Takes and gives a few bytes at a time, as raw files may."""

    def __init__(self, data=b""):
        self.file = io.BytesIO(data)

    def write(self, data):
        return self.file.write(bytes(data[:7]))

    def readable(self):
        return True

    def readinto(self, room):
        return self.file.readinto(room[:7])

    def seekable(self):
        return True

    def seek(self, *place):
        return self.file.seek(*place)

    def tell(self):
        return self.file.tell()


def test_raw_files_that_take_a_part_at_a_time():
    pipe = Pipe()
    write_container(pipe, {"a": 1}, ARRAYS)
    data = pipe.file.getvalue()
    assert data == written({"a": 1}, ARRAYS)
    with open_container(Pipe(data)) as container:
        np.testing.assert_array_equal(container.read("floats"), ARRAYS["floats"])


def test_a_file_object_is_read_from_where_it_stands_and_left_open():
    file = io.BytesIO(b"before" + written({"a": 1}, ARRAYS))
    file.seek(6)
    with open_container(file) as container:
        np.testing.assert_array_equal(container.read("floats"), ARRAYS["floats"])
    assert not file.closed


@pytest.mark.parametrize("source", [io.StringIO(), 5, None])
def test_what_is_no_binary_file_is_refused(source):
    with pytest.raises(TypeError, match="mode 'rb'"):
        open_container(source)
    with pytest.raises(TypeError, match="mode 'wb'"):
        write_container(source, {}, {})


def test_a_file_that_cannot_seek_is_refused():
    file = Pipe()
    file.seekable = lambda: False
    with pytest.raises(TypeError, match=r"io\.BytesIO"):
        open_container(file)


def test_a_newer_file_is_refused_with_the_version_that_wrote_it():
    data = by_hand(b'{"skhash_version":"7.1"}', b"{}", b"", version=3, oldest_reader=2)
    with pytest.raises(
        UnsupportedVersionError, match=r"format 3, written by skhash 7\.1, which .* format 2; .* up to 1: run"
    ):
        opened(data)
    # Nothing of the rest of a newer file need be as it is today.
    for manifest in (b"\xff", b'{"skhash_version":"\\n"}', b'{"skhash_version":[]}'):
        with pytest.raises(UnsupportedVersionError, match=r"format 3, which"):
            opened(by_hand(manifest, b"", b"", version=3, oldest_reader=2, lengths={"section": 2**63}))


def test_a_newer_file_that_older_readers_understand_is_read():
    container = opened(by_hand(MANIFEST, NO_TENSORS, table(), version=9))
    assert container.versions == (9, 1)
    assert container.tensors == {}


@pytest.mark.parametrize(("version", "oldest_reader"), [(0, 1), (1, 0), (0, 0)])
def test_versions_that_cannot_be(version, oldest_reader):
    with pytest.raises(FileFormatError, match="cannot be"):
        opened(by_hand(MANIFEST, NO_TENSORS, table(), version=version, oldest_reader=oldest_reader))


@pytest.mark.parametrize(
    "lengths",
    [
        {"manifest": 2**64 - 1},
        {"manifest": 2**26},
        {"manifest": 2**26 + 1},
        {"manifest": 0},
        {"section": 2**64 - 1},
        {"section": 2**62},
        {"section": 0},
        {"header": 2**64 - 1},
        {"header": 2**63},
        {"header": 0},
        {"header": 2**26},
    ],
)
def test_hostile_lengths(lengths):
    with pytest.raises(FileFormatError):
        opened(by_hand(MANIFEST, NO_TENSORS, table(), lengths=lengths))


CHECKS = b'"#checksums":{"data_offsets":[64,72],"dtype":"U32","shape":[2]}'
PADDING = b'"#padding.0":{"data_offsets":[4,64],"dtype":"U8","shape":[60]}'
SOUND_BODY = table(b"abcd", before=b"abcd" + bytes(60))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"7",
        b"{",
        b"{}",
        b"\xff",
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b"[" * 100_000,
        b'{"a":{"data_offsets":[0,4],"dtype":"U8","shape":[4]},' + CHECKS + b"," + CHECKS + b"," + PADDING + b"}",
        *(
            b'{"a":' + entry + b"," + PADDING + b"," + CHECKS + b"}"
            for entry in (
                b"null",
                b"{}",
                b'{"data_offsets":[0,4],"dtype":"U8"}',
                b'{"data_offsets":[0,4],"dtype":"U8","shape":[4],"more":1}',
                b'{"data_offsets":[0,4],"dtype":"F8","shape":[4]}',
                b'{"data_offsets":[0,4],"dtype":["U8"],"shape":[4]}',
                b'{"data_offsets":[0,4],"dtype":"U8","shape":[5]}',
                b'{"data_offsets":[0,4],"dtype":"U8","shape":[-4]}',
                b'{"data_offsets":[0,4],"dtype":"U8","shape":[4.0]}',
                b'{"data_offsets":[0,4],"dtype":"U8","shape":[true,4]}',
                b'{"data_offsets":[0,4],"dtype":"U8","shape":4}',
                b'{"data_offsets":[0,4],"dtype":"U8","shape":["4"]}',
                b'{"data_offsets":[0,4],"dtype":"U8","shape":[4' + b",1" * 32 + b"]}",
                b'{"data_offsets":[4,0],"dtype":"U8","shape":[4]}',
                b'{"data_offsets":[-4,0],"dtype":"U8","shape":[4]}',
                b'{"data_offsets":[0],"dtype":"U8","shape":[4]}',
                b'{"data_offsets":[0,4,8],"dtype":"U8","shape":[4]}',
                b'{"data_offsets":[0,0],"dtype":"F64","shape":[0,9223372036854775807]}',
                b'{"data_offsets":[0,0],"dtype":"U8","shape":[4294967296,4294967296]}',
                b'{"data_offsets":[0,18446744073709551615],"dtype":"U8","shape":[18446744073709551615]}',
                b'{"data_offsets":[0,4294967296],"dtype":"U8","shape":[4294967296]}',
                b'{"data_offsets":[1,4],"dtype":"U8","shape":[3]}',
                b'{"data_offsets":[0,64],"dtype":"U8","shape":[64]}',
                b'{"data_offsets":[72,76],"dtype":"U8","shape":[4]}',
            )
        ),
        # Not aligned, an unknown reserved name, a padding that is none, and checksums of another size or kind.
        b'{"a":{"data_offsets":[0,2],"dtype":"U8","shape":[2]},"b":{"data_offsets":[2,4],"dtype":"U8","shape":[2]},'
        + PADDING
        + b","
        + CHECKS
        + b"}",
        b'{"#a":{"data_offsets":[0,4],"dtype":"U8","shape":[4]},' + PADDING + b"," + CHECKS + b"}",
        b'{"#padding.1":{"data_offsets":[0,4],"dtype":"U8","shape":[4]},' + PADDING + b"," + CHECKS + b"}",
        b'{"a":{"data_offsets":[0,4],"dtype":"U8","shape":[4]},'
        b'"#padding.0":{"data_offsets":[4,64],"dtype":"I8","shape":[60]},' + CHECKS + b"}",
        b'{"a":{"data_offsets":[0,72],"dtype":"U8","shape":[72]}}',
        b'{"#padding.0":{"data_offsets":[0,64],"dtype":"U8","shape":[64]},' + CHECKS + b"}",
        b'{"a":{"data_offsets":[0,4],"dtype":"U8","shape":[4]},' + PADDING + b',"#checksums":'
        b'{"data_offsets":[64,72],"dtype":"F32","shape":[2]}}',
        b'{"a":{"data_offsets":[0,4],"dtype":"U8","shape":[4]},' + PADDING + b',"#checksums":'
        b'{"data_offsets":[64,72],"dtype":"U32","shape":[1,2]}}',
    ],
    ids=range(44),
)
def test_hostile_lists_of_tensors(header):
    with pytest.raises(FileFormatError) as found:
        opened(by_hand(MANIFEST, header, SOUND_BODY))
    assert len(str(found.value)) < 400
    assert "\n" not in str(found.value)


def test_the_hostile_lists_differ_from_a_sound_one():
    header = b'{"a":{"data_offsets":[0,4],"dtype":"U8","shape":[4]},' + PADDING + b"," + CHECKS + b"}"
    assert opened(by_hand(MANIFEST, header, SOUND_BODY)).read("a").tobytes() == b"abcd"


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"section_header_crc32":1}',
        b'{"section_header_crc32":"HEADER_CRC"}',
        b'{"section_header_crc32":true}',
        b'{"section_header_crc32":HEADER_CRC,"section_header_crc32":HEADER_CRC}',
        b'{"section_header_crc32":HEADER_CRC,"a":Infinity}',
        b'{"section_header_crc32":HEADER_CRC,"a":{"b":1,"b":1}}',
        b'{"section_header_crc32":HEADER_CRC,"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"section_header_crc32":HEADER_CRC,"a":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
        b'{"section_header_crc32":HEADER_CRC,"a":' + b"1" * 100_000 + b"}",
        b'{"section_header_crc32":HEADER_CRC,"a":"\xff"}',
        b'{"section_header_crc32":HEADER_CRC} {}',
    ],
    ids=range(15),
)
def test_hostile_manifests(manifest):
    with pytest.raises(FileFormatError) as found:
        opened(by_hand(manifest, NO_TENSORS, table()))
    assert len(str(found.value)) < 400


def test_numbers_of_values_are_limited_before_they_are_parsed(monkeypatch):
    monkeypatch.setattr(json, "loads", pytest.fail)
    with pytest.raises(FileFormatError, match="more than the limit of 2097152"):
        _json.parse_json(b"[" + b"[]," * 2**20 + b"[]]", what="it")


def test_what_could_not_be_read_is_not_written(monkeypatch):
    with pytest.raises(FileFormatError, match="more than the limit"):
        written({"a": [[]] * 2**20}, {})
    monkeypatch.setattr(_container, "MAX_JSON_BYTES", 100)
    with pytest.raises(ValueError, match=r"manifest would take 1.. bytes, more than the limit of 100"):
        written({"a": "b" * 100}, {})


def test_padding_must_be_zero_although_no_checksum_covers_it():
    data = bytearray(written({"abc": 1}, {"a": np.zeros(1)}))
    length = 40 + int.from_bytes(data[16:24], "little")
    assert length % 64
    data[length] = 1
    with pytest.raises(CorruptFileError, match="padding"):
        opened(data)


def test_maps_verify_blocks_when_they_are_touched(tmp_path):
    path = tmp_path / "codes.skhash"
    codes = np.random.default_rng(0).integers(256, size=(600_000, 7), dtype=np.uint8)
    write_container(path, {}, {"codes": codes})
    with open_container(path, mmap=True) as container:
        mapped, offset = container.map("codes"), container.tensors["codes"].offset
    np.testing.assert_array_equal(np.asarray(mapped), codes)
    data = bytearray(path.read_bytes())
    data[offset + BLOCK_BYTES + 9] ^= 1
    path.write_bytes(data)
    with open_container(path, mmap=True) as container:
        mapped = container.map("codes")
    # Row 149 796 ends in the second block.
    np.testing.assert_array_equal(mapped[:149_796], codes[:149_796])
    np.testing.assert_array_equal(mapped[[0, -1, 5]], codes[[0, -1, 5]])
    np.testing.assert_array_equal(mapped[300_000:], codes[300_000:])
    for touch in (
        slice(149_796, 149_797),
        [149_796],
        -600_000 + 149_796,
        slice(None, None, -1),
        np.arange(600_000) == 2e5,
    ):
        with pytest.raises(CorruptFileError, match=f"{path}: tensor 'codes' .* block 1 "):
            mapped[touch]
    with pytest.raises(CorruptFileError):
        np.asarray(mapped)


def test_maps_need_a_path(tmp_path):
    with pytest.raises(ValueError, match="mmap=True needs the path"):
        open_container(io.BytesIO(), mmap=True)
    with pytest.raises(ValueError, match="mmap=True needs the path"):
        open_container("memory://a", mmap=True)


def test_fingerprints_tell_files_apart():
    prints = [opened(written({"a": a}, {"b": np.full(9, b)})).fingerprint for a, b in [(1, 1), (1, 2), (2, 1), (1, 1)]]
    assert len(set(prints)) == 3
    assert prints[0] == prints[3]


def test_arrays_are_shown_in_one_line():
    """A file with an array in the place of a number made messages of two lines."""
    # 7 letters, 11 times 6, and 4 are 77.
    assert _json.shown(np.full(20, 1.25)) == "array([" + 11 * "1.25, " + "1.25..."
    assert _json.shown(np.array([[1, 2], [3, 4]])) == "array([[1, 2], [3, 4]])"
