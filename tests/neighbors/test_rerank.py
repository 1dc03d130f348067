"""Re-ranking of shortlists against double loops in plain Python, and scipy for Euclidean distances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist

from skhash import HammingNearestNeighbors
from skhash.codes import hamming_distances, pack_bits, to_signs, unpack_codes
from skhash.neighbors import _rerank, rerank_asymmetric, rerank_float

RNG = np.random.RandomState(0)
PROJECTIONS = RNG.randn(23, 45)
CODES = pack_bits(RNG.randn(180, 45) >= 0)
SHORTLIST = np.array([RNG.permutation(180)[:40] for _ in range(23)])
VECTORS = RNG.randn(180, 7).astype(np.float32)
QUERIES = RNG.randn(23, 7).astype(np.float32)


def asymmetric(projections, bits):
    return math.fsum(
        abs(float(projection))
        for projection, bit in zip(projections, bits, strict=True)
        if bool(bit) != (projection >= 0)
    )


def asymmetric_in_documented_order(projections, bits):
    """Add the costs of each byte from its last bit to its first, and the bytes from the first to the last."""
    total = 0.0
    for start in range(0, len(projections), 8):
        of_byte = 0.0
        for j in reversed(range(start, min(start + 8, len(projections)))):
            if bool(bits[j]) != (projections[j] >= 0):
                of_byte += abs(float(projections[j]))
        total += of_byte
    return total


def by_double_loop(distance, queries, database, shortlist, n_neighbors):
    """Sort each query's candidates by distance; ``sorted`` is stable, so ties keep their order."""
    rows = [
        sorted(candidates.tolist(), key=lambda row, query=query: distance(query, database[row]))[:n_neighbors]
        for query, candidates in zip(queries, shortlist, strict=True)
    ]
    distances = [[distance(query, database[row]) for row in found] for query, found in zip(queries, rows, strict=True)]
    return distances, rows


@st.composite
def searches(draw, *, values):
    """Queries and database items of real numbers, and shortlists of some of the items."""
    n_queries, n_database, width = draw(st.integers(1, 4)), draw(st.integers(1, 12)), draw(st.integers(1, 19))
    n_candidates = draw(st.integers(1, n_database))
    matrix = st.lists(values, min_size=width, max_size=width)
    queries = draw(st.lists(matrix, min_size=n_queries, max_size=n_queries))
    database = draw(st.lists(matrix, min_size=n_database, max_size=n_database))
    shortlist = [draw(st.permutations(range(n_database)))[:n_candidates] for _ in range(n_queries)]
    return np.array(queries), np.array(database), np.array(shortlist), draw(st.integers(1, n_candidates))


# Sums and squares of eighths are exact, so equal distances are equal numbers in whatever order they are added.
EIGHTHS = st.integers(-16, 16).map(lambda value: value / 8)


@given(searches(values=EIGHTHS))
@settings(max_examples=150, deadline=None)
def test_asymmetric_order_equals_the_double_loop(search):
    projections, items, shortlist, n_neighbors = search
    distances, rows = rerank_asymmetric(projections, pack_bits(items >= 0), shortlist, n_neighbors=n_neighbors)
    expected_distances, expected_rows = by_double_loop(asymmetric, projections, items >= 0, shortlist, n_neighbors)
    assert rows.tolist() == expected_rows
    assert distances.tolist() == expected_distances


@given(searches(values=EIGHTHS))
@settings(max_examples=150, deadline=None)
def test_float_order_equals_the_double_loop(search):
    queries, database, shortlist, n_neighbors = search
    distances, rows = rerank_float(queries, database, shortlist, n_neighbors=n_neighbors)
    expected_distances, expected_rows = by_double_loop(math.dist, queries, database, shortlist, n_neighbors)
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-15)


@given(searches(values=st.floats(-1e6, 1e6)))
@settings(max_examples=100, deadline=None)
def test_answers_are_sorted_subsets_of_the_shortlist_with_their_distances(search):
    queries, items, shortlist, n_neighbors = search
    bits = items >= 0
    answers = [
        (asymmetric, bits, rerank_asymmetric(queries, pack_bits(bits), shortlist, n_neighbors=n_neighbors)),
        (math.dist, items, rerank_float(queries, items, shortlist, n_neighbors=n_neighbors)),
    ]
    for distance, database, (distances, rows) in answers:
        assert distances.shape == rows.shape == (len(queries), n_neighbors)
        assert (np.diff(distances, axis=1) >= 0).all()
        for query, own_rows, own_distances, candidates in zip(queries, rows, distances, shortlist, strict=True):
            assert len(set(own_rows)) == n_neighbors
            assert set(own_rows) <= set(candidates)
            expected = [distance(query, database[row]) for row in own_rows]
            # Squares of differences below 1e-154 are zero.
            np.testing.assert_allclose(own_distances, expected, rtol=1e-12, atol=1e-150)


def test_hand_worked_asymmetric_distances():
    # The query's bits are 1 0 1 (a projection of 0 is bit 1); the bits that differ cost 2, 0.5 and 0.
    projections, codes = [[2.0, -0.5, 0.0]], pack_bits([[1, 0, 1], [1, 0, 0], [1, 1, 1], [0, 1, 0]])
    distances, rows = rerank_asymmetric(projections, codes, [[3, 1, 2, 0]])
    assert distances.tolist() == [[0.0, 0.0, 0.5, 2.5]]
    assert rows.tolist() == [[1, 0, 2, 3]]


def test_asymmetric_distances_are_added_in_the_documented_order():
    distances, rows = rerank_asymmetric(PROJECTIONS, CODES, SHORTLIST)
    bits = unpack_codes(CODES, n_bits=45)
    for query, candidates, own in zip(PROJECTIONS, rows, distances, strict=True):
        assert own.tolist() == [asymmetric_in_documented_order(query, bits[row]) for row in candidates]


def test_asymmetric_distance_is_half_of_norm_minus_inner_product_with_signs():
    distances, rows = rerank_asymmetric(PROJECTIONS, CODES, SHORTLIST)
    products = PROJECTIONS @ to_signs(CODES, n_bits=45, dtype=np.float64).T
    expected = (np.abs(PROJECTIONS).sum(axis=1, keepdims=True) - np.take_along_axis(products, rows, axis=1)) / 2
    np.testing.assert_allclose(distances, expected)


def test_projections_of_one_magnitude_give_hamming_distances():
    distances, rows = rerank_asymmetric(np.where(PROJECTIONS >= 0, 1.0, -1.0), CODES, SHORTLIST)
    everything = hamming_distances(pack_bits(PROJECTIONS >= 0), CODES)
    np.testing.assert_array_equal(distances, np.take_along_axis(everything, rows, axis=1))


def test_float_distances_equal_scipy():
    distances, rows = rerank_float(QUERIES, VECTORS, SHORTLIST)
    expected = cdist(QUERIES.astype(np.float64), VECTORS.astype(np.float64))
    np.testing.assert_allclose(distances, np.take_along_axis(expected, rows, axis=1), rtol=1e-14)


def test_equal_distances_come_by_hamming_distance_then_by_position():
    # Three bits of no weight: the asymmetric distance is 0 for all, the Hamming distances are 1, 0, 1, 2.
    codes = pack_bits([[1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 1, 0]])
    _, shortlist = HammingNearestNeighbors().fit(codes).kneighbors(pack_bits([[1, 1, 1]]), 4)
    assert rerank_asymmetric(np.zeros((1, 3)), codes, shortlist)[1].tolist() == [[1, 0, 2, 3]]
    assert rerank_float([[5.0]], np.zeros((4, 1)), shortlist)[1].tolist() == [[1, 0, 2, 3]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_answers_do_not_depend_on_blocks_and_batches(monkeypatch, dtype):
    projections, queries, vectors = PROJECTIONS.astype(dtype), QUERIES.astype(dtype), VECTORS.astype(dtype)
    whole = rerank_asymmetric(projections, CODES, SHORTLIST), rerank_float(queries, vectors, SHORTLIST)
    for name, value in (("_TABLE_BYTES", 5 * 6 * 2048), ("_BLOCK_PAIRS", 13), ("_BLOCK_NUMBERS", 30)):
        monkeypatch.setattr(_rerank, name, value)
    in_blocks = rerank_asymmetric(projections, CODES, SHORTLIST), rerank_float(queries, vectors, SHORTLIST)
    single = [
        (
            rerank_asymmetric(projections[[i]], CODES, SHORTLIST[[i]]),
            rerank_float(queries[[i]], vectors, SHORTLIST[[i]]),
        )
        for i in range(len(projections))
    ]
    for method in range(2):
        for part in range(2):
            np.testing.assert_array_equal(in_blocks[method][part], whole[method][part])
            one_by_one = np.concatenate([answer[method][part] for answer in single])
            np.testing.assert_array_equal(one_by_one, whole[method][part])


def test_long_codes_and_integers_are_taken():
    projections = RNG.randint(-3, 4, (2, 1030))
    bits = RNG.randint(0, 2, (5, 1030)).astype(bool)
    distances, rows = rerank_asymmetric(projections, pack_bits(bits), [[0, 1, 2, 3, 4]] * 2, n_neighbors=3)
    assert (distances.tolist(), rows.tolist()) == by_double_loop(
        asymmetric, projections, bits, np.array([range(5)] * 2), 3
    )


def test_memory_maps_are_read_row_by_row(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "vectors.npy", mode="w+", dtype=np.float32, shape=VECTORS.shape)
    mapped[:] = VECTORS
    # Rows that no shortlist names may be anything.
    unused = np.setdiff1d(np.arange(180), SHORTLIST[:2])
    mapped[unused] = np.nan
    mapped.flush()
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    for ours, expected in zip(
        rerank_float(QUERIES[:2], mapped, SHORTLIST[:2]), rerank_float(QUERIES[:2], VECTORS, SHORTLIST[:2]), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_an_item_is_at_distance_zero_from_itself_whatever_the_dtype_of_the_database(dtype):
    queries = RNG.uniform(0, 200, (6, 5))
    stored = queries.astype(dtype)
    distances, rows = rerank_float(stored.astype(np.float64), stored, [[0, 1, 2, 3, 4, 5]] * 6, n_neighbors=1)
    assert rows.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert not distances.any()
    if dtype in (np.float32, np.float64):
        assert not rerank_float(queries, stored, [[0]] + [[i] for i in range(1, 6)])[0].any()


def with_value(array, value):
    changed = np.array(array, dtype=np.float64)
    changed[1, 2] = value
    return changed


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: rerank_asymmetric(with_value(PROJECTIONS, np.nan), CODES, SHORTLIST),
            ValueError,
            "query 1 add up to nan",
        ),
        (
            lambda: rerank_asymmetric(with_value(PROJECTIONS, -np.inf), CODES, SHORTLIST),
            ValueError,
            "query 1 add up to inf",
        ),
        (lambda: rerank_asymmetric(PROJECTIONS * 1e307, CODES, SHORTLIST), ValueError, "scale large features"),
        (
            lambda: rerank_asymmetric(PROJECTIONS[:, :40], CODES, SHORTLIST),
            ValueError,
            "n_bits=40 needs codes of 5 bytes",
        ),
        (
            lambda: rerank_asymmetric(PROJECTIONS[0], CODES, SHORTLIST),
            ValueError,
            "query_projections must be real numbers",
        ),
        (lambda: rerank_asymmetric(PROJECTIONS[:0], CODES, SHORTLIST[:0]), ValueError, "pass at least one query"),
        (lambda: rerank_asymmetric(PROJECTIONS, CODES, SHORTLIST[:5]), ValueError, "got 5 shortlists for 23 queries"),
        (
            lambda: rerank_asymmetric(PROJECTIONS, CODES, SHORTLIST[0]),
            ValueError,
            "shortlist must be integers of shape",
        ),
        (lambda: rerank_asymmetric(PROJECTIONS, CODES, SHORTLIST * 1.0), ValueError, "got dtype float64"),
        (lambda: rerank_asymmetric(PROJECTIONS, CODES, SHORTLIST + 1), ValueError, "holds 180, but .* rows 0 to 179"),
        (lambda: rerank_asymmetric(PROJECTIONS, CODES, SHORTLIST - 1), ValueError, "holds -1"),
        (
            lambda: rerank_asymmetric(PROJECTIONS, CODES, SHORTLIST, n_neighbors=41),
            ValueError,
            "n_neighbors=41 must be <= 40",
        ),
        (
            lambda: rerank_asymmetric(PROJECTIONS, CODES, SHORTLIST, n_neighbors=0),
            ValueError,
            "n_neighbors=0 must be >= 1",
        ),
        (
            lambda: rerank_asymmetric(PROJECTIONS, CODES, SHORTLIST, n_neighbors=True),
            TypeError,
            "n_neighbors=True must be",
        ),
        (
            lambda: rerank_float(with_value(QUERIES, np.nan), VECTORS, SHORTLIST),
            ValueError,
            "contain nan at row 1, column 2",
        ),
        (lambda: rerank_float(with_value(QUERIES, 1e39), VECTORS, SHORTLIST), ValueError, "not finite in float32"),
        (
            lambda: rerank_float(QUERIES, with_value(VECTORS, np.nan), [[0, 1]] * 23),
            ValueError,
            "query 0 to row 1 .* nan",
        ),
        (
            lambda: rerank_float(QUERIES, with_value(VECTORS, 1e200), [[0, 1]] * 23),
            ValueError,
            "scale features above 1e150",
        ),
        (
            lambda: rerank_float(QUERIES[:, :3], VECTORS, SHORTLIST),
            ValueError,
            "have 3 features and database_vectors 7",
        ),
        (lambda: rerank_float(QUERIES, VECTORS.astype(str), SHORTLIST), ValueError, "database_vectors must be real"),
        (
            lambda: rerank_float(QUERIES, VECTORS, SHORTLIST, n_neighbors=2.0),
            TypeError,
            "n_neighbors=2.0 must be an integer",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(call, error, message):
    with pytest.raises(error, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
    assert "rerank_" in str(raised.value)


def test_sparse_vectors_are_refused():
    with pytest.raises(ValueError, match="rerank_float: database_vectors are sparse"):
        rerank_float(QUERIES, sparse.csr_matrix(VECTORS), SHORTLIST)


def test_masked_shortlists_and_vectors_are_refused():
    vectors, shortlist = np.eye(3), np.array([[0, 1], [1, 2]])
    for changed in (0, 2):
        arguments = [vectors[:2], vectors, shortlist]
        arguments[changed] = np.ma.array(arguments[changed], mask=arguments[changed] == 1)
        with pytest.raises(ValueError, match="values are masked"):
            rerank_float(*arguments)


def test_long_doubles_beyond_doubles_are_refused_without_a_warning():
    vectors = np.eye(3, dtype=np.longdouble)
    vectors[1, 1] = np.finfo(np.longdouble).max
    if vectors[1, 1] > np.finfo(np.float64).max:
        with pytest.raises(ValueError, match="the distance of query 0 to row 1 of the database is inf"):
            rerank_float(np.eye(3)[:1], vectors, [[0, 1]])
