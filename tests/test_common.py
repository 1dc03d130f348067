"""scikit-learn's checks over every estimator of the package, found by discovery."""

import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from tests.estimators import ESTIMATORS, HASHERS, SMALL_INSTANCES, TAKES_IMAGES, instances

TABULAR = [estimator for estimator in ESTIMATORS.values() if estimator not in TAKES_IMAGES]

# The checks fit on frames and transform arrays, and score on the training data. scikit-learn's own test suite ignores
# the first warning; the second one, that queries find themselves, is meant for such scores.
NAMES_DIFFER = pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning")
SCORES_OF_TRAINING_DATA = pytest.mark.filterwarnings("ignore:mean_average_precision.*find themselves:UserWarning")

# scikit-learn runs the following on its own estimators but leaves them out of `parametrize_with_checks`.
CHECKS_OF_ALL = [
    "check_param_validation",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_dataframe_column_names_consistency",
]
CHECKS_OF_HASHERS = [
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_get_feature_names_out_error",
]


def label(value):
    return value if isinstance(value, str) else " ".join(repr(value).split())


def test_discovery_finds_the_estimators_that_the_design_names():
    assert {"ITQ", "LSH", "PCAH", "SpectralHash"} <= set(HASHERS)
    assert {"HammingNearestNeighbors", "HammingNearestNeighborsTransformer", "RetrievalPipeline"} <= set(ESTIMATORS)
    assert {"CNNFeatures", "PixelFeatures"} <= set(ESTIMATORS)


def test_every_discovered_estimator_has_small_instances():
    assert set(SMALL_INSTANCES) == set(ESTIMATORS.values())
    assert all(SMALL_INSTANCES.values())


def failures_of_scikit_learns_own_pipeline(estimator):
    """`Pipeline` fits its steps in place, which two checks forbid; what inherits from it does so, too."""
    if not isinstance(estimator, Pipeline):
        return {}
    reason = "sklearn.pipeline.Pipeline fits its steps in place"
    return {"check_dont_overwrite_parameters": reason, "check_estimators_overwrite_params": reason}


@parametrize_with_checks(instances(TABULAR), expected_failed_checks=failures_of_scikit_learns_own_pipeline)
@NAMES_DIFFER
@SCORES_OF_TRAINING_DATA
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", instances(TABULAR), ids=label)
def test_scikit_learn_really_runs_its_checks(estimator):
    """Some tags switch nearly all checks off, which would look green."""
    assert len(list(estimator_checks_generator(estimator))) >= 35


@NAMES_DIFFER
@SCORES_OF_TRAINING_DATA
@pytest.mark.parametrize("check", CHECKS_OF_ALL)
@pytest.mark.parametrize("estimator", instances(set(TABULAR) - {ESTIMATORS["RetrievalPipeline"]}), ids=label)
def test_checks_that_scikit_learn_keeps_to_itself(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))


@NAMES_DIFFER
@SCORES_OF_TRAINING_DATA
@pytest.mark.parametrize("check", CHECKS_OF_HASHERS)
@pytest.mark.parametrize(
    "estimator", instances([*HASHERS.values(), ESTIMATORS["HammingNearestNeighborsTransformer"]]), ids=label
)
def test_output_checks_that_scikit_learn_keeps_to_itself(estimator, check):
    if "polars" in check:
        pytest.importorskip("polars", reason="the check writes polars frames")
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))
