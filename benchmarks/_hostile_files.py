"""Files that a stranger may write: sound by their checksums, and changed in what they say."""

import io
import json
import struct
import zlib

import numpy as np
from _reliability_files import packed, unpacked

from skhash.persistence._container import open_container, write_container
from skhash.persistence._errors import FileFormatError

_SCALARS = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 255, 256, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, -(2**63)),
    *(0.0, -0.0, 0.5, 1e-300, 1e308, -1e308, "", "x", "a.b", "__class__", "\0", "é", "X" * 300, [], {}),
)
_DTYPES = ("|b1", "|u1", "|i1", "<i2", "<u4", "<i8", ">i8", "<f4", "<f8", "<c16", "<U3", "|S5", "<M8[ns]", "<m8[25s]")
_DTYPES += ("|O", "<U999999999", "<M8[999999999Y]", "|V8", "<f16", "x", "")
_NUMPY_DTYPES = ("?", "u1", "i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8")
_CLASSES = (
    *("ITQ", "LSH", "PCAH", "NestedHash", "SpectralHash", "SphericalHash", "KMeansHash", "AnchorGraphHash"),
    *("KernelSupervisedHash", "OnlineHadamardHash", "HammingNearestNeighbors", "RetrievalPipeline", "SearchEngine"),
    *("HammingNearestNeighborsTransformer", "Database", "StoredVectors", "KeptFeatures", "AnchorMap", "AnchorKernel"),
    *("ClassStatistics", "FrequentDirections", "RunningStatistics", "RootKernel", "RetrievalScorer", "CNNFeatures"),
    *("sklearn.preprocessing.StandardScaler", "sklearn.decomposition.PCA", "sklearn.pipeline.Pipeline"),
    *("sklearn.preprocessing.QuantileTransformer", "sklearn.preprocessing.OneHotEncoder", "sklearn.cluster.KMeans"),
    *("sklearn.neighbors.KNeighborsClassifier", "sklearn.model_selection.GridSearchCV", "sklearn.svm.SVC"),
    *("sklearn.feature_extraction.text.TfidfVectorizer", "sklearn.impute.SimpleImputer", "os.system", "builtins.eval"),
    *("sklearn.linear_model.LogisticRegression", "sklearn.random_projection.SparseRandomProjection"),
    *(
        "sklearn.compose.ColumnTransformer",
        "sklearn.preprocessing.FunctionTransformer",
        "sklearn.model_selection.KFold",
    ),
)
_FUNCTIONS = ("identity", "mean_average_precision_scorer", "eval", "os.system", "__import__")
_BYTES = (0, 1, 2, 127, 128, 254, 255)


class Mutator:
    """Changes files at random, and computes their checksums anew.

    Parameters
    ----------
    seeds : list of bytes
        Sound files, parts of which are put into others.
    """

    def __init__(self, seeds):
        self._others = [_taken_apart(seed) for seed in seeds if not _is_log(seed)]

    def mutate(self, data, rng):
        """Change a file.

        Parameters
        ----------
        data : bytes
            A file, sound or not.

        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        changed : bytes
            Another file; its checksums are right unless the file could not be taken apart.
        """
        if _is_log(data):
            return _changed_log(data, rng)
        parts = _taken_apart(data) if rng.random() < 0.97 else None
        if parts is None:
            return _changed_bytes(data, rng)
        manifest, arrays = parts
        if rng.random() < 0.06:
            return _changed_list_of_tensors(data, rng)
        for _ in range(rng.geometric(0.7)):
            if arrays and rng.random() < 0.45:
                self._change_tensor(arrays, rng)
            else:
                manifest = self._changed_tree(manifest, list(arrays), rng)
        file = io.BytesIO()
        try:
            write_container(file, manifest, arrays)
        except (FileFormatError, ValueError, TypeError, OverflowError, RecursionError):
            return _changed_bytes(data, rng)
        return file.getvalue()

    def _change_tensor(self, arrays, rng):
        names = list(arrays)
        name = names[rng.integers(len(names))]
        array = arrays[name]
        what = rng.integers(8)
        if what <= 2 and array.nbytes:
            flat = np.frombuffer(bytearray(array.tobytes()), np.uint8).copy()
            for _ in range(1 + rng.integers(4)):
                start, size = rng.integers(len(flat)), 2 ** int(rng.integers(4))
                # All bits of a number, or one of its bytes.
                value = _BYTES[rng.integers(len(_BYTES))] if rng.random() < 0.7 else rng.integers(256)
                flat[start - start % size : start - start % size + size] = value
            arrays[name] = flat.view(array.dtype).reshape(array.shape)
        elif what == 3:
            flat = array.reshape(-1)
            size = int(rng.choice([0, 1, len(flat) // 2, max(0, len(flat) - 1), len(flat) + 1]))
            arrays[name] = np.resize(flat, size) if len(flat) else flat
        elif what == 4:
            shapes = [(-1,), (1, -1), (-1, 1), array.shape[::-1], (*array.shape, 1), (array.size, 0)]
            shape = shapes[rng.integers(len(shapes))]
            if 0 in shape or (array.size and array.size == array.reshape(-1).shape[0]):
                arrays[name] = array.reshape(shape) if 0 not in shape else np.empty(shape, array.dtype)
        elif what == 5:
            arrays[name] = array.astype(_NUMPY_DTYPES[rng.integers(len(_NUMPY_DTYPES))])
        elif what == 6:
            other = self._others[rng.integers(len(self._others))][1]
            if other:
                arrays[name] = other[list(other)[rng.integers(len(other))]]
        else:
            arrays[names[rng.integers(len(names))]] = array

    def _changed_tree(self, tree, names, rng):
        """Change one place of a tree of JSON."""
        tree = json.loads(json.dumps(tree))
        places = list(_places(tree))
        if not places:
            return tree
        # Where the estimator is, rather than the versions.
        inner = [place for place in places if place[2] > 0] or places
        owner, key, _ = inner[rng.integers(len(inner))]
        value, what = owner[key], rng.integers(8)
        if what == 0:
            owner[key] = _SCALARS[rng.integers(len(_SCALARS))]
        elif what == 1:
            owner[key] = self._new_node(names, rng)
        elif what == 2:
            if isinstance(owner, dict):
                del owner[key]
            elif rng.random() < 0.5:
                owner.pop(key)
            else:
                owner.insert(key, value)
        elif what == 3:
            other, place, _ = inner[rng.integers(len(inner))]
            # A copy, as a tree that holds itself is no JSON.
            owner[key] = json.loads(json.dumps(other[place]))
        elif what == 4:
            other = list(_places(self._others[rng.integers(len(self._others))][0]))
            found, place, _ = other[rng.integers(len(other))]
            owner[key] = json.loads(json.dumps(found[place]))
        elif what == 5 and isinstance(value, int | float) and not isinstance(value, bool):
            owner[key] = value + int(rng.choice([-1, 1, 8, -8, 1000, 2**20, -(2**31), 2**33]))
        elif what == 5 and isinstance(value, str):
            owner[key] = _changed_text(value, names, rng)
        elif what == 6 and isinstance(owner, dict):
            new = _changed_text(key, names, rng)
            owner[new] = owner.pop(key)
        else:
            owner[key] = [value] if rng.random() < 0.5 else {"kind": "tuple", "items": [value, value]}
        return tree

    def _new_node(self, names, rng):
        """Make a node of some kind, with what it needs and with what it does not."""

        def one_of(items):
            return items[rng.integers(len(items))]

        def scalar():
            return one_of(_SCALARS)

        def array():
            node = {"kind": "array", "tensor": one_of(names) if names else "x"}
            if rng.random() < 0.3:
                node["dtype"] = one_of(_DTYPES)
            if rng.random() < 0.2:
                node[one_of(("order", "byteorder"))] = one_of(("F", ">", "C", 1))
            return node

        shape = [int(one_of((0, 1, 2, 5, 40, 2**31, 2**61))) for _ in range(rng.integers(4))]
        layout = one_of(("csr", "csc", "bsr", "coo", "dia", "lil"))
        parts = {"coo": ("data", "row", "col"), "dia": ("data", "offsets")}.get(layout, ("data", "indices", "indptr"))
        state = {"bit_generator": one_of(("MT19937", "PCG64", "Philox", "SFC64", "x")), "state": scalar()}
        makers = (
            array,
            array,
            lambda: {"kind": "bytes", "tensor": one_of(names) if names else "x"},
            lambda: {"kind": "int", "hex": one_of(("0x0", "-0x1", "0x" + "f" * 5000, "0x", "1"))},
            lambda: {"kind": "float", "value": one_of(("nan", "inf", "-inf", "1", "1e5"))},
            lambda: {
                "kind": one_of(("tuple", "set", "frozenset")),
                "items": [scalar() for _ in range(rng.integers(4))],
            },
            lambda: {"kind": "dict", "items": [[scalar(), scalar()] for _ in range(rng.integers(4))]},
            lambda: {"kind": "dict", "items": [["bit_generator", state["bit_generator"]], ["state", array()]]},
            lambda: {"kind": "slice", "items": [scalar() for _ in range(3)]},
            lambda: {"kind": "path", "value": one_of(("/etc/passwd", "", "\0", "a"))},
            lambda: {"kind": "dtype", "dtype": one_of(_DTYPES)},
            lambda: {"kind": "scalar", "dtype": one_of(_DTYPES), "hex": one_of(("", "00", "ff" * 8, "ff" * 4, "x"))},
            lambda: {"kind": "object_array", "shape": shape, "items": [scalar() for _ in range(rng.integers(6))]},
            lambda: {"kind": "masked_array", "data": array(), "mask": array(), "fill_value": scalar()},
            lambda: {
                "kind": "sparse",
                "class": f"{layout}_{one_of(('matrix', 'array'))}",
                "shape": shape[:2] + [3] * (2 - len(shape[:2])),
                "parts": {part: array() for part in parts},
            },
            lambda: {
                "kind": "random_state",
                "state": {"kind": "dict", "items": [list(item) for item in state.items()]},
            },
            lambda: {"kind": "generator", "state": {"kind": "dict", "items": [list(item) for item in state.items()]}},
            lambda: {"kind": "partial", "class": one_of(_CLASSES), "keywords": {one_of(("n_bits", "x")): scalar()}},
            lambda: {"kind": "class", "class": one_of(_CLASSES)},
            lambda: {"kind": "function", "function": one_of(_FUNCTIONS)},
            lambda: {"kind": "same", "as": one_of((0, 1, 2, 7, -1, True))},
            lambda: {
                "kind": "object",
                "class": one_of(_CLASSES),
                "parameters": {one_of(("n_bits", "x")): scalar()} if rng.random() < 0.5 else {},
                "state": {one_of(("codes", "steps", "n_features_in_", "_database", "y")): array()},
            },
            lambda: {"kind": one_of(("module", "net", "tensor", "unknown")), "tensor": one_of(names) if names else "x"},
            lambda: _nested(int(rng.integers(1, 300))),
        )
        return makers[rng.integers(len(makers))]()


def _nested(depth):
    node = 1
    for _ in range(depth):
        node = [node]
    return node


def _taken_apart(data):
    """Read manifest and arrays, whatever they say; None if that cannot be."""
    try:
        with open_container(io.BytesIO(data)) as container:
            return container.manifest, {name: container.read(name) for name in container.tensors}
    except (FileFormatError, MemoryError):
        return None


def _places(tree, depth=0):
    """List the places of a tree: an owner, its key, and whether it is part of the estimator."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        inside = depth + (depth > 0 or key in ("estimator", "labels"))
        yield tree, key, inside
        yield from _places(value, inside)


def _changed_text(text, names, rng):
    choices = [text[:-1], text + "x", text.upper(), text.replace("_", "."), *_DTYPES, *_CLASSES, *_FUNCTIONS, *names]
    return choices[rng.integers(len(choices))]


def _changed_bytes(data, rng):
    found = bytearray(data) or bytearray(1)
    for _ in range(1 + rng.integers(4)):
        place = int(rng.integers(len(found)))
        what = rng.integers(4)
        if what == 0:
            found[place] = int(rng.integers(256))
        elif what == 1:
            found[place] ^= 1 << int(rng.integers(8))
        elif what == 2:
            del found[place : place + 1 + int(rng.integers(16))]
            found = found or bytearray(1)
        else:
            found[place:place] = bytes(int(rng.integers(1, 16)))
    return bytes(found)


def _changed_list_of_tensors(data, rng):
    """Change the list of tensors, or lengths and versions of the head, which `write_container` would not write."""
    manifest, entries, payload, n_table = unpacked(data)
    sizes = (0, 1, 8, 64, -1, 2**31, 2**40, 2**62, 2**63, 1.5, None, "1", [1])
    what = rng.integers(4)
    if what == 0:
        name = ("manifest", "section", "list")[rng.integers(3)]
        return packed(manifest, entries, payload, n_table, lengths={name: int(rng.integers(2**32))})
    if what == 1:
        return packed(
            manifest, entries, payload, n_table, version=tuple(int(n) for n in rng.choice([0, 1, 2, 2**32 - 1], 2))
        )
    entry = entries[list(entries)[rng.integers(len(entries))]]
    if what == 2:
        entry["dtype"] = ("U8", "F64", "BOOL", "I64", "F32", "BF16", 1)[rng.integers(7)]
    else:
        field = ("shape", "data_offsets")[rng.integers(2)]
        place = rng.integers(1 + len(entry[field]))
        entry[field][place : place + 1] = [sizes[rng.integers(len(sizes))]]
    return packed(manifest, entries, payload, n_table)


# Logs


def _is_log(data):
    return data.startswith(b"\x89SKHLOG\n") and len(data) >= 68


def _changed_log(data, rng):
    """Change the records of a log, and compute their checksums anew."""
    seed = zlib.crc32(data[32:40])
    records, start = [], 68
    while start + 32 <= len(data):
        _, kind, _, n_bytes, _ = struct.unpack_from("<4sB3xQQI", data, start)
        records.append([kind, bytearray(data[start + 32 : start + 32 + n_bytes])])
        start += 32 + n_bytes
    for _ in range(rng.geometric(0.7)):
        what = rng.integers(6)
        record = records[rng.integers(len(records))] if records else None
        if record is None or what == 0:
            records.insert(int(rng.integers(len(records) + 1)), [int(rng.integers(4)), bytearray(8 * rng.integers(5))])
        elif what == 1:
            record[0] = int(rng.integers(4))
        elif what == 2:
            records.remove(record)
        elif what == 3:
            records.insert(int(rng.integers(len(records) + 1)), [record[0], bytearray(record[1])])
        else:
            n_head = min(40, len(record[1]))
            # The sizes at the start more often than the codes.
            part = record[1][:n_head] if rng.random() < 0.6 else record[1]
            record[1][: len(part)] = _changed_bytes(bytes(part), rng)
    found = bytearray(data[:68])
    for number, (kind, content) in enumerate(records):
        head = struct.pack("<4sB3xQQI", b"\x9dREC", kind, number, len(content), zlib.crc32(content, seed))
        found += head + struct.pack("<I", zlib.crc32(head, seed)) + content
    raw = struct.pack("<Q", len(found))
    for place in (44, 56):
        found[place : place + 12] = raw + struct.pack("<I", zlib.crc32(raw, seed))
    return bytes(found)
