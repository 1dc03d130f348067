"""Codes to and from the formats of others: the same bytes, the same neighbours as the peer finds, nothing lost."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from skhash import LSH, HammingNearestNeighbors
from skhash.codes import hamming_distances, pack_bits
from skhash.persistence import (
    FileFormatError,
    from_arrow,
    from_faiss,
    from_usearch,
    read_numpy,
    read_parquet,
    to_arrow,
    to_faiss,
    to_usearch,
    write_numpy,
    write_parquet,
)

RNG = np.random.default_rng(0)
# Few different codes, so that most distances are ties.
CODES = RNG.integers(4, size=(300, 3), dtype=np.uint8) * 64
QUERIES = RNG.integers(4, size=(20, 3), dtype=np.uint8) * 64
IDS = RNG.permutation(10**12 + np.arange(300) * 7)

LABELS = {
    "int8": np.arange(5, dtype=np.int8),
    "uint64": 2**63 + np.arange(5, dtype=np.uint64),
    "float32": np.linspace(0, 1, 5, dtype=np.float32),
    "bool": np.array([True, False, True, True, False]),
    "str": np.array(["a", "bb", "", "ü", "a"]),
    "bytes": np.array([b"a", b"bb", b"c", b"d", b"a"]),
    "indicators": np.eye(5, 3, dtype=np.uint8),
    "boolean indicators": np.eye(5, 3) > 0,
}


def same(search, other):
    np.testing.assert_array_equal(search.codes_, other.codes_)
    np.testing.assert_array_equal(search.ids_, other.ids_)
    assert search.ids_.dtype == np.int64
    if search.labels_ is None:
        assert other.labels_ is None
    else:
        assert search.labels_.dtype == other.labels_.dtype
        np.testing.assert_array_equal(search.labels_, other.labels_)


def through_parquet(search, folder, **options):
    pytest.importorskip("pyarrow.parquet")
    write_parquet(search, folder / "database.parquet", **options)
    return read_parquet(folder / "database.parquet", **options)


def through_npz(search, folder, **options):
    write_numpy(search, folder / "database.npz", **options)
    return read_numpy(folder / "database.npz", **options)


def through_npy(search, folder, **options):
    write_numpy(search, folder / "database.npy", **options)
    return read_numpy(folder / "database.npy", **options)


def through_faiss(search, folder, **options):
    faiss = pytest.importorskip("faiss")
    faiss.write_index_binary(to_faiss(search, **options), str(folder / "database.faiss"))
    return from_faiss(faiss.read_index_binary(str(folder / "database.faiss")), **options)


def through_usearch(search, folder, **options):
    usearch = pytest.importorskip("usearch.index")
    to_usearch(search, **options).save(str(folder / "database.usearch"))
    return from_usearch(usearch.Index.restore(str(folder / "database.usearch")), **options)


FILES = [through_parquet, through_npz]
ALL = [*FILES, through_faiss, through_usearch]


@pytest.mark.parametrize("through", [*ALL, through_npy])
@pytest.mark.parametrize("bit_order", ["big", "little"])
def test_a_round_trip_keeps_codes_and_positions(through, bit_order, tmp_path):
    search = HammingNearestNeighbors().fit(CODES)
    back = through(search, tmp_path, bit_order=bit_order)
    same(search, back)
    # Ids that are positions go on counting.
    assert back.add(CODES[:1]).ids_[-1] == len(CODES)


@pytest.mark.parametrize("through", [*FILES, through_faiss])
def test_a_round_trip_keeps_ids_and_the_order_of_adding(through, tmp_path):
    search = HammingNearestNeighbors().fit(CODES, ids=IDS)
    back = through(search, tmp_path)
    same(search, back)
    for found, expected in zip(back.kneighbors(QUERIES, 50), search.kneighbors(QUERIES, 50), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_usearch_gives_codes_back_by_rising_key(tmp_path):
    back = through_usearch(HammingNearestNeighbors().fit(CODES, ids=IDS), tmp_path)
    order = np.argsort(IDS)
    same(HammingNearestNeighbors().fit(CODES[order], ids=IDS[order]), back)


@pytest.mark.parametrize("through", ALL)
def test_ids_left_by_removals_are_kept(through, tmp_path):
    search = HammingNearestNeighbors().fit(CODES).remove([0, 7, 299])
    same(search, through(search, tmp_path))


@pytest.mark.parametrize("through", FILES)
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_files_keep_labels_with_their_type(through, labels, tmp_path):
    search = HammingNearestNeighbors().fit(CODES[:5], labels, ids=[4, 3, 2, 1, -9])
    same(search, through(search, tmp_path))


@pytest.mark.parametrize("through", FILES)
@pytest.mark.parametrize("dtype", [object, np.dtypes.StringDType()], ids=str)
def test_strings_of_data_frames_come_back_as_strings(through, dtype, tmp_path):
    labels = np.array(["cat", "dog", "cat", "ox", "dog"], dtype=dtype)
    back = through(HammingNearestNeighbors().fit(CODES[:5], labels), tmp_path)
    assert back.labels_.tolist() == labels.tolist()
    assert back.labels_.dtype.kind == "U"


@pytest.mark.parametrize("through", FILES)
@pytest.mark.parametrize("values", [[1, "a"], ["a\0", "b"]], ids=["mixed", "end in zeros"])
def test_labels_that_would_change_are_refused(through, values, tmp_path):
    search = HammingNearestNeighbors().fit(CODES[:2], np.array(values, dtype=object))
    with pytest.raises(ValueError, match=r"labels of dtype object cannot be written, got .*astype"):
        through(search, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_labels_that_arrow_does_not_keep_are_refused():
    pytest.importorskip("pyarrow")
    search = HammingNearestNeighbors().fit(CODES[:2], np.array([1j, 2j]))
    with pytest.raises(ValueError, match=r"to_arrow: Arrow does not keep labels of dtype complex128; fit with"):
        to_arrow(search)


@pytest.mark.parametrize("export", [to_faiss, to_usearch])
def test_labels_are_dropped_when_told_to_only(export):
    pytest.importorskip("faiss" if export is to_faiss else "usearch.index")
    search = HammingNearestNeighbors().fit(CODES, np.arange(len(CODES)))
    with pytest.raises(ValueError, match=r"the search has labels, and .* has no room for them; pass drop_labels=True"):
        export(search)
    export(search, drop_labels=True)


def test_npy_files_hold_codes_alone(tmp_path):
    for search, what in (
        (HammingNearestNeighbors().fit(CODES, ids=IDS), "ids"),
        (HammingNearestNeighbors().fit(CODES, IDS), "labels"),
        (HammingNearestNeighbors().fit(CODES, IDS, ids=IDS), "ids and labels"),
    ):
        with pytest.raises(ValueError, match=rf"the search has {what}, and a '.npy' file holds codes alone"):
            write_numpy(search, tmp_path / "codes.npy")
    assert list(tmp_path.iterdir()) == []


# Peers search what was exported.


def assert_same_neighbors(search, queries, n_neighbors, peer_distances, peer_ids):
    """Equal distances, and equal ids but for the choice among the ties at the last distance."""
    distances, ids = search.kneighbors(queries, n_neighbors)
    np.testing.assert_array_equal(peer_distances, distances)
    assert not np.array_equal(distances, np.arange(n_neighbors) + np.zeros_like(distances)), "no ties to speak of"
    every_distance = hamming_distances(queries, search.codes_)
    position = {name: row for row, name in enumerate(search.ids_.tolist())}
    for query in range(len(queries)):
        last = distances[query, -1]
        inside = distances[query] < last
        assert set(peer_ids[query][inside].tolist()) == set(ids[query][inside].tolist())
        assert len(set(peer_ids[query].tolist())) == n_neighbors
        for name, distance in zip(peer_ids[query].tolist(), peer_distances[query], strict=True):
            assert every_distance[query, position[name]] == distance


@pytest.mark.parametrize("ids", [None, IDS], ids=["positions", "ids"])
@pytest.mark.parametrize("n_neighbors", [1, 10, 300])
def test_faiss_finds_the_same_neighbors(ids, n_neighbors):
    pytest.importorskip("faiss")
    search = HammingNearestNeighbors().fit(CODES, ids=ids)
    distances, found = to_faiss(search).search(QUERIES, n_neighbors)
    assert_same_neighbors(search, QUERIES, n_neighbors, distances, found)


@pytest.mark.parametrize("ids", [None, IDS], ids=["positions", "ids"])
def test_faiss_finds_the_same_codes_within_a_radius(ids):
    pytest.importorskip("faiss")
    search = HammingNearestNeighbors().fit(CODES, ids=ids)
    # A radius of faiss is exclusive.
    starts, _, found = to_faiss(search).range_search(QUERIES, 3)
    expected = search.radius_neighbors(QUERIES, 2, return_distance=False)
    for query, names in enumerate(expected):
        assert set(found[starts[query] : starts[query + 1]].tolist()) == set(names.tolist())


@pytest.mark.parametrize("n_neighbors", [1, 10, 300])
def test_usearch_finds_the_same_neighbors(n_neighbors):
    pytest.importorskip("usearch.index")
    search = HammingNearestNeighbors().fit(CODES, ids=IDS)
    matches = to_usearch(search).search(QUERIES, n_neighbors, exact=True)
    assert_same_neighbors(search, QUERIES, n_neighbors, matches.distances, matches.keys.astype(np.int64))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_faiss_and_usearch_agree_with_the_search_on_any_width(n_bytes, n_codes, seed):
    pytest.importorskip("faiss")
    pytest.importorskip("usearch.index")
    codes = np.random.default_rng(seed).integers(256, size=(n_codes, n_bytes), dtype=np.uint8)
    search = HammingNearestNeighbors().fit(codes)
    distances = search.kneighbors(codes, n_codes)[0]
    np.testing.assert_array_equal(to_faiss(search).search(codes, n_codes)[0], distances)
    matches = to_usearch(search).search(codes, n_codes, exact=True)
    np.testing.assert_array_equal(np.reshape(matches.distances, distances.shape), distances)
    same(search, from_faiss(to_faiss(search)))
    same(search, from_usearch(to_usearch(search)))


# Where the bits land.


def test_bits_of_a_known_code_land_where_they_are_documented(tmp_path):
    faiss = pytest.importorskip("faiss")
    pytest.importorskip("usearch.index")
    pytest.importorskip("pyarrow")
    # Bits 0 and 11 of 12.
    search = HammingNearestNeighbors().fit(pack_bits([[1, *[0] * 10, 1]]))
    for bit_order, expected in (("big", [0b10000000, 0b00010000]), ("little", [0b00000001, 0b00001000])):
        options = {"bit_order": bit_order}
        assert faiss.vector_to_array(to_faiss(search, **options).xb).tolist() == expected
        assert to_usearch(search, **options).get(0).tolist() == expected
        assert to_arrow(search, **options)["code"].to_pylist() == [bytes(expected)]
        write_numpy(search, tmp_path / "codes.npy", **options)
        assert np.load(tmp_path / "codes.npy", allow_pickle=False).tolist() == [expected]


def test_codes_that_faiss_hashed_are_little_endian():
    faiss = pytest.importorskip("faiss")
    X = RNG.standard_normal((50, 21)).astype(np.float32)
    # Without rotation and thresholds a bit is the sign of a feature.
    theirs = faiss.IndexLSH(21, 21, False, False).sa_encode(X)
    index = faiss.IndexBinaryFlat(24)
    index.add(theirs)
    np.testing.assert_array_equal(from_faiss(index, bit_order="little").codes_, pack_bits(X >= 0))
    np.testing.assert_array_equal(from_faiss(index).codes_, theirs)


def test_queries_of_a_hasher_search_an_exported_index():
    pytest.importorskip("faiss")
    X = RNG.standard_normal((200, 10))
    hasher = LSH(13, random_state=0).fit(X)
    search = HammingNearestNeighbors().fit(hasher.transform(X))
    queries = hasher.transform(X[:5])
    np.testing.assert_array_equal(to_faiss(search).search(queries, 3)[0], search.kneighbors(queries, 3)[0])


# What faiss and usearch have and what they do not take.


@pytest.mark.parametrize("name", ["IndexBinaryIDMap", "IndexBinaryIDMap2"])
def test_id_maps_are_read_as_the_base_class_that_faiss_hands_out(name):
    faiss = pytest.importorskip("faiss")
    inner = faiss.IndexBinaryFlat(24)
    index = getattr(faiss, name)(inner)
    index.add_with_ids(CODES, IDS)
    outer = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(24))
    outer.add_with_ids(CODES, IDS)
    for read in (index, outer):
        same(HammingNearestNeighbors().fit(CODES, ids=IDS), from_faiss(read))
    # Attributes of faiss objects come as their base class.
    same(HammingNearestNeighbors().fit(CODES), from_faiss(index.index))


def test_other_indexes_of_faiss_are_refused_by_name():
    faiss = pytest.importorskip("faiss")
    with pytest.raises(TypeError, match=r"from_faiss: takes an IndexBinaryFlat.* got IndexBinaryHNSW; reconstruct"):
        from_faiss(faiss.IndexBinaryHNSW(24))
    with pytest.raises(TypeError, match="got IndexBinaryIDMap of an IndexBinaryHNSW"):
        from_faiss(faiss.IndexBinaryIDMap(faiss.IndexBinaryHNSW(24)))
    with pytest.raises(TypeError, match="got IndexFlat"):
        from_faiss(faiss.IndexFlat(24))
    with pytest.raises(ValueError, match="from_faiss: the index holds no codes"):
        from_faiss(faiss.IndexBinaryFlat(24))


def test_an_id_that_occurs_twice_is_refused():
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(24))
    index.add_with_ids(CODES[:2], np.array([5, 5]))
    with pytest.raises(ValueError, match=r"from_faiss: .*id 5 occurs twice"):
        from_faiss(index)


def test_a_flat_index_with_other_bytes_than_it_says_is_refused():
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexBinaryFlat(24)
    index.add(CODES)
    index.ntotal = 10**6
    with pytest.raises(ValueError, match=r"says that it holds 1000000 codes of 3 bytes, but has 900 bytes"):
        from_faiss(index)


def test_the_imported_search_does_not_depend_on_the_index():
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexBinaryFlat(24)
    index.add(CODES)
    search = from_faiss(index)
    index.reset()
    del index
    np.testing.assert_array_equal(search.codes_, CODES)


def test_ids_that_mean_something_else_in_the_peer_are_refused():
    pytest.importorskip("faiss")
    pytest.importorskip("usearch.index")
    search = HammingNearestNeighbors().fit(CODES[:2], ids=[3, -1])
    with pytest.raises(ValueError, match="to_faiss: the id -1 means 'nothing found' in faiss"):
        to_faiss(search)
    with pytest.raises(ValueError, match="to_usearch: keys of usearch are not negative, got the id -1"):
        to_usearch(search)
    # Other negative ids are names like all others to faiss.
    same(
        HammingNearestNeighbors().fit(CODES[:2], ids=[3, -7]),
        from_faiss(to_faiss(HammingNearestNeighbors().fit(CODES[:2], ids=[3, -7]))),
    )


def test_usearch_indexes_of_something_else_than_bits_are_refused():
    usearch = pytest.importorskip("usearch.index")
    for options in (
        {"metric": "cos", "dtype": "f32"},
        {"metric": "tanimoto", "dtype": "b1"},
        {"metric": "hamming", "dtype": "b1", "multi": True},
    ):
        with pytest.raises(TypeError, match="from_usearch: takes an index with metric='hamming', dtype='b1' and multi"):
            from_usearch(usearch.Index(ndim=8, **options))
    with pytest.raises(ValueError, match="from_usearch: the index holds no codes"):
        from_usearch(usearch.Index(ndim=8, metric="hamming", dtype="b1"))
    with pytest.raises(TypeError, match=r"from_usearch: takes a usearch.index.Index, got a list"):
        from_usearch([])


def test_a_bit_beyond_the_dimensions_of_a_usearch_index_is_refused():
    usearch = pytest.importorskip("usearch.index")
    index = usearch.Index(ndim=12, metric="hamming", dtype="b1")
    index.add(np.array([0, 1]), np.array([[255, 0b11110000], [255, 0b00001111]], dtype=np.uint8))
    with pytest.raises(ValueError, match="from_usearch: a padding bit after bit 12 is set"):
        from_usearch(index)
    index.remove(1)
    assert from_usearch(index).codes_.tolist() == [[255, 0b11110000]]


def test_keys_of_usearch_that_are_too_large_are_refused():
    usearch = pytest.importorskip("usearch.index")
    index = usearch.Index(ndim=8, metric="hamming", dtype="b1")
    index.add(np.array([2**63 + 5], dtype=np.uint64), np.zeros((1, 1), dtype=np.uint8))
    with pytest.raises(TypeError, match=r"from_usearch: .*9223372036854775813, which does not fit int64"):
        from_usearch(index)


@pytest.mark.parametrize("export", [to_faiss, to_usearch, to_arrow])
def test_only_fitted_searches_are_exported(export):
    pytest.importorskip({"to_faiss": "faiss", "to_usearch": "usearch.index", "to_arrow": "pyarrow"}[export.__name__])
    with pytest.raises(NotFittedError):
        export(HammingNearestNeighbors())
    with pytest.raises(TypeError, match=rf"{export.__name__}: takes a fitted HammingNearestNeighbors, got a ndarray"):
        export(CODES)
    with pytest.raises(ValueError, match=rf"{export.__name__}: bit_order='middle' must be 'big' or 'little'"):
        export(HammingNearestNeighbors().fit(CODES), bit_order="middle")


# Arrow and Parquet.


def test_a_parquet_file_has_the_columns_that_are_documented(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    search = HammingNearestNeighbors().fit(CODES[:2], ["cat", "dog"], ids=[10, 20])
    write_parquet(search, tmp_path / "database.parquet")
    table = parquet.read_table(tmp_path / "database.parquet")
    assert table.schema.types == [pyarrow.int64(), pyarrow.binary(3), pyarrow.string()]
    assert table.to_pylist() == [
        {"id": 10, "code": CODES[0].tobytes(), "label": "cat"},
        {"id": 20, "code": CODES[1].tobytes(), "label": "dog"},
    ]


def test_files_and_frames_of_others_are_read(tmp_path):
    pytest.importorskip("pyarrow.parquet")
    polars = pytest.importorskip("polars")
    pandas = pytest.importorskip("pandas")
    columns = {"code": [row.tobytes() for row in CODES], "id": IDS}
    # Neither knows binary of fixed size.
    polars.DataFrame(columns).write_parquet(tmp_path / "polars.parquet")
    expected = HammingNearestNeighbors().fit(CODES, ids=IDS)
    same(expected, read_parquet(tmp_path / "polars.parquet"))
    same(expected, from_arrow(polars.DataFrame(columns)))
    same(expected, from_arrow(pandas.DataFrame(columns)))


def test_slices_and_chunks_of_tables_are_read():
    pyarrow = pytest.importorskip("pyarrow")
    search = HammingNearestNeighbors().fit(CODES, IDS % 5, ids=IDS)
    table = to_arrow(search)
    table = pyarrow.concat_tables([table.slice(10, 20), table.slice(100), table.slice(0, 0), table.slice(3, 1)])
    rows = [*range(10, 30), *range(100, 300), 3]
    same(HammingNearestNeighbors().fit(CODES[rows], IDS[rows] % 5, ids=IDS[rows]), from_arrow(table))


def test_tables_that_are_no_databases_are_refused():
    pyarrow = pytest.importorskip("pyarrow")
    for columns, error, message in (
        ({"codes": [b"a"]}, ValueError, r"has the columns \['codes'\], needed are 'code' and maybe"),
        ({"code": [b"a"], "path": ["x"]}, ValueError, r"has the columns \['code', 'path'\]"),
        ({"code": [b"a", None]}, ValueError, "has 1 missing values in 'code'"),
        ({"code": [b"a", b"b"], "label": ["x", None]}, ValueError, "has 1 missing values in 'label'"),
        ({"code": [b"a", b"bc"]}, ValueError, "has codes of 1 to 2 bytes"),
        ({"code": [b"", b""]}, ValueError, "has codes of 0 to 0 bytes"),
        ({"code": [1, 2]}, TypeError, "has codes of type int64"),
        ({"code": [b"a"], "id": [1.5]}, TypeError, "has ids of type double"),
        ({"code": pyarrow.array([], pyarrow.binary(2))}, ValueError, "holds no codes"),
    ):
        with pytest.raises(error, match=f"from_arrow: the table {message}"):
            from_arrow(pyarrow.table(columns))
    with pytest.raises(ValueError, match=r"from_arrow: .*id 7 occurs twice"):
        from_arrow(pyarrow.table({"code": [b"a", b"b"], "id": [7, 7]}))
    with pytest.raises(TypeError, match=r"from_arrow: takes a pyarrow.Table, got a int"):
        from_arrow(3)


# Damaged files.


def test_every_flipped_bit_of_a_parquet_page_is_noticed(tmp_path):
    pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "database.parquet"
    codes = np.random.default_rng(1).integers(256, size=(500, 4), dtype=np.uint8)
    write_parquet(HammingNearestNeighbors().fit(codes), path)
    data = path.read_bytes()
    # The codes as they are lie in the file somewhere, unless it is compressed.
    start = data.find(codes[100:110].tobytes())
    places = [start + 3] if start >= 0 else range(len(data) // 3, 2 * len(data) // 3, 37)
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(FileFormatError, match=r"read_parquet: .*database.parquet is no Parquet file that can"):
            read_parquet(path)


def test_every_flipped_bit_of_the_codes_in_a_npz_file_is_noticed(tmp_path):
    path = tmp_path / "database.npz"
    write_numpy(HammingNearestNeighbors().fit(CODES, ids=IDS), path)
    data = path.read_bytes()
    start = data.find(CODES.tobytes())
    for place in range(start, start + CODES.size, 11):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(FileFormatError, match=r"read_numpy: .*database.npz is no NumPy file .*CRC"):
            read_numpy(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
def test_truncated_files_are_refused_in_one_line(suffix, tmp_path):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow.parquet")
    write, read = (write_parquet, read_parquet) if suffix == ".parquet" else (write_numpy, read_numpy)
    path = tmp_path / f"database{suffix}"
    write(HammingNearestNeighbors().fit(CODES), path)
    data = path.read_bytes()
    for length in [*range(0, 200, 7), len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(FileFormatError) as raised:
            read(path)
        assert "\n" not in str(raised.value)
        assert path.name in str(raised.value)


def npy(header, data=b""):
    """A `.npy` file with any header."""
    header = header.encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "content",
    [
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000, 8), }\n", b"1234"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -4), }\n", b"1234"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }\n", b"1234"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4, 1) \n", b"1234"),
        npy("__import__('os').abort()\n", b"1234"),
        b"\x93NUMPY\x03\x00\x00\x00\x00\x00",
    ],
    ids=["huge", "negative", "too small", "cut off", "code", "version"],
)
def test_headers_that_do_not_fit_the_file_are_refused_before_an_allocation(content, tmp_path):
    path = tmp_path / "codes.npy"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"read_numpy: .*codes.npy"):
        read_numpy(path)


def test_pickles_are_refused(tmp_path):
    np.save(tmp_path / "codes.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(FileFormatError, match="holds Python objects, which would have to be unpickled"):
        read_numpy(tmp_path / "codes.npy")


def test_codes_in_columns_are_read(tmp_path):
    np.save(tmp_path / "codes.npy", np.asfortranarray(CODES))
    np.testing.assert_array_equal(read_numpy(tmp_path / "codes.npy").codes_, CODES)


def test_npz_files_of_others_are_refused_by_what_they_hold(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, embeddings=CODES)
    with pytest.raises(FileFormatError, match=r"x.npz holds 'embeddings.npy' beside or instead of codes, ids and"):
        read_numpy(path)
    np.savez(path, ids=IDS)
    with pytest.raises(FileFormatError, match=r"x.npz holds no array 'codes'"):
        read_numpy(path)
    np.savez_compressed(path, codes=CODES)
    np.testing.assert_array_equal(read_numpy(path).codes_, CODES)
    np.savez(path, codes=CODES.astype(float) + 0.5)
    with pytest.raises(ValueError, match=r"read_numpy: .*values that are no bytes"):
        read_numpy(path)
    np.savez(path, codes=np.empty((0, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"x.npz holds no codes"):
        read_numpy(path)


def test_two_arrays_of_one_name_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, CODES)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("codes.npy", buffer.getvalue())
        archive.writestr("codes", buffer.getvalue())
    with pytest.raises(FileFormatError, match="holds 'codes' beside or instead of"):
        read_numpy(tmp_path / "x.npz")


@pytest.mark.parametrize("write", [write_numpy, write_parquet])
def test_a_failed_write_leaves_the_old_file(write, tmp_path, monkeypatch):
    if write is write_parquet:
        parquet = pytest.importorskip("pyarrow.parquet")
        monkeypatch.setattr(parquet, "write_table", lambda table, file, **options: file.write(b"half") and 1 / 0)
    else:
        monkeypatch.setattr(np, "savez", lambda file, **arrays: file.write(b"half") and 1 / 0)
    path = tmp_path / ("database.parquet" if write is write_parquet else "database.npz")
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        write(HammingNearestNeighbors().fit(CODES), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_names_of_files_that_say_nothing_are_refused(tmp_path):
    search = HammingNearestNeighbors().fit(CODES)
    with pytest.raises(ValueError, match=r"write_numpy: .*codes.bin must end with '.npy', for codes alone, or '.npz'"):
        write_numpy(search, tmp_path / "codes.bin")
    with pytest.raises(TypeError, match=r"read_numpy: path must be a str or os.PathLike, got a BytesIO"):
        read_numpy(io.BytesIO())
    with pytest.raises(FileNotFoundError):
        read_numpy(tmp_path / "nothing.npy")


@pytest.mark.parametrize(
    ("export", "package", "extra"),
    [(to_faiss, "faiss", "faiss"), (to_usearch, "usearch", "usearch"), (to_arrow, "pyarrow", "parquet")],
)
def test_a_missing_package_is_named_with_its_extra(export, package, extra, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    monkeypatch.setitem(__import__("sys").modules, f"{package}.index", None)
    with pytest.raises(ImportError, match=rf"{export.__name__} needs '{package}'.*pip install 'skhash\[{extra}\]'"):
        export(HammingNearestNeighbors().fit(CODES))
