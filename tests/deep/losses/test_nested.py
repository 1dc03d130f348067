"""Cross-entropy on every prefix, and the pull to balanced bits, against loops over rows, prefixes and classes."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="losses are torch modules")

from skhash.codes import truncate_codes  # noqa: E402
from skhash.deep import DeepSupervisedHasher  # noqa: E402
from skhash.deep.losses._nested import Nested  # noqa: E402
from skhash.metrics import mean_average_precision  # noqa: E402

N_BITS = 12
PREFIXES = (4, 8, 12)

# Rows of zeros are unlabelled.
TARGETS = {
    "single": np.eye(4)[[0, 0, 1, 1, 2, 2, 3]],
    "multi": np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 0.0]]),
    "partial": np.vstack([np.eye(4)[[0, 1, 0, 2, 1]], np.zeros((2, 4))]),
    "partial multi": np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1.0]]),
}
DEGENERATE = {
    "no two rows of a class": np.eye(4),
    "one class": np.eye(4)[[1, 1, 1]],
    "one sample": np.eye(4)[[2]],
    "no label": np.zeros((3, 4)),
    "one sample without a label": np.zeros((1, 4)),
    "a single class at all": np.ones((3, 1)),
    "two classes": np.eye(2),
    "all classes at once": np.ones((3, 4)),
}

over_targets = pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)


def outputs_for(targets, n_bits=N_BITS):
    return np.random.default_rng(0).normal(scale=1.2, size=(len(targets), n_bits))


def prepared(loss, targets, *, seed=0, n_bits=N_BITS):
    generator = torch.Generator().manual_seed(seed)
    loss.prepare(
        n_bits, targets.shape[1], n_samples=len(targets), targets=torch.from_numpy(targets), generator=generator
    )
    loss = loss.double()
    loss.start_epoch(0)
    return loss


def value(loss, z, targets):
    return loss(torch.from_numpy(z), torch.from_numpy(targets), torch.arange(len(z))).item()


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def naive_loss(v, centers, targets, prefixes, margin, scale, lam=0.0):
    """Mean over prefixes of a mean over labelled rows and one over the squared distances of bits to balanced ones.

    The lower half of a bit is at a distance to -1, the upper half to +1, and the middle one of an odd number to 0.
    """
    losses = []
    for length in prefixes:
        terms, squares = [], []
        for row, classes in zip(v.tolist(), targets, strict=True):
            if not classes.any():
                continue
            logits = [
                scale * (cosine(row[:length], center[:length]) - margin * has)
                for center, has in zip(centers, classes, strict=True)
            ]
            total = math.log(sum(math.exp(logit) for logit in logits))
            own = [total - logit for logit, has in zip(logits, classes, strict=True) if has]
            terms.append(sum(own) / len(own))
        for bit in range(length):
            for rank, x in enumerate(sorted(v[:, bit])):
                target = -1 if rank < len(v) // 2 else 1 if rank >= (len(v) + 1) // 2 else 0
                squares.append((x - target) ** 2)
        central = sum(terms) / len(terms) if terms else 0.0
        losses.append(central + lam * sum(squares) / len(squares))
    return sum(losses) / len(losses)


@over_targets
@pytest.mark.parametrize(("scale", "expected_scale"), [(None, math.sqrt(2) * math.log(3)), (5.0, 5.0)])
@pytest.mark.parametrize(
    ("prefixes", "expected_prefixes"),
    [((4, 8, 12), PREFIXES), ((4, 8), PREFIXES), ((4, 8, 16, 64), PREFIXES), ((), (12,)), ((64,), (12,))],
)
def test_loss_is_cross_entropy_of_cosines_on_every_prefix_and_a_pull_to_balanced_bits(
    targets, scale, expected_scale, prefixes, expected_prefixes
):
    z = outputs_for(targets)
    loss = prepared(Nested(prefixes=prefixes, margin=0.3, lam=0.7, scale=scale), targets)
    v = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5)
    expected = naive_loss(v, loss.centers.tolist(), targets, expected_prefixes, 0.3, expected_scale, 0.7)
    assert value(loss, z, targets) == pytest.approx(expected)


@pytest.mark.parametrize(("n_classes", "scale"), [(1, 3), (2, 3), (3, 3), (4, 3), (5, 4), (10, 9)])
def test_scale_is_that_of_four_classes_for_fewer(n_classes, scale):
    targets = np.eye(n_classes)[np.arange(6) % n_classes]
    z = outputs_for(targets)
    loss = prepared(Nested(prefixes=PREFIXES, lam=0.0), targets)
    v = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5)
    expected = naive_loss(v, loss.centers.tolist(), targets, PREFIXES, 0.2, math.sqrt(2) * math.log(scale))
    assert value(loss, z, targets) == pytest.approx(expected)


def test_minimum_distances_are_those_of_all_pairs_of_codewords():
    loss = prepared(Nested(prefixes=PREFIXES), np.eye(6))
    centers = loss.class_centers().tolist()
    assert {value for row in centers for value in row} == {-1.0, 1.0}
    expected = {
        length: min(
            sum(a != b for a, b in zip(first[:length], second[:length], strict=True))
            for first, second in itertools.combinations(centers, 2)
        )
        for length in PREFIXES
    }
    assert loss.minimum_distances == expected


def test_more_classes_than_codes_of_a_prefix_share_them():
    targets = np.eye(6)
    loss = prepared(Nested(prefixes=(2, 8)), targets)
    assert loss.minimum_distances[2] == 0
    assert loss.minimum_distances[8] > 0
    assert math.isfinite(value(loss, outputs_for(targets), targets))


def test_more_classes_than_codes_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^Nested: 9 classes exceed the 8 codes of n_bits=3") as error:
        prepared(Nested(), np.eye(9), n_bits=3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("prefixes", [(0, 8), (8, 4), (4, 4)])
def test_prefixes_that_do_not_ascend_are_refused(prefixes):
    message = rf"^Nested: prefixes=\({prefixes[0]}, {prefixes[1]}\) must be different whole numbers >= 1, ascending\.$"
    with pytest.raises(ValueError, match=message):
        prepared(Nested(prefixes=prefixes), np.eye(2))


def test_outputs_are_projected_by_the_running_statistics_in_any_mode():
    targets = TARGETS["single"]
    z = outputs_for(targets)
    loss = prepared(Nested(prefixes=PREFIXES), targets)
    value(loss, z, targets)
    # One batch with the momentum 0.1 of torch, from mean 0 and variance 1.
    running_mean, running_var = 0.1 * z.mean(axis=0), 0.9 + 0.1 * z.var(axis=0, ddof=1)
    expected = (z - running_mean) / np.sqrt(running_var + 1e-5)
    for mode in (True, False):
        loss.train(mode)
        assert loss.project(torch.from_numpy(z)).detach().numpy() == pytest.approx(expected)


def test_one_row_is_projected_as_for_its_code():
    targets = TARGETS["single"]
    loss = prepared(Nested(prefixes=PREFIXES, lam=0.7), targets)
    z = outputs_for(targets)
    value(loss, z, targets)
    v = loss.project(torch.from_numpy(z[:1])).detach().numpy()
    expected = naive_loss(v, loss.centers.tolist(), targets[:1], PREFIXES, 0.2, math.sqrt(2) * math.log(3), 0.7)
    assert value(loss, z[:1], targets[:1]) == pytest.approx(expected)


def test_a_batch_without_labels_is_pulled_to_balanced_bits_only():
    targets = np.zeros((5, 4))
    z = outputs_for(targets)
    loss = prepared(Nested(prefixes=PREFIXES, lam=0.7), targets)
    v = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5)
    assert value(loss, z, targets) == pytest.approx(naive_loss(v, None, targets, PREFIXES, 0.2, 1.0, 0.7))


@over_targets
def test_gradients_agree_with_differences(targets):
    loss = prepared(Nested(prefixes=PREFIXES), targets)
    z = torch.from_numpy(outputs_for(targets)).requires_grad_()
    y, rows = torch.from_numpy(targets), torch.arange(len(targets))
    assert torch.autograd.gradcheck(lambda outputs: loss(outputs, y, rows), z)


@pytest.mark.parametrize("targets", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_batches_have_a_finite_loss_and_gradient(targets):
    loss = prepared(Nested(prefixes=PREFIXES), targets)
    z = torch.from_numpy(outputs_for(targets)).requires_grad_()
    result = loss(z, torch.from_numpy(targets), torch.arange(len(targets)))
    result.backward()
    assert result.shape == ()
    assert torch.isfinite(result)
    assert torch.isfinite(z.grad).all()


def test_extreme_outputs_have_a_finite_loss_and_gradient():
    targets = TARGETS["single"]
    loss = prepared(Nested(prefixes=PREFIXES), targets).float()
    z = torch.tensor([[1e4] * N_BITS, [-1e4] * N_BITS, [0.0] * N_BITS, [1e-8] * N_BITS], requires_grad=True)
    result = loss(z, torch.from_numpy(targets[:4]).float(), torch.arange(4))
    result.backward()
    assert torch.isfinite(result)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))], ids=["copy", "pickle"]
)
def test_a_copy_has_the_same_value(duplicate):
    targets = TARGETS["multi"]
    z = outputs_for(targets)
    loss = prepared(duplicate(Nested(prefixes=PREFIXES)), targets)
    other = duplicate(loss)
    assert value(other, z, targets) == value(loss, z, targets)
    assert other.minimum_distances == loss.minimum_distances


def test_randomness_comes_from_the_generator_alone():
    targets = TARGETS["single"]
    z = outputs_for(targets)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    values = [value(prepared(Nested(prefixes=PREFIXES), targets, seed=seed), z, targets) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def blobs():
    random = np.random.default_rng(0)
    y = np.arange(120) % 6
    return random.normal(size=(6, 20))[y] + 0.1 * random.normal(size=(120, 20)), y


def test_every_prefix_of_a_trained_code_tells_well_parted_classes_apart():
    X, y = blobs()
    hasher = DeepSupervisedHasher(
        24, loss=Nested(prefixes=(8, 16)), max_epochs=15, batch_size=32, validation_fraction=None, random_state=0
    )
    codes = hasher.fit(X, y).transform(X)
    for n_bits in (8, 16, 24):
        prefixes = truncate_codes(codes, n_bits)
        # Each row is a query for the others.
        assert mean_average_precision(prefixes, None, y) > 0.99


def test_rows_with_several_labels_and_with_none_are_trained_on():
    X, y = blobs()
    indicators = np.eye(6, dtype=int)[y]
    indicators[::7] = 0
    indicators[::5, 0] = 1
    hasher = DeepSupervisedHasher(16, loss="nested", max_epochs=2, random_state=0).fit(X, indicators)
    assert hasher.transform(X[:2]).shape == (2, 2)
    assert set(hasher.net_.criterion_.minimum_distances) == {16}
