"""Estimators as trees of plain nodes with tensors beside them, and back, without running anything a file says.

``docs/file_format.rst`` lists the nodes. Plain JSON values stand for themselves; every other value is an object whose
"kind" says what it is.
"""

import functools
import inspect
import math
import re
from pathlib import Path, PurePath

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.pipeline import Pipeline

from .._checked_map import CheckedMap
from . import _registry
from ._checks import check_object, check_state
from ._container import is_storable
from ._errors import FileFormatError
from ._json import shown

# Values within values that a file may have. An estimator in a pipeline takes three levels.
MAX_DEPTH = 100
_LARGE_INTEGER = 2**63
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

# Dtypes that are stored as bytes: complex numbers, strings, bytes, dates and spans of time.
_VIEWED_KINDS = "cUSMm"
_VIEWED_DTYPE = re.compile(
    r"([<|][cUS]|<[mM])([1-9][0-9]{0,8})(\[[1-9]?[0-9]{0,8}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
_SCALAR_DTYPE = re.compile(r"\|b1|\|[iu]1|<[iuf][248]")
_LARGEST_COMPLEX = 16

_SPARSE = {
    f"{layout}_{kind}": (getattr(sparse, f"{layout}_{kind}"), parts)
    for layout, parts in {
        "csr": ("data", "indices", "indptr"),
        "csc": ("data", "indices", "indptr"),
        "bsr": ("data", "indices", "indptr"),
        "coo": ("data", "row", "col"),
        "dia": ("data", "offsets"),
    }.items()
    for kind in ("matrix", "array")
}
_BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")

# Attributes that may be searched where they lie in the file; all others are read, because estimators may write to them.
_MAPPED_ATTRIBUTES = {
    ("SearchEngine", "codes"),
    ("Database", "ids"),
    ("Database", "labels"),
    ("StoredVectors", "_held"),
    ("StoredVectors", "_mapped"),
}
# Smaller arrays are read at once.
_FEWEST_BYTES_MAPPED = 2**20

# What a search over parameters makes of its parameter `scoring`.
_SCORER = "scorer_"


class Encoder:
    """Turns an estimator into nodes and arrays.

    Attributes
    ----------
    arrays : dict of str to ndarray
        What became tensors.

    class_names : set of str
        Names of the classes that the nodes name.
    """

    def __init__(self):
        self.arrays, self.class_names = {}, set()
        # By identity, with the values, so that no identity is used twice.
        self._nodes, self._n_shared = {}, 0

    def encode(self, value, path="", depth=0):
        """Encode a value.

        Parameters
        ----------
        value : object
            The value.

        path : str, default=""
            Attributes that lead to it, for messages and names of tensors.

        depth : int, default=0
            Number of values that it lies in.

        Returns
        -------
        node : object
            Ready for JSON.

        Raises
        ------
        TypeError
            If it is or holds what a file cannot.
        """
        if depth > MAX_DEPTH:
            raise TypeError(f"{_called(path[:80])} lies more than {MAX_DEPTH} values deep, or a value holds itself.")
        kind = type(value)
        if value is None or kind in (bool, str):
            return value
        if kind is int:
            return value if abs(value) < _LARGE_INTEGER else {"kind": "int", "hex": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"kind": "float", "value": str(value)}
        if kind is list:
            return [self.encode(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)]
        if kind in (tuple, set, frozenset):
            items = [self.encode(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)]
            return {"kind": kind.__name__, "items": items}
        if kind is dict:
            return {
                "kind": "dict",
                "items": [
                    [self.encode(key, f"{path}.keys()", depth + 1), self.encode(item, f"{path}[{key!r}]", depth + 1)]
                    for key, item in value.items()
                ],
            }
        if kind is slice:
            parts = (value.start, value.stop, value.step)
            return {"kind": "slice", "items": [self.encode(part, path, depth + 1) for part in parts]}
        if kind is bytes:
            return {"kind": "bytes", "tensor": self.add_array(np.frombuffer(value, dtype=np.uint8), path)}
        if isinstance(value, PurePath):
            return {"kind": "path", "value": str(value)}
        if isinstance(value, np.dtype):
            return {"kind": "dtype", "dtype": _checked_dtype(value, path).str}
        if isinstance(value, np.generic):
            return self._encode_scalar(value, path)
        return self._encode_once(value, path, depth)

    def _encode_once(self, value, path, depth):
        """Encode a value that may be shared: as a node where it comes first, and a reference to that later."""
        if id(value) in self._nodes:
            node = self._nodes[id(value)][1]
            if node is None:
                raise TypeError(f"{_called(path)} holds itself.")
            if node["kind"] in ("array", "tensor"):
                return node
            if "id" not in node:
                node["id"] = self._n_shared
                self._n_shared += 1
            return {"kind": "same", "as": node["id"]}
        self._nodes[id(value)] = value, None
        node = self._encode_new(value, path, depth)
        self._nodes[id(value)] = value, node
        return node

    def _encode_new(self, value, path, depth):
        kind = type(value)
        if kind in (np.ndarray, np.memmap, CheckedMap):
            return self._encode_array(np.asarray(value), path, depth)
        if kind is np.ma.MaskedArray:
            parts = {"data": value.data, "mask": value.mask, "fill_value": value.fill_value}
            encoded = {name: self.encode(part, f"{path}.{name}", depth + 1) for name, part in parts.items()}
            return {"kind": "masked_array", **encoded}
        if kind.__name__ in _SPARSE and kind is _SPARSE[kind.__name__][0] and value.ndim == 2:
            parts = {part: getattr(value, part) for part in _SPARSE[kind.__name__][1]}
            encoded = {name: self.encode(part, f"{path}.{name}", depth + 1) for name, part in parts.items()}
            return {"kind": "sparse", "class": kind.__name__, "shape": [int(n) for n in value.shape], "parts": encoded}
        if kind is np.random.RandomState:
            return {"kind": "random_state", "state": self.encode(value.get_state(legacy=False), path, depth + 1)}
        if kind is np.random.Generator and type(value.bit_generator).__name__ in _BIT_GENERATORS:
            return {"kind": "generator", "state": self.encode(value.bit_generator.state, path, depth + 1)}
        if kind is functools.partial and inspect.isclass(value.func) and not value.args:
            return {
                "kind": "partial",
                "class": self.name_of_class(value.func, path),
                "keywords": {
                    name: self.encode(item, f"{path}.{name}", depth + 1) for name, item in value.keywords.items()
                },
            }
        if inspect.isclass(value):
            return {"kind": "class", "class": self.name_of_class(value, path)}
        function = _registry.name_of_function(value)
        if function is not None:
            return {"kind": "function", "function": function}
        if kind.__module__.startswith(("torch", "skhash.deep.")):
            from ._torch_encoding import encode_torch

            node = encode_torch(self, value, path, depth)
            if node is not None:
                return node
        return self._encode_object(value, path, depth)

    def _encode_object(self, value, path, depth):
        node = {"kind": "object", "class": self.name_of_class(type(value), path)}
        state = _state_of(value)
        parameters = _parameters_of(type(value)) if isinstance(value, BaseEstimator) else {}
        for part, names in (("parameters", state.keys() & parameters), ("state", state.keys() - parameters)):
            node[part] = {name: self._encode_attribute(value, name, state[name], path, depth) for name in sorted(names)}
        return node

    def _encode_attribute(self, owner, name, value, path, depth):
        place = f"{path}.{name}" if path else name
        if isinstance(owner, Pipeline) and name == "steps":
            # Paths of users lead over the names of steps.
            prefix = f"{path}." if path else ""
            return [
                {"kind": "tuple", "items": [step, self.encode(estimator, f"{prefix}{step}", depth + 3)]}
                for step, estimator in value
            ]
        return self.encode(value, place, depth + 1)

    def _encode_array(self, array, path, depth):
        if array.dtype == object:
            items = [self.encode(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(array.ravel())]
            return {"kind": "object_array", "shape": list(array.shape), "items": items}
        dtype, node = _checked_dtype(array.dtype, path), {"kind": "array"}
        # Products may round differently in another order.
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            node["order"], array = "F", array.T
        if not is_storable(dtype):
            node["dtype"] = dtype.newbyteorder("<").str
            flat = np.ascontiguousarray(array, dtype=dtype.newbyteorder("<")).reshape(-1)
            array = flat.view(np.uint8).reshape(*array.shape, dtype.itemsize)
        if dtype.byteorder == ">" or (dtype.byteorder == "=" and np.dtype("<i2") != np.dtype("=i2")):
            node["byteorder"] = ">"
        return {**node, "tensor": self.add_array(array, path)}

    def _encode_scalar(self, value, path):
        dtype = _checked_dtype(value.dtype, path).newbyteorder("<")
        data = np.array(value, dtype=dtype).tobytes()
        return {"kind": "scalar", "dtype": dtype.str, "hex": data.hex()}

    def add_array(self, array, path):
        """Keep an array under a name made of its path; return the name."""
        # Names of steps may be anything, those of tensors are Unicode and do not start with the sign of the container.
        name = path.encode("utf-8", "backslashreplace").decode().removeprefix("#") or "values"
        unique, number = name, 1
        while unique in self.arrays:
            number += 1
            unique = f"{name}~{number}"
        self.arrays[unique] = array
        return unique

    def name_of_class(self, cls, path):
        """Name a class, or refuse what lies at a path."""
        name = _registry.name_of_class(cls)
        if name is None:
            raise TypeError(_refusal(cls, path))
        self.class_names.add(name)
        return name


class Decoder:
    """Turns nodes and tensors of an opened file into an estimator.

    Parameters
    ----------
    container : Container
        The file.

    mmap : bool
        Whether large databases stay in the file.

    Attributes
    ----------
    name : str
        The file, for messages.

    class_names : set of str
        Names of the classes that the nodes named.
    """

    def __init__(self, container, *, mmap):
        self.name, self.class_names = container.name, set()
        self._container, self._mmap = container, mmap
        self._arrays, self._objects, self._unused = {}, {}, set(container.tensors)
        # Of torch, by name, with their nodes.
        self.tensors = {}

    def decode_all(self, node):
        """Decode the node of an estimator, which has to name every tensor of the file.

        Parameters
        ----------
        node : object
            From the manifest.

        Returns
        -------
        estimator : object
            The estimator.

        Raises
        ------
        FileFormatError
            If a node is no such node, or names what is not known.
        """
        estimator = self.decode(node)
        if self._unused:
            raise self.error(f"names no owner of its tensor {shown(min(self._unused))}")
        return estimator

    def error(self, what):
        """Make the error for something that is wrong with the file."""
        return FileFormatError(f"{self.name}: {what}; save the estimator again.")

    def decode(self, node, depth=0, *, is_mappable=False):
        """Decode a node.

        Parameters
        ----------
        node : object
            From JSON.

        depth : int, default=0
            Number of nodes that it lies in.

        is_mappable : bool, default=False
            Whether an array may stay in the file.

        Returns
        -------
        value : object
            What was encoded.
        """
        if depth > MAX_DEPTH:
            raise self.error(f"holds values more than {MAX_DEPTH} deep")
        if isinstance(node, list):
            return [self.decode(item, depth + 1) for item in node]
        if not isinstance(node, dict):
            return node
        kind = node.get("kind")
        method = self._KINDS.get(kind) if isinstance(kind, str) else None
        if method is None:
            raise self.error(f"holds a value of the unknown kind {shown(kind)}")
        if kind == "array":
            return self._decode_array(node, is_mappable)
        value = method(self, node, depth + 1)
        if "id" in node:
            if not isinstance(node["id"], int) or node["id"] in self._objects:
                raise self.error(f"has two values of the id {shown(node['id'])}")
            self._objects[node["id"]] = value
        return value

    def fields(self, node, **types):
        """Take the fields of a node, which has these and no others.

        Parameters
        ----------
        node : dict
            The node.

        **types : type
            Type of each field; a tuple of a type and None for one that may be missing.

        Returns
        -------
        values : list
            In the order of the types.
        """
        values = []
        for name, wanted in types.items():
            value = node.get(name)
            if not isinstance(value, wanted) and not (isinstance(wanted, tuple) and name not in node):
                raise self.error(f"has a value of kind {shown(node['kind'])} whose {name} is {shown(value)}")
            values.append(value)
        unknown = node.keys() - types.keys() - {"kind", "id"}
        if unknown:
            raise self.error(f"has a value of kind {shown(node['kind'])} with the unknown field {shown(min(unknown))}")
        return values

    def named(self, table, depth, mappable=()):
        """Decode the values of a table of names, of which some may stay in the file."""
        for name in table:
            if not name.isidentifier() or name.startswith("__"):
                raise self.error(f"has the name {shown(name)} for an attribute")
        return {name: self.decode(value, depth, is_mappable=name in mappable) for name, value in table.items()}

    def tensor(self, name):
        """Read a tensor, which counts as named."""
        if name not in self._container.tensors:
            raise self.error(f"has no tensor {shown(name)}")
        self._unused.discard(name)
        array = self._container.read(name)
        if array.dtype == bool and (array.view(np.uint8) > 1).any():
            raise self.error(f"has a tensor {shown(name)} of booleans that are neither 0 nor 1")
        return array

    def class_of(self, name):
        """Find a class that the file names."""
        cls = _registry.class_of_name(name)
        if cls is None:
            raise self.error(f"names the class {shown(name)}, which this version of skhash does not load")
        self.class_names.add(name)
        return cls

    def _decode_int(self, node, depth):
        (digits,) = self.fields(node, hex=str)
        if not re.fullmatch(r"-?0x[0-9a-f]+", digits):
            raise self.error(f"has the integer {shown(digits)}")
        return int(digits, 16)

    def _decode_float(self, node, depth):
        (value,) = self.fields(node, value=str)
        if value not in _FLOATS:
            raise self.error(f"has the number {shown(value)}")
        return _FLOATS[value]

    def _decode_items(self, node, depth):
        (items,) = self.fields(node, items=list)
        values = [self.decode(item, depth) for item in items]
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[node["kind"]](values)

    def _decode_dict(self, node, depth):
        (items,) = self.fields(node, items=list)
        if not all(isinstance(item, list) and len(item) == 2 for item in items):
            raise self.error("has a dictionary of something else than pairs")
        value = {self.decode(key, depth): self.decode(item, depth) for key, item in items}
        if len(value) < len(items):
            raise self.error("has a dictionary with a key that occurs twice")
        return value

    def _decode_slice(self, node, depth):
        (items,) = self.fields(node, items=list)
        if len(items) != 3:
            raise self.error("has a slice of another number of parts than three")
        return slice(*(self.decode(item, depth) for item in items))

    def _decode_bytes(self, node, depth):
        (name,) = self.fields(node, tensor=str)
        array = self.tensor(name)
        if array.dtype != np.uint8 or array.ndim != 1:
            raise self.error(f"has bytes of dtype {array.dtype}")
        return array.tobytes()

    def _decode_path(self, node, depth):
        return Path(*self.fields(node, value=str))

    def _decode_dtype(self, node, depth):
        return self._dtype(*self.fields(node, dtype=str))

    def _decode_scalar(self, node, depth):
        text, digits = self.fields(node, dtype=str, hex=str)
        dtype = self._dtype(text)
        if len(digits) != 2 * dtype.itemsize or not re.fullmatch("[0-9a-f]*", digits):
            raise self.error(f"has a number of dtype {dtype} in {len(digits)} digits")
        data = bytes.fromhex(digits)
        if dtype.kind == "b" and data not in (b"\0", b"\1"):
            raise self.error("has a boolean that is neither 0 nor 1")
        return np.frombuffer(data, dtype=dtype.newbyteorder("<"))[0]

    def _dtype(self, text):
        """Make a dtype of a few plain kinds."""
        little = text.replace(">", "<", 1)
        if _SCALAR_DTYPE.fullmatch(little):
            return np.dtype(text)
        return self._viewed_dtype(little).newbyteorder(text[0] if text[0] in "<>" else "|")

    def _viewed_dtype(self, text):
        if not _VIEWED_DTYPE.fullmatch(text):
            raise self.error(f"has the dtype {shown(text)}, which no array may have")
        try:
            dtype = np.dtype(text)
        except (TypeError, ValueError, OverflowError):
            raise self.error(f"has the dtype {shown(text)}, which is none") from None
        if dtype.hasobject or dtype.itemsize < 1 or (dtype.kind == "c" and dtype.itemsize > _LARGEST_COMPLEX):
            raise self.error(f"has the dtype {shown(text)}, which no array may have")
        return dtype

    def _decode_array(self, node, is_mappable):
        """Read an array, or map it; the same one where it was read before."""
        name, order, text, byteorder = self.fields(
            node, tensor=str, order=(str, None.__class__), dtype=(str, None.__class__), byteorder=(str, None.__class__)
        )
        if order not in (None, "F") or byteorder not in (None, ">"):
            raise self.error(f"has an array in the order {shown([order, byteorder])}")
        tensor = self._container.tensors.get(name)
        is_plain = len(node) == 2 and tensor is not None and tensor.dtype != bool
        is_mapped = self._mmap and is_mappable and is_plain and tensor.nbytes >= _FEWEST_BYTES_MAPPED
        key = name, is_mapped
        if key in self._arrays:
            known, array = self._arrays[key]
            if known != node:
                raise self.error(f"has two different arrays in its tensor {shown(name)}")
            return array
        if is_mapped:
            self._unused.discard(name)
            array = self._container.map(name)
        else:
            array = self.tensor(name)
            if text is not None:
                array = self._viewed(array, self._viewed_dtype(text))
            if byteorder is not None:
                array = array.astype(array.dtype.newbyteorder(">"))
            if order is not None:
                array = array.T
        self._arrays[key] = node, array
        return array

    def _viewed(self, array, dtype):
        """See the bytes of an array as what they were."""
        if array.dtype != np.uint8 or array.ndim < 1 or array.shape[-1] != dtype.itemsize:
            raise self.error(f"has an array of dtype {dtype} in bytes of shape {array.shape}")
        return array.reshape(-1).view(dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(array.shape[:-1])

    def _decode_object_array(self, node, depth):
        shape, items = self.fields(node, shape=list, items=list)
        if not all(type(size) is int and 0 <= size <= len(items) for size in shape) or math.prod(shape) != len(items):
            raise self.error(f"has an array of shape {shown(shape)} with {len(items)} items")
        array = np.empty(len(items), dtype=object)
        for place, item in enumerate(items):
            array[place] = self.decode(item, depth)
        return array.reshape(shape)

    def _decode_masked_array(self, node, depth):
        data, mask, fill_value = (
            self.decode(part, depth) for part in self.fields(node, data=dict, mask=object, fill_value=object)
        )
        if not isinstance(data, np.ndarray) or not isinstance(mask, np.ndarray | np.bool_) or mask.dtype != bool:
            raise self.error("has a masked array of something else than arrays")
        if mask.shape != data.shape:
            raise self.error(f"has a masked array of shape {data.shape} with a mask of shape {mask.shape}")
        return np.ma.MaskedArray(data, mask, fill_value=fill_value)

    def _decode_sparse(self, node, depth):
        name, shape, parts = self.fields(node, **{"class": str}, shape=list, parts=dict)
        if name not in _SPARSE or parts.keys() != set(_SPARSE[name][1]):
            raise self.error(f"has a sparse matrix {shown(name)} of the parts {shown(sorted(parts))}")
        if len(shape) != 2 or not all(type(size) is int and 0 <= size < 2**62 for size in shape):
            raise self.error(f"has a sparse matrix of shape {shown(shape)}")
        cls, names = _SPARSE[name]
        parts = self.named(parts, depth)
        if not all(isinstance(part, np.ndarray) for part in parts.values()):
            raise self.error("has a sparse matrix of something else than arrays")
        values = [parts[part] for part in names]
        matrix = cls((values[0], tuple(values[1:])) if "row" in parts else tuple(values), shape=tuple(shape))
        if "indptr" in parts:
            # SciPy's compiled loops trust these.
            matrix.check_format(full_check=True)
        return matrix

    def _decode_random_state(self, node, depth):
        (state,) = self.fields(node, state=dict)
        random = np.random.RandomState()
        random.set_state(self._random_state(self.decode(state, depth), {"MT19937"}))
        return random

    def _decode_generator(self, node, depth):
        (state,) = self.fields(node, state=dict)
        state = self._random_state(self.decode(state, depth), set(_BIT_GENERATORS))
        bit_generator = getattr(np.random, state["bit_generator"])()
        bit_generator.state = state
        return np.random.Generator(bit_generator)

    def _random_state(self, state, known):
        """Check the places in buffers, which NumPy believes."""
        if not isinstance(state, dict) or state.get("bit_generator") not in known:
            raise self.error("has a source of random numbers of an unknown kind")
        inner = state.get("state")
        limits = {"MT19937": (inner, "pos", 624), "Philox": (state, "buffer_pos", 4)}
        if state["bit_generator"] in limits:
            owner, name, most = limits[state["bit_generator"]]
            place = owner.get(name) if isinstance(owner, dict) else None
            if isinstance(place, bool) or not isinstance(place, int | np.integer) or not 0 <= place <= most:
                raise self.error(f"has random numbers at the place {shown(place)}")
        return state

    def _decode_partial(self, node, depth):
        name, keywords = self.fields(node, **{"class": str}, keywords=dict)
        return functools.partial(self.class_of(name), **self.named(keywords, depth))

    def _decode_class(self, node, depth):
        return self.class_of(*self.fields(node, **{"class": str}))

    def _decode_function(self, node, depth):
        (name,) = self.fields(node, function=str)
        function = _registry.function_of_name(name)
        if function is None:
            raise self.error(f"names the function {shown(name)}, which this version of skhash does not load")
        return function

    def _decode_same(self, node, depth):
        (number,) = self.fields(node, **{"as": int})
        if number not in self._objects:
            raise self.error(f"refers to the value {number}, which is none before it")
        return self._objects[number]

    def _decode_torch(self, node, depth):
        from ._torch_encoding import decode_torch

        return decode_torch(self, node, depth)

    def _decode_object(self, node, depth):
        name, parameters, state = self.fields(node, **{"class": str}, parameters=dict, state=dict)
        cls = self.class_of(name)
        if not _registry.is_object(name, cls):
            raise self.error(f"has an object of the class {shown(name)}")
        known = _parameters_of(cls) if issubclass(cls, BaseEstimator) else {}
        unknown = [] if _registry.is_of_sklearn(cls) else sorted(parameters.keys() - known)
        if unknown:
            raise self.error(f"sets the parameter {shown(unknown[0])} of {name}, which this version does not have")
        values = self.named(parameters, depth)
        values |= self.named(state, depth, mappable={key for owner, key in _MAPPED_ATTRIBUTES if owner == name})
        for parameter, default in known.items():
            if parameter not in values:
                # A parameter that is younger than the file.
                if default is inspect.Parameter.empty:
                    raise self.error(f"does not set the parameter {parameter!r} of {name}")
                values[parameter] = default
        check_state(name, values, self.error)
        value = _rebuilt(cls, values)
        check_object(value, self.error)
        return value

    _KINDS = {
        "array": _decode_array,
        "bytes": _decode_bytes,
        "class": _decode_class,
        "dict": _decode_dict,
        "dtype": _decode_dtype,
        "float": _decode_float,
        "frozenset": _decode_items,
        "function": _decode_function,
        "generator": _decode_generator,
        "int": _decode_int,
        "masked_array": _decode_masked_array,
        "module": _decode_torch,
        "net": _decode_torch,
        "object": _decode_object,
        "object_array": _decode_object_array,
        "partial": _decode_partial,
        "path": _decode_path,
        "random_state": _decode_random_state,
        "same": _decode_same,
        "scalar": _decode_scalar,
        "set": _decode_items,
        "slice": _decode_slice,
        "sparse": _decode_sparse,
        "tensor": _decode_torch,
        "tuple": _decode_items,
    }


def _parameters_of(cls):
    """Parameters of an estimator, with their defaults."""
    if cls.__init__ is object.__init__:
        return {}
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    _, *parameters = inspect.signature(cls.__init__).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind not in kinds}


def _state_of(value):
    """Attributes of an object that are to be kept."""
    if isinstance(value, tuple):
        return value._asdict()
    state = value.__getstate__()
    if not isinstance(state, dict):
        raise TypeError(f"a {type(value).__name__} has no attributes that could be saved.")
    state = dict(state)
    state.pop("_sklearn_version", None)
    if _is_search(value):
        state.pop(_SCORER, None)
    return state


def _is_search(value):
    return type(value).__module__.startswith("sklearn.model_selection._search")


def _rebuilt(cls, state):
    """Make an object of attributes without calling its constructor, unless it is a tuple."""
    if issubclass(cls, tuple):
        return cls(**state)
    value = cls.__new__(cls)
    if getattr(cls, "__setstate__", BaseEstimator.__setstate__) is not BaseEstimator.__setstate__:
        value.__setstate__(state)
    else:
        vars(value).update(state)
    if _is_search(value) and "best_index_" in state:
        scorer = check_scoring(value.estimator, scoring=value.scoring)
        setattr(value, _SCORER, scorer._scorers if state.get("multimetric_") is True else scorer)
    return value


def _checked_dtype(dtype, path):
    """Refuse dtypes that a file cannot hold."""
    if is_storable(dtype) or (dtype.kind in _VIEWED_KINDS and dtype.itemsize and dtype.str[1:] not in ("c32", "c24")):
        return dtype
    raise TypeError(
        f"{_called(path)} has the dtype {dtype}, which a file of skhash cannot hold; use plain numbers, booleans, "
        "strings or dates."
    )


def _called(path):
    return path or "the estimator"


def _refusal(cls, path):
    """Say what cannot be saved, and what to do."""
    what, name = _called(path), f"{cls.__module__}.{cls.__qualname__}"
    if name in ("builtins.function", "builtins.method", "builtins.builtin_function_or_method"):
        return (
            f"{what} is a function, and files of skhash hold no code; choose by name what it does, or set it to None "
            "to save and give it again after loading."
        )
    return (
        f"{what} is of the class {name}, and files of skhash hold estimators of skhash and scikit-learn and plain "
        "values only; set it to None to save and give it again after loading."
    )
