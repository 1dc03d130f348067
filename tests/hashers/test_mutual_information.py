"""MutualInformationHash against loops over the paper's formulas, and the trigger that codes hang on."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skhash import ITQ, MutualInformationHash
from skhash.hashers._mutual_information import _information_gradient
from skhash.metrics import mean_average_precision

X, Y = load_digits(return_X_y=True)
TRAIN, QUERY, Y_TRAIN, Y_QUERY = train_test_split(X, Y, test_size=400, random_state=0)
CHUNKS = np.array_split(np.arange(len(TRAIN)), 10)


def score(hasher):
    return mean_average_precision(hasher.transform(QUERY), hasher.transform(TRAIN), Y_QUERY, Y_TRAIN)


def entropy(histogram):
    shares = [value / sum(histogram) for value in histogram if value > 0]
    return -sum(share * np.log2(share) for share in shares)


def naive_information(distances, relevant, n_bits, n_bins):
    """Mutual information of one row, with the triangular pulses of the paper."""
    width = n_bits / n_bins
    near, far = np.zeros((2, n_bins + 1))
    for distance, is_relevant in zip(distances, relevant, strict=True):
        for centre in range(n_bins + 1):
            pulse = max(0, 1 - abs(distance - centre * width) / width)
            (near if is_relevant else far)[centre] += pulse
    share = np.mean(relevant)
    return (
        entropy(near + far)
        - (share * entropy(near) if share > 0 else 0)
        - ((1 - share) * entropy(far) if share < 1 else 0)
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n_bins", [1, 4, 9])
def test_gradient_is_that_of_the_naive_mutual_information(share, n_bins):
    random = np.random.RandomState(0)
    distances, relevant = random.uniform(0.1, 7.9, (3, 20)), random.random_sample((3, 20)) < share
    gradient = _information_gradient(distances, relevant, 8, n_bins)
    for row, column in np.ndindex(distances.shape):
        values = []
        for step in (1e-6, -1e-6):
            moved = distances[row].copy()
            moved[column] += step
            values.append(naive_information(moved, relevant[row], 8, n_bins))
        assert gradient[row, column] == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-5)


def test_gradients_are_finite_at_distances_on_the_border():
    distances = np.array([[0.0, 8.0, 4.0, -1e-12, 8 + 1e-12]])
    assert np.isfinite(_information_gradient(distances, distances > 3, 8, 4)).all()


def test_a_step_raises_the_mutual_information_of_its_row():
    hasher = MutualInformationHash(8, n_bins=4, slope=3, learning_rate=0.05, random_state=0)
    hasher.fit(TRAIN[:60], Y_TRAIN[:60])
    row, label = hasher._unit(TRAIN[60:61]), np.eye(10)[Y_TRAIN[60:61]]

    def information():
        relaxed = np.tanh(1.5 * (row @ hasher._learned))
        distances = (8 - relaxed @ references.T) / 2
        return naive_information(distances[0], (label @ hasher._reservoir_indicators.T > 0)[0], 8, 4)

    references = np.tanh(1.5 * (hasher._unit(hasher._reservoir) @ hasher._learned))
    before = information()
    hasher._step(row, label)
    assert information() > before


def test_information_of_codes_by_hand():
    """Two classes with opposite codes: each row sees two relevant rows at 0 and three others at 2: H(2/5) = 0.971."""
    hasher = MutualInformationHash(2, random_state=0)
    hasher._reservoir_indicators = np.repeat(np.eye(2), 3, axis=0)
    separated = np.repeat([[1.0, 1.0], [-1.0, -1.0]], 3, axis=0)
    assert hasher._information(separated) == pytest.approx(-0.4 * np.log2(0.4) - 0.6 * np.log2(0.6))
    assert hasher._information(np.ones((6, 2))) == pytest.approx(0)
    random = np.where(np.random.RandomState(0).random_sample((6, 2)) < 0.5, 1.0, -1.0)
    expected = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        distances = [np.sum(random[i] != random[j]) for j in others]
        expected.append(naive_information(distances, [i // 3 == j // 3 for j in others], 2, 2))
    assert hasher._information(random) == pytest.approx(np.mean(expected))


def test_better_than_itq_on_digits():
    assert score(MutualInformationHash(32, random_state=0).fit(TRAIN, Y_TRAIN)) > (
        score(ITQ(32, random_state=0).fit(TRAIN)) + 0.05
    )


@pytest.mark.parametrize("threshold", [0.0, 0.02, np.inf])
def test_codes_change_exactly_when_the_number_of_updates_does(threshold):
    hasher = MutualInformationHash(16, threshold=threshold, random_state=0)
    hasher.partial_fit(TRAIN[CHUNKS[0]], Y_TRAIN[CHUNKS[0]])
    assert hasher.n_updates_ == 1
    for rows in CHUNKS[1:]:
        before, n_updates = hasher.project(QUERY), hasher.n_updates_
        hasher.partial_fit(TRAIN[rows], Y_TRAIN[rows])
        fired = hasher.gains_[-1] > threshold
        assert hasher.n_updates_ == n_updates + fired
        assert np.array_equal(hasher.project(QUERY), before) != fired
    assert len(hasher.gains_) == 9
    assert hasher.n_updates_ == 1 if threshold == np.inf else hasher.n_updates_ > 1


def test_fewer_updates_with_a_threshold_at_little_loss():
    scores, updates = [], []
    for threshold in (0.0, 0.02):
        hasher = MutualInformationHash(32, threshold=threshold, random_state=0)
        for rows in CHUNKS:
            hasher.partial_fit(TRAIN[rows], Y_TRAIN[rows])
        scores.append(score(hasher))
        updates.append(hasher.n_updates_)
    assert updates[1] < updates[0]
    assert scores[1] > scores[0] - 0.05


def test_new_class_leaves_codes_as_they_are_until_the_trigger():
    hasher = MutualInformationHash(16, threshold=np.inf, random_state=0)
    old = Y_TRAIN < 5
    hasher.partial_fit(TRAIN[old], Y_TRAIN[old])
    before = hasher.transform(QUERY)
    hasher.partial_fit(TRAIN[~old], Y_TRAIN[~old])
    np.testing.assert_array_equal(hasher.transform(QUERY), before)
    assert hasher.classes_.tolist() == list(range(10))
    hasher.set_params(threshold=0.0).partial_fit(TRAIN, Y_TRAIN)
    assert hasher.n_updates_ == 2
    assert (hasher.transform(QUERY) != before).any()


def test_reservoir_is_a_sample_of_all_rows():
    hasher = MutualInformationHash(4, reservoir_size=100, random_state=0)
    for rows in CHUNKS:
        hasher.partial_fit(TRAIN[rows], Y_TRAIN[rows])
    position = {tuple(row): i for i, row in enumerate(TRAIN)}
    positions = np.array([position[tuple(row)] for row in hasher._reservoir])
    assert len(set(positions)) == 100
    np.testing.assert_array_equal(hasher._reservoir_indicators, np.eye(10)[Y_TRAIN[positions]])
    # Of 100 rows, the number from one half has a standard deviation of 5.
    assert 25 < np.count_nonzero(positions < len(TRAIN) / 2) < 75


def test_several_labels_and_unlabelled_rows():
    labels = np.eye(10)[Y_TRAIN] + np.eye(10)[(Y_TRAIN + 1) % 10]
    labels[::7] = 0
    hasher = MutualInformationHash(16, random_state=0).fit(TRAIN, labels)
    assert hasher._reservoir_indicators.sum(axis=1).tolist() == [2] * 200
    np.testing.assert_allclose(hasher.mean_, TRAIN.mean(axis=0))


def test_one_class_and_constant_features():
    alone = MutualInformationHash(8, random_state=0).fit(TRAIN[Y_TRAIN == 3], np.full((Y_TRAIN == 3).sum(), 3))
    assert alone.transform(QUERY).shape == (400, 1)
    constant = MutualInformationHash(8, random_state=0).fit(np.ones((9, 4)), np.arange(9) % 2)
    assert len(np.unique(constant.transform(np.ones((9, 4))), axis=0)) == 1


def test_more_bins_than_memory_are_refused_before_they_are_allocated():
    with pytest.raises(MemoryError, match="histograms of n_bins=1099511627776"):
        MutualInformationHash(2, n_bins=2**40, random_state=0).fit(np.eye(30), np.arange(30) % 3)
