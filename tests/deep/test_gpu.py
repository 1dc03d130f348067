"""Deep hashing on a GPU, and what is trained there on a CPU."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

from skhash.deep import DeepSupervisedHasher, DeepUnsupervisedHasher  # noqa: E402
from skhash.deep.adversarial import ProjectedGradient, attacked_mean_average_precision  # noqa: E402
from skhash.deep.losses import LOSSES, UNSUPERVISED_LOSSES  # noqa: E402
from skhash.metrics import mean_average_precision  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

X, Y = load_digits(return_X_y=True)
X = X.astype(np.float32)
IMAGES = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
QUERIES, DATABASE = slice(0, 300), slice(300, None)


def score(hasher, rows):
    codes = hasher.transform(rows)
    return mean_average_precision(codes[QUERIES], codes[DATABASE], Y[QUERIES], Y[DATABASE])


def fit_on(device, **params):
    params = {"max_epochs": 5, "augment": None, "random_state": 0, **params}
    return DeepSupervisedHasher(16, device=device, **params)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_learns_on_a_gpu_as_on_a_cpu(loss):
    scores = [score(fit_on(device, loss=loss).fit(X[DATABASE], Y[DATABASE]), X) for device in ("cpu", "cuda")]
    assert scores[1] == pytest.approx(scores[0], abs=0.1)


@pytest.mark.parametrize("loss", sorted(UNSUPERVISED_LOSSES))
def test_every_loss_without_labels_runs_on_a_gpu(loss):
    for rows in (X, IMAGES):
        hasher = DeepUnsupervisedHasher(16, loss=loss, device="cuda", max_epochs=2, random_state=0).fit(rows)
        assert score(hasher, rows) > 0.1


@pytest.mark.parametrize(("rows", "network"), [(X, "mlp"), (IMAGES, "cnn")], ids=["features", "images"])
def test_a_model_trained_on_a_gpu_projects_alike_on_a_cpu(rows, network):
    hasher = fit_on("cuda", network=network, mixed_precision=False).fit(rows[DATABASE], Y[DATABASE])
    loaded = pickle.loads(pickle.dumps(hasher))
    assert {parameter.device.type for parameter in loaded.net_.module_.parameters()} == {"cpu"}
    assert {parameter.device.type for parameter in hasher.net_.module_.parameters()} == {"cuda"}
    projections = hasher.project(rows)
    np.testing.assert_allclose(loaded.project(rows), projections, atol=1e-2 * abs(projections).max())
    assert score(loaded, rows) == pytest.approx(score(hasher, rows), abs=0.01)


def test_mixed_precision_learns_as_well():
    scores = [
        score(fit_on("cuda", network="cnn", mixed_precision=mixed).fit(IMAGES[DATABASE], Y[DATABASE]), IMAGES)
        for mixed in (False, True)
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.1)


def test_backbones_are_fine_tuned_on_a_gpu():
    pytest.importorskip("efficientnet_lite_pytorch", reason="the backbone of photographs")
    hasher = fit_on("cuda", network="efficientnet_lite0", image_size=64, max_epochs=1)
    assert hasher.fit(IMAGES[:200], Y[:200]).transform(IMAGES[:5]).shape == (5, 2)


def test_unlabelled_rows_and_attacks_on_a_gpu():
    y = np.where(np.arange(len(Y)) % 3, Y, -1)
    hasher = fit_on("cuda", consistency=0.3, adversarial=ProjectedGradient(n_steps=2), augment="auto")
    hasher.fit(X[DATABASE], y[DATABASE])
    scores = attacked_mean_average_precision(hasher, X[QUERIES], X[DATABASE], Y[QUERIES], Y[DATABASE], random_state=0)
    assert scores.attacked < scores.clean


def test_a_checkpoint_of_a_gpu_goes_on(tmp_path):
    hasher = fit_on("cuda", checkpoint_dir=tmp_path).fit(X, Y)
    again = fit_on("cuda", checkpoint_dir=tmp_path).fit(X, Y)
    np.testing.assert_array_equal(again.project(X), hasher.project(X))


def test_a_loss_that_is_not_finite_is_found_in_its_batch():
    rows = X.copy()
    with pytest.raises(ValueError, match=r"the loss is (inf|nan) in epoch 1, batch \d+.*lower lr=1e\+38"):
        fit_on("cuda", optimizer="sgd", lr=1e38, loss="dpsh", validation_fraction=None).fit(rows, Y)
