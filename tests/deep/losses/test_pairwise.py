"""Losses on pairs and triplets against double loops over the formulas of the papers."""

import copy
import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="losses are torch modules")

from skhash.deep.losses._adsh import ADSH  # noqa: E402
from skhash.deep.losses._dch import DCH  # noqa: E402
from skhash.deep.losses._dfh import DFH  # noqa: E402
from skhash.deep.losses._dhn import DHN  # noqa: E402
from skhash.deep.losses._dpsh import DPSH  # noqa: E402
from skhash.deep.losses._dsdh import DSDH  # noqa: E402
from skhash.deep.losses._dsh import DSH  # noqa: E402
from skhash.deep.losses._dtsh import DTSH  # noqa: E402
from skhash.deep.losses._hashnet import HashNet  # noqa: E402
from skhash.deep.losses._mihash import MIHash  # noqa: E402

N_BITS = 6
LOSSES = [DSH, DPSH, DHN, HashNet, DTSH, DCH, DFH, DSDH, MIHash, ADSH]

# Two samples of each of three classes and one alone; classes that overlap; the last two without a label.
SINGLE = np.eye(4)[[0, 0, 1, 1, 2, 2, 3]]
MULTI = np.array(
    [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 0], [0, 1, 0, 0]], float
)
PARTIAL = np.vstack([np.eye(4)[[0, 1, 0, 2, 1]], np.zeros((2, 4))])
TARGETS = {"single": SINGLE, "multi": MULTI, "partial": PARTIAL}

# No positive pair; one class; one sample; nothing labelled.
DEGENERATE = {
    "no positive pair": np.eye(4),
    "one class": np.eye(4)[[1, 1, 1]],
    "one sample": np.eye(4)[[2]],
    "no label": np.zeros((3, 4)),
}


def outputs_for(targets, seed=0):
    """Outputs in double precision that stay clear of the kinks at 0 and 1."""
    random = np.random.default_rng(seed)
    z = random.normal(scale=1.2, size=(len(targets), N_BITS))
    near_a_kink = (np.abs(z) < 0.05) | (np.abs(np.abs(z) - 1) < 0.05)
    return np.where(near_a_kink, z + 0.2, z)


def prepared(loss, targets):
    """A copy of the loss that is ready for batches of these targets."""
    loss = copy.deepcopy(loss).double()
    generator = torch.Generator().manual_seed(0)
    loss.prepare(
        N_BITS, targets.shape[1], n_samples=len(targets), targets=torch.from_numpy(targets), generator=generator
    )
    loss = loss.double()
    loss.start_epoch(0)
    return loss


def value(loss, z, targets):
    return loss(torch.from_numpy(z), torch.from_numpy(targets), torch.arange(len(z))).item()


def pairs_of(targets):
    """Pairs of different labelled samples, with 1 if they share a class."""
    for i, one in enumerate(targets):
        for j, other in enumerate(targets):
            if i != j and one.any() and other.any():
                yield i, j, int(any(a and b for a, b in zip(one, other, strict=True)))


def sign(x):
    return 1.0 if x >= 0 else -1.0


def l1(z):
    return np.mean([sum(abs(abs(x) - 1) for x in row) for row in z])


def l2(z):
    return np.mean([sum((x - sign(x)) ** 2 for x in row) for row in z])


def naive_dsh(z, targets):
    terms = []
    for i, j, s in pairs_of(targets):
        distance = sum((a - b) ** 2 for a, b in zip(z[i], z[j], strict=True))
        terms.append(0.5 * distance if s else 0.5 * max(2 * N_BITS - distance, 0))
    # Both samples of each pair pay for their own outputs.
    return np.mean(terms) + 0.01 * 2 * l1(z)


def naive_dpsh(z, targets):
    terms = [
        math.log(1 + math.exp(0.5 * float(z[i] @ z[j]))) - s * 0.5 * float(z[i] @ z[j]) for i, j, s in pairs_of(targets)
    ]
    return np.mean(terms) + 10.0 / len(z) * l2(z)


def naive_dhn(z, targets):
    h = np.tanh(z)
    terms = [math.log(1 + math.exp(float(h[i] @ h[j]))) - s * float(h[i] @ h[j]) for i, j, s in pairs_of(targets)]
    return np.mean(terms) + 0.1 * np.mean([sum(math.log(math.cosh(abs(x) - 1)) for x in row) for row in h])


def weighted_sum(values):
    """The weights of HashNet and DCH for a list of (similar, value), summed over pairs and divided by their number."""
    n_similar = sum(s for s, _ in values)
    n_pairs = len(values)
    total = sum(v * n_pairs / (n_similar if s else n_pairs - n_similar) for s, v in values)
    return total / n_pairs


def naive_hashnet(z, targets, alpha=10 / N_BITS, beta=1.0):
    values = []
    for i, j, s in pairs_of(targets):
        product = alpha * sum(math.tanh(beta * a) * math.tanh(beta * b) for a, b in zip(z[i], z[j], strict=True))
        mine, theirs = set(np.flatnonzero(targets[i])), set(np.flatnonzero(targets[j]))
        overlap = len(mine & theirs) / len(mine | theirs) if s else 1.0
        values.append((s, overlap * (math.log(1 + math.exp(product)) - s * product)))
    return weighted_sum(values)


def naive_dtsh(z, targets):
    similar = {(i, j): s for i, j, s in pairs_of(targets)}
    margin = N_BITS / 2
    terms = [
        -math.log(1 / (1 + math.exp(-(0.5 * float(z[q] @ z[p]) - 0.5 * float(z[q] @ z[n]) - margin))))
        for (q, p), near in similar.items()
        for (other, n), far in similar.items()
        if q == other and near and not far
    ]
    return np.mean(terms) + 1.0 * l2(z) / N_BITS


def naive_dch(z, targets):
    def distance(a, b):
        return N_BITS / 2 * (1 - float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))

    values = []
    for i, j, s in pairs_of(targets):
        d = distance(z[i], z[j])
        values.append((s, s * math.log(d / 20.0) + math.log(1 + 20.0 / d)))
    quantization = np.mean([math.log(1 + distance(np.abs(row), np.ones(N_BITS)) / 20.0) for row in z])
    return weighted_sum(values) + 0.1 * quantization


def naive_dfh(z, targets):
    """The first batch: there are no centres yet, so the codes are the signs of the outputs."""
    terms = []
    for i, j, s in pairs_of(targets):
        theta = 0.5 * float(z[i] @ z[j])
        terms.append(math.log(1 + math.exp(3.0 - theta)) if s else math.log(1 + math.exp(3.0 + theta)))
    return np.mean(terms) + 0.5 * l2(z) / N_BITS


def naive_dsdh(z, targets):
    """The first epoch: the codes are the signs of the outputs."""
    terms = [
        math.log(1 + math.exp(0.5 * float(z[i] @ z[j]))) - s * 0.5 * float(z[i] @ z[j]) for i, j, s in pairs_of(targets)
    ]
    return np.mean(terms) + 55.0 / len(z) * l2(z)


def naive_mihash(z, targets, n_bins=N_BITS // 2, slope=1.0):
    width = N_BITS / n_bins
    relaxed = [[2 / (1 + math.exp(-slope * x)) - 1 for x in row] for row in z]

    def histogram(distances):
        return [sum(max(0.0, 1 - abs(d - b * width) / width) for d in distances) for b in range(n_bins + 1)]

    def entropy(counts):
        total = sum(counts)
        return -sum(c / total * math.log2(c / total) for c in counts if c > 0)

    information = []
    for query in range(len(z)):
        kinds = {0: [], 1: []}
        for i, j, s in pairs_of(targets):
            if i == query:
                kinds[s].append((N_BITS - sum(a * b for a, b in zip(relaxed[i], relaxed[j], strict=True))) / 2)
        n = len(kinds[0]) + len(kinds[1])
        if n:
            conditional = sum(len(kind) / n * entropy(histogram(kind)) for kind in kinds.values())
            information.append(entropy(histogram(kinds[0] + kinds[1])) - conditional)
    return -np.mean(information)


def signed_similarity(targets, balanced=True):
    """S of ADSH, with a row and a column for each sample, labelled or not."""
    labelled = [i for i in range(len(targets)) if targets[i].any()]
    similar = {(i, j): any(targets[i] * targets[j]) for i in labelled for j in labelled}
    n_similar = sum(similar.values())
    ratio = n_similar / (len(similar) - n_similar) if balanced else 1.0
    return {pair: 1.0 if near else -ratio for pair, near in similar.items()}


def naive_adsh(z, targets, codes=None):
    """The first epoch by default, in which the codes are the signs of the outputs."""
    u = np.tanh(z)
    codes = np.where(z >= 0, 1.0, -1.0) if codes is None else codes
    labelled = [i for i in range(len(z)) if targets[i].any()]
    errors = [(float(u[i] @ codes[j]) - N_BITS * wanted) ** 2 for (i, j), wanted in signed_similarity(targets).items()]
    distances = [float(np.sum((codes[i] - u[i]) ** 2)) for i in labelled]
    return np.mean(errors) + 200.0 / len(z) * np.mean(distances)


NAIVE = {
    DSH: naive_dsh,
    DPSH: naive_dpsh,
    DHN: naive_dhn,
    HashNet: naive_hashnet,
    DTSH: naive_dtsh,
    DCH: naive_dch,
    DFH: naive_dfh,
    DSDH: naive_dsdh,
    MIHash: naive_mihash,
    ADSH: naive_adsh,
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("cls", NAIVE)
def test_equals_the_double_loop(cls, kind):
    targets = TARGETS[kind]
    z = outputs_for(targets)
    assert value(prepared(cls(), targets), z, targets) == pytest.approx(NAIVE[cls](z, targets), rel=1e-9)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("cls", LOSSES)
def test_gradient_is_that_of_the_value(cls, kind):
    targets = TARGETS[kind]
    z = torch.from_numpy(outputs_for(targets)).requires_grad_()
    loss = prepared(cls(), targets)
    loss(z, torch.from_numpy(targets), torch.arange(len(z)))
    assert torch.autograd.gradcheck(lambda x: loss(x, torch.from_numpy(targets), torch.arange(len(x))), (z,))


@pytest.mark.parametrize("scale", [1.0, 0.0, 1e3])
@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("cls", LOSSES)
def test_degenerate_batches_have_finite_loss_and_gradient(cls, kind, scale):
    targets = DEGENERATE[kind]
    z = torch.from_numpy(outputs_for(targets) * scale).float().requires_grad_()
    loss = prepared(cls(), targets).float()
    for epoch in range(2):
        loss.start_epoch(epoch)
        result = loss(z, torch.from_numpy(targets).float(), torch.arange(len(z)))
        result.backward()
        assert result.shape == ()
        assert torch.isfinite(result)
        assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("cls", LOSSES)
def test_copies_go_on_alone(cls):
    z = outputs_for(SINGLE)
    loss = prepared(cls(), SINGLE)
    twin = copy.deepcopy(loss)
    first = value(loss, z, SINGLE)
    loss.start_epoch(40)
    value(loss, outputs_for(SINGLE, seed=1), SINGLE)
    assert value(twin, z, SINGLE) == first


@pytest.mark.parametrize("cls", LOSSES)
def test_samples_may_come_in_any_order(cls):
    z = outputs_for(MULTI)
    order = np.random.default_rng(3).permutation(len(z))
    straight, shuffled = prepared(cls(), MULTI), prepared(cls(), MULTI)
    result = shuffled(torch.from_numpy(z[order]), torch.from_numpy(MULTI[order]), torch.from_numpy(order))
    assert result.item() == pytest.approx(value(straight, z, MULTI), rel=1e-9)


@pytest.mark.parametrize(
    ("cls", "name"),
    [(DSH, "alpha"), (DPSH, "eta"), (DHN, "lam"), (DTSH, "lam"), (DCH, "lam"), (DFH, "eta"), (DSDH, "eta")],
)
def test_weight_scales_the_distance_to_codes(cls, name):
    """The loss is linear in the weight, and without it a single sample costs nothing."""
    z, targets = outputs_for(SINGLE), SINGLE
    zero, one, two = (value(prepared(cls(**{name: weight}), targets), z, targets) for weight in (0.0, 1.0, 2.0))
    assert two - one == pytest.approx(one - zero, rel=1e-9)
    assert value(prepared(cls(**{name: 0.0}), targets), z[:1], targets[:1]) == 0


def test_dpsh_divides_its_weight_by_the_number_of_training_samples():
    """A single sample has no pair; `set_rows` tells of twice as many."""
    z = outputs_for(SINGLE)[:1]
    loss = prepared(DPSH(eta=3.0), SINGLE)
    assert value(loss, z, SINGLE[:1]) == pytest.approx(3.0 / 7 * l2(z), rel=1e-12)
    loss.set_rows(torch.from_numpy(np.vstack([SINGLE, SINGLE])))
    assert value(loss, z, SINGLE[:1]) == pytest.approx(3.0 / 14 * l2(z), rel=1e-12)


def test_hashnet_takes_a_slope_of_its_own():
    z = outputs_for(MULTI)
    assert value(prepared(HashNet(alpha=0.4), MULTI), z, MULTI) == pytest.approx(naive_hashnet(z, MULTI, alpha=0.4))


def test_dtsh_takes_a_margin_of_its_own():
    """Theta is 1 for the two samples of one class, and -1 for each of them and the third sample."""
    z = np.zeros((3, N_BITS))
    z[:, :2] = [[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]]
    distance = (N_BITS - 2) / N_BITS
    for alpha, margin in ((None, N_BITS / 2), (0.5, 0.5)):
        expected = math.log(1 + math.exp(-(1.0 - -1.0 - margin))) + distance
        assert value(prepared(DTSH(alpha=alpha), SINGLE[:3]), z, SINGLE[:3]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("epoch", "beta"), [(0, 1.0), (19, 1.0), (20, math.sqrt(2)), (59, math.sqrt(3)), (60, 2.0)])
def test_hashnet_sharpens_the_tanh_every_twenty_epochs(epoch, beta):
    z = outputs_for(MULTI)
    loss = prepared(HashNet(), MULTI)
    loss.start_epoch(epoch)
    assert value(loss, z, MULTI) == pytest.approx(naive_hashnet(z, MULTI, beta=beta), rel=1e-9)


def test_dtsh_without_triplets_is_the_distance_to_codes():
    """A pair of one class, and two of different classes, make no triplet."""
    z = outputs_for(SINGLE)[:2]
    for targets in (SINGLE[:2], SINGLE[[0, 2]]):
        assert value(prepared(DTSH(), targets), z, targets) == pytest.approx(l2(z) / N_BITS, rel=1e-12)


def test_dch_bounds_the_cost_of_dissimilar_samples_with_one_direction():
    """Their distance is taken as K / 2 times 0.001; codes as such have no quantization loss."""
    z = np.ones((2, N_BITS))
    targets = np.eye(2)
    expected = math.log(1 + 20.0 / (N_BITS / 2 * 0.001))
    assert value(prepared(DCH(), targets), z, targets) == pytest.approx(expected, rel=1e-9)
    assert value(prepared(DCH(), targets), z, targets[[0, 0]]) == pytest.approx(0.0, abs=1e-12)


def signs_of_length(n):
    """All codes of n bits, +1 first: it wins ties."""
    return np.array(list(itertools.product([1.0, -1.0], repeat=n)))


@pytest.mark.parametrize("kind", TARGETS)
def test_dfh_moves_centres_and_codes_as_the_formula_says(kind):
    targets = TARGETS[kind]
    loss = prepared(DFH(mu=1.5, nu=0.7), targets)
    centers = np.zeros((4, N_BITS))
    for turn in range(3):
        z = outputs_for(targets, seed=turn)
        codes = np.array([[sign(x) for x in row] for row in z + 1.5 * targets @ centers])
        pairs = np.mean(
            [math.log(1 + math.exp(3.0 + (-1 if s else 1) * 0.5 * float(z[i] @ z[j]))) for i, j, s in pairs_of(targets)]
        )
        assert value(loss, z, targets) == pytest.approx(pairs + 0.5 * np.mean((codes - z) ** 2), rel=1e-9)
        for k in range(4):
            if targets[:, k].any():
                # The best of all 2 ** K centres of this class for the present other centres.
                costs = []
                for candidate in signs_of_length(N_BITS):
                    centers[k] = candidate
                    between = sum(float(centers[a] @ centers[b]) for a in range(4) for b in range(4) if a != b)
                    costs.append(np.sum((codes - targets @ centers) ** 2) + 0.7 * between)
                centers[k] = signs_of_length(N_BITS)[np.argmin(costs)]
        np.testing.assert_array_equal(loss.centers.numpy(), centers)


def test_dfh_leaves_centres_in_evaluation_mode():
    loss = prepared(DFH(), SINGLE).eval()
    value(loss, outputs_for(SINGLE), SINGLE)
    assert not loss.centers.any()


def dsdh_cost(codes, classifier, z, targets, eta=2.0, mu=0.5, nu=0.3):
    """What the classifier and the codes minimise."""
    error = mu * np.sum((targets - codes @ classifier) ** 2) + nu * np.sum(classifier**2)
    return error + eta * np.sum((codes - z) ** 2)


@pytest.mark.parametrize("targets", [SINGLE, MULTI])
def test_dsdh_solves_for_classifier_and_codes(targets):
    """One turn: the classifier by least squares, then for each bit the better of both values, sample by sample."""
    z = outputs_for(targets)
    loss = prepared(DSDH(eta=2.0, mu=0.5, nu=0.3, max_iter=1), targets)
    value(loss, z, targets)
    codes = np.where(z >= 0, 1.0, -1.0)
    np.testing.assert_array_equal(loss.codes.numpy(), codes)

    # Least squares with the ridge as further rows.
    rows = np.vstack([codes, math.sqrt(0.3 / 0.5) * np.eye(N_BITS)])
    classifier = np.linalg.lstsq(rows, np.vstack([targets, np.zeros((N_BITS, 4))]))[0]
    before = dsdh_cost(codes, classifier, z, targets)
    for k in range(N_BITS):
        for i in range(len(z)):
            costs = []
            for bit in (-1.0, 1.0):
                codes[i, k] = bit
                costs.append(dsdh_cost(codes, classifier, z, targets))
            codes[i, k] = -1.0 if costs[0] < costs[1] else 1.0
    assert dsdh_cost(codes, classifier, z, targets) <= before

    loss.start_epoch(1)
    np.testing.assert_array_equal(loss.codes.numpy(), codes)
    later = outputs_for(targets, seed=5)
    pairs = np.mean(
        [
            math.log(1 + math.exp(0.5 * float(later[i] @ later[j]))) - s * 0.5 * float(later[i] @ later[j])
            for i, j, s in pairs_of(targets)
        ]
    )
    expected = pairs + 2.0 / len(z) * np.mean(np.sum((codes - later) ** 2, axis=1))
    assert value(loss, later, targets) == pytest.approx(expected, rel=1e-9)


def test_dsdh_takes_signs_for_samples_without_a_label():
    loss = prepared(DSDH(), PARTIAL)
    value(loss, outputs_for(PARTIAL), PARTIAL)
    later = outputs_for(PARTIAL, seed=1)
    value(loss, later, PARTIAL)
    loss.start_epoch(1)
    np.testing.assert_array_equal(loss.codes[5:].numpy(), np.where(later[5:] >= 0, 1.0, -1.0))


def test_dsdh_knows_only_samples_that_were_in_a_batch():
    loss = prepared(DSDH(), SINGLE)
    z, rows = outputs_for(SINGLE), torch.tensor([4, 1])
    loss(torch.from_numpy(z[[4, 1]]), torch.from_numpy(SINGLE[[4, 1]]), rows)
    loss.start_epoch(1)
    known = loss.codes.numpy()
    assert (np.abs(known[[1, 4]]) == 1).all()
    assert not known[[0, 2, 3, 5, 6]].any()


@pytest.mark.parametrize("cls", [DSDH, ADSH])
def test_codes_stay_in_evaluation_mode(cls):
    loss = prepared(cls(), SINGLE)
    value(loss, outputs_for(SINGLE), SINGLE)
    before = loss.codes.clone(), loss.all_outputs.clone()
    assert math.isfinite(value(loss.eval(), outputs_for(SINGLE, seed=1), SINGLE))
    assert torch.equal(loss.codes, before[0])
    assert torch.equal(loss.all_outputs, before[1])


@pytest.mark.parametrize(("n_bins", "slope"), [(1, 1.0), (4, 2.5), (N_BITS, 0.5)])
def test_mihash_histograms_have_the_bins_asked_for(n_bins, slope):
    z = outputs_for(MULTI)
    loss = prepared(MIHash(n_bins=n_bins, slope=slope), MULTI)
    assert value(loss, z, MULTI) == pytest.approx(naive_mihash(z, MULTI, n_bins, slope), rel=1e-9)


def test_mihash_has_one_step_for_a_single_bit():
    """Half of a code of one bit is no step; the two certain codes are 0 and 1 bits away."""
    z = torch.tensor([[90.0], [90.0], [-90.0], [-90.0]])
    targets = torch.eye(2)[[0, 0, 1, 1]]
    loss = MIHash()
    loss.prepare(1, 2, n_samples=4, targets=targets, generator=torch.Generator())
    entropy = -(1 / 3 * math.log2(1 / 3) + 2 / 3 * math.log2(2 / 3))
    assert loss(z, targets, torch.arange(4)).item() == pytest.approx(-entropy, rel=1e-6)


def test_mihash_is_best_where_distances_tell_relevance():
    """Two classes at the two far corners: each query has 1 relevant sample of 3, at 0 instead of K bits."""
    z = 50.0 * np.array([1.0, 1.0, -1.0, -1.0])[:, None] * np.ones(N_BITS)
    entropy = -(1 / 3 * math.log2(1 / 3) + 2 / 3 * math.log2(2 / 3))
    targets = np.eye(2)[[0, 0, 1, 1]]
    assert value(prepared(MIHash(), targets), z, targets) == pytest.approx(-entropy, rel=1e-9)
    assert value(prepared(MIHash(), targets), np.ones((4, N_BITS)), targets) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("kind", TARGETS)
def test_adsh_solves_for_the_codes_of_the_database(kind, balanced, monkeypatch):
    """For each bit, the better of both values, sample by sample, with S in blocks of two rows."""
    targets = TARGETS[kind]
    z = outputs_for(targets)
    monkeypatch.setattr("skhash.deep.losses._adsh._PAIRS_IN_MEMORY", 2 * len(targets))
    loss = prepared(ADSH(gamma=3.0, balanced=balanced), targets)
    value(loss, z, targets)
    u, codes = np.tanh(z), np.where(z >= 0, 1.0, -1.0)
    labelled = np.flatnonzero(targets.any(axis=1))
    signed = signed_similarity(targets, balanced)
    wanted = N_BITS * np.array([[signed[i, j] for j in labelled] for i in labelled])

    def cost():
        errors = np.sum((u[labelled] @ codes[labelled].T - wanted) ** 2)
        return errors + 3.0 * np.sum((codes[labelled] - u[labelled]) ** 2)

    before = cost()
    for k in range(N_BITS):
        for i in labelled:
            costs = []
            for bit in (-1.0, 1.0):
                codes[i, k] = bit
                costs.append(cost())
            codes[i, k] = -1.0 if costs[0] < costs[1] else 1.0
    assert cost() < before

    loss.start_epoch(1)
    np.testing.assert_array_equal(loss.codes.numpy()[labelled], codes[labelled])
    if balanced:
        later = outputs_for(targets, seed=5)
        loss.gamma = 200.0
        assert value(loss, later, targets) == pytest.approx(naive_adsh(later, targets, codes), rel=1e-9)


def test_adsh_compares_a_batch_with_the_samples_seen_so_far():
    z, first, second = outputs_for(SINGLE), [0, 2], [1, 4]
    loss = prepared(ADSH(gamma=0.0, balanced=False), SINGLE)
    loss(torch.from_numpy(z[first]), torch.from_numpy(SINGLE[first]), torch.tensor(first))
    result = loss(torch.from_numpy(z[second]), torch.from_numpy(SINGLE[second]), torch.tensor(second))
    u, codes = np.tanh(z), np.where(z >= 0, 1.0, -1.0)
    errors = [
        (float(u[i] @ codes[j]) - N_BITS * (1 if SINGLE[i] @ SINGLE[j] else -1)) ** 2
        for i in second
        for j in first + second
    ]
    assert result.item() == pytest.approx(np.mean(errors), rel=1e-9)


@pytest.mark.parametrize("cls", [DSDH, ADSH])
def test_codes_of_other_rows_are_refused(cls):
    """After `set_rows` the new training set is as good as that of `prepare`."""
    z = outputs_for(SINGLE)
    loss = prepared(cls(), SINGLE)
    first = value(loss, z, SINGLE)
    with pytest.raises(ValueError, match=f"{cls.__name__} keeps a code for each of 7 training samples"):
        value(loss, z, SINGLE[::-1].copy())
    with pytest.raises(ValueError, match="train from the start"):
        value(loss, np.vstack([z, z]), np.vstack([SINGLE, SINGLE]))
    loss.set_rows(torch.from_numpy(SINGLE[::-1].copy()))
    assert not loss.known.any()
    assert value(loss, z[::-1].copy(), SINGLE[::-1].copy()) == pytest.approx(first, rel=1e-9)
