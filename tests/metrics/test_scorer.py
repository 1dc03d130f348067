"""Scorers inside scikit-learn's model selection."""

import pickle

import numpy as np
import pytest
from joblib import parallel_config
from sklearn import config_context
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skhash import metrics
from skhash.hashers import LSH, PCAH
from skhash.metrics import (
    RetrievalScoringError,
    make_retrieval_scorer,
    mean_average_precision,
    mean_average_precision_scorer,
    precision_within_radius_scorer,
)
from skhash.neighbors import HammingNearestNeighbors
from skhash.pipeline import RetrievalPipeline

NAMES = [
    "mean_average_precision",
    "precision_at_k",
    "recall_at_k",
    "ndcg_at_k",
    "acg_at_k",
    "precision_within_radius",
]


@pytest.fixture(scope="module")
def data():
    return make_blobs(n_samples=90, n_features=6, centers=4, random_state=0)


def search_pipeline(**params):
    return Pipeline([("hash", LSH(16, random_state=0)), ("search", HammingNearestNeighbors())]).set_params(**params)


@pytest.mark.parametrize("pipeline_class", [Pipeline, RetrievalPipeline])
def test_fitted_database_is_what_the_last_step_was_fitted_on(data, pipeline_class):
    X, y = data
    pipeline = pipeline_class([("hash", LSH(16, random_state=0)), ("search", HammingNearestNeighbors())])
    pipeline.fit(X[:60], y[:60])
    hasher = LSH(16, random_state=0).fit(X[:60])
    wanted = mean_average_precision(hasher.transform(X[60:]), hasher.transform(X[:60]), y[60:], y[:60])
    assert mean_average_precision_scorer(pipeline, X[60:], y[60:]) == wanted
    assert mean_average_precision_scorer(pipeline.steps[-1][1], hasher.transform(X[60:]), y[60:]) == wanted
    single_step = Pipeline([("search", pipeline.steps[-1][1])])
    assert mean_average_precision_scorer(single_step, hasher.transform(X[60:]), y[60:]) == wanted


def test_self_database_leaves_one_out_of_the_test_fold(data):
    X, y = data
    scorer = make_retrieval_scorer(database="self")
    hasher = LSH(16, random_state=0).fit(X[:60])
    codes = hasher.transform(X[60:])
    wanted = mean_average_precision(codes, None, y[60:])
    assert scorer(hasher, X[60:], y[60:]) == wanted
    assert scorer(make_pipeline(LSH(16, random_state=0)).fit(X[:60]), X[60:], y[60:]) == wanted
    assert scorer(search_pipeline().fit(X[:60], y[:60]), X[60:], y[60:]) == wanted
    assert scorer(search_pipeline().fit(X[:60]), X[60:], y[60:]) == wanted
    assert scorer(HammingNearestNeighbors().fit(codes), codes, y[60:]) == wanted


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("database", ["fitted", "self"])
def test_every_metric_equals_its_function(data, name, database):
    X, y = data
    params = {"radius": 3} if name == "precision_within_radius" else {"k": 7, "ties": "worst"}
    pipeline = search_pipeline().fit(X[:60], y[:60])
    codes = pipeline[0].transform(X)
    in_database = (codes[:60], y[:60]) if database == "fitted" else (None, None)
    wanted = getattr(metrics, name)(codes[60:].copy(), in_database[0], y[60:], in_database[1], **params)
    score = make_retrieval_scorer(name, database=database, **params)(pipeline, X[60:], y[60:])
    assert isinstance(score, float)
    assert score == wanted


def test_list_gives_a_dictionary_from_one_transform(data, monkeypatch):
    X, y = data
    n_calls = []
    transform = LSH.transform
    pipeline = search_pipeline().fit(X[:60], y[:60])
    monkeypatch.setattr(LSH, "transform", lambda self, X: n_calls.append(len(X)) or transform(self, X))
    scores = make_retrieval_scorer(NAMES, k=7)(pipeline, X[60:], y[60:])
    assert n_calls == [30]
    assert list(scores) == NAMES
    singly = [
        make_retrieval_scorer(name, **({} if name == NAMES[-1] else {"k": 7}))(pipeline, X[60:], y[60:])
        for name in NAMES
    ]
    assert list(scores.values()) == singly


def test_multilabel_targets(data):
    X, y = data
    indicators = (y[:, None] == np.arange(4)) | (y[:, None] == 0)
    pipeline = search_pipeline().fit(X[:60], indicators[:60])
    score = make_retrieval_scorer("acg_at_k", k=3)(pipeline, X[60:], indicators[60:])
    assert 1 < score <= 4


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_over_a_pipeline(data, n_jobs):
    X, y = data
    search = GridSearchCV(
        search_pipeline(),
        {"hash__n_bits": [1, 24]},
        scoring=make_retrieval_scorer(["mean_average_precision", "precision_at_k"], k=5),
        refit="precision_at_k",
        cv=3,
        n_jobs=n_jobs,
    ).fit(X, y)
    assert search.best_params_ == {"hash__n_bits": 24}
    assert np.isfinite(search.cv_results_["mean_test_mean_average_precision"]).all()
    # A fitted search stands for its best estimator.
    fitted_score = mean_average_precision_scorer(search, X[:9], y[:9])
    assert fitted_score == mean_average_precision_scorer(search.best_estimator_, X[:9], y[:9])


@pytest.mark.parametrize("enable_metadata_routing", [False, True])
def test_cross_validation_functions(data, enable_metadata_routing):
    X, y = data
    with config_context(enable_metadata_routing=enable_metadata_routing):
        scores = cross_val_score(search_pipeline(), X, y, scoring=mean_average_precision_scorer, cv=3)
        scorer = make_retrieval_scorer(["mean_average_precision", "ndcg_at_k"])
        results = cross_validate(search_pipeline(), X, y, scoring=scorer, cv=3, return_train_score=True)
        searched = GridSearchCV(PCAH(2), {"n_bits": [1, 4]}, scoring=make_retrieval_scorer(database="self"), cv=3).fit(
            X, y
        )
    assert scores.shape == (3,)
    np.testing.assert_array_equal(results["test_mean_average_precision"], scores)
    assert (results["train_ndcg_at_k"] > 0.25).all()
    assert searched.best_params_ == {"n_bits": 4}


def never_working_uses(X, y):
    """Pairs of a use that fails for every setting of the parameters, and what its message says."""
    fitted, own = make_retrieval_scorer(), make_retrieval_scorer(database="self")
    unlabelled = np.where(np.arange(len(y)) % 5, y, -1)
    return [
        (fitted, search_pipeline(), None, "y is None; retrieval is scored against labels"),
        (fitted, LSH(8), y, "LSH ends in no fitted HammingNearestNeighbors"),
        (fitted, make_pipeline(StandardScaler(), LSH(8)), y, "a Pipeline of StandardScaler -> LSH ends in no fitted"),
        (fitted, make_pipeline(PCA(2)), y, "a Pipeline of PCA ends in no fitted"),
        (own, PCA(2), y, "PCA transforms to float64, not to packed uint8 codes"),
        (own, make_pipeline(LSH(8), PCA(1)), y, "a Pipeline of LSH -> PCA transforms to float64"),
        (fitted, search_pipeline(), unlabelled, "query_labels holds -1, which means unlabelled"),
    ]


USES = range(7)


@pytest.mark.parametrize("use", USES)
def test_misuse_stops_a_search_with_its_default_error_score(data, use):
    """With error_score=nan, scikit-learn turned every Exception of a scorer into NaN and chose the first candidate."""
    X, y = data
    scorer, estimator, labels, message = never_working_uses(X, y)[use]
    search = GridSearchCV(estimator, {}, scoring=scorer, cv=KFold(3))
    with pytest.raises(RetrievalScoringError, match=message) as caught:
        search.fit(X, labels)
    assert "\n" not in str(caught.value)
    with pytest.raises(RetrievalScoringError, match=message):
        cross_validate(estimator, X, labels, scoring=scorer, cv=KFold(3))
    with pytest.raises(RetrievalScoringError, match=message):
        cross_val_score(estimator, X, labels, scoring=scorer, cv=KFold(3))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_misuse_stops_a_search_with_two_jobs(data, backend):
    X, y = data
    search = GridSearchCV(LSH(8), {"n_bits": [2, 4]}, scoring=mean_average_precision_scorer, cv=3, n_jobs=2)
    with parallel_config(backend), pytest.raises(RetrievalScoringError, match="LSH ends in no fitted"):
        search.fit(X, y)


def test_search_fitted_without_labels_is_named(data):
    X, y = data
    with pytest.raises(RetrievalScoringError, match="HammingNearestNeighbors was fitted without y"):
        mean_average_precision_scorer(search_pipeline().fit(X), X, y)
    with pytest.raises(RetrievalScoringError, match="ends in no fitted HammingNearestNeighbors"):
        mean_average_precision_scorer(HammingNearestNeighbors(), X, y)


def test_estimator_without_transform_is_named(data):
    with pytest.raises(RetrievalScoringError, match="KFold has no transform that gives codes"):
        make_retrieval_scorer(database="self")(KFold(), *data)


def test_errors_of_the_data_are_value_errors(data):
    X, y = data
    pipeline = search_pipeline().fit(X[:60], y[:60])
    with pytest.raises(ValueError, match="k=61 must be <= the 60 database items"):
        make_retrieval_scorer("precision_at_k", k=61)(pipeline, X[60:], y[60:])


@pytest.mark.parametrize(
    ("zero_relevant", "message"),
    [
        ("zero", "none of the 30 queries has a relevant item in the database; folds .*StratifiedKFold.shuffle=True"),
        ("skip", "none of the 30 queries has a relevant item in the database; folds .*StratifiedKFold.shuffle=True"),
        ("error", r"30 of 30 queries \(first: 0\) have no relevant item in the database; folds of data sorted by"),
    ],
)
def test_unshuffled_folds_of_an_image_folder_scored_zero_for_every_candidate(data, zero_relevant, message):
    """A pipeline that ends in a search is no classifier, so cv=3 does not shuffle: whole classes are left out."""
    X, classes = data[0], np.repeat([0, 1, 2], 30)
    scorer = make_retrieval_scorer(zero_relevant=zero_relevant)
    search = GridSearchCV(search_pipeline(), {"hash__n_bits": [4, 16]}, scoring=scorer, cv=3)
    with pytest.raises(RetrievalScoringError, match=f"make_retrieval_scorer: {message}") as caught:
        search.fit(X, classes)
    assert "\n" not in str(caught.value)
    search.set_params(cv=StratifiedKFold(3, shuffle=True, random_state=0)).fit(X, classes)
    assert (search.cv_results_["mean_test_score"] > 1 / 3).all()


def test_folds_that_lack_a_class_give_one_warning_for_all_metrics(data):
    X, _ = data
    classes = np.repeat([0, 1, 2], [50, 30, 10])
    pipeline = search_pipeline().fit(X[:75], classes[:75])
    scorer = make_retrieval_scorer(NAMES, k=7)
    message = r"10 of 15 queries \(first: 5\) have no relevant item .* count as 0; folds .*StratifiedKFold"
    with pytest.warns(UserWarning, match=message) as caught:
        scores = scorer(pipeline, X[75:], classes[75:])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "\n" not in str(caught[0].message)
    skipping = make_retrieval_scorer(NAMES, k=7, zero_relevant="skip")(pipeline, X[75:], classes[75:])
    assert scores == pytest.approx({name: value / 3 for name, value in skipping.items()})


def test_scores_of_the_training_fold_give_a_warning():
    X = np.random.default_rng(0).normal(size=(90, 40))
    y = np.arange(90) % 3
    pipeline = search_pipeline(hash__n_bits=64).fit(X, y)
    with pytest.warns(UserWarning, match="for 90 of 90 queries, the database holds exactly one item of the same code"):
        mean_average_precision_scorer(pipeline, X, y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": "map"}, "metric 'map' must be one of 'mean_average_precision', "),
        ({"metrics": ["mean_average_precision", "map"]}, "metric 'map' must be one of"),
        ({"metrics": []}, r"metrics=\[\] must name at least one metric, and none twice"),
        ({"metrics": ["ndcg_at_k", "ndcg_at_k"]}, "must name at least one metric, and none twice"),
        ({"metrics": 3}, "metrics=3 must be a name or a list of names"),
        ({"metrics": [["ndcg_at_k"]]}, r"metric \['ndcg_at_k'\] must be one of"),
        ({"database": "train"}, "database='train' must be 'fitted' or 'self'"),
        ({"metrics": "precision_at_k"}, "precision_at_k needs k; pass it by keyword"),
        ({"metrics": "precision_at_k", "k": None}, "precision_at_k: k=None must be an integer >= 1"),
        ({"metrics": "precision_at_k", "k": 0}, "precision_at_k: k=0 must be an integer >= 1"),
        ({"ties": "first"}, "mean_average_precision: ties='first' must be one of"),
        ({"radius": 2}, "radius=2 is no parameter of mean_average_precision; known are k, normalizer, ties"),
        ({"return_per_query": True}, "return_per_query=True is no parameter of mean_average_precision"),
        ({"metrics": ["precision_at_k", "recall_at_k"], "k": 3, "K": 3}, "K=3 is no parameter of"),
    ],
)
def test_misuse_at_construction_is_named_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_retrieval_scorer(**arguments)
    assert "\n" not in str(caught.value)


def test_representation_states_what_defines_the_number():
    scorer = make_retrieval_scorer(["mean_average_precision", "precision_within_radius"], database="self", k=9)
    assert repr(scorer) == (
        "make_retrieval_scorer(['mean_average_precision', 'precision_within_radius'], database='self', "
        "k=9, ties='expected', normalizer='min_k_total', zero_relevant='zero', radius=2)"
    )
    assert repr(eval(repr(scorer))) == repr(scorer)
    assert repr(mean_average_precision_scorer) == (
        "make_retrieval_scorer('mean_average_precision', database='fitted', "
        "k=None, ties='expected', normalizer='min_k_total', zero_relevant='zero')"
    )
    assert "radius=2" in repr(precision_within_radius_scorer)


def test_pickles(data):
    X, y = data
    pipeline = search_pipeline().fit(X[:60], y[:60])
    scorer = make_retrieval_scorer(["recall_at_k", "precision_within_radius"], k=4, radius=1)
    copy = pickle.loads(pickle.dumps(scorer))
    assert repr(copy) == repr(scorer)
    assert copy(pipeline, X[60:], y[60:]) == scorer(pipeline, X[60:], y[60:])


def test_later_changes_of_the_given_list_do_not_reach_the_scorer():
    names = ["ndcg_at_k"]
    scorer = make_retrieval_scorer(names)
    names.append("unknown")
    assert repr(scorer).startswith("make_retrieval_scorer(['ndcg_at_k'], ")


def test_error_is_no_exception_so_that_scikit_learn_cannot_swallow_it():
    assert not issubclass(RetrievalScoringError, Exception)
