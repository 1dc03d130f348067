"""RetrievalPipeline: delegation, composition with scikit-learn, and one computation of features a search."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

from skhash import ITQ, LSH, HammingNearestNeighbors, RetrievalPipeline
from skhash.metrics import make_retrieval_scorer, mean_average_precision, mean_average_precision_scorer

X, Y = load_digits(return_X_y=True)
TRAIN, TEST = slice(0, 600), slice(600, 700)


def make_pipeline(n_bits=24, **params):
    steps = [
        ("reduce", PCA(30, random_state=0)),
        ("hash", ITQ(n_bits, random_state=0)),
        ("search", HammingNearestNeighbors(**params)),
    ]
    return RetrievalPipeline(steps)


@pytest.fixture
def pipeline():
    return make_pipeline().fit(X[TRAIN], Y[TRAIN])


def by_hand(pipeline, rows):
    return pipeline.named_steps["hash"].transform(pipeline.named_steps["reduce"].transform(X[rows]))


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
