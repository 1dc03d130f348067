import errno
import functools
import importlib.util
import io
import os
import random
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import skhash
from skhash import ITQ, LSH, HammingNearestNeighbors, HammingNearestNeighborsTransformer, NestedHash, RetrievalPipeline
from skhash._checked_map import CheckedMap
from skhash.metrics import make_retrieval_scorer, mean_average_precision_scorer
from skhash.persistence import CorruptFileError, FileFormatError, _registry
from skhash.persistence._container import BLOCK_BYTES, open_container, write_container

X, Y = load_digits(return_X_y=True)
CODES = np.random.default_rng(0).integers(256, size=(300_000, 8), dtype=np.uint8)


def saved(estimator, **options):
    file = io.BytesIO()
    skhash.save(estimator, file, **options)
    file.seek(0)
    return file


def saved_and_loaded(estimator):
    return skhash.load(saved(estimator))


def altered(estimator, change):
    """Save an estimator, change its manifest or arrays in a way that has right checksums, and load it."""
    with open_container(saved(estimator)) as container:
        manifest, arrays = container.manifest, {name: container.read(name) for name in container.tensors}
    change(manifest["estimator"], arrays)
    file = io.BytesIO()
    write_container(file, manifest, arrays)
    file.seek(0)
    return skhash.load(file)


class Holder(BaseEstimator):
    """Of no class that a file may name."""


VALUES = [
    *(None, True, 5, -(2**63), 2**64, -(10**5000), 0.1, -0.0, float("inf"), float("-inf"), 1e-320),
    *("text", "ä\n\udc80", b"", b"\0bytes", [1, [2.5, None]], (), (1, ("a",)), {1, 2}, frozenset("a")),
    *({"a": 1, 2: (3,), None: {}, (1, 2): "x", 0.5: True}, slice(None, 5, 2)),
    *(np.float32(0.1), np.int64(-1), np.bool_(True), np.uint8(255), np.complex64(1 + 2j), np.str_("ä")),
    *(
        np.datetime64("2020-01-02"),
        np.timedelta64(5, "h"),
        np.dtype("<f4"),
        np.dtype(">i8"),
        np.dtype("U7"),
        np.dtype(bool),
    ),
]
ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(24.0).reshape(2, 3, 4).T,
    np.arange(10)[::2],
    np.array(5.0),
    np.empty((0, 3)),
    np.array([True, False]),
    np.array(["a", "längst"]),
    np.array([b"a", b"bcd"]),
    np.array([1 + 2j, 3]),
    np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
    np.array([1, 2], dtype="m8[25s]"),
    np.arange(5, dtype=">i4"),
    np.array(["a", "b"], dtype=">U1"),
    np.array(["a", None, 5, (1, 2)], dtype=object),
    np.array([[np.nan, -0.0]], dtype=np.float16),
    np.ma.MaskedArray([1.0, 2.0], mask=[True, False]),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_plain_values(value):
    loaded = saved_and_loaded(ITQ(random_state=value)).random_state
    assert type(loaded) is type(value)
    assert loaded == value
    assert isinstance(value, int) or repr(loaded) == repr(value)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype} {array.shape}")
def test_arrays(array):
    loaded = saved_and_loaded(ITQ(random_state=array)).random_state
    assert type(loaded) is type(array)
    assert loaded.dtype == array.dtype
    assert loaded.shape == array.shape
    assert loaded.tolist() == array.tolist() or array.dtype == np.float16
    assert array.dtype == object or np.asarray(loaded).tobytes("A") == np.asarray(array).tobytes("A")
    if array.flags.f_contiguous:
        assert loaded.flags.f_contiguous
    assert np.isfortran(loaded) == np.isfortran(array)
    assert loaded.flags.writeable


def test_nan():
    assert np.isnan(saved_and_loaded(ITQ(random_state=float("nan"))).random_state)


@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_sparse(layout, kind):
    matrix = getattr(sparse, f"{layout}_{kind}")(np.diag([1.0, 2.0, 0.0]))
    loaded = saved_and_loaded(ITQ(random_state=matrix)).random_state
    assert type(loaded) is type(matrix)
    np.testing.assert_array_equal(loaded.toarray(), matrix.toarray())


@pytest.mark.parametrize(
    "source",
    [
        np.random.RandomState(3),
        *(
            np.random.Generator(getattr(np.random, name)(3))
            for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
        ),
    ],
    ids=lambda source: str(source),
)
def test_sources_of_random_numbers_go_on(source):
    source.normal(size=7)
    loaded = saved_and_loaded(ITQ(random_state=source)).random_state
    assert type(loaded) is type(source)
    np.testing.assert_array_equal(loaded.normal(size=1000), source.normal(size=1000))


def test_paths():
    from pathlib import Path

    assert saved_and_loaded(skhash.PixelFeatures(verbose=Path("a/b"))).verbose == Path("a/b")


def test_shared_arrays_are_stored_once_and_shared():
    hasher = ITQ(random_state=[one := np.arange(1000), one, one[:5]])
    file = saved(hasher)
    assert file.getbuffer().nbytes < 2 * one.nbytes
    first, second, third = skhash.load(file).random_state
    assert first is second
    assert third.tolist() == [0, 1, 2, 3, 4]


def test_shared_estimators_are_shared():
    scaler = StandardScaler()
    loaded = saved_and_loaded(Pipeline([("a", scaler), ("b", scaler), ("c", LSH())]))
    assert loaded.named_steps["a"] is loaded.named_steps["b"]


def test_attributes_that_anybody_added_are_kept():
    hasher = ITQ()
    hasher.note = "mine"
    assert saved_and_loaded(hasher).note == "mine"


UNSAVABLE = [
    (
        RetrievalPipeline([("hash", ITQ(random_state=lambda: 0)), ("search", HammingNearestNeighbors())]),
        "hash.random_state is a function",
    ),
    (ITQ(random_state=print), "random_state is a function"),
    (ITQ(random_state=[1, {"a": object()}]), r"random_state\[1\]\['a'\] is of the class builtins.object"),
    (make_pipeline(FunctionTransformer(np.log), ITQ()), "functiontransformer.func is of the class numpy.ufunc"),
    (make_pipeline(RandomForestClassifier()), "randomforestclassifier is of the class sklearn.ensemble._forest.Random"),
    (ITQ(random_state=np.array([(1, 2)], dtype="i4,i4")), "random_state has the dtype"),
    (ITQ(random_state=np.array([1], dtype=np.longdouble)), "random_state has the dtype"),
    (ITQ(random_state=Holder()), "random_state is of the class .*Holder"),
    (ITQ(random_state=Holder), "random_state is of the class .*Holder"),
    (ITQ(random_state=bool), "random_state is of the class builtins.bool"),
    (Holder(), "the estimator is of the class .*Holder"),
]


@pytest.mark.parametrize(("estimator", "message"), UNSAVABLE, ids=range(len(UNSAVABLE)))
def test_what_a_file_cannot_hold_is_refused_by_its_path(estimator, message, tmp_path):
    with pytest.raises(TypeError, match=message) as found:
        skhash.save(estimator, tmp_path / "a.skhash")
    assert "\n" not in str(found.value)
    assert not os.listdir(tmp_path)


def test_what_holds_itself_is_refused():
    hasher, values = ITQ(), []
    values.append(values)
    hasher.random_state = values
    with pytest.raises(TypeError, match="holds itself"):
        saved(hasher)
    hasher.random_state = hasher
    with pytest.raises(TypeError, match="random_state holds itself"):
        saved(hasher)


def test_only_estimators_are_saved():
    with pytest.raises(TypeError, match="takes an estimator, got a ndarray"):
        saved(np.zeros(3))
    with pytest.raises(TypeError, match="takes an estimator, got the class ITQ"):
        saved(ITQ)


def test_pipelines_and_searches_over_parameters():
    pipeline = RetrievalPipeline(
        [("scale", StandardScaler()), ("reduce", PCA(20)), ("hash", ITQ(8)), ("search", HammingNearestNeighbors())]
    )
    for scoring in (None, mean_average_precision_scorer, make_retrieval_scorer("precision_at_k", k=5)):
        search = GridSearchCV(pipeline, {"hash__n_bits": [8, 12]}, cv=2, scoring=scoring, error_score="raise")
        search.fit(X[:300], Y[:300])
        loaded = saved_and_loaded(search)
        for name in ("kneighbors", "radius_neighbors"):
            for one, other in zip(
                *(getattr(each.best_estimator_, name)(X[300:310]) for each in (search, loaded)), strict=True
            ):
                np.testing.assert_array_equal(np.concatenate(list(one)), np.concatenate(list(other)))
        assert repr(loaded.cv_results_) == repr(search.cv_results_)
        assert loaded.score(X[300:400], Y[300:400]) == search.score(X[300:400], Y[300:400])


def test_neighbors_of_scikit_learn_on_the_graph_of_codes():
    classifier = make_pipeline(
        ITQ(16, random_state=0),
        HammingNearestNeighborsTransformer(),
        KNeighborsClassifier(metric="precomputed"),
    ).fit(X[:300], Y[:300])
    np.testing.assert_array_equal(saved_and_loaded(classifier).predict(X[300:]), classifier.predict(X[300:]))


def test_set_output_is_kept():
    pytest.importorskip("pandas")
    hasher = ITQ(8, random_state=0).set_output(transform="pandas").fit(X)
    assert saved_and_loaded(hasher).transform(X[:3]).columns.tolist() == ["itq0"]


@pytest.fixture
def search():
    return HammingNearestNeighbors().fit(CODES, CODES[:, 0], ids=np.arange(len(CODES)) * 3)


@pytest.fixture
def index_path(search, tmp_path):
    skhash.save(search, tmp_path / "index.skhash")
    return tmp_path / "index.skhash"


def flip(path, tensor, block):
    """Damage one block of a tensor; return the place of the byte."""
    with open_container(path) as container:
        place = container.tensors[tensor].offset + block * BLOCK_BYTES + 7
    data = bytearray(path.read_bytes())
    data[place] ^= 16
    path.write_bytes(data)


def test_indexes_after_changes(search):
    search.add(CODES[:5] ^ 1, CODES[:5, 0], ids=range(10**6, 10**6 + 5)).remove([3, 9])
    loaded = saved_and_loaded(search)
    for each in zip(loaded.kneighbors(CODES[:20], 3), search.kneighbors(CODES[:20], 3), strict=True):
        np.testing.assert_array_equal(*each)
    for one in (loaded, search):
        one.add(CODES[:2], CODES[:2, 0], ids=[-5, -6])
    np.testing.assert_array_equal(loaded.codes_, search.codes_)
    np.testing.assert_array_equal(loaded.ids_, search.ids_)
    np.testing.assert_array_equal(loaded.labels_, search.labels_)


def test_mapped_indexes_answer_the_same(search, index_path):
    mapped = skhash.load(index_path, mmap=True)
    assert isinstance(mapped._database.engine._codes, CheckedMap)
    assert isinstance(mapped._database.ids, CheckedMap)
    for queries in (CODES[:1], CODES[:40] ^ 4):
        for each in zip(mapped.kneighbors(queries, 3), search.kneighbors(queries, 3), strict=True):
            np.testing.assert_array_equal(*each)
        for one, other in zip(mapped.radius_neighbors(queries, 9), search.radius_neighbors(queries, 9), strict=True):
            np.testing.assert_array_equal(np.concatenate(one), np.concatenate(other))
    where = np.arange(30, 6000, 3)
    for each in zip(
        mapped.kneighbors(CODES[:9], 3, where=where), search.kneighbors(CODES[:9], 3, where=where), strict=True
    ):
        np.testing.assert_array_equal(*each)
    np.testing.assert_array_equal(mapped.codes_, CODES)
    np.testing.assert_array_equal(mapped.labels_, CODES[:, 0])
    assert mapped.score(CODES[:3] ^ 1, CODES[:3, 0]) == search.score(CODES[:3] ^ 1, CODES[:3, 0])
    # What is changed leaves the file.
    before = index_path.read_bytes()
    for one in (mapped, search):
        one.remove([0]).add(CODES[:1], CODES[:1, 0], ids=[1])
    for each in zip(mapped.kneighbors(CODES[:5], 3), search.kneighbors(CODES[:5], 3), strict=True):
        np.testing.assert_array_equal(*each)
    assert index_path.read_bytes() == before


def test_mapped_indexes_can_be_saved_to_their_own_file(search, index_path):
    mapped = skhash.load(index_path, mmap=True)
    skhash.save(mapped, index_path)
    again = skhash.load(index_path)
    for each in (mapped, again):
        np.testing.assert_array_equal(each.kneighbors(CODES[:5], 3)[1], search.kneighbors(CODES[:5], 3)[1])


def test_mapped_indexes_can_be_pickled(index_path):
    import pickle

    mapped = skhash.load(index_path, mmap=True)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(mapped)).kneighbors(CODES[:5])[1], mapped.kneighbors(CODES[:5])[1]
    )


def test_damage_is_found_when_it_is_touched(index_path):
    flip(index_path, "_database.engine.codes", 1)
    with pytest.raises(CorruptFileError, match=r"'_database\.engine\.codes' .* block 1 "):
        skhash.load(index_path)
    with pytest.raises(CorruptFileError, match=r"'_database\.engine\.codes' .* block 1 "):
        skhash.load(index_path, mmap=True, verify=True)
    mapped = skhash.load(index_path, mmap=True)
    assert mapped.n_samples_fit_ == len(CODES)
    for touch in (lambda: mapped.kneighbors(CODES[:1]), lambda: mapped.codes_, lambda: mapped.kneighbors(CODES[:50])):
        with pytest.raises(CorruptFileError, match=f"{index_path}: .* block 1 "):
            touch()


def test_damage_of_ids_is_found_when_they_are_touched(index_path):
    flip(index_path, "_database.ids", 0)
    mapped = skhash.load(index_path, mmap=True)
    with pytest.raises(CorruptFileError, match="ids"):
        # Its nearest neighbour is row 0.
        mapped.kneighbors(CODES[:1], 1)
    # Row 299 999 lies in another block.
    assert mapped.kneighbors(CODES[-1:], 1)[1].tolist() == [[3 * 299_999]]


def test_eight_threads_search_a_mapped_index(search, index_path):
    mapped, found = skhash.load(index_path, mmap=True), [None] * 8
    expected = search.kneighbors(CODES[:3], 3)[1]

    def work(number):
        found[number] = mapped.kneighbors(CODES[:3], 3)[1]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ids in found:
        np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize("source", ["array", "map"])
def test_features_that_a_pipeline_keeps(tmp_path, source):
    rows = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float32)
    given = rows
    if source == "map":
        given = np.memmap(tmp_path / "rows", dtype=np.float32, mode="w+", shape=rows.shape)
        given[:] = rows
    pipeline = RetrievalPipeline(
        [("hash", LSH(32, random_state=0)), ("search", HammingNearestNeighbors())], rescore="float"
    )
    pipeline.fit(given).remove([5, 77]).add(rows[:3] + 1)
    skhash.save(pipeline, tmp_path / "a.skhash")
    for mmap in (False, True):
        loaded = skhash.load(tmp_path / "a.skhash", mmap=mmap)
        for each in zip(loaded.kneighbors(rows[:9], 4), pipeline.kneighbors(rows[:9], 4), strict=True):
            np.testing.assert_array_equal(*each)
        loaded.add(rows[:1]).remove([1])
        assert len(loaded.features_) == 5001


def test_other_rows_than_codes_are_refused():
    def shorten(node, arrays):
        arrays["_kept_features.vectors._held"] = arrays["_kept_features.vectors._held"][:-1]

    pipeline = RetrievalPipeline(
        [("hash", LSH(8, random_state=0)), ("search", HammingNearestNeighbors())], rescore="float"
    )
    with pytest.raises(FileFormatError, match="another number of stored vectors than codes"):
        altered(pipeline.fit(X), shorten)


def state_of_engine(node):
    return node["state"]["_database"]["state"]["engine"]["state"]


UNSOUND = {
    "codes of another dtype": lambda node, arrays: arrays.update(codes=arrays["codes"].astype(np.int16)),
    "codes in one dimension": lambda node, arrays: arrays.update(codes=arrays["codes"].ravel()),
    "no codes": lambda node, arrays: arrays.update(codes=arrays["codes"][:, :0]),
    "fewer codes": lambda node, arrays: arrays.update(codes=arrays["codes"][:-1]),
    "wider codes": lambda node, arrays: arrays.update(codes=np.repeat(arrays["codes"], 2, axis=1)),
    "fewer ids": lambda node, arrays: arrays.update(ids=arrays["ids"][:-1]),
    "ids that are no integers": lambda node, arrays: arrays.update(ids=arrays["ids"].astype(float)),
    "more labels": lambda node, arrays: arrays.update(labels=np.arange(11)),
    "a negative count": lambda node, arrays: node["state"].update(_n_added=-1),
    "a count that is none": lambda node, arrays: node["state"].update(_n_added=True),
    "a database that is none": lambda node, arrays: node["state"].update(_database=5),
    "an engine that is none": lambda node, arrays: node["state"]["_database"]["state"].update(engine=None),
    "an engine of something else": lambda node, arrays: state_of_engine(node).update(codes="codes"),
    "an engine with more": lambda node, arrays: state_of_engine(node).update(other=1),
}


@pytest.mark.parametrize("change", UNSOUND.values(), ids=UNSOUND)
def test_unsound_indexes_are_refused_although_their_checksums_are_right(change):
    search = HammingNearestNeighbors().fit(CODES[:10], CODES[:10, 1], ids=range(10))
    short = {"codes": "_database.engine.codes", "ids": "_database.ids", "labels": "_database.labels"}

    def change_all(node, arrays):
        own = {name: arrays[full] for name, full in short.items()}
        change(node, own)
        arrays.update({short[name]: value for name, value in own.items()})

    with pytest.raises(FileFormatError):
        altered(search, change_all)


def set_random_state(value):
    return lambda node, arrays: node["parameters"].update(random_state=value)


HOSTILE = {
    "an unknown class": lambda node, arrays: node.update({"class": "os.system"}),
    "a class of another module": lambda node, arrays: node.update({"class": "sklearn.svm.SVC"}),
    "a function as a class": lambda node, arrays: node.update({"class": "sklearn.cluster.k_means"}),
    "an experimental class": lambda node, arrays: node.update({"class": "sklearn.model_selection.HalvingGridSearchCV"}),
    "a private class": lambda node, arrays: node.update({"class": "sklearn.pipeline._name_estimators"}),
    "a class of nothing": lambda node, arrays: node.update({"class": ""}),
    "an unknown kind": lambda node, arrays: node.update(kind="pickle"),
    "a kind that is none": lambda node, arrays: node.update(kind=["object"]),
    "no kind": lambda node, arrays: node.pop("kind"),
    "a class that is none": lambda node, arrays: node.update({"class": 5}),
    "an unknown field": lambda node, arrays: node.update(more=1),
    "no state": lambda node, arrays: node.pop("state"),
    "an unknown parameter": lambda node, arrays: node["parameters"].update(other=1),
    "a name of Python's own": lambda node, arrays: node["state"].update(__class__=1),
    "a name that is none": lambda node, arrays: node["state"].update({"a b": 1}),
    "an unknown tensor": set_random_state({"kind": "array", "tensor": "nowhere"}),
    "a tensor of the container": set_random_state({"kind": "array", "tensor": "#checksums"}),
    "a tensor as two arrays": lambda node, arrays: node["state"].update(
        other={"kind": "array", "tensor": "mean_", "order": "F"}
    ),
    "a tensor that nobody names": lambda node, arrays: arrays.update(more=np.zeros(3)),
    "an array of objects": set_random_state({"kind": "array", "tensor": "mean_", "dtype": "|O"}),
    "an array of records": set_random_state({"kind": "array", "tensor": "mean_", "dtype": "|V8"}),
    "a view of another size": set_random_state({"kind": "array", "tensor": "mean_", "dtype": "<U5"}),
    "a dtype of objects": set_random_state({"kind": "dtype", "dtype": "O"}),
    "a dtype of records": set_random_state({"kind": "dtype", "dtype": "i4,i4"}),
    "a huge dtype": set_random_state({"kind": "dtype", "dtype": "<U999999999"}),
    "a scalar of another size": set_random_state({"kind": "scalar", "dtype": "<i8", "hex": "00"}),
    "a scalar of no digits": set_random_state({"kind": "scalar", "dtype": "<i2", "hex": "0x00"}),
    "a boolean that is none": set_random_state({"kind": "scalar", "dtype": "|b1", "hex": "02"}),
    "booleans that are none": lambda node, arrays: (
        arrays.update(flags=np.array([2], dtype=np.uint8).view(bool)),
        set_random_state({"kind": "array", "tensor": "flags"})(node, arrays),
    ),
    "an integer that is none": set_random_state({"kind": "int", "hex": "0x"}),
    "a float that is none": set_random_state({"kind": "float", "value": "1"}),
    "a set of lists": set_random_state({"kind": "set", "items": [[]]}),
    "a dict of lists": set_random_state({"kind": "dict", "items": [[[], 1]]}),
    "a dict of triples": set_random_state({"kind": "dict", "items": [[1, 2, 3]]}),
    "a dict with a key twice": set_random_state({"kind": "dict", "items": [[1, 2], [1, 3]]}),
    "a slice of four": set_random_state({"kind": "slice", "items": [1, 2, 3, 4]}),
    "bytes of numbers": set_random_state({"kind": "bytes", "tensor": "mean_"}),
    "a reference to nothing": set_random_state({"kind": "same", "as": 0}),
    "a reference to itself": lambda node, arrays: (
        node.update(id=0),
        set_random_state({"kind": "same", "as": 0})(node, arrays),
    ),
    "an id that is none": lambda node, arrays: node.update(id="a"),
    "deep values": set_random_state(functools.reduce(lambda inner, _: [inner], range(150), 1)),
    "an object array of another size": set_random_state({"kind": "object_array", "shape": [2], "items": [1]}),
    "an object array of a negative size": set_random_state({"kind": "object_array", "shape": [-1], "items": [1]}),
    "a masked array with a mask of another shape": lambda node, arrays: (
        arrays.update(mask=np.zeros(2, dtype=bool), values=np.zeros(3)),
        set_random_state(
            {
                "kind": "masked_array",
                "data": {"kind": "array", "tensor": "values"},
                "mask": {"kind": "array", "tensor": "mask"},
                "fill_value": 0.0,
            }
        )(node, arrays),
    ),
    "a sparse matrix of an unknown class": set_random_state(
        {"kind": "sparse", "class": "lil_matrix", "shape": [1, 1], "parts": {}}
    ),
    "random numbers of an unknown kind": set_random_state(
        {"kind": "random_state", "state": {"kind": "dict", "items": []}}
    ),
    "a class as a parameter": set_random_state({"kind": "class", "class": "os.system"}),
    "a partial of a function": set_random_state({"kind": "partial", "class": "os.system", "keywords": {}}),
    "an unknown function": set_random_state({"kind": "function", "function": "os.system"}),
    "a path of a number": set_random_state({"kind": "path", "value": 5}),
    "a missing parameter": lambda node, arrays: node.update(
        {"class": "sklearn.pipeline.Pipeline", "parameters": {}, "state": {}}
    ),
    "a pipeline of numbers": lambda node, arrays: node.update(
        {"class": "RetrievalPipeline", "parameters": {"steps": [1]}, "state": {}}
    ),
    "an engine as an estimator": lambda node, arrays: node.update(
        {"class": "RunningStatistics", "parameters": {}, "state": {}}
    ),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values_are_refused_although_their_checksums_are_right(change):
    with pytest.raises(FileFormatError) as found:
        altered(ITQ(8, random_state=0).fit(X[:50]), change)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 400


def test_no_class_that_a_file_may_name_unpickles_what_it_is_given():
    own = _registry._own_classes()
    sklearn_names = [
        f"{module}.{name}"
        for module in _registry._SKLEARN_MODULES
        for name in getattr(importlib.import_module(module), "__all__", ())
    ]
    classes = own | {name: _registry.class_of_name(name) for name in sklearn_names}
    if importlib.util.find_spec("torch") and importlib.util.find_spec("skorch"):
        classes |= _registry._torch_classes()
    classes = {name: cls for name, cls in classes.items() if cls is not None}
    assert len(classes) > 100
    harmless = {object, BaseEstimator, own["SearchEngine"], own["KeptFeatures"]}
    for name, cls in classes.items():
        if _registry.is_object(name, cls):
            owners = {owner for owner in cls.__mro__ if "__setstate__" in vars(owner)}
            # Where torch's own is inherited, it makes no object of bytes, either.
            assert {owner for owner in owners if not owner.__module__.startswith("torch.")} <= harmless, name


@pytest.mark.parametrize("n_threads", [-5, 0, 2**31 - 1, "x", None])
def test_numbers_of_threads_that_end_the_process_are_refused(n_threads):
    clusters = KMeans(2, n_init=1, random_state=0).fit(X[:50])
    pipeline = Pipeline([("clusters", clusters)])
    assert saved_and_loaded(pipeline).predict(X[:5]).tolist() == pipeline.predict(X[:5]).tolist()
    clusters._n_threads = n_threads
    with pytest.raises(FileFormatError, match="number of threads"):
        saved_and_loaded(pipeline)


def test_unaltered_files_are_loaded():
    hasher = ITQ(8, random_state=0).fit(X[:50])
    loaded = altered(hasher, lambda node, arrays: None)
    np.testing.assert_array_equal(loaded.transform(X), hasher.transform(X))


def place_random_numbers(kind, place):
    source = np.random.RandomState(0) if kind == "MT19937" else np.random.Generator(np.random.Philox(0))
    state = source.get_state(legacy=False) if kind == "MT19937" else source.bit_generator.state
    (state["state"] if kind == "MT19937" else state)[{"MT19937": "pos", "Philox": "buffer_pos"}[kind]] = place
    return state


@pytest.mark.parametrize(
    ("kind", "place"), [("MT19937", 625), ("MT19937", -1), ("Philox", 5), ("Philox", -1), ("Philox", True)]
)
def test_random_numbers_outside_their_buffers_are_refused(kind, place):
    """NumPy takes any place, and reads there."""
    with open_container(saved(ITQ(random_state=place_random_numbers(kind, place)))) as container:
        manifest, arrays = container.manifest, {name: container.read(name) for name in container.tensors}
    node = manifest["estimator"]["parameters"]["random_state"]
    file = io.BytesIO()
    manifest["estimator"]["parameters"]["random_state"] = {
        "kind": "random_state" if kind == "MT19937" else "generator",
        "state": node,
    }
    write_container(file, manifest, arrays)
    file.seek(0)
    with pytest.raises(FileFormatError, match="random numbers at the place"):
        skhash.load(file)


@pytest.mark.parametrize("part", ["indices", "indptr"])
def test_sparse_matrices_that_point_outside_are_refused(part):
    def change(node, arrays):
        arrays[f"random_state.{part}"][1] = 10**6

    with pytest.raises(FileFormatError):
        altered(ITQ(random_state=sparse.csr_matrix(np.eye(4))), change)


def test_parameters_that_are_younger_than_a_file_have_their_defaults():
    loaded = altered(ITQ(8, max_iter=3), lambda node, arrays: node["parameters"].pop("max_iter"))
    assert loaded.max_iter == ITQ().max_iter


def test_files_cut_off_or_altered_anywhere_are_refused():
    data = saved(ITQ(2, max_iter=1, random_state=0).fit(X[:20, 20:24])).getvalue()
    assert len(data) < 6000
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        for damaged in (data[:place], bytes(flipped)):
            with pytest.raises(FileFormatError):
                skhash.load(io.BytesIO(damaged))


def test_random_values_never_do_harm():
    """Changes that have right checksums may load as something else or be refused, and nothing but that."""
    source, search = random.Random(0), HammingNearestNeighbors().fit(CODES[:10], CODES[:10, 1], ids=range(10))
    replacements = [None, -1, 2**70, "a", [], {}, True, 0.5, {"kind": "same", "as": 0}, {"kind": "tuple", "items": []}]
    n_refused = 0
    for _ in range(300):

        def change(node, arrays):
            while isinstance(node, dict | list) and len(node):
                key = source.choice(sorted(node)) if isinstance(node, dict) else source.randrange(len(node))
                if source.random() < 0.3:
                    node[key] = source.choice(replacements)
                    return
                node = node[key]

        try:
            altered(search, change)
        except FileFormatError:
            n_refused += 1
    assert n_refused > 100


def test_versions_of_scikit_learn(monkeypatch):
    scaler = StandardScaler().fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saved_and_loaded(scaler)
    file, hasher_file = saved(make_pipeline(scaler, ITQ())), saved(ITQ())
    monkeypatch.setattr(sklearn, "__version__", "9.9")
    with pytest.warns(UserWarning, match=r"StandardScaler of scikit-learn .* and this is '9\.9'") as found:
        skhash.load(file)
    assert len(found) == 1
    assert found[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        skhash.load(hasher_file)


def test_old_file_stays_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "a.skhash"
    skhash.save(ITQ(8), path)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        skhash.save(ITQ(16), path)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["a.skhash"]
    assert skhash.load(path).n_bits == 8


def test_card():
    from skhash.persistence import model_card

    hasher = ITQ(8, random_state=0).fit(X)
    card = model_card(saved(hasher, card={"Data": "Digits.", "Figures": "mAP 0.5"}))
    assert card.startswith("# ITQ\n\nSaved by skhash ")
    assert "- `n_bits`: `8`\n" in card
    assert card.endswith("\n## Data\n\nDigits.\n\n## Figures\n\nmAP 0.5\n")
    assert model_card(saved(hasher, card=True)).endswith("- `random_state`: `0`\n")
    assert model_card(saved(hasher)) is None
    with pytest.raises(TypeError, match="headings and texts are strings"):
        saved(hasher, card={"Data": 5})
    with pytest.raises(TypeError, match="card='x'"):
        saved(hasher, card="x")


def test_addresses():
    fsspec = pytest.importorskip("fsspec")
    skhash.save(ITQ(8), "memory://a.skhash")
    assert skhash.load("memory://a.skhash").n_bits == 8
    fsspec.filesystem("memory").rm("a.skhash")


def test_loading_imports_torch_only_for_networks(tmp_path):
    skhash.save(NestedHash(8, n_anchors=20, random_state=0).fit(X[:100], Y[:100]), tmp_path / "a.skhash")
    command = f"import sys, skhash; skhash.load({str(tmp_path / 'a.skhash')!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
