"""RetrievalPipeline: delegation, composition with scikit-learn, and one computation of features a search."""

import copy
import math
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skhash import ITQ, LSH, HammingNearestNeighbors, RetrievalPipeline
from skhash.codes import pack_bits, unpack_codes
from skhash.metrics import make_retrieval_scorer, mean_average_precision, mean_average_precision_scorer

X, Y = load_digits(return_X_y=True)
TRAIN, TEST = slice(0, 600), slice(600, 700)


def make_pipeline(n_bits=24, **params):
    steps = [
        ("reduce", PCA(30, random_state=0)),
        ("hash", ITQ(n_bits, random_state=0)),
        ("search", HammingNearestNeighbors()),
    ]
    return RetrievalPipeline(steps, **params)


@pytest.fixture
def pipeline():
    return make_pipeline().fit(X[TRAIN], Y[TRAIN])


def by_hand(pipeline, rows):
    return pipeline.named_steps["hash"].transform(pipeline.steps[0][1].transform(X[rows]))


def test_searches_equal_the_steps_called_by_hand(pipeline):
    search = HammingNearestNeighbors().fit(by_hand(pipeline, TRAIN))
    for ours, expected in zip(
        pipeline.kneighbors(X[TEST], 7), search.kneighbors(by_hand(pipeline, TEST), 7), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
    ours = pipeline.radius_neighbors(X[TEST], 4)
    for own, expected in zip(ours, search.radius_neighbors(by_hand(pipeline, TEST), 4), strict=True):
        assert [row.tolist() for row in own] == [row.tolist() for row in expected]


def test_keywords_reach_the_search(pipeline):
    where = Y[TRAIN] == 3
    ids = pipeline.kneighbors(X[TEST], n_neighbors=2, return_distance=False, where=where)
    assert (Y[TRAIN][ids] == 3).all()
    unsorted = pipeline.radius_neighbors(X[TEST], 8, return_distance=False, sort_results=False)
    assert all((np.diff(row) > 0).all() for row in unsorted)


def test_without_queries_the_database_searches_itself(pipeline):
    _, ids = pipeline.kneighbors(n_neighbors=1)
    assert ids.shape == (600, 1)
    assert (ids.ravel() != np.arange(600)).all()
    assert len(pipeline.radius_neighbors(radius=0, return_distance=False)) == 600


def test_add_and_remove_change_the_database_and_fit_nothing_again(pipeline):
    rotation = pipeline.named_steps["hash"].rotation_
    assert pipeline.add(X[600:700], Y[600:700]).remove(np.arange(600)) is pipeline
    _, ids = pipeline.kneighbors(X[600:610], 1)
    codes = by_hand(pipeline, slice(600, 700))
    first_equal = [600 + int(np.flatnonzero((codes == code).all(axis=1))[0]) for code in codes[:10]]
    assert ids.ravel().tolist() == first_equal
    assert pipeline.named_steps["hash"].rotation_ is rotation


def test_ids_reach_the_search_in_fit_and_in_add():
    pipeline = make_pipeline().fit(X[TRAIN], Y[TRAIN], search__ids=np.arange(600) + 1000)
    assert pipeline.kneighbors(X[:1], 1)[1].min() >= 1000
    pipeline.add(X[TEST], Y[TEST], ids=np.arange(100))
    assert set(pipeline.kneighbors(X[600:601], 3)[1].ravel()) & set(range(100))


def test_score_is_tie_aware_map_of_queries_against_the_database(pipeline):
    expected = mean_average_precision(by_hand(pipeline, TEST), by_hand(pipeline, TRAIN), Y[TEST], Y[TRAIN])
    assert pipeline.score(X[TEST], Y[TEST]) == pytest.approx(expected)
    assert mean_average_precision_scorer(pipeline, X[TEST], Y[TEST]) == pytest.approx(expected)


def test_pipelines_without_search_have_no_search_methods():
    pipeline = RetrievalPipeline([("reduce", PCA(2)), ("hash", LSH(4))])
    for method in ("kneighbors", "radius_neighbors", "add", "remove"):
        assert not hasattr(pipeline, method)
        with pytest.raises(AttributeError, match="RetrievalPipeline"):
            getattr(pipeline, method)


def test_slices_clones_and_pickles(pipeline):
    np.testing.assert_array_equal(pipeline[:-1].transform(X[TEST]), by_hand(pipeline, TEST))
    assert isinstance(clone(pipeline), RetrievalPipeline)
    loaded = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(loaded.kneighbors(X[TEST])[1], pipeline.kneighbors(X[TEST])[1])


def test_unfitted_pipeline_says_so():
    for call in (lambda pipeline: pipeline.kneighbors(X[TEST]), lambda pipeline: pipeline.add(X[TEST])):
        with pytest.raises(NotFittedError, match="RetrievalPipeline"):
            call(make_pipeline())


def test_passthrough_steps_are_passed_through(pipeline):
    skipped = RetrievalPipeline(
        [("none", "passthrough"), ("hash", ITQ(24, random_state=0)), ("search", HammingNearestNeighbors())]
    ).fit(X[TRAIN])
    assert skipped.kneighbors(X[TEST], 3)[1].shape == (100, 3)


@pytest.mark.parametrize("pipeline_class", [Pipeline, RetrievalPipeline])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_over_bits_picks_the_longer_code(pipeline_class, n_jobs):
    steps = [("hash", LSH(random_state=0)), ("search", HammingNearestNeighbors())]
    search = GridSearchCV(
        pipeline_class(steps),
        {"hash__n_bits": [4, 64]},
        scoring=mean_average_precision_scorer,
        cv=3,
        n_jobs=n_jobs,
        error_score="raise",
    ).fit(X[TRAIN], Y[TRAIN])
    assert search.best_params_ == {"hash__n_bits": 64}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_grid_search_scores_equal_scores_computed_by_hand():
    cv = [(np.arange(300), np.arange(300, 500))]
    search = GridSearchCV(
        make_pipeline(),
        {"hash__n_bits": [8, 16]},
        scoring=make_retrieval_scorer(["precision_at_k"], k=5),
        cv=cv,
        refit=False,
    ).fit(X, Y)
    for n_bits, score in zip([8, 16], search.cv_results_["mean_test_precision_at_k"], strict=True):
        fitted = make_pipeline(n_bits).fit(X[:300], Y[:300])
        scorer = make_retrieval_scorer("precision_at_k", k=5)
        assert score == pytest.approx(scorer(fitted, X[300:500], Y[300:500]))


def test_bare_hasher_is_scored_against_the_fold_itself():
    scores = cross_val_score(
        ITQ(16, random_state=0), X, Y, scoring=make_retrieval_scorer(database="self"), cv=3, error_score="raise"
    )
    assert ((scores > 0.2) & (scores < 1)).all()


class CountingPCA(PCA):
    """Counts the rows that it transforms, over all clones."""

    n_rows_transformed = 0

    def transform(self, X):
        CountingPCA.n_rows_transformed += len(X)
        return super().transform(X)


def test_several_metrics_transform_the_test_fold_once():
    pipeline = RetrievalPipeline(
        [("reduce", CountingPCA(20)), ("hash", LSH(16, random_state=0)), ("search", HammingNearestNeighbors())]
    ).fit(X[TRAIN], Y[TRAIN])
    CountingPCA.n_rows_transformed = 0
    scorer = make_retrieval_scorer(["mean_average_precision", "precision_at_k", "ndcg_at_k"], k=10)
    assert set(scorer(pipeline, X[TEST], Y[TEST])) == {"mean_average_precision", "precision_at_k", "ndcg_at_k"}
    assert CountingPCA.n_rows_transformed == 100


def test_frames_from_set_output_pass_through_the_pipeline():
    pytest.importorskip("pandas", reason="the test asks for frames")
    pipeline = make_pipeline().set_output(transform="pandas").fit(X[TRAIN], Y[TRAIN])
    assert pipeline.named_steps["search"].feature_names_in_.tolist() == ["itq0", "itq1", "itq2"]
    plain = make_pipeline().fit(X[TRAIN], Y[TRAIN])
    np.testing.assert_array_equal(pipeline.kneighbors(X[TEST])[1], plain.kneighbors(X[TEST])[1])
    assert mean_average_precision_scorer(pipeline, X[TEST], Y[TEST]) == mean_average_precision_scorer(
        plain, X[TEST], Y[TEST]
    )


def make_rescoring(n_bits=24, **params):
    """A pipeline whose features are the same bit for bit in whatever batch they are computed, which PCA's are not."""
    steps = [
        ("scale", StandardScaler()),
        ("hash", ITQ(n_bits, random_state=0)),
        ("search", HammingNearestNeighbors()),
    ]
    return RetrievalPipeline(steps, **params)


def features_of(pipeline, rows):
    return pipeline.named_steps["scale"].transform(X[rows])


def distances_by_hand(pipeline, query, items):
    """The distances of a row of X to others that `pipeline.rescore` names, from Python sums."""
    if pipeline.rescore == "float":
        features = features_of(pipeline, [query, *items]).astype(np.float32).astype(np.float64)
        return [math.dist(features[0], item) for item in features[1:]]
    projections = pipeline.named_steps["hash"].project(features_of(pipeline, [query]))[0].tolist()
    bits = unpack_codes(by_hand(pipeline, items), n_bits=24).tolist()
    return [math.fsum(abs(p) for p, bit in zip(projections, own, strict=True) if bit != (p >= 0)) for own in bits]


def rescored_by_hand(pipeline, query, shortlist, n_neighbors=None):
    """Sort a shortlist of rows of X, which are ids; ``sorted`` is stable."""
    distances = dict(zip(shortlist, distances_by_hand(pipeline, query, shortlist), strict=True)) if shortlist else {}
    ids = sorted(shortlist, key=distances.get)[:n_neighbors]
    return [distances[item] for item in ids], ids


FITTED = make_rescoring(rescore="float", n_candidates=20).fit(X[TRAIN], Y[TRAIN])


@pytest.fixture(params=["asymmetric", "float"])
def rescored(request):
    return copy.deepcopy(FITTED).set_params(rescore=request.param)


def test_rescored_neighbours_equal_the_double_loop_over_the_shortlist(rescored):
    shortlists = rescored["search"].kneighbors(by_hand(rescored, TEST), 20, return_distance=False)
    distances, ids = rescored.kneighbors(X[TEST], 8)
    assert distances.dtype == np.float64
    assert ids.dtype == np.int64
    for row, query in enumerate(range(600, 620)):
        expected_distances, expected_ids = rescored_by_hand(rescored, query, shortlists[row].tolist(), 8)
        assert ids[row].tolist() == expected_ids
        np.testing.assert_allclose(distances[row], expected_distances, rtol=1e-12)
    np.testing.assert_array_equal(rescored.kneighbors(X[TEST], 8, return_distance=False), ids)


@given(
    n_neighbors=st.integers(1, 30), n_candidates=st.integers(1, 40), rescore=st.sampled_from(["asymmetric", "float"])
)
@settings(max_examples=30, deadline=None)
def test_rescored_neighbours_are_sorted_and_come_from_the_shortlist(n_neighbors, n_candidates, rescore):
    fitted = copy.deepcopy(FITTED).set_params(n_candidates=n_candidates, rescore=rescore)
    distances, ids = fitted.kneighbors(X[600:610], n_neighbors)
    shortlists = fitted["search"].kneighbors(by_hand(fitted, slice(600, 610)), max(n_neighbors, n_candidates))[1]
    assert distances.shape == ids.shape == (10, n_neighbors)
    assert (np.diff(distances, axis=1) >= 0).all()
    for own, shortlist in zip(ids.tolist(), shortlists.tolist(), strict=True):
        assert len(set(own)) == n_neighbors
        assert set(own) <= set(shortlist)


def test_a_shortlist_of_everything_gives_exact_euclidean_neighbours():
    pipeline = make_rescoring(rescore="float", n_candidates=600).fit(X[TRAIN])
    # Float32 features, as the pipeline keeps them.
    database, queries = (features_of(pipeline, rows).astype(np.float32) for rows in (TRAIN, TEST))
    expected = NearestNeighbors(algorithm="brute").fit(database.astype(np.float64)).kneighbors(queries, 5)
    distances, ids = pipeline.kneighbors(X[TEST], 5)
    np.testing.assert_array_equal(ids, expected[1])
    np.testing.assert_allclose(distances, expected[0], rtol=1e-9)


def test_shortlists_are_as_long_as_they_can_be(rescored):
    everything = rescored.set_params(n_candidates=600).kneighbors(X[TEST], 3)
    for ours, expected in zip(rescored.set_params(n_candidates=9999).kneighbors(X[TEST], 3), everything, strict=True):
        np.testing.assert_array_equal(ours, expected)
    where = Y[TRAIN] == 3
    ids = rescored.kneighbors(X[TEST], 4, return_distance=False, where=where)
    assert (Y[TRAIN][ids] == 3).all()
    np.testing.assert_array_equal(
        rescored.kneighbors(X[TEST], 4, where=np.flatnonzero(where), return_distance=False), ids
    )
    assert rescored.set_params(n_candidates=2).kneighbors(X[TEST], 50)[1].shape == (100, 50)
    with pytest.raises(ValueError, match="n_neighbors=601 must be <= 600"):
        rescored.kneighbors(X[TEST], 601)


def test_blocks_of_queries_change_nothing(rescored, monkeypatch):
    whole = rescored.kneighbors(X[TEST], 5)
    monkeypatch.setattr("skhash.pipeline._BLOCK_CANDIDATES", 7 * 20)
    for ours, expected in zip(rescored.kneighbors(X[TEST], 5), whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_default_number_of_neighbours_is_that_of_the_search(rescored):
    assert rescored.set_params(search__n_neighbors=7).kneighbors(X[TEST])[1].shape == (100, 7)


def test_radius_stays_in_bits_and_orders_the_same_neighbours_anew(rescored):
    codes, where = by_hand(rescored, TEST), Y[TRAIN] < 5
    balls = rescored["search"].radius_neighbors(codes, 5, return_distance=False, where=where)
    distances, ids = rescored.radius_neighbors(X[TEST], 5, where=where)
    assert distances.dtype == ids.dtype == object
    for row, query in enumerate(range(600, 620)):
        expected_distances, expected_ids = rescored_by_hand(rescored, query, balls[row].tolist())
        assert ids[row].tolist() == expected_ids
        np.testing.assert_allclose(distances[row], expected_distances, rtol=1e-12)
    unsorted = rescored.radius_neighbors(X[TEST], 5, where=where, sort_results=False)
    for row in range(100):
        order = np.argsort(ids[row])
        assert unsorted[1][row].tolist() == ids[row][order].tolist()
        assert unsorted[0][row].tolist() == distances[row][order].tolist()
    assert len(rescored.radius_neighbors(X[TEST], 0, return_distance=False)) == 100


def test_float_rescoring_without_queries_leaves_each_item_out():
    pipeline = make_rescoring(rescore="float", n_candidates=599).fit(X[TRAIN])
    distances, ids = pipeline.kneighbors(n_neighbors=3)
    features = features_of(pipeline, TRAIN).astype(np.float32).astype(np.float64)
    # Without queries, scikit-learn leaves each item out of its own neighbours, too.
    expected = NearestNeighbors(algorithm="brute").fit(features).kneighbors(n_neighbors=3)
    np.testing.assert_array_equal(ids, expected[1])
    np.testing.assert_allclose(distances, expected[0], rtol=1e-9)
    for row, found in enumerate(pipeline.radius_neighbors(radius=3, return_distance=False)):
        assert row not in found


def test_asymmetric_rescoring_without_queries_is_refused():
    pipeline = make_rescoring(rescore="asymmetric").fit(X[TRAIN])
    for search in (pipeline.kneighbors, pipeline.radius_neighbors):
        with pytest.raises(ValueError, match=r"RetrievalPipeline: rescore='asymmetric' needs queries.*; pass X"):
            search()


def test_add_and_remove_keep_features_beside_their_codes():
    pipeline = make_rescoring(rescore="float", n_candidates=1000).fit(X[TRAIN], search__ids=np.arange(600) * 2)
    pipeline.add(X[TEST], ids=np.arange(600, 700) * 2).remove(np.arange(50, 350) * 2)
    kept = np.r_[0:50, 350:700]
    np.testing.assert_array_equal(pipeline.features_[:], features_of(pipeline, kept).astype(np.float32))
    distances, ids = pipeline.kneighbors(X[kept], 1)
    assert not distances.any()
    assert ids.ravel().tolist() == (kept * 2).tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_memory_maps_are_kept_and_searched_as_arrays_are(tmp_path, dtype):
    np.save(tmp_path / "features.npy", X[TRAIN].astype(dtype))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    pipelines = [
        RetrievalPipeline(
            [("none", "passthrough"), ("hash", LSH(16, random_state=0)), ("search", HammingNearestNeighbors())],
            rescore="float",
            n_candidates=100,
        ).fit(features)
        for features in (mapped, np.array(mapped))
    ]
    assert np.shares_memory(pipelines[0].features_._mapped, mapped)
    changes = [
        lambda pipeline: None,
        lambda pipeline: pipeline.add(X[TEST]),
        lambda pipeline: pipeline.remove([5, 650]),
        lambda pipeline: pipeline.add(X[TEST]),
    ]
    for change in changes:
        for pipeline in pipelines:
            change(pipeline)
        # Pixels of these images are small integers, the same in every dtype.
        ours, expected = (pipeline.kneighbors(X[700:750]) for pipeline in pipelines)
        np.testing.assert_array_equal(ours, expected)
        ours, expected = (pipeline.kneighbors() for pipeline in pipelines)
        np.testing.assert_array_equal(ours, expected)


def test_asymmetric_rescoring_follows_the_database():
    pipeline = make_rescoring(rescore="asymmetric", n_candidates=1000).fit(X[TRAIN], search__ids=np.arange(600) * 2)
    for change in (
        lambda: pipeline,
        lambda: pipeline.add(X[TEST], ids=np.arange(600, 700) * 2),
        lambda: pipeline.remove(np.arange(50, 350) * 2),
        lambda: pipeline["search"].remove([0]),
    ):
        change()
        kept = (pipeline["search"].ids_ // 2).tolist()
        distances, ids = pipeline.kneighbors(X[700:705], len(kept))
        for row, query in enumerate(range(700, 705)):
            np.testing.assert_allclose(distances[row], rescored_by_hand(pipeline, query, kept)[0], rtol=1e-12)
            assert sorted(ids[row] // 2) == kept


def test_compiled_searches_are_rescored_too(monkeypatch):
    pytest.importorskip("numba", reason="the search compiles loops")
    pipeline = copy.deepcopy(FITTED)
    expected = {name: pipeline.set_params(rescore=name).kneighbors(X[TEST]) for name in ("asymmetric", "float")}
    monkeypatch.setattr("skhash._compiled.SECONDS_TO_COMPILE", 0.0)
    pipeline["search"].kneighbors(pipeline["search"].codes_[:1])
    # Compiled loops keep the codes in another order.
    assert pipeline["search"].codes_ is not pipeline["search"].codes_
    for name, answer in expected.items():
        for ours, other in zip(pipeline.set_params(rescore=name).kneighbors(X[TEST]), answer, strict=True):
            np.testing.assert_array_equal(ours, other)


def test_refused_items_leave_the_database_as_it_was():
    pipeline = make_rescoring(rescore="float").fit(X[TRAIN])
    with pytest.raises(
        ValueError, match=r"RetrievalPipeline: features for step 'hash' contain .* not finite in float32"
    ):
        pipeline.add(X[TEST] * 1e39)
    with pytest.raises(ValueError, match="fit was called without y"):
        pipeline.add(X[TEST], Y[TEST])
    assert pipeline["search"].n_samples_fit_ == len(pipeline.features_) == 600
    pipeline.kneighbors(X[TEST])


def test_codes_changed_behind_the_pipeline_are_noticed():
    pipeline = make_rescoring(rescore="float").fit(X[TRAIN])
    pipeline["search"].remove([3])
    for call in (lambda: pipeline.kneighbors(X[TEST]), lambda: pipeline.add(X[TEST]), lambda: pipeline.remove([5])):
        with pytest.raises(ValueError, match="fit, add and remove through the pipeline"):
            call()


@pytest.mark.parametrize("rescore", ["asymmetric", "float"])
def test_searches_of_other_threads_never_see_half_of_a_change(rescore):
    pipeline = copy.deepcopy(FITTED).set_params(rescore=rescore, n_candidates=5000)
    problems, done = [], threading.Event()

    def search():
        while not done.is_set():
            try:
                distances, ids = pipeline.kneighbors(X[TEST], 2)
                # The queries are added and removed again as ids 600 and more: they find themselves or are not there.
                if ids.max() >= 600 and rescore == "float" and distances[ids[:, 0] >= 600, 0].any():
                    problems.append("an item is not at distance 0 from itself")
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for change in range(10):
        ids = np.arange(600, 700) + 100 * change
        pipeline.add(X[TEST], Y[TEST]).remove(ids)
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []


class CountingHasher(TransformerMixin, BaseEstimator):
    """The signs of some centred features, with a count of calls over all clones."""

    n_calls = 0

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self

    def project(self, X):
        CountingHasher.n_calls += 1
        return (X - self.mean_)[:, :16]

    def transform(self, X):
        CountingHasher.n_calls += 1
        return pack_bits((X - self.mean_)[:, :16] >= 0)


@pytest.mark.parametrize("rescore", ["asymmetric", "float"])
def test_rescoring_computes_features_and_projections_once(rescore):
    steps = [("reduce", CountingPCA(20)), ("hash", CountingHasher()), ("search", HammingNearestNeighbors())]
    CountingPCA.n_rows_transformed = CountingHasher.n_calls = 0
    pipeline = RetrievalPipeline(steps, rescore=rescore).fit(X[TRAIN])
    # PCA's own fit_transform gives the features of the training data.
    assert (CountingPCA.n_rows_transformed, CountingHasher.n_calls) == (0, 1)
    pipeline.kneighbors(X[TEST])
    assert (CountingPCA.n_rows_transformed, CountingHasher.n_calls) == (100, 2)
    pipeline.radius_neighbors(X[TEST])
    assert (CountingPCA.n_rows_transformed, CountingHasher.n_calls) == (200, 3)
    pipeline.add(X[TEST])
    assert (CountingPCA.n_rows_transformed, CountingHasher.n_calls) == (300, 4)


def test_features_come_from_the_cache_of_the_pipeline_too(tmp_path):
    for _ in range(2):
        pipeline = make_rescoring(rescore="float", memory=str(tmp_path)).fit(X[TRAIN])
        assert pipeline.memory == str(tmp_path)
        np.testing.assert_array_equal(pipeline.features_[:], features_of(pipeline, TRAIN).astype(np.float32))
    broken = make_rescoring(rescore="float", memory=str(tmp_path)).set_params(hash__n_bits=65)
    with pytest.raises(ValueError, match="n_bits=65"):
        broken.fit(X[TRAIN])
    assert broken.memory == str(tmp_path)


def test_parameters_of_rescoring_are_parameters_like_others(rescored):
    params = rescored.get_params()
    assert (params["rescore"], params["n_candidates"]) == (rescored.rescore, 20)
    cloned = clone(rescored)
    assert (cloned.rescore, cloned.n_candidates) == (rescored.rescore, 20)
    assert not hasattr(cloned, "features_")
    loaded = pickle.loads(pickle.dumps(rescored))
    for ours, expected in zip(loaded.kneighbors(X[TEST]), rescored.kneighbors(X[TEST]), strict=True):
        np.testing.assert_array_equal(ours, expected)
    loaded.set_params(rescore=None)
    assert loaded.kneighbors(X[TEST])[0].dtype == np.int32
    assert make_pipeline().get_params()["rescore"] is None


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_over_rescoring(n_jobs):
    def precision_at_5(pipeline, X, y):
        ids = pipeline.kneighbors(X, 5, return_distance=False)
        return (pipeline["search"].labels_[ids] == y[:, None]).mean()

    cv = [(np.arange(300), np.arange(300, 500))]
    grid = {"rescore": [None, "asymmetric", "float"], "n_candidates": [50]}
    search = GridSearchCV(make_rescoring(8), grid, scoring=precision_at_5, cv=cv, n_jobs=n_jobs, error_score="raise")
    search.fit(X[:500], Y[:500])
    for rescore, score in zip(grid["rescore"], search.cv_results_["mean_test_score"], strict=True):
        fitted = make_rescoring(8, rescore=rescore, n_candidates=50).fit(X[:300], Y[:300])
        assert score == precision_at_5(fitted, X[300:500], Y[300:500])
    assert search.best_params_["rescore"] == "float"
    assert len(search.best_estimator_.features_) == 500


def test_scores_judge_codes_whatever_the_rescoring(rescored):
    plain = make_rescoring().fit(X[TRAIN], Y[TRAIN])
    assert rescored.score(X[TEST], Y[TEST]) == plain.score(X[TEST], Y[TEST])
    assert mean_average_precision_scorer(rescored, X[TEST], Y[TEST]) == plain.score(X[TEST], Y[TEST])


def test_slices_with_hasher_and_search_rescore_and_others_do_not(rescored):
    tail = rescored[1:]
    for ours, expected in zip(tail.kneighbors(features_of(rescored, TEST)), rescored.kneighbors(X[TEST]), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert (tail.rescore, tail.n_candidates) == (rescored.rescore, 20)
    np.testing.assert_array_equal(rescored[:-1].transform(X[TEST]), by_hand(rescored, TEST))
    assert rescored[:-1].rescore is None
    assert rescored[2:].kneighbors(by_hand(rescored, TEST))[0].dtype == np.int32
    tail.add(features_of(rescored, TEST), Y[TEST])
    assert rescored.kneighbors(X[TEST], 1)[1].shape == (100, 1)


def test_rescoring_can_be_changed_after_the_fit_where_nothing_is_missing():
    pipeline = make_rescoring().fit(X[TRAIN])
    expected = make_rescoring(rescore="asymmetric").fit(X[TRAIN]).kneighbors(X[TEST])
    for ours, other in zip(pipeline.set_params(rescore="asymmetric").kneighbors(X[TEST]), expected, strict=True):
        np.testing.assert_array_equal(ours, other)
    with pytest.raises(ValueError, match=r"rescore='float' needs features of the database.*; call fit again"):
        pipeline.set_params(rescore="float").kneighbors(X[TEST])
    assert len(pipeline.fit(X[TRAIN]).features_) == 600
    pipeline.set_params(rescore=None).add(X[TEST])
    assert len(pipeline.set_params(rescore="float").kneighbors(X[TEST])[1]) == 100
    assert not hasattr(pipeline.set_params(rescore=None).fit(X[TRAIN]), "features_")


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"rescore": "cosine"}, ValueError, "rescore='cosine' must be 'asymmetric', 'float' or None"),
        ({"n_candidates": 0}, ValueError, "n_candidates=0 must be >= 1"),
        ({"n_candidates": 2.5}, TypeError, "n_candidates=2.5 must be an integer"),
        (
            {"hash": FunctionTransformer()},
            TypeError,
            "needs a hasher with the method project.*step 'hash' is a Function",
        ),
        ({"hash": "passthrough"}, TypeError, "needs a hasher with the method project .*step 'scale' is a Standard"),
        ({"hash": "passthrough", "scale": None}, TypeError, "needs a hasher before the step 'search'"),
        (
            {"search": NearestNeighbors()},
            TypeError,
            "a HammingNearestNeighbors as the last step, but 'search' is a Nea",
        ),
    ],
)
def test_impossible_rescoring_is_refused_in_one_line(params, error, message):
    pipeline = make_rescoring(rescore="asymmetric").set_params(**params)
    if not {"rescore", "n_candidates"} & set(params):
        with pytest.raises(error, match=f"RetrievalPipeline: .*{message}") as raised:
            pipeline.fit(X[TRAIN])
        assert "\n" not in str(raised.value)
        return
    with pytest.raises(ValueError, match="parameter of RetrievalPipeline must be"):
        pipeline.fit(X[TRAIN])
    pipeline = make_rescoring(rescore="asymmetric").fit(X[TRAIN]).set_params(**params)
    with pytest.raises(error, match=f"RetrievalPipeline: {message}") as raised:
        pipeline.kneighbors(X[TEST])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("n_neighbors", "error", "message"),
    [(0, ValueError, "n_neighbors=0 must be >= 1"), ("3", TypeError, "n_neighbors='3' must be an integer")],
)
def test_impossible_numbers_of_neighbours_are_refused(rescored, n_neighbors, error, message):
    with pytest.raises(error, match=f"RetrievalPipeline: {message}"):
        rescored.kneighbors(X[TEST], n_neighbors)


def test_unfitted_pipeline_that_rescores_says_so(rescored):
    unfitted = clone(rescored)
    for call in (unfitted.kneighbors, unfitted.radius_neighbors, unfitted.add):
        with pytest.raises(NotFittedError, match="RetrievalPipeline"):
            call(X[TEST])


def test_sparse_features_cannot_be_kept():
    pipeline = RetrievalPipeline([("hash", LSH(8)), ("search", HammingNearestNeighbors())], rescore="float")
    with pytest.raises(ValueError, match="RetrievalPipeline: features for step 'hash' are sparse"):
        pipeline.fit(sparse.csr_matrix(X))
    asymmetric = pipeline.set_params(rescore="asymmetric", hash__random_state=0).fit(sparse.csr_matrix(X[TRAIN]))
    dense = clone(pipeline).fit(X[TRAIN])
    np.testing.assert_allclose(asymmetric.kneighbors(sparse.csr_matrix(X[TEST]))[0], dense.kneighbors(X[TEST])[0])


def test_rescoring_takes_frames_from_set_output(rescored):
    pytest.importorskip("pandas", reason="the test asks for frames")
    frames = clone(rescored).set_output(transform="pandas").fit(X[TRAIN], Y[TRAIN])
    for ours, expected in zip(frames.kneighbors(X[TEST]), rescored.kneighbors(X[TEST]), strict=True):
        np.testing.assert_array_equal(ours, expected)
    if rescored.rescore == "float":
        np.testing.assert_array_equal(frames.kneighbors()[1], rescored.kneighbors()[1])
    assert frames.add(X[TEST], Y[TEST])["search"].n_samples_fit_ == 700
