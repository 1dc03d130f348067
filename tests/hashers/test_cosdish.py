"""ColumnSampledHash against the sum over sampled pairs, written out."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_multilabel_classification

from skhash import ITQ, ColumnSampledHash
from skhash._labels import encode_labels
from skhash.codes import unpack_codes
from skhash.hashers._cosdish import _flip_entries, _improve_columns, _learn_codes, _SampledColumns
from skhash.metrics import mean_average_precision

DIGITS, LABELS = load_digits(return_X_y=True)
TRAIN, QUERIES, DATABASE = slice(0, 600), slice(600, 800), slice(800, 1797)
SEVERAL = (np.random.default_rng(0).random((30, 4)) < 0.4).astype(int)
SEVERAL[:, 0] |= ~SEVERAL.any(axis=1)

classifiers = pytest.mark.parametrize("classifier", ["linear", "kernel"])


def naive_sum(S, B, columns):
    n_bits = B.shape[1]
    return sum(
        (n_bits * S[i, position] - sum(B[i, k] * B[j, k] for k in range(n_bits))) ** 2
        for i in range(len(B))
        for position, j in enumerate(columns)
    )


def test_similarity_by_hand():
    """Of rows of classes 0, 0, 1 and column 0, two pairs are similar and one is not: -2 makes the sum 0."""
    S = _SampledColumns(*encode_labels("Name", [0, 0, 1]).label_sets(), np.array([0]))
    np.testing.assert_array_equal(S.products_with(np.eye(3)), [[1, 1, -2]])


def naive_similarity(indicators, columns):
    similar = np.array([[bool((row * indicators[column]).any()) for column in columns] for row in indicators])
    return np.where(similar, 1.0, -similar.sum() / (~similar).sum())


@pytest.mark.parametrize("y", [LABELS[:30], SEVERAL], ids=["one", "several"])
def test_products_of_sampled_columns_are_those_of_the_whole_matrix(y):
    rng = np.random.default_rng(0)
    targets, columns = encode_labels("Name", y), np.array([3, 0, 17, 8])
    B = rng.choice(np.array([-1, 1], dtype=np.int8), size=(30, 5))
    S, matrix = (
        _SampledColumns(*targets.label_sets(), columns),
        naive_similarity(targets.indicators_of(slice(None)), columns),
    )
    np.testing.assert_allclose(S.among_columns(), matrix[columns])
    np.testing.assert_allclose(S.products_with(B), matrix.T @ B)
    np.testing.assert_allclose(np.concatenate([votes for _, votes in S.votes(B[columns])]), matrix @ B[columns])
    assert S.error(B, B[columns]) == pytest.approx(np.mean((matrix - B @ B[columns].T / 5) ** 2))


@pytest.mark.parametrize("seed", range(5))
def test_step_for_the_sampled_rows_never_raises_the_sum(seed):
    rng = np.random.default_rng(seed)
    indicators = np.eye(3, dtype=np.float32)[rng.integers(3, size=15)]
    B, columns, others = rng.choice([-1.0, 1.0], size=(15, 4)), np.arange(5), np.arange(5, 15)
    S = naive_similarity(indicators, columns)
    sums = [naive_sum(S, B, columns)]
    for _ in range(4):
        B[columns] = _improve_columns(S[columns], S[others].T @ B[others], B[columns], B[others].T @ B[others])
        sums.append(naive_sum(S, B, columns))
    assert (np.diff(sums) <= 1e-9).all()
    # No single entry could be flipped with a gain.
    for row, bit in itertools.product(columns, range(4)):
        B[row, bit] *= -1
        assert naive_sum(S, B, columns) >= sums[-1] - 1e-9
        B[row, bit] *= -1


def test_flips_end_where_no_flip_gains():
    rng = np.random.default_rng(0)
    Q = rng.standard_normal((6, 6))
    Q, linear = Q + Q.T, rng.standard_normal(6)

    def value(b):
        return b @ Q @ b + linear @ b

    for start in itertools.product([-1.0, 1.0], repeat=6):
        end = _flip_entries(Q, linear, np.array(start))
        assert value(end) >= value(np.array(start)) - 1e-12
        assert all(value(end * np.where(np.arange(6) == i, -1, 1)) <= value(end) + 1e-12 for i in range(6))


def test_training_codes_separate_the_classes():
    B, errors = _learn_codes(encode_labels("Name", LABELS[TRAIN]), 16, 50, 10, np.random.RandomState(0))
    same = LABELS[TRAIN, None] == LABELS[None, TRAIN]
    products = B.astype(int) @ B.T
    assert products[same].mean() > 15
    assert products[~same].mean() < 2
    assert errors.shape == (10,)
    assert len(np.unique(B, axis=0)) >= 10
    assert errors[-1] < 0.5


@classifiers
def test_rows_of_a_class_come_nearer_than_without_labels(classifier):
    scores = []
    for hasher in (ColumnSampledHash(16, classifier=classifier, random_state=0), ITQ(16, random_state=0)):
        hasher.fit(DIGITS[TRAIN], LABELS[TRAIN])
        queries, database = hasher.transform(DIGITS[QUERIES]), hasher.transform(DIGITS[DATABASE])
        scores.append(mean_average_precision(queries, database, LABELS[QUERIES], LABELS[DATABASE]))
    assert scores[0] > scores[1] + 0.05


@classifiers
def test_several_labels_a_row(classifier):
    X, Y = make_multilabel_classification(400, 10, n_classes=4, allow_unlabeled=False, random_state=0)
    hasher = ColumnSampledHash(8, classifier=classifier, random_state=0).fit(X[:300], Y[:300])
    distances = (unpack_codes(hasher.transform(X[300:]), 8)[:, None] != unpack_codes(hasher.transform(X), 8)).sum(2)
    share = Y[300:] @ Y.T > 0
    assert distances[share].mean() < distances[~share].mean() - 0.3


def test_columns_are_capped_by_the_data_and_refused_beyond_half_of_it():
    assert ColumnSampledHash(4, random_state=0).fit(DIGITS[:50], LABELS[:50]).n_columns_ == 25
    assert ColumnSampledHash(4, random_state=0).fit(DIGITS, LABELS).n_columns_ == 50
    with pytest.raises(ValueError, match="ColumnSampledHash: n_columns=26 must be <= 25, half of the labelled rows"):
        ColumnSampledHash(4, n_columns=26).fit(DIGITS[:50], LABELS[:50])


def test_only_the_kernel_has_anchors():
    linear = ColumnSampledHash(4, random_state=0).fit(DIGITS[:50], LABELS[:50])
    kernel = ColumnSampledHash(4, classifier="kernel", random_state=0).fit(DIGITS[:50], LABELS[:50])
    assert not hasattr(linear, "anchors_")
    assert kernel.anchors_.shape == (50, 64)


@classifiers
def test_equal_rows_and_one_class_are_refused(classifier):
    hasher = ColumnSampledHash(4, classifier=classifier)
    with pytest.raises(ValueError, match="ColumnSampledHash: all 6 labelled rows are equal; pass rows that"):
        hasher.fit(np.ones((6, 3)), [0, 1] * 3)
    with pytest.raises(ValueError, match="all 50 labelled rows have the same labels; pass at least two classes"):
        hasher.fit(DIGITS[:50], np.ones(50, dtype=int))


@pytest.mark.parametrize(
    "parameters",
    [{"classifier": "trees"}, {"ridge": 0.0}, {"n_columns": 0}, {"max_iter": 0}, {"max_samples": 1}, {"n_anchors": 0}],
)
def test_wrong_parameters_are_refused_by_name(parameters):
    (name,) = parameters
    with pytest.raises(ValueError, match=f"'{name}' parameter of ColumnSampledHash"):
        ColumnSampledHash(4, **parameters).fit(DIGITS[:50], LABELS[:50])


def test_weights_that_overflow_are_refused_by_name():
    """NumPy warned of the cast, and codes were of one kind."""
    X = np.random.RandomState(0).randint(-8, 9, size=(30, 5)).astype(np.float32) * np.float32(1.4e-45)
    with pytest.raises(ValueError, match=r"^ColumnSampledHash: the features are so small that weights .* float32"):
        ColumnSampledHash(2, random_state=0).fit(X, np.arange(30) % 3)
