"""The container: a head, a manifest and a section of tensors, of which no byte is believed before it was checked.

The layout is documented in ``docs/file_format.rst``. Nothing here knows what the tensors are for.
"""

import contextlib
import math
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np

from .._checked_map import CheckedMap
from ._errors import CorruptFileError, FileFormatError, UnsupportedVersionError
from ._files import file_name, is_address, open_for_reading, open_for_writing
from ._json import MAX_JSON_BYTES, dump_json, parse_json, shown

# The first byte is no text, and a transfer that translates line ends breaks the last one.
MAGIC = b"\x89SKHASH\n"
FORMAT_VERSION = 1
# The oldest format whose readers understand what is written here.
OLDEST_READER = 1

# Magic, format, oldest reader, bytes of the manifest, bytes of the section, crc32 of the manifest; then its own crc32.
_HEAD = struct.Struct("<8sIIQQI")
_CRC = struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _CRC.size
_SECTION_LENGTH = struct.Struct("<Q")
# Where the section and all its tensors start, so that every processor reads mapped ones at full speed.
ALIGNMENT = 64
BLOCK_BYTES = 2**20

_CHECKSUMS, _PADDING = "#checksums", "#padding."
# A key of the manifest that belongs to the container.
_RESERVED_KEY = "section_header_crc32"

_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
_NAMES_OF_DTYPES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_DIMENSIONS = 32

# Bytes from which checksums are computed on threads.
_FEWEST_BYTES_FOR_THREADS = 2**25
_N_THREADS = 4
_BYTES_READ_TOGETHER = 2**23


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies in a file.

    Attributes
    ----------
    dtype : numpy.dtype
        In the byte order of the file.

    shape : tuple of int
        Shape.

    offset : int
        Bytes from the start of the container to the first of the tensor.

    nbytes : int
        Its bytes.

    first_block : int
        Place of the checksum of its first block in the table of all.
    """

    dtype: np.dtype
    shape: tuple
    offset: int
    nbytes: int
    first_block: int


def is_storable(dtype):
    """Whether arrays of a dtype become tensors as they are, in any byte order."""
    return dtype.newbyteorder("<") in _NAMES_OF_DTYPES


def block_checksums(data):
    """Compute the crc32 of each block.

    Parameters
    ----------
    data : memoryview or ndarray of bytes
        What is cut into blocks of `BLOCK_BYTES` bytes, the last of which may be shorter.

    Returns
    -------
    checksums : ndarray of shape (n_blocks,), dtype uint32
        One a block.
    """
    blocks = [data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES)]
    if len(data) < _FEWEST_BYTES_FOR_THREADS:
        return np.array([zlib.crc32(block) for block in blocks], dtype="<u4")
    with ThreadPoolExecutor(_N_THREADS) as pool:
        return np.array(list(pool.map(zlib.crc32, blocks)), dtype="<u4")


def write_container(target, manifest, arrays):
    """Write a file.

    Parameters
    ----------
    target : str, os.PathLike or binary file object
        A path, whose file is replaced as a whole; an address of fsspec; or a file with the method `write`.

    manifest : dict
        What can be written as JSON.

    arrays : dict of str to ndarray
        Arrays by name, of dtypes that `is_storable` accepts.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If the manifest exceeds a limit of the format, or an array cannot be stored.
    """
    arrays = {name: _storable(name, array) for name, array in arrays.items()}
    header, paddings = _section_header(arrays)
    if _RESERVED_KEY in manifest:
        raise ValueError(f"the key {_RESERVED_KEY!r} of a manifest is the container's own.")
    text = dump_json({**manifest, _RESERVED_KEY: zlib.crc32(header)})
    for what, size in (("manifest", len(text)), ("list of tensors", len(header))):
        if size > MAX_JSON_BYTES:
            raise ValueError(f"the {what} would take {size} bytes, more than the limit of {MAX_JSON_BYTES} of a file.")
    # What is written must be readable.
    parse_json(text, what="the manifest")
    n_blocks = sum(_n_blocks(array.nbytes) for array in arrays.values())
    section_bytes = len(header) + sum(array.nbytes for array in arrays.values()) + sum(paddings) + 4 * (n_blocks + 1)
    head = _HEAD.pack(MAGIC, FORMAT_VERSION, OLDEST_READER, len(text), section_bytes, zlib.crc32(text))
    with open_for_writing(target) as file:
        _write(file, head + _CRC.pack(zlib.crc32(head)) + text + bytes(_to_alignment(HEAD_BYTES + len(text))) + header)
        checksums = []
        for array, padding in zip(arrays.values(), paddings, strict=True):
            data = memoryview(array.reshape(-1).view(np.uint8))
            checksums.append(_write_blocks(file, data))
            _write(file, bytes(padding))
        table = np.concatenate([*checksums, np.empty(0, dtype="<u4")]).tobytes()
        # Starts with that of the manifest, so that no manifest passes for that of other tensors.
        _write(file, table + _CRC.pack(zlib.crc32(table, zlib.crc32(text))))


def _storable(name, array):
    """Make an array C-contiguous and little-endian; a copy only where it is not."""
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAMES_OF_DTYPES or name.startswith("#") or array.ndim > _MAX_DIMENSIONS:
        raise ValueError(f"array {name!r} of {array.ndim} dimensions and dtype {array.dtype} cannot be stored.")
    return np.asarray(array, dtype=dtype, order="C")


def _section_header(arrays):
    """Write the first bytes of a safetensors file, and the number of zeros after each tensor."""
    entries, paddings, stop = {}, [], 0

    def add(name, dtype, shape, n_bytes):
        nonlocal stop
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [stop, stop + n_bytes]}
        stop += n_bytes

    for number, (name, array) in enumerate(arrays.items()):
        add(name, _NAMES_OF_DTYPES[array.dtype], list(array.shape), array.nbytes)
        paddings.append(_to_alignment(stop))
        if paddings[-1]:
            # safetensors allows no gaps.
            add(f"{_PADDING}{number}", "U8", [paddings[-1]], paddings[-1])
    n_checksums = sum(_n_blocks(array.nbytes) for array in arrays.values()) + 1
    add(_CHECKSUMS, "U32", [n_checksums], 4 * n_checksums)
    text = dump_json(entries)
    text += b" " * _to_alignment(_SECTION_LENGTH.size + len(text))
    return _SECTION_LENGTH.pack(len(text)) + text, paddings


def _write_blocks(file, data):
    """Write bytes, and compute the checksums of their blocks meanwhile."""
    if len(data) < _FEWEST_BYTES_FOR_THREADS:
        checksums = np.empty(_n_blocks(len(data)), dtype="<u4")
        for block in range(len(checksums)):
            piece = data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
            checksums[block] = zlib.crc32(piece)
            _write(file, piece)
        return checksums
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(block_checksums, data)
        for start in range(0, len(data), _FEWEST_BYTES_FOR_THREADS):
            _write(file, data[start : start + _FEWEST_BYTES_FOR_THREADS])
        return running.result()


def _write(file, data):
    """Write all bytes, also where a raw file takes a part at a time."""
    data = memoryview(data)
    while len(data):
        n_written = file.write(data)
        data = data[len(data) if n_written is None else n_written :]


def open_container(source, *, mmap=False):
    """Open a file and check everything but the tensors.

    Parameters
    ----------
    source : str, os.PathLike or binary file object
        A path; an address of fsspec; or a file that can seek, which is read from where it stands to its end.

    mmap : bool, default=False
        Whether tensors can be mapped; needs a path.

    Returns
    -------
    container : Container
        To be closed.

    Raises
    ------
    OSError
        If the file cannot be read.
    FileFormatError
        If it is no file of this format, damaged, newer or out of bounds.
    """
    if mmap and not (isinstance(source, (str, bytes, os.PathLike)) and not is_address(source)):
        raise ValueError(f"{file_name(source)}: mmap=True needs the path of a file on this machine; set mmap=False.")
    file, is_own = open_for_reading(source)
    try:
        return Container(file, file_name(source), is_own=is_own, is_mappable=mmap)
    except BaseException:
        if is_own:
            file.close()
        raise


class Container:
    """An open file whose head, manifest and list of tensors are sound; tensors are verified when they are read.

    Parameters
    ----------
    file : binary file object
        Can seek, stands at the start of the container.

    name : str
        What errors call it.

    is_own : bool
        Whether `close` closes the file.

    is_mappable : bool
        Whether the file has a descriptor and starts with the container.

    Attributes
    ----------
    name : str
        As given.

    n_bytes : int
        Size of the file.

    versions : tuple of int
        Format, and oldest format whose readers understand it.

    manifest : dict
        As it was written.

    tensors : dict of str to Tensor
        By name, in order of their place.

    fingerprint : str
        Tells one file from another: checksums of the manifest and of those of all tensors, in hexadecimal digits.
    """

    def __init__(self, file, name, *, is_own, is_mappable):
        self.name, self._file, self._is_own, self._is_mappable = name, file, is_own, is_mappable
        self._start = file.tell()
        self.n_bytes = file.seek(0, os.SEEK_END) - self._start
        manifest_bytes, manifest_crc, section_bytes = self._read_head()
        text = self._bytes(HEAD_BYTES, manifest_bytes)
        if zlib.crc32(text) != manifest_crc:
            raise self._corrupt("manifest")
        section = HEAD_BYTES + manifest_bytes + _to_alignment(HEAD_BYTES + manifest_bytes)
        self._check_zeros(HEAD_BYTES + manifest_bytes, section)
        self.manifest = parse_json(text, what=f"{name}: the manifest")
        header, data = self._read_section_header(section, section_bytes)
        self.tensors = self._place_tensors(header, data, section + section_bytes)
        self._checksums = self._read_checksums(self.tensors.pop(_CHECKSUMS), manifest_crc)
        self.fingerprint = f"{manifest_crc:08x}{self._checksums[-1]:08x}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the file, unless it is the caller's. Maps stay as they are."""
        if self._is_own:
            self._file.close()

    def read(self, name):
        """Read a tensor and verify it.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        array : ndarray
            New, C-contiguous and in the byte order of the processor.

        Raises
        ------
        CorruptFileError
            If a block is damaged.
        """
        tensor = self.tensors[name]
        array = np.empty(tensor.shape, dtype=tensor.dtype)
        self._read_blocks(name, array.reshape(-1).view(np.uint8))
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))

    def map(self, name):
        """Map a tensor, to be verified block by block when it is touched.

        Parameters
        ----------
        name : str
            Its name, of a tensor with at least one byte.

        Returns
        -------
        array : CheckedMap
            Read-only.
        """
        tensor = self.tensors[name]
        if not self._is_mappable or not tensor.nbytes:
            raise ValueError(f"{self.name}: tensor {name!r} cannot be mapped; read it.")
        array = np.memmap(self._file, dtype=tensor.dtype, mode="r", offset=tensor.offset, shape=tensor.shape)

        def refuse(block):
            raise self._corrupt_block(name, block)

        return CheckedMap(array, self._checksums_of(tensor), BLOCK_BYTES, refuse)

    def verify(self):
        """Verify all tensors, in little memory.

        Raises
        ------
        CorruptFileError
            If a block is damaged.
        """
        room = np.empty(max((min(BLOCK_BYTES, tensor.nbytes) for tensor in self.tensors.values()), default=0), np.uint8)
        for name, tensor in self.tensors.items():
            checksums = self._checksums_of(tensor)
            for block, start in enumerate(range(0, tensor.nbytes, BLOCK_BYTES)):
                piece = room[: min(BLOCK_BYTES, tensor.nbytes - start)]
                self._read_into(tensor.offset + start, piece)
                if zlib.crc32(piece) != checksums[block]:
                    raise self._corrupt_block(name, block)

    def _read_head(self):
        """Check the head and the lengths that it names."""
        if self.n_bytes < HEAD_BYTES:
            start = self._bytes(0, self.n_bytes)[: len(MAGIC)]
            if start and MAGIC.startswith(start):
                raise CorruptFileError(f"{self.name}: is cut off after {self.n_bytes} bytes; fetch it again.")
            raise FileFormatError(
                f"{self.name}: is no file of skhash ({self.n_bytes} bytes); pass one from skhash.save."
            )
        raw = self._bytes(0, HEAD_BYTES)
        magic, version, oldest_reader, manifest_bytes, section_bytes, manifest_crc = _HEAD.unpack(raw[: _HEAD.size])
        if magic != MAGIC:
            raise FileFormatError(f"{self.name}: is no file of skhash, or its first bytes are damaged.")
        if zlib.crc32(raw[: _HEAD.size]) != _CRC.unpack(raw[_HEAD.size :])[0]:
            raise self._corrupt("head")
        self.versions = version, oldest_reader
        if oldest_reader > FORMAT_VERSION:
            raise UnsupportedVersionError(self._newer_message(manifest_bytes, manifest_crc))
        if not 1 <= oldest_reader <= version:
            raise FileFormatError(
                f"{self.name}: has format {version} for readers from {oldest_reader}, which cannot be."
            )
        if manifest_bytes > MAX_JSON_BYTES:
            raise FileFormatError(
                f"{self.name}: has a manifest of {manifest_bytes} bytes, more than the limit of {MAX_JSON_BYTES}."
            )
        n_bytes = HEAD_BYTES + manifest_bytes + _to_alignment(HEAD_BYTES + manifest_bytes) + section_bytes
        if n_bytes != self.n_bytes:
            what = "is cut off" if n_bytes > self.n_bytes else "has bytes after its end"
            raise CorruptFileError(
                f"{self.name}: {what}: {self.n_bytes} bytes, {n_bytes} according to its head; fetch it again."
            )
        return manifest_bytes, manifest_crc, section_bytes

    def _newer_message(self, manifest_bytes, manifest_crc):
        version, oldest_reader = self.versions
        writer = ""
        # Where a later format keeps its manifest in the same place, it says who wrote it.
        if manifest_bytes <= min(MAX_JSON_BYTES, self.n_bytes - HEAD_BYTES):
            text = self._bytes(HEAD_BYTES, manifest_bytes)
            if zlib.crc32(text) == manifest_crc:
                try:
                    found = parse_json(text, what="the manifest").get("skhash_version")
                except FileFormatError:
                    found = None
                if isinstance(found, str) and found.isascii() and found.isprintable() and len(found) <= 32:
                    writer = f", written by skhash {found}"
        return (
            f"{self.name}: has format {version}{writer}, which needs a reader of format {oldest_reader}; this version "
            f"reads formats up to {FORMAT_VERSION}: run `pip install --upgrade skhash`."
        )

    def _read_section_header(self, section, section_bytes):
        """Read the list of tensors; return it with the place where their bytes start."""
        if section_bytes < _SECTION_LENGTH.size:
            raise FileFormatError(f"{self.name}: its section of tensors has {section_bytes} bytes, which cannot be.")
        (length,) = _SECTION_LENGTH.unpack(self._bytes(section, _SECTION_LENGTH.size))
        if length > min(MAX_JSON_BYTES, section_bytes - _SECTION_LENGTH.size):
            raise CorruptFileError(f"{self.name}: its list of tensors would take {length} bytes, which cannot be.")
        header = self._bytes(section, _SECTION_LENGTH.size + length)
        expected = self.manifest.pop(_RESERVED_KEY, None)
        if expected != zlib.crc32(header) or isinstance(expected, bool):
            raise self._corrupt("list of tensors")
        entries = parse_json(header[_SECTION_LENGTH.size :], what=f"{self.name}: the list of tensors")
        return entries, section + len(header)

    def _place_tensors(self, entries, data, end):
        """Check that tensors follow each other without gaps, aligned, and with nothing but zeros between them."""
        if data % ALIGNMENT:
            raise FileFormatError(f"{self.name}: its tensors are not aligned to {ALIGNMENT} bytes.")
        placed = sorted(
            (self._checked_entry(name, entry) for name, entry in entries.items()), key=lambda item: item[1:3]
        )
        tensors, stop, n_blocks = {}, 0, 0
        for number, (name, start, n_bytes, dtype, shape) in enumerate(placed):
            if start != stop:
                raise FileFormatError(f"{self.name}: tensor {shown(name)} does not start where the one before ends.")
            stop += n_bytes
            if data + stop > end:
                raise FileFormatError(f"{self.name}: tensor {shown(name)} reaches beyond the end of the file.")
            if name.startswith(_PADDING):
                if dtype != np.uint8 or n_bytes >= ALIGNMENT or stop % ALIGNMENT:
                    raise FileFormatError(f"{self.name}: {shown(name)} is no padding.")
                self._check_zeros(data + start, data + stop)
            elif start % ALIGNMENT:
                raise FileFormatError(f"{self.name}: tensor {shown(name)} is not aligned to {ALIGNMENT} bytes.")
            elif name.startswith("#") and (name, number) != (_CHECKSUMS, len(placed) - 1):
                raise FileFormatError(f"{self.name}: does not know what tensor {shown(name)} is for.")
            else:
                tensors[name] = Tensor(dtype, shape, data + start, n_bytes, n_blocks)
                n_blocks += _n_blocks(n_bytes)
        if data + stop != end or _CHECKSUMS not in tensors:
            raise FileFormatError(f"{self.name}: its list of tensors does not end with the checksums of all.")
        return tensors

    def _checked_entry(self, name, entry):
        """Check one entry of the list of tensors by itself."""
        what = f"{self.name}: tensor {shown(name)}"
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise FileFormatError(f"{what} is not described by its dtype, shape and offsets alone.")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise FileFormatError(f"{what} has dtype {shown(dtype)}; dtypes are {', '.join(_DTYPES)}.")
        for numbers, most in ((shape, _MAX_DIMENSIONS), (offsets, 2)):
            if not isinstance(numbers, list) or len(numbers) > most or not all(_is_size(size) for size in numbers):
                raise FileFormatError(f"{what} has the shape or offsets {shown(numbers)}, which cannot be.")
        itemsize = _DTYPES[dtype].itemsize
        if itemsize * math.prod(max(1, size) for size in shape) >= 2**62:
            raise FileFormatError(f"{what} has the shape {shown(shape)}, more than an array can have.")
        n_bytes = itemsize * math.prod(shape)
        if len(offsets) != 2 or offsets[1] - offsets[0] != n_bytes:
            raise FileFormatError(f"{what} of {n_bytes} bytes has the offsets {shown(offsets)}, which cannot be.")
        return name, offsets[0], n_bytes, _DTYPES[dtype], tuple(shape)

    def _read_checksums(self, tensor, manifest_crc):
        """Read the table of checksums, which ends with its own, to which that of the manifest belongs."""
        if tensor.dtype != np.dtype("<u4") or tensor.shape != (tensor.first_block + 1,):
            raise FileFormatError(
                f"{self.name}: has {shown(tensor.shape)} checksums for {tensor.first_block} blocks, which cannot be."
            )
        table = np.frombuffer(self._bytes(tensor.offset, tensor.nbytes), dtype="<u4")
        if zlib.crc32(table[:-1].tobytes(), manifest_crc) != table[-1]:
            raise self._corrupt("table of checksums")
        return table

    def _checksums_of(self, tensor):
        return self._checksums[tensor.first_block : tensor.first_block + _n_blocks(tensor.nbytes)]

    def _read_blocks(self, name, data):
        """Read all bytes of a tensor, and verify each block while the next ones are read."""
        tensor, found = self.tensors[name], []
        with contextlib.ExitStack() as stack:
            run = map
            if tensor.nbytes >= _FEWEST_BYTES_FOR_THREADS:
                run = stack.enter_context(ThreadPoolExecutor(_N_THREADS)).map
            for start in range(0, tensor.nbytes, _BYTES_READ_TOGETHER):
                piece = data[start : start + _BYTES_READ_TOGETHER]
                self._read_into(tensor.offset + start, piece)
                blocks = [piece[place : place + BLOCK_BYTES] for place in range(0, len(piece), BLOCK_BYTES)]
                found.append(run(zlib.crc32, blocks))
            for block, checksum in enumerate(chain.from_iterable(found)):
                if checksum != self._checksums_of(tensor)[block]:
                    raise self._corrupt_block(name, block)

    def _bytes(self, start, n_bytes):
        """Read a few bytes, which the file is known to have."""
        data = bytearray(n_bytes)
        self._read_into(start, data)
        return bytes(data)

    def _read_into(self, start, data):
        """Fill a buffer with the bytes from a place on."""
        self._file.seek(self._start + start)
        room = memoryview(data)
        read_into = getattr(self._file, "readinto", None)
        while len(room):
            if read_into is not None:
                n_read = read_into(room)
            else:
                piece = self._file.read(len(room))
                n_read = len(piece)
                room[:n_read] = piece
            if not n_read:
                raise CorruptFileError(f"{self.name}: became shorter while it was read.")
            room = room[n_read:]

    def _check_zeros(self, start, stop):
        if any(self._bytes(start, stop - start)):
            raise self._corrupt("padding")

    def _corrupt(self, what):
        return CorruptFileError(f"{self.name}: its {what} is damaged; fetch the file again or restore it.")

    def _corrupt_block(self, name, block):
        tensor = self.tensors[name]
        start = tensor.offset + block * BLOCK_BYTES
        stop = min(start + BLOCK_BYTES, tensor.offset + tensor.nbytes)
        return CorruptFileError(
            f"{self.name}: tensor {shown(name)} is damaged in its block {block} (bytes {start} to {stop - 1} of the "
            "file); fetch the file again or restore it."
        )


def _n_blocks(n_bytes):
    return -(-n_bytes // BLOCK_BYTES)


def _to_alignment(n_bytes):
    """Number of bytes from here to the next multiple of the alignment."""
    return -n_bytes % ALIGNMENT


def _is_size(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
