"""Training with more than a loss: attacks, and rows without labels."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

from skhash.deep import DeepSupervisedHasher  # noqa: E402
from skhash.deep._inputs import FeatureInputs  # noqa: E402
from skhash.deep._terms import ConsistencyTerm  # noqa: E402
from skhash.deep.adversarial import ProjectedGradient, attack_queries, attacked_mean_average_precision  # noqa: E402
from skhash.deep.semi_supervised import MeanTeacher  # noqa: E402
from skhash.metrics import mean_average_precision  # noqa: E402

X, Y = load_digits(return_X_y=True)
X = X.astype(np.float32)
QUERIES, DATABASE = slice(0, 300), slice(300, None)
IMAGES = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
SMALL = DeepSupervisedHasher(16, network="mlp", max_epochs=5, random_state=0)


def small(**params):
    return clone(SMALL).set_params(**params)


def few_labels(n_per_class):
    y = np.full(len(Y), -1)
    for label in range(10):
        rows = np.flatnonzero(Y[DATABASE] == label)[:n_per_class] + DATABASE.start
        y[rows] = label
    return y


def test_adversarial_training_resists_attacks():
    attack = ProjectedGradient(epsilon=0.3)
    scores = {}
    for adversarial in (None, attack):
        hasher = small(adversarial=adversarial).fit(X[DATABASE], Y[DATABASE])
        scores[adversarial is None] = attacked_mean_average_precision(
            hasher, X[QUERIES], X[DATABASE], Y[QUERIES], Y[DATABASE], attack=attack, random_state=0
        )
    assert scores[False].attacked > scores[True].attacked + 0.03
    assert scores[True].attacked < scores[True].clean


def test_pixels_are_attacked_within_their_range():
    hasher = small(network="cnn", max_epochs=2).fit(IMAGES[DATABASE][:400], Y[DATABASE][:400])
    attacked = attack_queries(hasher, IMAGES[:20], random_state=0)
    assert attacked.shape == (20, 8, 8, 1)
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert abs(attacked[..., 0] - IMAGES[:20] / 255).max() == pytest.approx(8 / 255, abs=1e-6)
    scores = attacked_mean_average_precision(
        hasher, IMAGES[:50], IMAGES[100:400], Y[:50], Y[100:400], attack=ProjectedGradient(epsilon=0.2), random_state=0
    )
    assert scores.clean == mean_average_precision(
        hasher.transform(IMAGES[:50]), hasher.transform(IMAGES[100:400]), Y[:50], Y[100:400]
    )
    assert scores.attacked < scores.clean
    with pytest.raises(ValueError, match="scale is for features"):
        attack_queries(hasher, IMAGES[:20], scale=1.0)


def test_adversarial_training_on_images():
    hasher = small(network="cnn", max_epochs=1, adversarial=ProjectedGradient(n_steps=2))
    assert hasher.fit(IMAGES[:200], Y[:200]).transform(IMAGES[:5]).shape == (5, 2)


def test_features_need_a_scale():
    with pytest.raises(ValueError, match=r"scale is missing; pass 64 lengths, such as X_train\.std\(axis=0\)"):
        attack_queries(small(max_epochs=1).fit(X, Y), X[:3])


def test_rows_without_labels_help():
    y = few_labels(3)[DATABASE]
    scores = []
    for consistency in (None, MeanTeacher(weight=1.0)):
        hasher = small(consistency=consistency, max_epochs=30, validation_fraction=None).fit(X[DATABASE], y)
        codes = hasher.transform(X)
        scores.append(mean_average_precision(codes[QUERIES], codes[DATABASE], Y[QUERIES], Y[DATABASE]))
    assert scores[1] > scores[0]


def test_consistency_without_unlabelled_rows_is_refused():
    with pytest.raises(
        ValueError, match=r"DeepSupervisedHasher: consistency=0\.5 needs rows without a label"
    ) as raised:
        small(consistency=0.5).fit(X, Y)
    assert "\n" not in str(raised.value)


def test_each_unlabelled_row_is_seen_in_an_epoch_of_few_labelled_ones():
    seen = []

    class Noted(ConsistencyTerm):
        def __call__(self, net, inputs, targets):
            rows, positions = next(self._batches)
            seen.extend(positions.tolist())
            return rows.sum() * 0

    settings = MeanTeacher(batch_ratio=2.0)
    term = Noted(settings, None, FeatureInputs(torch.arange(50.0)[:, None]))
    term.start_epoch(0, [10, 10, 5], torch.Generator().manual_seed(0))
    for size in (10, 10, 5):
        term(None, torch.zeros(size, 1), None)
    assert sorted(seen) == list(range(50))
    y = few_labels(1)
    hasher = small(consistency=MeanTeacher(batch_ratio=1.0), max_epochs=1, validation_fraction=None).fit(X, y)
    # 1787 unlabelled rows, as many a step as the 10 labelled ones: each labelled row is seen 179 times.
    assert hasher.net_.history[-1]["samples_per_second"] > 0
    assert hasher.net_.optimizer_.state_dict()["state"][0]["step"].item() == 179


def test_a_number_is_the_weight_of_a_teacher():
    y = few_labels(3)
    number, teacher = (
        small(consistency=consistency, max_epochs=2).fit(X, y).project(X)
        for consistency in (0.5, MeanTeacher(weight=0.5))
    )
    np.testing.assert_array_equal(number, teacher)


def test_settings_of_terms_are_parameters():
    hasher = small(consistency=MeanTeacher(), adversarial=ProjectedGradient())
    assert hasher.set_params(consistency__weight=2.0, adversarial__n_steps=3).get_params()["adversarial__n_steps"] == 3
    assert clone(hasher).consistency.weight == 2.0
