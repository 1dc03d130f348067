"""Losses without labels against loops over the formulas of the papers."""

import copy
import math
import pickle

import numpy as np
import pytest
from sklearn.datasets import make_blobs

torch = pytest.importorskip("torch", reason="losses are torch modules")

from skhash.codes import pack_bits  # noqa: E402
from skhash.deep.losses import UNSUPERVISED_LOSSES  # noqa: E402
from skhash.deep.losses._cibhash import CIBHash  # noqa: E402
from skhash.deep.losses._ssdh import SSDH  # noqa: E402
from skhash.deep.losses._tbh import TBH  # noqa: E402
from skhash.deep.losses._uhbdnn import UHBDNN  # noqa: E402
from skhash.deep.losses._unsupervised_bihalf import UnsupervisedBiHalf  # noqa: E402
from skhash.deep.losses._unsupervised_greedyhash import UnsupervisedGreedyHash  # noqa: E402
from skhash.metrics import mean_average_precision  # noqa: E402

N_BITS, N_FEATURES = 5, 4
LOSSES = {
    "bihalf": UnsupervisedBiHalf,
    "cibhash": CIBHash,
    "greedyhash": UnsupervisedGreedyHash,
    "ssdh": SSDH,
    "tbh": lambda: TBH(n_continuous=3, n_hidden=6),
    "uhbdnn": UHBDNN,
}


def outputs_for(n, seed=0):
    """Outputs that stay clear of the kinks at 0 and 1."""
    z = np.random.default_rng(seed).normal(scale=1.2, size=(n, N_BITS))
    return np.where((np.abs(z) < 0.05) | (np.abs(np.abs(z) - 1) < 0.05), z + 0.2, z)


def features_for(n, seed=0):
    return np.random.default_rng([seed, 1]).normal(loc=1.0, size=(n, N_FEATURES))


def prepared(loss, features, seed=0):
    loss.prepare(N_BITS, torch.from_numpy(features), generator=torch.Generator().manual_seed(seed))
    loss = loss.double()
    loss.start_epoch(0)
    return loss


def views(loss, n):
    return [outputs_for(n, seed) for seed in range(loss.n_views)]


def compute(loss, outputs, features, rows=None):
    """The loss of a batch as a tensor, with random draws that are always the same."""
    torch.manual_seed(0)
    outputs = tuple(torch.as_tensor(z) for z in outputs)
    rows = torch.arange(len(features)) if rows is None else torch.as_tensor(rows)
    return loss(outputs, torch.as_tensor(features), rows)


def value(loss, outputs, features, rows=None):
    return compute(loss, outputs, features, rows).item()


def sign(x):
    return 1.0 if x >= 0 else -1.0


def signs(z):
    return np.array([[sign(x) for x in row] for row in z])


def sigma(x):
    return 1 / (1 + math.exp(-x))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def naive_cosine_preservation(codes, features):
    terms = [
        (cosine(codes[i], codes[j]) - cosine(features[i], features[j])) ** 2
        for i in range(len(codes))
        for j in range(len(codes))
        if i != j
    ]
    return sum(terms) / len(terms)


def differences(function, values, step=1e-6):
    """Partial derivatives by central differences."""
    gradient = np.empty_like(values)
    for position in np.ndindex(values.shape):
        sides = []
        for change in (step, -step):
            moved = values.copy()
            moved[position] += change
            sides.append(function(moved))
        gradient[position] = (sides[0] - sides[1]) / (2 * step)
    return gradient


def gradients(loss, outputs, features):
    outputs = [torch.from_numpy(z).requires_grad_() for z in outputs]
    compute(loss, outputs, features).backward()
    return [z.grad.numpy() for z in outputs]


def test_greedyhash_keeps_cosines_and_pulls_outputs_to_codes():
    z, x = outputs_for(7), features_for(7)
    loss = prepared(UnsupervisedGreedyHash(alpha=0.3), x)
    cubes = [abs(u - sign(u)) ** 3 for row in z for u in row]
    expected = naive_cosine_preservation(signs(z), x) + 0.3 * sum(cubes) / len(cubes)
    assert value(loss, [z], x) == pytest.approx(expected, rel=1e-9)


def test_greedyhash_passes_the_gradient_of_the_codes_to_the_outputs():
    z, x = outputs_for(7), features_for(7)
    loss = prepared(UnsupervisedGreedyHash(alpha=0.0), x)
    expected = differences(lambda codes: naive_cosine_preservation(codes, x), signs(z))
    assert gradients(loss, [z], x)[0] == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("n", [6, 7])
def test_bihalf_keeps_cosines_with_balanced_bits(n):
    z, x = outputs_for(n), features_for(n)
    codes = np.empty_like(z)
    for k in range(N_BITS):
        for rank, i in enumerate(sorted(range(n), key=lambda i: z[i, k])):
            middle = n % 2 and rank == n // 2
            codes[i, k] = sign(z[i, k]) if middle else (-1 if rank < n / 2 else 1)
    expected = naive_cosine_preservation(codes, x)
    loss = prepared(UnsupervisedBiHalf(gamma=2.0), x)
    assert value(loss, [z], x) == pytest.approx(expected, rel=1e-9)
    pull = differences(lambda codes: naive_cosine_preservation(codes, x), codes) + 2.0 / z.size * (z - codes)
    assert gradients(loss, [z], x)[0] == pytest.approx(pull, rel=1e-5, abs=1e-8)


def naive_contrast(codes, temperature):
    n = len(codes) // 2
    total = 0.0
    for i in range(2 * n):
        weights = {j: math.exp(cosine(codes[i], codes[j]) / temperature) for j in range(2 * n) if j != i}
        total -= math.log(weights[(i + n) % (2 * n)] / sum(weights.values()))
    return total / (2 * n)


def naive_divergence(one, other):
    total = 0.0
    for row, row_of_other in zip(one, other, strict=True):
        for u, v in zip(row, row_of_other, strict=True):
            p, q = sigma(u), sigma(v)
            total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    return total / len(one)


def test_cibhash_is_contrast_plus_divergence():
    one, other = outputs_for(6), outputs_for(6, seed=1)
    x = features_for(6)
    loss = prepared(CIBHash(temperature=0.4, beta=0.2), x)
    divergence = (naive_divergence(one, other) + naive_divergence(other, one)) / 2
    expected = naive_contrast(signs(np.vstack([one, other])), 0.4) + 0.2 * divergence
    assert value(loss, [one, other], x) == pytest.approx(expected, rel=1e-9)


def test_cibhash_takes_each_view_in_turn_for_constant():
    one, other = outputs_for(6), outputs_for(6, seed=1)
    loss = prepared(CIBHash(beta=0.2), features_for(6))
    of_codes = differences(lambda codes: naive_contrast(codes, 0.3), signs(np.vstack([one, other])))
    p = 1 / (1 + np.exp(-np.vstack([one, other])))
    expected = 2 * of_codes * p * (1 - p)
    expected[:6] += 0.1 * differences(lambda z: naive_divergence(z, other), one)
    expected[6:] += 0.1 * differences(lambda z: naive_divergence(z, one), other)
    assert np.vstack(gradients(loss, [one, other], features_for(6))) == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_cibhash_is_finite_for_certain_bits():
    loss = prepared(CIBHash(beta=1.0), features_for(3))
    z = [np.full((3, N_BITS), 1e4), np.full((3, N_BITS), -1e4)]
    assert math.isfinite(value(loss, z, features_for(3)))
    assert all(np.isfinite(gradient).all() for gradient in gradients(loss, z, features_for(3)))


def naive_thresholds(features, alpha, beta):
    n = len(features)
    distances = [1 - cosine(features[i], features[j]) for i in range(n) for j in range(i + 1, n)]
    counts = [0] * 200
    for d in distances:
        counts[int(d * 100)] += 1
    mode = (counts.index(max(counts)) + 0.5) / 100
    left = [(d - mode) ** 2 for d in distances if d <= mode]
    right = [(d - mode) ** 2 for d in distances if d > mode]
    return mode - alpha * math.sqrt(np.mean(left)), mode + beta * math.sqrt(np.mean(right))


def naive_ssdh(z, features, lower, upper):
    total = 0.0
    for i, one in enumerate(z):
        for j, other in enumerate(z):
            d = 1 - cosine(features[i], features[j])
            s = 1 if d < lower else -1 if d > upper else 0
            product = sum(math.tanh(u) * math.tanh(v) for u, v in zip(one, other, strict=True)) / N_BITS
            total += abs(s) * (product - s) ** 2
    return total / len(z) ** 2


def test_ssdh_splits_pairs_by_two_half_gaussians():
    x = features_for(40)
    loss = prepared(SSDH(alpha=0.6, beta=0.4), x)
    lower, upper = naive_thresholds(x, 0.6, 0.4)
    assert loss.thresholds.tolist() == pytest.approx([lower, upper], rel=1e-9)
    z = outputs_for(12)
    distances = [1 - cosine(one, other) for one in x[:12] for other in x[:12]]
    assert len({(d < lower, d > upper) for d in distances}) == 3, "there are pairs of all kinds"
    assert value(loss, [z], x[:12]) == pytest.approx(naive_ssdh(z, x, lower, upper), rel=1e-9)


def test_ssdh_draws_rows_of_large_data(monkeypatch):
    """Half of the rows say about as much as all."""
    x = np.random.default_rng(0).normal(loc=0.5, size=(600, 3))
    expected = prepared(SSDH(), x).thresholds.tolist()
    monkeypatch.setattr("skhash.deep.losses._ssdh._SAMPLED_ROWS", 300)
    one, other = (prepared(SSDH(), x, seed).thresholds.tolist() for seed in (0, 1))
    assert one != other
    assert one == pytest.approx(expected, abs=0.2)
    assert other == pytest.approx(expected, abs=0.2)


def test_ssdh_keeps_the_thresholds_for_new_rows():
    loss = prepared(SSDH(), features_for(40))
    before = loss.thresholds.clone()
    loss.set_rows(torch.from_numpy(features_for(30, seed=1)))
    assert torch.equal(loss.thresholds, before)


def with_weights(*layers, seed=0):
    """Give layers that begin as 0 weights that matter."""
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        for parameter in layer.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) / 3


def prepared_tbh(features, **settings):
    loss = prepared(TBH(n_continuous=3, n_hidden=8, **settings), features)
    with_weights(loss.code_critic, loss.continuous_critic)
    return loss


def naive_tbh(loss, z, features, draws):
    """Reconstruction, and what the discriminators minimize."""
    state = {name: values.detach().numpy() for name, values in loss.state_dict().items()}
    n = len(z)

    def linear(name, row):
        return [
            float(w @ np.asarray(row)) + b for w, b in zip(state[f"{name}.weight"], state[f"{name}.bias"], strict=True)
        ]

    def relu(row):
        return [max(u, 0) for u in row]

    x = (features - state["standardizer.mean"]) / state["standardizer.scale"]
    bits = [[1 if u >= 0 else 0 for u in row] for row in z]
    hidden = [[sigma(u) for u in linear("encoder.2", relu(linear("encoder.0", row)))] for row in x]
    continuous = [linear("convolution", row) for row in hidden]
    graph = [[(1 - sum(a != b for a, b in zip(p, q, strict=True)) / N_BITS) ** 1.4 for q in bits] for p in bits]
    degrees = [sum(row) for row in graph]
    reconstruction, critics = 0.0, 0.0
    coins = [[round(u) for u in row] for row in draws[0].tolist()]
    for i in range(n):
        mixed = [
            sigma(sum(graph[i][j] / math.sqrt(degrees[i] * degrees[j]) * continuous[j][k] for j in range(n)))
            for k in range(len(continuous[0]))
        ]
        decoded = linear("decoder.2", relu(linear("decoder.0", mixed)))
        reconstruction += sum((a - b) ** 2 for a, b in zip(x[i], decoded, strict=True)) / 2
        critics -= math.log(sigma(linear("code_critic", coins[i])[0]))
        critics -= math.log(1 - sigma(linear("code_critic", bits[i])[0]))
        critics -= math.log(sigma(linear("continuous_critic", draws[1][i])[0]))
        critics -= math.log(1 - sigma(linear("continuous_critic", mixed)[0]))
    return reconstruction / n, critics / n


def test_tbh_reconstructs_from_mixed_bottlenecks_and_is_criticized():
    z, x = outputs_for(6), features_for(6)
    loss = prepared_tbh(x, lam=0.7)
    torch.manual_seed(0)
    draws = torch.rand(6, N_BITS, dtype=torch.float64), torch.rand(6, 3, dtype=torch.float64)
    reconstruction, critics = naive_tbh(loss, z, x, draws)
    assert value(loss, [z], x) == pytest.approx(reconstruction + 0.7 * critics, rel=1e-9)


def test_tbh_scales_features_to_unit_variance():
    x = features_for(50) * [1, 2, 3, 4]
    loss = prepared(TBH(), x)
    scaled = loss.standardizer(torch.from_numpy(x)).numpy()
    assert scaled.mean(axis=0) == pytest.approx(0, abs=1e-12)
    assert scaled.var(axis=0).mean() == pytest.approx(1)
    assert np.linalg.norm(scaled[0] - scaled[1]) / np.linalg.norm(scaled[0] - scaled[2]) == pytest.approx(
        np.linalg.norm(x[0] - x[1]) / np.linalg.norm(x[0] - x[2])
    )


def test_tbh_turns_the_gradient_of_the_discriminator_of_codes_around():
    """The network makes codes that the discriminator takes for coins."""
    z, x = outputs_for(6), features_for(6)
    with_critics, without = (gradients(prepared_tbh(x, lam=lam), [z], x)[0] for lam in (1.0, 0.0))
    critic = prepared_tbh(x).code_critic
    bits = torch.from_numpy(signs(z) + 1) / 2
    odds = critic(bits).detach().numpy()
    p = 1 / (1 + np.exp(-z))
    by_bits = -1 / (1 + np.exp(-odds)) * critic.weight.detach().numpy() / len(z)
    # The rest of the difference comes through the graph, where the other discriminator is deceived.
    loss = prepared_tbh(x)
    for parameter in loss.code_critic.parameters():
        parameter.data.zero_()
    through_graph = gradients(loss, [z], x)[0] - without
    assert with_critics - without - through_graph == pytest.approx(by_bits * p * (1 - p), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("encoder.0.weight", -1),
        ("convolution.weight", -1),
        ("decoder.2.bias", -1),
        ("code_critic.weight", 1),
        ("continuous_critic.weight", 1),
    ],
)
def test_tbh_descends_for_discriminators_and_ascends_for_the_rest(name, side):
    """The gradient is that of reconstruction plus or minus what the discriminators minimize."""
    z, x = outputs_for(6), features_for(6)
    loss = prepared_tbh(x)
    parameter = dict(loss.named_parameters())[name]
    compute(loss, [z], x).backward()

    def at(lam):
        def moved(values):
            other = copy.deepcopy(loss)
            other.lam = lam
            dict(other.named_parameters())[name].data = torch.from_numpy(values)
            return value(other, [z], x)

        return differences(moved, parameter.detach().numpy())

    reconstruction = at(0.0)
    expected = reconstruction + side * (at(1.0) - reconstruction)
    assert parameter.grad.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_tbh_passes_gradients_through_the_graph_to_the_outputs():
    """The derivative by each bit, times that of its probability; without discriminators, by differences."""
    z, x = outputs_for(6), features_for(6)
    # No two codes are opposites, at which the power has no second derivative.
    z[:, 0] = np.abs(z[:, 0])
    loss = prepared_tbh(x, lam=0.0)

    def of_codes(codes):
        scaled = loss.standardizer(torch.from_numpy(x))
        graph = ((1 + torch.from_numpy(codes @ codes.T) / N_BITS) / 2) ** 1.4
        graph.fill_diagonal_(1)
        roots = torch.diag(graph.sum(dim=1) ** -0.5)
        with torch.no_grad():
            mixed = torch.sigmoid(roots @ graph @ roots @ loss.convolution(loss.encoder(scaled)))
            return 0.5 * (scaled - loss.decoder(mixed)).square().sum().item() / len(z)

    p = 1 / (1 + np.exp(-z))
    expected = differences(of_codes, signs(z)) * 2 * p * (1 - p)
    assert gradients(loss, [z], x)[0] == pytest.approx(expected, rel=1e-4, abs=1e-8)


def prepared_uhbdnn(features, **settings):
    loss = prepared(UHBDNN(**settings), features)
    with_weights(loss.decoder)
    return loss


def uhbdnn_parts(loss, codes, features):
    """Features on the scale of the loss, decoder and what is left unexplained."""
    x = features - features.mean(axis=0)
    x = x / math.sqrt(np.mean([sum(u * u for u in row) for row in x]))
    weight, bias = (parameter.detach().numpy() for parameter in (loss.decoder.weight, loss.decoder.bias))
    return x, weight, bias, [x[i] - weight @ codes[i] - bias for i in range(len(codes))]


@pytest.mark.parametrize("training", [True, False])
def test_uhbdnn_reconstructs_from_codes_near_the_outputs(training):
    n = 8
    h, x = outputs_for(n), features_for(n)
    lam1, lam2, lam3, lam4 = 0.02, 0.3, 0.2, 0.1
    loss = prepared_uhbdnn(x, lam1=lam1, lam2=lam2, lam3=lam3, lam4=lam4)
    loss.train(training)
    result = value(loss, [h], x)
    codes = loss.codes.numpy() if training else signs(h)
    assert set(np.unique(codes)) == {-1, 1}
    _, weight, _, rest = uhbdnn_parts(loss, codes, x)
    expected = sum(float(r @ r) for r in rest) / (2 * n)
    expected += lam1 / 2 * (weight**2).sum()
    expected += lam2 / (2 * n) * sum((u - b) ** 2 for u, b in zip(h.ravel(), codes.ravel(), strict=True))
    for k in range(N_BITS):
        for m in range(N_BITS):
            product = sum(row[k] * row[m] for row in h) / n
            expected += lam3 / 2 * (product - (k == m)) ** 2
    expected += lam4 * n / 2 * sum(np.mean([row[k] for row in h]) ** 2 for k in range(N_BITS))
    assert result == pytest.approx(expected, rel=1e-9)


def test_uhbdnn_solves_for_the_codes_bit_by_bit():
    """No single bit can be changed for the better, and the codes are better than the signs of the outputs."""
    n, lam2 = 8, 0.3
    h, x = outputs_for(n), features_for(n)
    loss = prepared_uhbdnn(x, lam2=lam2, max_iter=100)
    value(loss, [h], x)
    codes = loss.codes.numpy().copy()

    def cost(codes):
        rest = uhbdnn_parts(loss, codes, x)[3]
        return sum(float(r @ r) for r in rest) + lam2 * ((h - codes) ** 2).sum()

    found = cost(codes)
    assert found < cost(signs(h))
    for position in np.ndindex(codes.shape):
        other = codes.copy()
        other[position] *= -1
        assert cost(other) >= found


def test_uhbdnn_keeps_codes_by_row_in_training_alone():
    x = features_for(6)
    loss = prepared(UHBDNN(), x)
    h = outputs_for(6)
    value(loss, [h[:3]], x[:3], rows=[4, 0, 2])
    assert (loss.codes[[4, 0, 2]].numpy() == signs(h[:3])).all(), "while the decoder is 0, codes are signs"
    assert (loss.codes[[1, 3, 5]] == 0).all()
    before = loss.codes.clone()
    loss.eval()
    value(loss, [-h], x)
    assert torch.equal(loss.codes, before)
    loss.set_rows(torch.from_numpy(features_for(9)))
    assert loss.codes.shape == (9, N_BITS)
    assert (loss.codes == 0).all()


def test_uhbdnn_goes_on_from_the_codes_it_kept():
    x, h = features_for(6), outputs_for(6)
    loss = prepared(UHBDNN(max_iter=0), x)
    value(loss, [h], x)
    value(loss, [-h], x)
    assert (loss.codes.numpy() == signs(h)).all()


@pytest.mark.parametrize("name", ["ssdh", "uhbdnn"])
def test_gradients_of_smooth_losses_agree_with_differences(name):
    x = features_for(7)
    loss = prepared(LOSSES[name](), x).eval()
    z = torch.from_numpy(outputs_for(7)).requires_grad_()
    parameters = list(loss.parameters())
    assert torch.autograd.gradcheck(
        lambda outputs, *_: loss((outputs,), torch.from_numpy(x), torch.arange(7)), (z, *parameters)
    )


DEGENERATE = {
    "single row": features_for(1),
    "identical rows": np.repeat(features_for(1), 2, axis=0),
    "constant features": np.full((5, N_FEATURES), 3.0),
    "features of zeros": np.zeros((5, N_FEATURES)),
    "one bit says all": np.eye(N_FEATURES)[[0, 0, 1, 1, 1]],
}


@pytest.mark.parametrize("scale", [1.0, 0.0, 1e3])
@pytest.mark.parametrize("x", DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("name", LOSSES)
def test_degenerate_batches_have_finite_loss_and_gradient(name, x, scale):
    x = torch.from_numpy(x).float()
    loss = LOSSES[name]()
    loss.prepare(N_BITS, x, generator=torch.Generator().manual_seed(0))
    for identical in (False, True):
        z = [torch.from_numpy(z).float() * scale for z in views(loss, len(x))]
        z = [(z[:1].expand_as(z) if identical else z).clone().requires_grad_() for z in z]
        result = compute(loss, z, x)
        result.backward()
        assert result.shape == ()
        assert torch.isfinite(result)
        assert all(torch.isfinite(view.grad).all() for view in z)
        assert all(torch.isfinite(p.grad).all() for p in loss.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("name", LOSSES)
def test_a_copy_has_the_same_value(name, duplicate):
    x = features_for(7)
    loss = LOSSES[name]()
    copied = prepared(duplicate(loss), x)
    loss = prepared(loss, x)
    expected = value(loss, views(loss, 7), x)
    assert value(copied, views(loss, 7), x) == expected
    assert value(duplicate(loss), views(loss, 7), x) == expected


@pytest.mark.parametrize("name", LOSSES)
def test_preparation_is_random_by_the_generator_alone(name):
    x = features_for(7)
    state = torch.get_rng_state()
    losses = [prepared(LOSSES[name](), x, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    values = [value(loss, views(loss, 7), x) for loss in losses]
    assert values[0] == values[1]
    assert (values[0] != values[2]) == (name == "tbh"), "only its layers begin at random for few rows"


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_goes_on_from_its_state(name):
    x = features_for(7)
    loss = prepared(LOSSES[name](), x)
    batch = views(loss, 7)
    compute(loss, [torch.from_numpy(z).requires_grad_() for z in batch], x).backward()
    for parameter in loss.parameters():
        parameter.data -= 0.1 * parameter.grad
    value(loss, batch, x)
    other = prepared(LOSSES[name](), x, seed=1)
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    outputs = [-z for z in batch]
    assert value(other, outputs, x) == value(loss, outputs, x)


@pytest.mark.parametrize("name", LOSSES)
def test_outputs_are_projected_as_they_are(name):
    z = torch.randn(2, N_BITS)
    assert prepared(LOSSES[name](), features_for(3)).project(z) is z


def test_losses_say_how_many_views_they_compare():
    assert {name: loss.n_views for name, loss in UNSUPERVISED_LOSSES.items()} == {
        **dict.fromkeys(UNSUPERVISED_LOSSES, 1),
        "cibhash": 2,
    }


@pytest.mark.parametrize("name", LOSSES)
def test_training_finds_clusters(name):
    """A linear map on clustered rows ranks them better than it did at the start."""
    features, labels = make_blobs(240, n_features=16, centers=6, cluster_std=3.0, random_state=0)
    features = torch.from_numpy(features).float()
    features = features - features.mean(dim=0)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = torch.nn.Linear(16, 8)
    loss = UNSUPERVISED_LOSSES[name]() if name != "tbh" else TBH(n_continuous=16, n_hidden=64)
    loss.prepare(8, features, generator=generator)

    def score():
        with torch.no_grad():
            bits = loss.project(network(features / 8)).numpy() >= 0
        return mean_average_precision(pack_bits(bits), None, labels)

    before = score()
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], lr=0.01)
    for epoch in range(25):
        loss.start_epoch(epoch)
        for rows in torch.randperm(len(features)).split(50):
            x = features[rows]
            outputs = tuple(
                network((x + (loss.n_views > 1) * 3 * torch.randn_like(x)) / 8) for _ in range(loss.n_views)
            )
            optimizer.zero_grad()
            loss(outputs, x, rows).backward()
            optimizer.step()
    assert score() > before + 0.03
