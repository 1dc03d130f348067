"""HammingNearestNeighbors: the public surface against scikit-learn on unpacked bits, faiss and hand-worked cases."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NearestNeighbors

from skhash import HammingNearestNeighbors
from skhash.codes import hamming_distances, unpack_codes

RNG = np.random.RandomState(0)
DATABASE = RNG.randint(0, 256, (211, 3)).astype(np.uint8)
QUERIES = RNG.randint(0, 256, (17, 3)).astype(np.uint8)
LABELS = RNG.randint(0, 4, len(DATABASE))


def ranking(queries=QUERIES, database=DATABASE):
    everything = hamming_distances(queries, database)
    return everything, np.argsort(everything, axis=1, kind="stable")


@pytest.fixture
def search():
    return HammingNearestNeighbors().fit(DATABASE, LABELS)


def test_hand_worked_case_with_ties_in_order_of_position():
    search = HammingNearestNeighbors(n_neighbors=3).fit([[0b1111], [0b0001], [0b0011], [0b0000], [0b1000]])
    distances, ids = search.kneighbors([[0b0000]])
    assert distances.tolist() == [[0, 1, 1]]
    assert ids.tolist() == [[3, 1, 4]]


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_equals_stable_argsort(n_jobs):
    queries = RNG.randint(0, 256, (300, 3)).astype(np.uint8)
    distances, ids = HammingNearestNeighbors(n_jobs=n_jobs).fit(DATABASE).kneighbors(queries, 20)
    everything, order = ranking(queries)
    np.testing.assert_array_equal(ids, order[:, :20])
    np.testing.assert_array_equal(distances, np.take_along_axis(everything, order[:, :20], axis=1))


def test_distances_equal_scikit_learn_on_unpacked_bits(search):
    peer = NearestNeighbors(n_neighbors=9, metric="hamming", algorithm="brute").fit(unpack_codes(DATABASE))
    expected, _ = peer.kneighbors(unpack_codes(QUERIES))
    distances, _ = search.kneighbors(QUERIES, 9)
    np.testing.assert_allclose(distances / 24, expected)


def test_distances_equal_faiss(search):
    faiss = pytest.importorskip("faiss", reason="faiss is the peer of this test")
    index = faiss.IndexBinaryFlat(24)
    index.add(DATABASE)
    expected, _ = index.search(QUERIES, 9)
    np.testing.assert_array_equal(search.kneighbors(QUERIES, 9)[0], expected)
    # faiss' radius is exclusive.
    limits, _, _ = index.range_search(QUERIES, 9)
    counts = [len(ids) for ids in search.radius_neighbors(QUERIES, 8, return_distance=False)]
    np.testing.assert_array_equal(counts, np.diff(limits))


def test_radius_is_inclusive_and_sorted(search):
    everything, order = ranking()
    distances, ids = search.radius_neighbors(QUERIES, radius=7)
    for query in range(len(QUERIES)):
        inside = [i for i in order[query] if everything[query, i] <= 7]
        assert ids[query].tolist() == inside
        assert distances[query].tolist() == everything[query, inside].tolist()


def test_unsorted_radius_results_come_by_position(search):
    ids = search.radius_neighbors(QUERIES, radius=9, return_distance=False, sort_results=False)
    everything, _ = ranking()
    assert [row.tolist() for row in ids] == [np.flatnonzero(row <= 9).tolist() for row in everything]


@pytest.mark.parametrize("k", [1, 5, 210])
def test_without_queries_each_code_is_left_out_of_its_own_neighbours(search, k):
    distances, ids = search.kneighbors(n_neighbors=k)
    everything, order = ranking(DATABASE)
    for row in range(len(DATABASE)):
        expected = [i for i in order[row] if i != row][:k]
        assert ids[row].tolist() == expected
        assert distances[row].tolist() == everything[row, expected].tolist()


def test_many_duplicates_do_not_bring_a_code_back_into_its_own_neighbours():
    _, ids = HammingNearestNeighbors().fit(np.zeros((10, 1), np.uint8)).kneighbors(n_neighbors=3)
    assert ids[0].tolist() == [1, 2, 3]
    assert ids[2].tolist() == [0, 1, 3]
    assert ids[9].tolist() == [0, 1, 2]


def test_radius_without_queries_leaves_each_code_out(search):
    ids = search.radius_neighbors(radius=6, return_distance=False)
    everything, order = ranking(DATABASE)
    for row in range(len(DATABASE)):
        assert ids[row].tolist() == [i for i in order[row] if i != row and everything[row, i] <= 6]


def test_given_ids_are_returned_and_ties_follow_positions_not_ids():
    search = HammingNearestNeighbors(n_neighbors=2).fit(np.zeros((3, 1), np.uint8), ids=[30, -5, 7])
    assert search.kneighbors([[0]])[1].tolist() == [[30, -5]]


def test_remove_then_add_keeps_the_order_of_adding():
    search = HammingNearestNeighbors(n_neighbors=4).fit(np.zeros((4, 1), np.uint8))
    search.remove([1]).add(np.zeros((1, 1), np.uint8))
    assert search.kneighbors([[0]])[1].tolist() == [[0, 2, 3, 4]]
    assert search.ids_.tolist() == [0, 2, 3, 4]
    assert search.n_samples_fit_ == 4


def test_add_and_remove_equal_a_fresh_fit():
    search = HammingNearestNeighbors().fit(DATABASE[:100], LABELS[:100], ids=np.arange(100) * 2)
    search.add(DATABASE[100:], LABELS[100:], ids=np.arange(100, 211) * 2).remove(np.arange(50, 150) * 2)
    keep = np.r_[0:50, 150:211]
    fresh = HammingNearestNeighbors().fit(DATABASE[keep], LABELS[keep], ids=keep * 2)
    for ours, expected in zip(search.kneighbors(QUERIES), fresh.kneighbors(QUERIES), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert search.score(QUERIES, np.arange(17) % 4) == fresh.score(QUERIES, np.arange(17) % 4)


def test_all_codes_can_be_removed_and_others_added():
    search = HammingNearestNeighbors(n_neighbors=1).fit([[1], [2]])
    search.remove([0, 1])
    with pytest.raises(ValueError, match="n_neighbors=1 must be <= 0"):
        search.kneighbors([[0]])
    assert [row.tolist() for row in search.radius_neighbors([[0]], return_distance=False)] == [[]]
    assert len(search.radius_neighbors(return_distance=False)) == 0
    assert search.radius_neighbors_graph().shape == (0, 0)
    assert search.add([[3]]).kneighbors([[3]])[1].tolist() == [[2]]


@pytest.mark.parametrize("as_mask", [True, False])
def test_where_equals_searching_the_subset(search, as_mask):
    allowed = np.flatnonzero(LABELS == 2)
    where = LABELS == 2 if as_mask else allowed[::-1]
    subset = HammingNearestNeighbors().fit(DATABASE[allowed], ids=allowed)
    for ours, expected in zip(search.kneighbors(QUERIES, where=where), subset.kneighbors(QUERIES), strict=True):
        np.testing.assert_array_equal(ours, expected)
    ours = search.radius_neighbors(QUERIES, 8, where=where)
    for own, other in zip(ours, subset.radius_neighbors(QUERIES, 8), strict=True):
        assert [row.tolist() for row in own] == [row.tolist() for row in other]


def test_mask_of_zeros_and_ones_is_not_taken_for_ids(search):
    with pytest.raises(ValueError, match="where, which takes ids or a mask of dtype bool: id 0 occurs twice"):
        search.kneighbors(QUERIES, where=(LABELS == 2).astype(int))


def test_array_changed_after_fit_does_not_change_the_database():
    codes = DATABASE.copy()
    search = HammingNearestNeighbors().fit(codes, LABELS)
    expected = search.kneighbors(QUERIES)[1]
    codes[:] = 255
    np.testing.assert_array_equal(search.codes_, DATABASE)
    np.testing.assert_array_equal(search.kneighbors(QUERIES)[1], expected)


def test_labels_of_another_kind_are_not_joined_with_the_database():
    """Integers and strings became strings, and nothing was relevant any more."""
    search = HammingNearestNeighbors().fit([[0], [1]], [0, 1])
    with pytest.raises(ValueError, match="pass labels of the same kind"):
        search.add([[2]], ["1"])
    assert search.labels_.tolist() == [0, 1]
    assert search.add([[2]], [1]).ids_.tolist() == [0, 1, 2]


def test_where_without_queries_leaves_each_code_out(search):
    where = LABELS == 1
    _, ids = search.kneighbors(n_neighbors=3, where=where)
    _, order = ranking(DATABASE)
    for row in range(len(DATABASE)):
        assert ids[row].tolist() == [i for i in order[row] if where[i] and i != row][:3]


@pytest.mark.parametrize("mode", ["connectivity", "distance"])
def test_graphs_hold_what_the_searches_return(search, mode):
    everything, order = ranking()
    graph = search.kneighbors_graph(QUERIES, 6, mode=mode)
    assert graph.shape == (17, 211)
    np.testing.assert_array_equal(graph.indices.reshape(17, 6), order[:, :6])
    values = np.take_along_axis(everything, order[:, :6], axis=1)
    np.testing.assert_array_equal(graph.data.reshape(17, 6), values if mode == "distance" else np.ones((17, 6)))
    graph = search.radius_neighbors_graph(QUERIES, 8, mode=mode)
    expected = np.where(everything <= 8, everything if mode == "distance" else 1, 0)
    np.testing.assert_array_equal(graph.toarray(), expected)


def test_graph_of_the_database_has_an_empty_diagonal_and_columns_are_rows_after_removals():
    search = HammingNearestNeighbors().fit([[0], [1], [3], [7]]).remove([0])
    graph = search.kneighbors_graph(n_neighbors=1)
    np.testing.assert_array_equal(graph.toarray(), [[0, 1, 0], [1, 0, 0], [0, 1, 0]])


def test_score_of_hand_worked_ranking():
    """Ranking + - + for the query: average precision (1 + 2/3) / 2."""
    search = HammingNearestNeighbors().fit([[0b0], [0b1], [0b11]], ["cat", "dog", "cat"])
    assert search.score([[0]], ["cat"]) == pytest.approx(5 / 6)


def test_one_code_and_one_query():
    assert HammingNearestNeighbors(n_neighbors=1).fit([[5]]).kneighbors([[4]])[0].tolist() == [[1]]


def test_names_of_byte_columns_are_remembered():
    pd = pytest.importorskip("pandas", reason="the test passes frames")
    frame = pd.DataFrame(DATABASE, columns=["itq0", "itq1", "itq2"])
    search = HammingNearestNeighbors().fit(frame)
    assert search.feature_names_in_.tolist() == ["itq0", "itq1", "itq2"]
    order = np.argsort(hamming_distances(DATABASE[:5], DATABASE), axis=1, kind="stable")
    np.testing.assert_array_equal(search.kneighbors(frame.iloc[:5])[1], order[:, :5])
    with pytest.raises(ValueError, match="feature names"):
        search.kneighbors(frame.rename(columns={"itq0": "lsh0"}))


def fitted(**params):
    return HammingNearestNeighbors(**params).fit(DATABASE, LABELS)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fitted().kneighbors(QUERIES[:, :2]), ValueError, "2 features, but .* expecting 3 features"),
        (lambda: fitted().kneighbors(QUERIES / 7), ValueError, "hash floats first"),
        (lambda: fitted().kneighbors(QUERIES, 212), ValueError, "n_neighbors=212 must be <= 211"),
        (lambda: fitted().kneighbors(n_neighbors=211), ValueError, "n_neighbors=211 must be <= 210"),
        (lambda: fitted().kneighbors(QUERIES, 2.0), TypeError, "n_neighbors=2.0 must be an integer"),
        (lambda: fitted().kneighbors(QUERIES, 0), ValueError, "n_neighbors=0 must be >= 1"),
        (lambda: fitted().kneighbors(QUERIES, where=LABELS == 9), ValueError, "must be <= 0, .* left by where"),
        (lambda: fitted().kneighbors(QUERIES, where=[1, 999]), ValueError, "id 999 is not in the database"),
        (lambda: fitted().kneighbors(QUERIES, where=[True]), ValueError, "mask of shape"),
        (lambda: fitted().radius_neighbors(QUERIES, -1), ValueError, "radius=-1 must be >= 0"),
        (lambda: fitted().radius_neighbors(QUERIES, np.nan), ValueError, "radius=nan must be >= 0"),
        (lambda: fitted().radius_neighbors(QUERIES, "2"), TypeError, "must be a number of bits"),
        (lambda: fitted().kneighbors_graph(QUERIES, mode="x"), ValueError, "mode='x'"),
        (lambda: fitted(n_neighbors=0).kneighbors(QUERIES), ValueError, "'n_neighbors' parameter"),
        (lambda: fitted(radius=-1), ValueError, "'radius' parameter"),
        (lambda: fitted(algorithm="x"), ValueError, "'algorithm' parameter"),
        (lambda: fitted().add(DATABASE), ValueError, "fit was called with y, so add"),
        (lambda: fitted().add(DATABASE, LABELS, ids=LABELS), ValueError, "fit was called without ids, so add"),
        (lambda: fitted().add(DATABASE, np.eye(211)), ValueError, "labels of the same kind"),
        (lambda: fitted().add(DATABASE[:, :1], LABELS), ValueError, "1 features"),
        (lambda: fitted().remove(500), ValueError, "id 500 is not in the database"),
        (lambda: fitted().remove([3, 3]), ValueError, "id 3 occurs twice"),
        (lambda: fitted().remove(["a"]), TypeError, "list of integers"),
        (lambda: fitted().remove(1.5), TypeError, "list of integers"),
        (
            lambda: HammingNearestNeighbors().fit(DATABASE, LABELS[:9]),
            ValueError,
            "y has 9 items and its codes have 211",
        ),
        (lambda: HammingNearestNeighbors().fit([[1], [2]], [[1], [2, 3]]), ValueError, "ragged.*MultiLabelBinarizer"),
        (lambda: HammingNearestNeighbors().fit([[1], [2]], [1.0, np.nan]), ValueError, "missing values"),
        (lambda: HammingNearestNeighbors().fit(DATABASE, ids=[1, 2]), ValueError, "got 2 ids for 211 codes"),
        (lambda: HammingNearestNeighbors().fit([[1], [2]], ids=[4, 4]), ValueError, "id 4 occurs twice"),
        (lambda: HammingNearestNeighbors().fit([[1]], ids=[2**63]), TypeError, "does not fit int64"),
        (lambda: HammingNearestNeighbors().fit([[1]], ids=[7]).add([[1]], ids=[7]), ValueError, "id 7 is in use"),
        (lambda: HammingNearestNeighbors().fit([[1]]).score([[1]], [1]), ValueError, "pass y to fit"),
        (lambda: HammingNearestNeighbors().fit(DATABASE / 3), ValueError, "integers from 0 to 255"),
        (lambda: HammingNearestNeighbors().fit(np.empty((0, 3))), ValueError, "0 sample"),
    ],
)
def test_misuse_is_one_line_that_names_the_estimator(call, error, message):
    with pytest.raises(error, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
    assert "HammingNearestNeighbors" in str(raised.value)


@pytest.mark.parametrize("method", ["kneighbors", "radius_neighbors", "add", "remove", "score", "kneighbors_graph"])
def test_unfitted_use_says_so(method):
    arguments = {"score": ([[1]], [1]), "remove": ([1],)}.get(method, ([[1]],))
    with pytest.raises(NotFittedError, match="HammingNearestNeighbors"):
        getattr(HammingNearestNeighbors(), method)(*arguments)


def test_masked_ids_and_places_are_refused():
    codes, masked = np.arange(4, dtype=np.uint8)[:, None], np.ma.array([0, 1, 2, 3], mask=[True, False, False, False])
    search = HammingNearestNeighbors(1)
    with pytest.raises(ValueError, match="ids: 1 values are masked"):
        search.fit(codes, ids=masked)
    search.fit(codes)
    for call in (lambda: search.remove(masked), lambda: search.kneighbors(codes, where=masked)):
        with pytest.raises(ValueError, match="1 values are masked"):
            call()
    assert search.n_samples_fit_ == 4


@pytest.mark.parametrize("radius", [10**400, 2**64, np.float16(3), np.inf])
def test_radii_that_no_float_holds_find_all(radius):
    """An integer was made a float, or a float of 16 bits compared with what it does not hold."""
    search = HammingNearestNeighbors().fit([[0], [7], [255]])
    n_found = 2 if radius == 3 else 3
    for algorithm in ("brute", "auto"):
        ids = search.set_params(algorithm=algorithm).radius_neighbors([[0]], radius=radius, return_distance=False)
        assert len(ids[0]) == n_found


def test_modes_in_arrays_are_refused():
    search = HammingNearestNeighbors().fit([[0], [7], [255]])
    for mode in (np.array(["distance"]), "x" * 1000):
        with pytest.raises(ValueError, match="mode=") as raised:
            search.radius_neighbors_graph([[0]], mode=mode)
        assert len(str(raised.value)) < 200
