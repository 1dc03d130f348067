"""Hostile arguments: the same content in every container, and what must be refused.

Every maker takes a `random.Random`, which may be driven by hypothesis, and returns an `Argument`.
"""

import array
import decimal
import fractions
import functools
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from scipy import sparse

HAS_PANDAS, HAS_POLARS, HAS_TORCH = (find_spec(name) is not None for name in ("pandas", "polars", "torch"))

# What a call with an argument must do.
EQUAL = "equal"  # The same as with the plain argument: the same result, or an error.
EITHER = "either"  # The same result as with the plain argument, or a refusal.
REFUSED = "refused"  # An error.


@dataclass(frozen=True)
class Argument:
    """A value to pass, the plainest form of the same content, and what has to become of it."""

    value: object
    plain: object
    verdict: str
    text: str


def plain(value):
    """Make an argument that is nothing special."""
    return Argument(value, value, EQUAL, "plain")


def numpy_rng(rng):
    """Make a generator of NumPy that is driven by the given one."""
    return np.random.default_rng(rng.getrandbits(32))


# --- The same numbers in another place of memory.


def _strided(values):
    wide = np.zeros(tuple(2 * size for size in values.shape), dtype=values.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in values.shape)]
    view[...] = values
    return view


def _reversed(values):
    turned = (slice(None, None, -1),) * values.ndim
    return np.ascontiguousarray(values[turned])[turned]


def _unaligned(values):
    buffer = bytearray(values.nbytes + 1)
    view = np.ndarray(values.shape, values.dtype, buffer=buffer, offset=1)
    view[...] = values
    return view


def _read_only(values):
    copy = values.copy()
    copy.flags.writeable = False
    return copy


def _swapped(values):
    return values.astype(values.dtype.newbyteorder("S"))


def _from_bytes(values):
    return np.frombuffer(values.tobytes(), dtype=values.dtype).reshape(values.shape)


def _mapped(values):
    """Lay values into mapped memory."""
    if not values.nbytes:
        return values.copy()
    view = np.ndarray(values.shape, values.dtype, buffer=mmap.mmap(-1, values.nbytes))
    view[...] = values
    return view


class _Subclass(np.ndarray):
    """An array that is one of a subclass."""


LAYOUTS: dict[str, Callable] = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "every second element": _strided,
    "negative strides": _reversed,
    "unaligned": _unaligned,
    "read-only": _read_only,
    "other byte order": _swapped,
    "bytes": _from_bytes,
    "mapped": _mapped,
    "subclass": lambda values: values.copy().view(_Subclass),
    "slice of a wider array": lambda values: np.concatenate([values, values], axis=-1)[..., : values.shape[-1]],
}


def in_other_memory(rng, values):
    """Lay an array out in another way."""
    name = rng.choice(sorted(LAYOUTS))
    return Argument(LAYOUTS[name](values), np.array(values, order="C"), EQUAL, name)


def with_equal_rows(rng, values):
    """Repeat the first row by a stride of zero."""
    broadcast = np.broadcast_to(values[:1], values.shape)
    return Argument(broadcast, broadcast.copy(), EQUAL, "stride of zero")


# --- The same numbers in other containers.


class _ArrayLike:
    """What converts itself to an array."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self._values, dtype=dtype)


class _ArrayInterface:
    """What shows its memory."""

    def __init__(self, values):
        self._values = values
        self.__array_interface__ = values.__array_interface__


class _Sequence:
    """A sequence of rows that is no list."""

    def __init__(self, rows):
        self._rows = rows

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, place):
        return self._rows[place]


def _objects(values):
    objects = np.empty(values.shape, dtype=object)
    objects[...] = values.tolist() if values.ndim == 1 else values
    return objects


CONTAINERS: dict[str, Callable] = {
    "list": lambda values: values.tolist(),
    "tuple": lambda values: tuple(map(tuple, values.tolist())) if values.ndim > 1 else tuple(values.tolist()),
    "list of arrays": list,
    "memoryview": lambda values: memoryview(np.ascontiguousarray(values)),
    "__array__": _ArrayLike,
    "__array_interface__": _ArrayInterface,
    "sequence": lambda values: _Sequence(values.tolist()),
    "object array": _objects,
    "masked array without a mask": np.ma.array,
    "array of the standard library": lambda values: (
        [array.array("d", row) for row in values.tolist()] if values.ndim > 1 else array.array("d", values.tolist())
    ),
}


def _numeric_frame(rng, values, kind):
    import pandas as pd

    columns = [f"byte{number}" for number in range(values.shape[1])]
    if kind == "duplicate names":
        columns = ["same"] * values.shape[1]
    elif kind == "numbers as names":
        columns = list(range(values.shape[1]))
    elif kind == "mixed names":
        columns[:1] = [0]
    elif kind == "tuples as names":
        columns = [("a", number) for number in range(values.shape[1])]
    frame = pd.DataFrame(values.copy(), columns=columns)
    if kind == "nullable":
        # Float64 and Int64 hold the same numbers with a mask beside them.
        frame = frame.astype("Float64")
    elif kind == "objects":
        frame = frame.astype(object)
    elif kind == "other index":
        frame.index = range(len(frame), 0, -1)
    elif kind == "mixed dtypes" and values.shape[1] > 1:
        frame = frame.astype({columns[0]: np.float32})
    elif kind == "sparse columns":
        frame = frame.astype(pd.SparseDtype(values.dtype, values.dtype.type(0)))
    return frame


FRAME_KINDS = [
    "plain", "duplicate names", "numbers as names", "mixed names", "tuples as names", "nullable", "objects",
    "other index", "mixed dtypes", "sparse columns",
]  # fmt: skip


def in_a_container(rng, values):
    """Put a matrix or a vector into a container that is no array."""
    names = sorted(CONTAINERS)
    if values.ndim == 2:
        names += ["matrix"] + HAS_PANDAS * ["pandas"] + HAS_POLARS * ["polars"]
    else:
        names += HAS_PANDAS * ["series"] + HAS_POLARS * ["polars series"]
    names += HAS_TORCH * ["tensor"]
    name = rng.choice(names)
    text = name
    if name == "matrix":
        # Not by its constructor, which warns.
        value = values.view(np.matrix)
    elif name == "pandas":
        kind = rng.choice(FRAME_KINDS)
        value, text = _numeric_frame(rng, values, kind), f"frame of pandas, {kind}"
    elif name == "polars":
        import polars as pl

        value = pl.DataFrame({f"byte{number}": column for number, column in enumerate(values.T.copy())})
    elif name == "series":
        import pandas as pd

        value = pd.Series(values, index=range(len(values), 0, -1))
    elif name == "polars series":
        import polars as pl

        value = pl.Series(values)
    elif name == "tensor":
        import torch

        if values.dtype == np.longdouble or (values.dtype.kind == "u" and values.dtype != np.uint8):
            return plain(values)
        value = torch.from_numpy(values.copy())
    else:
        value = CONTAINERS[name](values)
    # Frames of sparse columns become sparse matrices, whose sums are rounded in another way.
    return Argument(value, None if text.endswith("sparse columns") else values, EITHER, text)


# --- Sparse matrices.

SPARSE_FORMATS = ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"]


def _csr(values):
    matrix = sparse.csr_array(values)
    matrix.sort_indices()
    return matrix


def _broken_csr(rng, values, kind):
    """Make a compressed matrix whose indices lead out of it: SciPy looks at them only when it is asked to."""
    dense = values.copy()
    dense[:, 0] = 1
    matrix = rng.choice([sparse.csr_array, sparse.csc_array, sparse.csr_matrix, sparse.bsr_array])(dense)
    if kind == "negative index":
        matrix.indices[-1] = -rng.choice([1, 7, 2**30])
    elif kind == "index beyond the width":
        matrix.indices[-1] = rng.choice([max(matrix.shape), 2**20, 2**30])
    elif kind == "falling pointers":
        matrix.indptr[1] = matrix.indptr[-1] + rng.choice([1, 2**20])
    elif kind == "pointers beyond the data":
        matrix.indptr[-1] += rng.choice([1, 2**20])
    elif kind == "negative pointer":
        matrix.indptr[0] = -rng.choice([1, 2**20])
    elif kind == "fewer indices":
        matrix.indices = matrix.indices[: len(matrix.indices) // 2]
    elif kind == "fewer data":
        matrix.data = matrix.data[: len(matrix.data) // 2]
    return matrix


def _broken_coo(rng, values):
    dense = values.copy()
    dense[:, 0] = 1
    matrix = sparse.coo_array(dense)
    row, column = (places.copy() for places in matrix.coords)
    rng.choice([row, column])[-1] = rng.choice([-1, -(2**30), max(matrix.shape), 2**30])
    matrix.coords = (row, column)
    return matrix


BROKEN_SPARSE = [
    "negative index", "index beyond the width", "falling pointers", "pointers beyond the data", "negative pointer",
    "fewer indices", "fewer data",
]  # fmt: skip


def sparse_matrix(rng, values):
    """Make a sparse matrix of the same numbers, or one that has to be refused."""
    canonical = _csr(values)
    kind = rng.choice(
        ["format", "format", "matrix", "64-bit indices", "unsorted", "duplicates", "explicit zeros", "read-only",
         "broken", "broken", "broken coo", "one-dimensional", "not a number", "dtype", "other byte order"]
    )  # fmt: skip
    if kind == "broken":
        broken = rng.choice(BROKEN_SPARSE)
        return Argument(_broken_csr(rng, values, broken), None, REFUSED, f"sparse, {broken}")
    if kind == "broken coo":
        return Argument(_broken_coo(rng, values), None, REFUSED, "sparse coo, index outside")
    if kind == "one-dimensional":
        return Argument(sparse.coo_array(values[0]), None, REFUSED, "sparse, one-dimensional")
    if kind == "not a number":
        matrix = canonical.astype(np.float64)
        if not matrix.nnz:
            return plain(canonical)
        matrix.data[-1] = rng.choice([np.nan, np.inf, -np.inf])
        return Argument(
            matrix.asformat(rng.choice(["csr", "csc", "coo"])), None, REFUSED, "sparse with NaN or infinity"
        )
    if kind == "dtype":
        return Argument(canonical.astype(np.complex128), None, REFUSED, "sparse complex")
    if kind in ("format", "matrix"):
        name = rng.choice(SPARSE_FORMATS)
        make = getattr(sparse, f"{name}_{'array' if kind == 'format' else 'matrix'}")
        return Argument(make(values), canonical, EITHER, f"sparse {make.__name__}")
    matrix = canonical.copy()
    if kind == "64-bit indices":
        matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    elif kind == "unsorted":
        for first, last in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
            matrix.indices[first:last] = matrix.indices[first:last][::-1].copy()
            matrix.data[first:last] = matrix.data[first:last][::-1].copy()
        matrix.has_sorted_indices = False
    elif kind == "duplicates":
        # Each number as the sum of itself and of zero.
        twice = np.repeat(matrix.data, 2)
        twice[1::2] = 0
        matrix = sparse.csr_array((twice, np.repeat(matrix.indices, 2), 2 * matrix.indptr), shape=matrix.shape)
    elif kind == "explicit zeros":
        columns, starts = np.indices(values.shape)[1].ravel(), np.arange(0, values.size + 1, values.shape[1])
        matrix = sparse.csr_array((values.ravel(), columns, starts), values.shape)
    elif kind == "read-only":
        for part in (matrix.data, matrix.indices, matrix.indptr):
            part.flags.writeable = False
    elif kind == "other byte order":
        matrix.data = _swapped(matrix.data)
    return Argument(matrix, canonical, EITHER, f"sparse, {kind}")


# --- What is no matrix of real numbers.

_RECORD = np.dtype([("a", float), ("b", int)])


def _not_numbers(rng, values):
    """Make arrays whose dtype is none of real numbers, from numbers that could be cast."""
    kind = rng.choice(
        ["complex", "complex", "string", "bytes", "datetime", "timedelta", "structured", "void", "numeric strings",
         "objects", "masked", "masked all", "string type"]
    )  # fmt: skip
    if kind == "complex":
        value = values.astype(rng.choice([np.complex64, np.complex128, np.clongdouble]))
    elif kind == "string":
        value = values.astype(np.float64).astype("U8")
    elif kind == "bytes":
        value = values.astype(np.float64).astype("S8")
    elif kind == "datetime":
        value = values.astype(np.int64).astype(rng.choice(["datetime64[s]", "datetime64[ns]", "datetime64[D]"]))
    elif kind == "timedelta":
        value = values.astype(np.int64).astype(rng.choice(["timedelta64[s]", "timedelta64"]))
    elif kind == "structured":
        value = np.zeros(values.shape, dtype=_RECORD)
    elif kind == "void":
        value = np.zeros(values.shape, dtype="V4")
    elif kind == "numeric strings":
        value = values.astype(object)
        value.flat[rng.randrange(value.size)] = rng.choice(["1", "1.5", b"1", " 7\n", "nan"])
    elif kind == "objects":
        value = values.astype(object)
        value.flat[rng.randrange(value.size)] = rng.choice(ODD_OBJECTS)
    elif kind == "string type":
        value = values.astype(np.float64).astype("U8").astype(np.dtypes.StringDType())
    else:
        mask = np.zeros(values.shape, dtype=bool)
        mask.flat[rng.randrange(values.size)] = True
        value = np.ma.array(values, mask=True if kind == "masked all" else mask)
    return Argument(value, None, REFUSED, f"array of dtype {value.dtype}, {kind}")


class Unprintable:
    """An object that cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("no representation")


# None of them is a number that could be read as one; those of several lines test the messages.
ODD_OBJECTS = [
    None, "text", "two\nlines", b"bytes", {}, {"a": 1}, set(), [], [1, 2], (1,), 1j, object, len, Ellipsis,
    NotImplemented,
    np.array([["a"] * 3] * 10), np.array("1"), slice(2), frozenset([1]), "x" * 300, np.datetime64("2020-01-01"),
    np.timedelta64(1), bytearray(b"1"), np.ma.masked, float, Exception("two\nlines"),
]  # fmt: skip


def no_matrix(rng):
    """Make what is no matrix at all."""
    kind = rng.choice(
        ["none", "generator", "ragged", "ragged arrays", "scalar", "text", "empty list", "dictionary", "iterator",
         "odd object", "list of odd objects", "function", "nested deeply", "map", "huge integers", "list of strings"]
    )  # fmt: skip
    values = {
        "none": lambda: None,
        "generator": lambda: (row for row in [[1, 2], [3, 4]]),
        "ragged": lambda: rng.choice([[[1, 2], [3]], [[1], 2], [[], [1]], [[1, [2]], [3, 4]], [[1, 2], None]]),
        "ragged arrays": lambda: [np.zeros(2), np.zeros(3)],
        "scalar": lambda: rng.choice([0, 1.5, np.float64(1), np.array(3), True, float("nan")]),
        "text": lambda: rng.choice(["", "text", b"bytes", np.array("text")]),
        "empty list": lambda: rng.choice([[], [[]], (), np.empty((0, 0)), np.empty(0), {}]),
        "dictionary": lambda: {"a": [1, 2], "b": [3, 4]},
        "iterator": lambda: iter([[1, 2], [3, 4]]),
        "odd object": lambda: rng.choice(ODD_OBJECTS),
        "list of odd objects": lambda: [[rng.choice(ODD_OBJECTS)] * 2] * 2,
        "function": lambda: rng.choice([len, np.sum, lambda: None, type]),
        "nested deeply": lambda: functools.reduce(lambda inner, _: [inner], range(rng.choice([5, 40, 70])), 1.0),
        "map": lambda: map(list, [[1, 2], [3, 4]]),
        "huge integers": lambda: [[10**400, 1], [2, -(10**400)]],
        "list of strings": lambda: rng.choice([[["1", "2"]], ["a", "b"], [[b"1"]], [[decimal.Decimal("sNaN")]]]),
    }
    value = values[kind]()
    return Argument(value, None, REFUSED, kind)


def _other_shape(rng, values):
    """Give a matrix another number of dimensions, or none of something."""
    kind = rng.choice(["no rows", "no columns", "nothing", "0-d", "1-d", "3-d", "transposed away", "64-d"])
    value = {
        "no rows": values[:0],
        "no columns": values[:, :0],
        "nothing": values[:0, :0],
        "0-d": values[0, 0].reshape(()),
        "1-d": values[0],
        "3-d": values[..., None],
        "transposed away": values[None],
        "64-d": values.reshape((1,) * 60 + values.shape),
    }[kind]
    return Argument(value, None, REFUSED, kind)


def _hostile_frame(rng, values):
    """Make frames whose columns are not all of numbers."""
    if HAS_POLARS and (not HAS_PANDAS or rng.random() < 0.3):
        import polars as pl

        columns: dict[str, object] = {f"byte{number}": column for number, column in enumerate(values.T.copy())}
        kind, columns["byte0"] = rng.choice(
            [("strings", ["1"] * len(values)), ("null", [None] * len(values)), ("lists", [[1]] * len(values))]
        )
        return Argument(pl.DataFrame(columns), None, REFUSED, f"frame of polars with {kind}")
    if not HAS_PANDAS:
        return no_matrix(rng)
    import pandas as pd

    frame = pd.DataFrame(values.copy(), columns=[f"byte{number}" for number in range(values.shape[1])])
    kind = rng.choice(
        ["missing", "numeric strings", "strings", "categories of strings", "dates", "nullable missing", "complex",
         "objects", "nullable strings", "intervals"]
    )  # fmt: skip
    n = len(values)
    first = {
        "missing": lambda: np.full(n, np.nan),
        "numeric strings": lambda: pd.Series(["1"] * n, dtype=object),
        "strings": lambda: ["a"] * n,
        "categories of strings": lambda: pd.Categorical(["a"] * n),
        "dates": lambda: pd.date_range("2020", periods=n),
        "nullable missing": lambda: pd.array([pd.NA] * n, dtype="Int64"),
        "complex": lambda: np.ones(n, dtype=complex),
        "objects": lambda: pd.Series([rng.choice([None, {}, pd.NA, pd.NaT, "a"])] * n, dtype=object),
        "nullable strings": lambda: pd.array(["1"] * n, dtype="string"),
        "intervals": lambda: pd.arrays.IntervalArray.from_breaks(range(n + 1)),
    }[kind]()
    frame["byte0"] = first
    return Argument(frame, None, REFUSED, f"frame of pandas with {kind}")


# --- Features and codes.

FLOATS = [np.float16, np.float32, np.float64, np.longdouble]
INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


def _cast_features(rng, values):
    """Cast to another dtype without a loss, and say in which plain dtype the result has to be the same."""
    dtype = np.dtype(rng.choice([*FLOATS, *INTEGERS, bool]))
    if dtype.kind in "iu":
        values = np.abs(values).astype(dtype)
    elif dtype.kind == "b":
        values = values > 0
    else:
        values = values.astype(dtype)
    kept = np.float32 if dtype in (np.float16, np.float32) else np.float64
    return Argument(values, values.astype(kept), EQUAL, f"dtype {dtype}")


def _extreme_features(rng, values):
    """Put values in that no product survives, or that no one can hash."""
    values = values.astype(rng.choice([np.float32, np.float64, np.float64]))
    limits = np.finfo(values.dtype)
    kind = rng.choice(
        ["not a number", "infinity", "huge", "huge everywhere", "subnormal", "zeros", "constant", "mixed"]
    )
    place = rng.randrange(len(values)), rng.randrange(values.shape[1])
    if kind == "not a number":
        values[place] = np.nan
        return Argument(values, None, REFUSED, kind)
    if kind == "infinity":
        values[place] = rng.choice([np.inf, -np.inf])
        return Argument(values, None, REFUSED, kind)
    if kind == "huge":
        values[place] = limits.max
    elif kind == "huge everywhere":
        values *= limits.max / 16
    elif kind == "subnormal":
        values *= limits.smallest_subnormal
    elif kind == "zeros":
        values[:] = 0
    elif kind == "constant":
        values[:] = 3
    else:
        values[:, 0] *= limits.max / 16
        values[:, 1:] *= limits.tiny
    return Argument(_reversed(values), values, EQUAL, kind)


def _beyond_doubles(rng, values):
    """Use what a dtype holds and float64 does not."""
    if rng.random() < 0.5:
        values = values.astype(np.longdouble)
        values[rng.randrange(len(values))] = rng.choice([np.finfo(np.longdouble).max, np.longdouble("1e4000")])
        return Argument(values, None, REFUSED, "longdouble beyond float64")
    values = np.abs(values).astype(np.uint64)
    values[rng.randrange(len(values))] = 2**64 - 1
    return Argument(values, values.astype(np.float64), EQUAL, "uint64 beyond int64")


def features(rng, n_samples, n_features):
    """Make a matrix of features, hostile in one way."""
    # Small integers, so that sums are exact in any order.
    values = numpy_rng(rng).integers(-8, 9, size=(n_samples, n_features)).astype(np.float64)
    return _one_of(
        rng,
        values,
        [in_other_memory, in_other_memory, with_equal_rows, in_a_container, in_a_container, sparse_matrix,
         sparse_matrix, _not_numbers, _other_shape, _hostile_frame, _cast_features, _cast_features, _extreme_features,
         _beyond_doubles, _cast_and_in_other_memory],
    )  # fmt: skip


def _cast_and_in_other_memory(rng, values):
    cast = _cast_features(rng, values)
    moved = in_other_memory(rng, cast.value)
    return Argument(moved.value, cast.plain, EQUAL, f"{cast.text}, {moved.text}")


def _one_of(rng, values, makers):
    maker = rng.choice([*makers, None])
    return no_matrix(rng) if maker is None else maker(rng, values)


def codes(rng, n_samples, n_bytes):
    """Make packed codes, hostile in one way."""
    values = numpy_rng(rng).integers(256, size=(n_samples, n_bytes), dtype=np.uint8)
    return _one_of(
        rng,
        values,
        [in_other_memory, in_other_memory, with_equal_rows, in_a_container, in_a_container, _sparse_codes, _not_numbers,
         _other_shape, _hostile_frame, _cast_codes, _cast_codes, _no_bytes, _no_bytes],
    )  # fmt: skip


def _sparse_codes(rng, values):
    made = sparse_matrix(rng, values.astype(np.float64))
    return Argument(made.value, None, REFUSED, made.text)


def _cast_codes(rng, values):
    dtype = np.dtype(rng.choice([*FLOATS, *INTEGERS[1:]]))
    moved = in_other_memory(rng, values.astype(dtype))
    return Argument(moved.value, values, EQUAL, f"dtype {dtype}, {moved.text}")


def _no_bytes(rng, values):
    """Hold one value that is no integer from 0 to 255."""
    place = rng.randrange(len(values)), rng.randrange(values.shape[1])
    if rng.random() < 0.2:
        return Argument(values > 127, None, REFUSED, "booleans")
    if rng.random() < 0.3:
        held = values.astype(object)
        held[place] = rng.choice(
            [10**400, -1, 256, 2**64, 0.5, float("nan"), True, fractions.Fraction(1, 2), decimal.Decimal(1), "7",
             1 + 0j,
             1e-320, np.float64(2.5), -(10**400), np.complex128(1)]
        )  # fmt: skip
        return Argument(held, None, REFUSED, f"objects with {held[place]!r:.50}")
    if rng.random() < 0.6:
        held = values.astype(rng.choice(FLOATS))
        held[place] = rng.choice([np.nan, np.inf, -np.inf, 0.5, -1, 256, 255.5, np.finfo(held.dtype).tiny, -0.5])
    else:
        held = values.astype(rng.choice([np.int16, np.int64]))
        held[place] = rng.choice([-1, 256, np.iinfo(held.dtype).min, np.iinfo(held.dtype).max])
    return Argument(held, None, REFUSED, f"{held[place]!r} among codes")


# --- Labels.


def labels(rng, n_samples, n_classes=3, *, single=False):
    """Make labels of `n_samples` items, hostile in one way; `single` asks for classes only."""
    numbers = np.arange(n_samples) % n_classes
    numpy_rng(rng).shuffle(numbers)
    makers = [_integer_labels, _integer_labels, _text_labels, _odd_labels, _odd_labels, _label_shapes, _missing_labels]
    if not single:
        makers += [_indicators, _indicators]
    maker = rng.choice([*makers, None])
    return no_matrix(rng) if maker is None else maker(rng, numbers)


def _integer_labels(rng, numbers):
    kind = rng.choice(["dtype", "layout", "container", "floats", "large", "negative", "categorical", "nullable"])
    if kind == "dtype":
        return Argument(numbers.astype(rng.choice([*INTEGERS, *FLOATS])), numbers, EQUAL, "integer labels of a dtype")
    if kind == "layout":
        return in_other_memory(rng, numbers)
    if kind == "container":
        return in_a_container(rng, numbers)
    if kind == "floats":
        return Argument(numbers + 0.5, None, EITHER, "fractions as labels")
    if kind == "large":
        large = numbers.astype(np.uint64) + np.uint64(2**63)
        return Argument(rng.choice([large, large.tolist(), [10**30 + number for number in numbers.tolist()]]), None,
                        EITHER, "large integers as labels")  # fmt: skip
    if kind == "negative":
        return Argument(numbers - 5, None, EITHER, "negative labels")
    if not HAS_PANDAS:
        return plain(numbers)
    import pandas as pd

    value = pd.Series(numbers).astype("category" if kind == "categorical" else "Int64")
    return Argument(value, numbers, EITHER, f"series, {kind}")


def _text_labels(rng, numbers):
    texts = np.array([f"class {number}" for number in numbers])
    kind = rng.choice(["array", "list", "objects", "bytes", "swapped", "string type", "series", "polars", "strided"])
    value = {
        "array": lambda: _read_only(texts),
        "list": texts.tolist,
        "objects": lambda: texts.astype(object),
        "bytes": lambda: texts.astype("S"),
        "swapped": lambda: _swapped(texts),
        "string type": lambda: texts.astype(np.dtypes.StringDType()),
        "strided": lambda: _strided(texts),
        "series": lambda: _series(texts),
        "polars": lambda: _polars_series(texts),
    }[kind]()
    return Argument(value, texts.astype("S") if kind == "bytes" else texts, EITHER, f"strings as labels, {kind}")


def _series(values):
    if not HAS_PANDAS:
        return values
    import pandas as pd

    return pd.Series(values)


def _polars_series(values):
    if not HAS_POLARS:
        return values
    import polars as pl

    return pl.Series(values.tolist())


class _Equal:
    """An object whose comparison fails."""

    def __eq__(self, other):
        raise ValueError("not comparable")

    __hash__ = None  # type: ignore[assignment]


def _odd_labels(rng, numbers):
    n = len(numbers)
    kinds: dict[str, Callable] = {
        "complex": lambda: numbers + 0j,
        "dates": lambda: numbers.astype("datetime64[D]"),
        "durations": lambda: numbers.astype("timedelta64[s]"),
        "structured": lambda: np.zeros(n, dtype=_RECORD),
        "void": lambda: np.zeros(n, dtype="V3"),
        "lists": lambda: _object_vector([[number] for number in numbers.tolist()]),
        "dictionaries": lambda: _object_vector([{}] * n),
        "tuples": lambda: _object_vector([(number, "a") for number in numbers.tolist()]),
        "mixed": lambda: [("cat", 1)[number % 2] for number in range(n)],
        "arrays": lambda: _object_vector([np.arange(3)] * n),
        "not comparable": lambda: _object_vector([_Equal()] * n),
        "decimals": lambda: _object_vector([decimal.Decimal(number) for number in numbers.tolist()]),
        "fractions": lambda: _object_vector([fractions.Fraction(number, 7) for number in numbers.tolist()]),
        "huge": lambda: _object_vector([10**400 + number for number in numbers.tolist()]),
        "booleans": lambda: numbers > 0,
        "objects": lambda: _object_vector([object()] * n),
        "odd": lambda: _object_vector([rng.choice(ODD_OBJECTS) for _ in range(n)]),
        "masked": lambda: np.ma.array(numbers, mask=numbers == 0),
        "sets": lambda: [{number} for number in numbers.tolist()],
        "words": lambda: ["x" * 3000 + "\n" + str(number) for number in numbers.tolist()],
    }
    kind = rng.choice(sorted(kinds))
    verdict = REFUSED if kind in ("masked", "lists", "dictionaries", "not comparable") else EITHER
    return Argument(kinds[kind](), None, verdict, f"{kind} as labels")


def _object_vector(values):
    vector = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        vector[place] = value
    return vector


def _label_shapes(rng, numbers):
    kind = rng.choice(["column", "row", "3-d", "0-d", "empty", "short", "long", "sparse", "frame", "no labels"])
    value = {
        "column": lambda: numbers[:, None],
        "row": lambda: numbers[None],
        "3-d": lambda: numbers[:, None, None],
        "0-d": lambda: numbers[0],
        "empty": lambda: numbers[:0],
        "short": lambda: numbers[:-1],
        "long": lambda: np.append(numbers, 0),
        "sparse": lambda: rng.choice([sparse.csr_array, sparse.coo_matrix])(numbers[:, None]),
        "frame": lambda: _frame_of(numbers),
        "no labels": lambda: np.zeros((len(numbers), 0)),
    }[kind]()
    return Argument(value, None, REFUSED, f"labels, {kind}")


def _frame_of(numbers):
    if not HAS_PANDAS:
        return numbers[:, None]
    import pandas as pd

    return pd.DataFrame({"label": numbers})


def _missing_labels(rng, numbers):
    held = numbers.astype(object)
    held[rng.randrange(len(held))] = rng.choice([None, float("nan"), np.nan, np.datetime64("NaT")])
    value = rng.choice([held, held.tolist()])
    if HAS_PANDAS and rng.random() < 0.5:
        import pandas as pd

        value = rng.choice(
            [pd.Series(held, dtype=object), pd.Series(["a", pd.NA] * len(held))[: len(held)],
             pd.array([None, *numbers[1:].tolist()], dtype="Int64"), pd.Categorical([None, *numbers[1:].tolist()])]
        )  # fmt: skip
    return Argument(value, None, REFUSED, "labels with missing values")


def _indicators(rng, numbers):
    table = (np.arange(3) == numbers[:, None] % 3).astype(np.int64)
    kind = rng.choice(
        ["dtype", "layout", "container", "wrong", "strings", "two classes", "missing", "masked", "objects"]
    )
    if kind == "dtype":
        return Argument(table.astype(rng.choice([*INTEGERS, *FLOATS, bool])), table, EQUAL, "indicators of a dtype")
    if kind == "layout":
        return in_other_memory(rng, table)
    if kind == "container":
        return in_a_container(rng, table)
    if kind == "strings":
        return Argument(table.astype(rng.choice(["U2", "S2"])), None, REFUSED, "strings as indicators")
    if kind == "two classes":
        return Argument(2 * table, None, REFUSED, "indicators of twos")
    if kind == "masked":
        return Argument(np.ma.array(table, mask=table == 0), None, REFUSED, "masked indicators")
    if kind == "objects":
        held = table.astype(object)
        held[0, 0] = rng.choice([None, "1", b"1", [1], {}, 1j + 1, object, "two\nlines"])
        return Argument(held, None, REFUSED, "objects as indicators")
    held = table.astype(rng.choice([np.float32, np.float64]))
    held[rng.randrange(len(held)), 0] = np.nan if kind == "missing" else rng.choice([0.5, -1, 2, np.inf])
    return Argument(held, None, REFUSED, f"indicators, {kind}")


# --- Scalars.


def count(rng, good, *, none=False):
    """Make a number of things, for which `good` is right; `none` says that None is right too."""
    kind = rng.choice(["numpy", "numpy", "odd", "odd", "low", "huge", "fraction"])
    if kind == "numpy":
        dtype = rng.choice([dtype for dtype in INTEGERS if np.iinfo(dtype).max >= good])
        return Argument(dtype(good), good, EQUAL, f"{np.dtype(dtype)} as a number")
    if kind == "low":
        return Argument(
            rng.choice([-1, -(2**70), np.int64(-1), np.iinfo(np.int64).min]), None, REFUSED, "negative number"
        )
    if kind == "huge":
        # More than any machine holds, so that what is returned cannot be right.
        return Argument(
            rng.choice([2**60, 2**63, 2**64, 10**30, np.uint64(2**64 - 1), 10**400]), None, REFUSED, "huge number"
        )
    if kind == "fraction":
        return Argument(
            rng.choice([0.5, 1e300, np.float32(2.5), float("inf"), float("nan"), -0.0]), None, REFUSED, "real"
        )
    value = rng.choice(
        [True, False, np.True_, "3", b"3", 3j, [3], (3,), {}, np.array([3]), np.array([[1, 2], [3, 4]]), object, len,
         fractions.Fraction(7, 2), decimal.Decimal(3), np.datetime64("2020-01-01"), np.array("3"), "two\nlines",
         slice(3),
         3.0, np.float64(3), Ellipsis] + [None] * (not none)
    )  # fmt: skip
    return Argument(value, None, REFUSED, f"{value!r:.40} as a number".replace("\n", " "))


def seed(rng):
    """Make a seed."""
    kind = rng.choice(["good", "good", "odd"])
    if kind == "good":
        dtype = rng.choice([np.int8, np.uint8, np.int64, np.uint32])
        return Argument(dtype(5), 5, EQUAL, "seed of a NumPy dtype")
    value = rng.choice(
        [
            -1,
            2**32,
            2**70,
            1.5,
            "0",
            b"0",
            [1],
            np.array([1, 2]),
            object,
            float("nan"),
            np.random.default_rng(0),
            3j,
            {},
        ]
    )
    return Argument(value, None, EITHER, f"{value!r:.40} as a seed".replace("\n", " "))


def option(rng, good):
    """Make one of several names, or what is none."""
    value = rng.choice(
        ["", "unknown", good.upper(), good + "\n", good.encode(), None, 1, 0.5, [good], (good,), {good},
         np.array([good]),
         np.array([good, good]), object, {}, len, np.bool_(True), 3j, np.arange(40), "x" * 3000]
    )  # fmt: skip
    if rng.random() < 0.2:
        return Argument(np.str_(good), good, EQUAL, "string of NumPy")
    return Argument(value, None, REFUSED, f"{value!r:.40} as an option".replace("\n", " "))


# For parameters of any kind. Nothing large and right: it might be meant, and would take for ever.
PARAMETER_VALUES = [
    None, True, False, np.True_, 0, 1, 2, -1, -(2**70), 0.0, 0.5, 1.0, -0.5, 1e300, 5e-324, float("nan"), float("inf"),
    -float("inf"), "", "auto", "unknown", "two\nlines", b"auto", 3j, [], [1], (1, 2), {}, {"a": 1}, set(), object, len,
    np.int8(2), np.uint8(2), np.float16(0.5), np.float32(1), np.array(1), np.array([1, 2]), np.array([[1.0, np.nan]]),
    np.arange(40).reshape(20, 2), fractions.Fraction(1, 3), decimal.Decimal("0.5"), np.str_("auto"), slice(1), Ellipsis,
    np.datetime64("NaT"), [[1, 2], [3]], (np.nan,), ("a", None), np.longdouble(1), "x" * 3000, range(3),
    np.random.default_rng(0),
]  # fmt: skip
HUGE_VALUES = [2**40, 2**62, 2**63, 2**64, 10**30, 10**400, np.uint64(2**64 - 1)]


def parameter(rng, *, huge):
    """Make a value for a parameter of an estimator; `huge` allows numbers that no machine has room for."""
    value = rng.choice(PARAMETER_VALUES + HUGE_VALUES * huge)
    return Argument(value, None, EITHER, f"{value!r:.60}".replace("\n", " "))


def _objects_of_images(images):
    return _object_vector(list(images))
