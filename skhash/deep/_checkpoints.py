"""Checkpoints of a training, and files of trained weights: safetensors with a checksum, written whole or not at all.

Imported by functions only, because it needs torch. Nothing here runs code that a file holds.
"""

import contextlib
import copy
import hashlib
import json
import math
import os
import re
import secrets
import struct
from collections import OrderedDict

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

_VERSION = "1"

# Metadata of the files. The checksum covers every byte of a file but itself, for which zeros stand. No single flipped
# bit hides both that a file is ours and its checksum.
_CHECKPOINT_KEY, _WEIGHTS_KEY, _CHECKSUM_KEY = "skhash_checkpoint", "skhash_weights", "skhash_checksum"
_CHECKSUM_SIZE = 16
_NO_CHECKSUM = "0" * (2 * _CHECKSUM_SIZE)

# A safetensors file begins with the length of its header.
_LENGTH = struct.Struct("<Q")

# Those that every supported version of safetensors writes.
_DTYPES = {
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
}

# Bytes of an array that are read together when it is hashed.
_BLOCK_BYTES = 2**22

# The limit of 64-bit integers, to which every reader of JSON is exact.
_LARGE_INTEGER = 2**63


class CheckpointError(ValueError):
    """A file of a checkpoint or of weights is damaged, or belongs to something else."""


def flatten_state(state):
    """Split a nested state into tensors and what JSON can say.

    Parameters
    ----------
    state : object
        Dicts with keys of any kind below, lists and tuples of tensors, numbers, bools, strings, None and NumPy
        scalars, as the ``state_dict()`` of modules and optimizers are.

    Returns
    -------
    tensors : dict of str to tensor
        Contiguous, on the CPU, no two sharing memory; those that already are so share the memory of the state.

    rest : object
        Ready for JSON; names the tensors.

    Raises
    ------
    TypeError
        If the state holds something else, or holds itself.
    """
    tensors = {}
    try:
        return tensors, _flatten(state, "state", tensors, set())
    except RecursionError:
        raise TypeError("state is nested too deeply for a checkpoint, or holds itself.") from None


def unflatten_state(tensors, rest):
    """Put together what `flatten_state` split.

    Parameters
    ----------
    tensors : dict of str to tensor
        The tensors.

    rest : object
        The rest.

    Returns
    -------
    state : object
        Equal to the state in values, Python types, dtypes, shapes and, where a tensor was dense, strides.
    """
    # All but plain values is a list that begins with the name of its kind.
    if not isinstance(rest, list):
        return rest
    kind, content, *more = rest
    match kind:
        case "tensor":
            tensor = tensors[content]
            return tensor.permute(more[0]) if more else tensor
        case "list" | "tuple":
            values = [unflatten_state(tensors, value) for value in content]
            return values if kind == "list" else tuple(values)
        case "dict" | "ordered":
            pairs = [(unflatten_state(tensors, key), unflatten_state(tensors, value)) for key, value in content]
            if kind == "dict":
                return dict(pairs)
            state = OrderedDict(pairs)
            if more:
                state._metadata = unflatten_state(tensors, more[0])
            return state
        case "float":
            return struct.unpack(">d", bytes.fromhex(content))[0]
        case "int":
            return int(content, 16)
        case "numpy":
            return np.frombuffer(bytes.fromhex(more[0]), np.dtype(content))[0]
    raise ValueError(f"a value of the unknown kind {kind!r}")


def _flatten(value, place, tensors, storages):
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if -_LARGE_INTEGER <= value < _LARGE_INTEGER else ["int", hex(value)]
    if kind is float:
        return value if math.isfinite(value) else ["float", struct.pack(">d", value).hex()]
    if kind in (list, tuple):
        content = [_flatten(item, f"{place}[{i}]", tensors, storages) for i, item in enumerate(value)]
        return [kind.__name__, content]
    if kind in (dict, OrderedDict):
        content = [
            [
                _flatten(key, f"the key {key!r} of {place}", tensors, storages),
                _flatten(item, f"{place}[{key!r}]", tensors, storages),
            ]
            for key, item in value.items()
        ]
        # That of a module says the versions of its parts.
        metadata = getattr(value, "_metadata", None)
        more = [] if metadata is None else [_flatten(metadata, f"{place}._metadata", tensors, storages)]
        return ["dict" if kind is dict else "ordered", content, *more]
    if kind is torch.Tensor and value.dtype in _DTYPES and value.layout is torch.strided and not value.is_meta:
        return _flatten_tensor(value, tensors, storages)
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return ["numpy", value.dtype.str, value.tobytes().hex()]
    what = kind.__name__
    if isinstance(value, torch.Tensor):
        what += f" of dtype {value.dtype} on the device {value.device}"
    raise TypeError(
        f"{place} is a {what}, which a checkpoint cannot hold; keep plain tensors, numbers, strings, lists, tuples and "
        "dicts in it."
    )


def _flatten_tensor(tensor, tensors, storages):
    tensor = tensor.detach().cpu().resolve_neg()
    more = []
    if not tensor.is_contiguous():
        # Dense memory in another order, such as channels_last, is kept: how sums round may depend on it.
        order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
        if tensor.permute(order).is_contiguous():
            tensor = tensor.permute(order)
            more = [sorted(range(len(order)), key=order.__getitem__)]
    tensor = tensor.contiguous()
    pointer = tensor.untyped_storage().data_ptr()
    # safetensors refuses tensors that share memory.
    tensor = tensor.clone() if pointer in storages else tensor
    storages.add(pointer)
    name = str(len(tensors))
    tensors[name] = tensor
    return ["tensor", name, *more]


def write_checkpoint(path, state, *, fingerprint):
    """Write a checkpoint so that the file is always whole: the one before, or the new one.

    Parameters
    ----------
    path : path-like
        The file; replaced where it exists.

    state : object
        What `flatten_state` takes.

    fingerprint : str
        Says which training it belongs to; see `fingerprint_of`.

    Raises
    ------
    TypeError
        If the state holds something that a checkpoint cannot.
    OSError
        If the file cannot be written. The one before stays as it was.
    """
    tensors, rest = flatten_state(state)
    metadata = {_CHECKPOINT_KEY: _VERSION, "fingerprint": fingerprint, "state": json.dumps(rest, allow_nan=False)}
    _write(path, tensors, metadata)


def read_checkpoint(path, *, fingerprint, device="cpu"):
    """Read a checkpoint, and remove what killed writers left beside it.

    Parameters
    ----------
    path : path-like
        The file.

    fingerprint : str
        That of the training that is to go on.

    device : str or torch.device, default="cpu"
        Where to put the tensors, wherever they were. The CPU is best for what `load_state_dict` is given: it moves what
        belongs to the device, and random states and the steps of optimizers belong to the CPU.

    Returns
    -------
    state : object or None
        The state that was written; None where there is no file.

    Raises
    ------
    CheckpointError
        If the file is damaged, no checkpoint, or one of another version or another training.
    OSError
        If the file cannot be read.
    """
    path = os.path.realpath(path)
    try:
        data = _read(path)
    except FileNotFoundError:
        _remove_leftovers(path)
        return None
    advice = "delete it, or pass another file, to train from the start"
    metadata = _metadata(data, path, advice)
    version = metadata.get(_CHECKPOINT_KEY)
    if version is None:
        raise CheckpointError(f"{path!r} is no checkpoint of a training; pass another file.")
    if version != _VERSION:
        raise CheckpointError(
            f"{path!r} is a checkpoint of version {version!r}, and this skhash reads version {_VERSION!r}; go on with "
            f"the skhash that wrote it, or {advice}."
        )
    tensors = _checked_tensors(data, metadata, path, advice)
    if metadata.get("fingerprint") != fingerprint:
        raise CheckpointError(
            f"{path!r} is a checkpoint of another training (its parameters or data differ); {advice}."
        )
    try:
        rest = json.loads(metadata["state"])
        state = unflatten_state({name: tensor.to(device) for name, tensor in tensors.items()}, rest)
    except (KeyError, IndexError, TypeError, ValueError, struct.error, RecursionError) as error:
        raise CheckpointError(f"{path!r} holds no state of a training; {advice}.") from error
    _remove_leftovers(path)
    return state


def save_weights(path, modules, metadata=None):
    """Save the parameters and buffers of modules as a plain safetensors file.

    Parameters
    ----------
    path : path-like
        The file; replaced where it exists, once the new one is whole.

    modules : dict of str to nn.Module
        What to save; tensors are called as in ``state_dict()``, after the name of the module and a point.

    metadata : dict of str to str, default=None
        More to say in the file.

    Raises
    ------
    TypeError
        If a module holds something other than tensors of usual dtypes.
    OSError
        If the file cannot be written. The one before stays as it was.
    """
    storages = set()
    named = {}
    for module_name, module in modules.items():
        for key, value in module.state_dict().items():
            name = f"{module_name}.{key}"
            if not isinstance(value, torch.Tensor):
                raise TypeError(f"{name} is a {type(value).__name__}, which a file of weights cannot hold.")
            one = {}
            # Contiguous for all readers, so that no order of the axes has to be told.
            _flatten(value.contiguous(), name, one, storages)
            named[name] = one["0"]
    _write(path, named, {**(metadata or {}), "format": "pt", _WEIGHTS_KEY: _VERSION})


def load_weights(path, modules):
    """Load what `save_weights` saved, into modules on any device; all of it or nothing.

    Parameters
    ----------
    path : path-like
        A safetensors file. A checksum is verified where it has one.

    modules : dict of str to nn.Module
        Modules with the same parameters and buffers, by the names they were saved under.

    Returns
    -------
    metadata : dict of str to str
        What `save_weights` was told to say.

    Raises
    ------
    CheckpointError
        If the file is damaged, or its names, shapes or dtypes are not those of the modules, which stay as they were.
    OSError
        If the file cannot be read.
    """
    path = os.path.realpath(path)
    data = _read(path)
    advice = "save the weights again"
    metadata = _metadata(data, path, advice)
    tensors = _checked_tensors(data, metadata, path, advice)
    states = {name: module.state_dict() for name, module in modules.items()}
    wanted = {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}
    _check_names_and_shapes(tensors, wanted, path)
    before = copy.deepcopy(states)
    try:
        for name, module in modules.items():
            for key in states[name]:
                states[name][key] = tensors[f"{name}.{key}"]
            module.load_state_dict(states[name])
    except BaseException:
        for name, module in modules.items():
            module.load_state_dict(before[name])
        raise
    return {key: value for key, value in metadata.items() if key not in ("format", _WEIGHTS_KEY, _CHECKSUM_KEY)}


def _check_names_and_shapes(tensors, wanted, path):
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    for names, what in ((missing, "lacks"), (unknown, "holds, unlike the modules,")):
        if names:
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{path!r} {what} {names[0]!r}{others}; build the modules as they were when saved.")
    for name, value in wanted.items():
        found = tensors[name]
        if found.shape != value.shape or found.dtype != value.dtype:
            raise CheckpointError(
                f"{path!r} holds {name!r} with shape {tuple(found.shape)} and dtype {found.dtype}, but the module has "
                f"shape {tuple(value.shape)} and dtype {value.dtype}; build the modules as they were when saved."
            )


def fingerprint_of(*parts):
    """Hash what a training depends on.

    Parameters
    ----------
    *parts : object
        Settings as JSON knows them, bytes, tuples, NumPy scalars (as the Python values they equal), arrays and tensors
        (by content, dtype and shape; those of any device and memory order alike), paths (by name, size and time of
        the last change of the file), and lists and dicts of all these. Dicts are hashed whatever their order.

    Returns
    -------
    fingerprint : str
        Hexadecimal digits.

    Raises
    ------
    TypeError
        If a part is something else.
    OSError
        If a path names no file.
    """
    digest = hashlib.blake2b(digest_size=20)
    _feed(digest, list(parts), "parts")
    return digest.hexdigest()


def _feed(digest, part, place):
    """Hash one part: its kind and length, then its content, so that no two parts read alike."""
    if isinstance(part, np.generic) and part.dtype.kind in "biuf":
        part = part.item()
    if part is None or isinstance(part, bool | int | float):
        # Digits in base 16, because long decimals are refused. `repr` of a float is exact.
        _feed_bytes(digest, type(part).__name__, (hex(part) if type(part) is int else repr(part)).encode())
    elif isinstance(part, str):
        _feed_bytes(digest, "str", part.encode("utf-8", "surrogatepass"))
    elif isinstance(part, bytes):
        _feed_bytes(digest, "bytes", part)
    elif isinstance(part, os.PathLike):
        status = os.stat(part)
        _feed_bytes(digest, f"path {status.st_size} {status.st_mtime_ns}", os.fsencode(part))
    elif isinstance(part, dict):
        digest.update(f"dict {len(part)}\n".encode())
        entries = []
        for key, value in part.items():
            entry = hashlib.blake2b(digest_size=20)
            _feed(entry, key, f"a key of {place}")
            _feed(entry, value, f"{place}[{key!r}]")
            entries.append(entry.digest())
        digest.update(b"".join(sorted(entries)))
    elif isinstance(part, np.ndarray) and not part.dtype.hasobject:
        _feed_array(digest, "array", part.dtype.descr, part)
    elif isinstance(part, torch.Tensor) and part.layout is torch.strided and not part.is_meta:
        tensor = part.detach().cpu().resolve_conj().resolve_neg().contiguous()
        octets = tensor.reshape(-1).view(torch.uint8).numpy()
        _feed_array(digest, "tensor", (str(part.dtype), tuple(part.shape)), octets)
    elif isinstance(part, list | tuple | np.ndarray):
        if isinstance(part, np.ndarray):
            # Of Python objects, whose bytes are addresses.
            digest.update(f"objects {part.shape}\n".encode())
            part = part.ravel().tolist()
        digest.update(f"{'tuple' if isinstance(part, tuple) else 'list'} {len(part)}\n".encode())
        for i, value in enumerate(part):
            _feed(digest, value, f"{place}[{i}]")
    else:
        raise TypeError(
            f"{place} is a {type(part).__name__}, which has no fingerprint; pass settings, arrays, tensors and paths."
        )


def _feed_bytes(digest, kind, content):
    digest.update(f"{kind} {len(content)}\n".encode())
    digest.update(content)


def _feed_array(digest, kind, dtype, array):
    digest.update(f"{kind} {dtype} {array.shape}\n".encode())
    # In blocks in C order, so that neither a memory map nor a transposed array is copied.
    blocks = np.nditer(
        array,
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readonly", "contig"]],
        order="C",
        buffersize=max(1, _BLOCK_BYTES // max(1, array.itemsize)),
    )
    for block in blocks:
        digest.update(block.tobytes())


def _write(path, tensors, metadata):
    data = safetensors.torch.save(tensors, metadata={**metadata, _CHECKSUM_KEY: _NO_CHECKSUM})
    # The header is small: the tensors are not copied once more.
    n_header = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    header, body = data[:n_header], memoryview(data)[n_header:]
    empty = f'"{_CHECKSUM_KEY}":"{_NO_CHECKSUM}"'.encode()
    header = header.replace(empty, f'"{_CHECKSUM_KEY}":"{_checksum(header, body)}"'.encode(), 1)
    _write_atomically(path, header, body)


def _write_atomically(path, *contents):
    """Write a file so that readers see all of it or nothing, also after a power failure."""
    # A link stays a link.
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.writing-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb", buffering=0) as file:
            for content in contents:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) :]
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    # Only then is the new name on the disk. Windows opens no folders.
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_leftovers(path):
    """Remove what writers of this file left that were killed."""
    folder, name = os.path.split(path)
    pattern = re.compile(re.escape(f".{name}.writing-") + "[0-9a-f]{16}")
    with contextlib.suppress(OSError):
        for found in os.listdir(folder):
            if pattern.fullmatch(found):
                os.unlink(os.path.join(folder, found))


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _checksum(header, body):
    digest = hashlib.blake2b(header, digest_size=_CHECKSUM_SIZE)
    digest.update(body)
    return digest.hexdigest()


def _metadata(data, path, advice):
    """Read the metadata of a safetensors file, of which nothing is sure yet."""
    damaged = CheckpointError(f"{path!r} is damaged or no safetensors file; {advice}.")
    if len(data) < _LENGTH.size:
        raise damaged
    n_header = _LENGTH.unpack_from(data)[0]
    if n_header > len(data) - _LENGTH.size:
        raise damaged
    try:
        header = json.loads(data[_LENGTH.size : _LENGTH.size + n_header])
    except (ValueError, RecursionError) as error:
        raise damaged from error
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged
    return metadata


def _checked_tensors(data, metadata, path, advice):
    """Verify the checksum, where there is one, and read the tensors, on the CPU."""
    damaged = CheckpointError(f"{path!r} is damaged; {advice}.")
    if metadata.keys() & {_CHECKPOINT_KEY, _WEIGHTS_KEY, _CHECKSUM_KEY}:
        checksum = metadata.get(_CHECKSUM_KEY, "")
        n_header = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        empty, full = (
            f'"{_CHECKSUM_KEY}":"{digits}"'.encode("utf-8", "surrogatepass") for digits in (_NO_CHECKSUM, checksum)
        )
        if _checksum(data[:n_header].replace(full, empty, 1), memoryview(data)[n_header:]) != checksum:
            raise damaged
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError, AssertionError) as error:
        raise CheckpointError(f"{path!r} is damaged or of a newer safetensors; {advice}.") from error


def settings_of(part):
    """List what names a part of a training: classes and plain settings, never addresses in memory.

    Parameters
    ----------
    part : object
        A module, an optimizer, a callable or None.

    Returns
    -------
    settings : str or list
        What `fingerprint_of` takes.
    """
    if not hasattr(part, "named_modules"):
        return getattr(part, "__qualname__", type(part).__qualname__)
    return [
        [
            name,
            type(module).__qualname__,
            {key: value for key, value in vars(module).items() if _is_plain(value)},
        ]
        for name, module in part.named_modules()
    ]


def _is_plain(value):
    """Say whether a setting is a number, a word, None, or a tuple or list of such."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    is_number = isinstance(value, np.generic) and value.dtype.kind in "biuf"
    return is_number or isinstance(value, str | int | float | None)
