"""Projected gradients against closed forms, centres against loops, and the effect of adversarial training."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

torch = pytest.importorskip("torch", reason="attacks are gradients of networks")

from skhash import LSH, DeepSupervisedHasher  # noqa: E402
from skhash.codes import pack_bits  # noqa: E402
from skhash.deep.adversarial import (  # noqa: E402
    ProjectedGradient,
    adversarial_loss,
    attack_queries,
    attacked_mean_average_precision,
    center_codes,
    evaluation_mode,
    row_centers,
)
from skhash.deep.losses import LOSSES, make_loss  # noqa: E402
from skhash.deep.networks import MLPHead  # noqa: E402
from skhash.metrics import mean_average_precision  # noqa: E402

WITH_CENTERS = ["csq", "dpn", "mdsh", "nested", "orthohash"]


def separate_bits(n_bits=4, n_features=12, *, seed=0):
    """A linear layer in which each feature feeds one bit, so that the best attack does not depend on the relaxation."""
    random = np.random.default_rng(seed)
    weights = np.zeros((n_bits, n_features), dtype=np.float32)
    weights[np.arange(n_features) % n_bits, np.arange(n_features)] = random.normal(size=n_features)
    layer = torch.nn.Linear(n_features, n_bits)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
    return layer


def rows_and_centers(n_features=12, n_bits=4, n=20):
    random = np.random.default_rng(1)
    rows = torch.from_numpy(random.normal(size=(n, n_features)).astype(np.float32))
    return rows, torch.from_numpy(random.choice([-1.0, 1.0], (n, n_bits)).astype(np.float32))


def prepared(name, targets, n_bits=8):
    loss = make_loss(name, name="Name")
    generator = torch.Generator().manual_seed(0)
    loss.prepare(n_bits, targets.shape[1], n_samples=len(targets), targets=targets, generator=generator)
    return loss


def test_settings_are_cloned_and_checked():
    attack = ProjectedGradient(epsilon=0.3, n_steps=2, step_size=0.1, weight=2.0)
    assert clone(attack).get_params() == {"epsilon": 0.3, "n_steps": 2, "step_size": 0.1, "weight": 2.0}
    for wrong in ({"epsilon": 0.0}, {"n_steps": 0}, {"step_size": -1.0}, {"weight": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ProjectedGradient(**wrong).perturb(lambda x: x, torch.zeros(1, 2), torch.ones(1, 2))


@pytest.mark.parametrize("n_steps", [1, 7])
def test_on_separate_linear_bits_the_optimum_is_the_sign_of_the_weights(n_steps):
    layer = separate_bits()
    rows, centers = rows_and_centers()
    scale = torch.linspace(0.1, 2, 12)
    expected = rows - 0.3 * scale * torch.sign(centers @ layer.weight.detach())
    attacked = ProjectedGradient(epsilon=0.3, n_steps=n_steps).perturb(layer, rows, centers, scale=scale)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-6)


def test_one_bit_of_a_dense_linear_network():
    layer = torch.nn.Linear(9, 1)
    rows, centers = rows_and_centers(9, 1)
    expected = rows - 0.05 * torch.sign(centers @ layer.weight.detach())
    attacked = ProjectedGradient(epsilon=0.05).perturb(layer, rows, centers)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3, 1e6])
def test_saturated_outputs_do_not_mask_the_gradient(factor):
    layer = separate_bits()
    rows, centers = rows_and_centers()
    expected = rows - 0.3 * torch.sign(centers @ layer.weight.detach())
    attacked = ProjectedGradient(epsilon=0.3).perturb(lambda x: factor * layer(x), rows, centers)
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-6)


def test_the_box_and_the_bounds_are_kept_exactly():
    network = MLPHead(12, 4, n_hidden=8).eval()
    rows, centers = rows_and_centers()
    scale = torch.linspace(0, 3, 12)
    attacked = ProjectedGradient(epsilon=0.2).perturb(network, rows, centers, scale=scale)
    assert (attacked >= rows - 0.2 * scale).all()
    assert (attacked <= rows + 0.2 * scale).all()
    assert torch.equal(attacked[:, 0], rows[:, 0])
    pixels = torch.rand(6, 12, generator=torch.Generator().manual_seed(0))
    attacked = ProjectedGradient(epsilon=0.4).perturb(network, pixels, centers[:6], bounds=(0.0, 1.0))
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert (attacked >= pixels - 0.4).all()
    assert (attacked <= pixels + 0.4).all()


def test_the_default_radius_of_pixels_and_of_features():
    layer = separate_bits()
    rows, centers = torch.full((3, 12), 0.5), torch.ones(3, 4)
    pixels = ProjectedGradient().perturb(layer, rows, centers, bounds=(0, 1))
    assert (pixels - rows).abs().max().item() == pytest.approx(8 / 255, abs=1e-6)
    features = ProjectedGradient().perturb(layer, rows, centers)
    assert (features - rows).abs().max().item() == pytest.approx(0.1, abs=1e-6)


def test_parameters_statistics_and_inputs_are_left_alone():
    network = torch.nn.Sequential(
        torch.nn.Linear(12, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(), torch.nn.Linear(8, 4)
    )
    targets = torch.eye(4)[[0, 1, 2, 3] * 5]
    loss = prepared("orthohash", targets, 4)
    network[1].eval()
    rows, _ = rows_and_centers()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    original = rows.clone()
    network[0].weight.grad = torch.full_like(network[0].weight, 3.0)
    with evaluation_mode(network, loss):
        assert not network.training
        ProjectedGradient().perturb(lambda x: loss.project(network(x)), rows, torch.ones(20, 4))
    assert network.training
    assert not network[1].training
    assert torch.equal(rows, original)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert (network[0].weight.grad == 3).all()
    assert all(parameter.grad is None for parameter in [*network[1:].parameters(), *loss.parameters()])


def test_torch_seeds_decide_the_attack():
    network = MLPHead(12, 4, n_hidden=8).eval()
    rows, centers = rows_and_centers()
    attack = ProjectedGradient(n_steps=1, step_size=0.01)

    def attacked(seed):
        torch.manual_seed(seed)
        return attack.perturb(network, rows, centers)

    assert torch.equal(attacked(0), attacked(0))
    assert not torch.equal(attacked(0), attacked(1))


def test_works_within_inference_mode_and_behind_layers_in_place():
    rows, centers = rows_and_centers()
    network = torch.nn.Sequential(torch.nn.ReLU(inplace=True), separate_bits())
    with torch.inference_mode():
        attacked = ProjectedGradient().perturb(network, rows.clone(), centers)
    assert (attacked != rows).any()


def test_the_loss_by_hand():
    projections = torch.tensor([[3.0, 4.0], [-1.0, 1.0]], dtype=torch.float64)
    centers = torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    root = np.sqrt((9 + 16) / 2)
    expected = -(np.tanh(3 / root) - np.tanh(4 / root) - np.tanh(1) + np.tanh(1)) / 4
    assert adversarial_loss(projections, centers).item() == pytest.approx(expected)
    assert adversarial_loss(1e6 * projections, centers).item() == pytest.approx(expected)
    assert torch.isfinite(adversarial_loss(torch.zeros(2, 2), centers))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_which_losses_have_centres(name):
    centers = prepared(name, torch.eye(3)).class_centers()
    assert (centers is not None) == (name in WITH_CENTERS)
    if centers is not None:
        assert centers.shape == (3, 8)
        assert (centers.abs() == 1).all()


@pytest.mark.parametrize("name", ["csq", "dpsh"])
def test_centres_of_rows_against_a_loop(name):
    targets = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 1.0]])
    loss = prepared(name, targets)
    projections = torch.from_numpy(np.random.default_rng(3).normal(size=(6, 8)))
    z, y = projections.numpy(), targets.numpy()
    if name == "csq":
        of_classes = loss.centers.numpy()
    else:
        of_classes = [[1 if sum(z[i, k] for i in range(6) if y[i, c]) >= 0 else -1 for k in range(8)] for c in range(3)]
    for i, row in enumerate(row_centers(loss, projections, targets).tolist()):
        for k, bit in enumerate(row):
            votes = sum(of_classes[c][k] for c in range(3) if y[i, c])
            assert bit == (np.sign(votes) if votes else np.sign(z[i, k]))


def test_center_codes_against_a_loop():
    random = np.random.default_rng(0)
    bits, labels, query_labels = random.random((30, 10)) < 0.5, random.random((30, 3)) < 0.4, np.eye(3, dtype=int)
    query_labels = np.vstack([query_labels, [[1, 1, 0], [1, 1, 1], [0, 0, 0]]])
    found = center_codes(query_labels, pack_bits(bits), labels.astype(int), n_bits=10)
    signs = np.where(bits, 1, -1)
    for i, own in enumerate(query_labels):
        for k in range(10):
            votes = sum(np.sign(sum(signs[j, k] for j in range(30) if labels[j, c])) for c in range(3) if own[c])
            assert found[i, k] == np.sign(votes)
    assert (center_codes(["new"], pack_bits(bits[:2]), ["a", "b"], n_bits=10) == 0).all()
    with pytest.raises(ValueError, match="pass classes"):
        center_codes(["a"], pack_bits(bits), labels.astype(int), n_bits=10)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X.astype(np.float32), y


@pytest.fixture(scope="module")
def hasher(digits):
    X, y = digits
    return DeepSupervisedHasher(16, max_epochs=5, random_state=0).fit(X[300:], y[300:])


def test_retrieval_suffers_under_attack(hasher, digits):
    X, y = digits
    scores = attacked_mean_average_precision(hasher, X[:300], X[300:], y[:300], y[300:], random_state=0)
    clean = mean_average_precision(hasher.transform(X[:300]), hasher.transform(X[300:]), y[:300], y[300:])
    assert scores.clean == pytest.approx(clean, abs=1e-3)
    assert scores.attacked < scores.clean - 0.05
    assert 0 < scores.changed_bits < 1
    again = attacked_mean_average_precision(hasher, X[:300], X[300:], y[:300], y[300:], random_state=0)
    assert again == scores


def test_attacks_without_labels_and_with_centres(hasher, digits):
    X, _ = digits
    scale = X.std(axis=0)
    own = attack_queries(hasher, X[:50], scale=scale, random_state=0)
    # A float64 unit in the last place of the largest pixel.
    assert (np.abs(own - X[:50]) <= 0.1 * scale + 2e-6).all()
    assert (own[:, scale == 0] == X[:50, scale == 0]).all()
    assert (hasher.transform(own) != hasher.transform(X[:50])).any()
    state = torch.get_rng_state()
    codes = np.where(hasher.project(X[:50]) >= 0, 1, -1)
    np.testing.assert_array_equal(attack_queries(hasher, X[:50], scale=scale, centers=codes, random_state=0), own)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_attacks_refuse(hasher, digits):
    X, _ = digits
    with pytest.raises(TypeError, match="no gradient passes through LSH"):
        attack_queries(LSH(4).fit(X), X[:2], scale=X.std(axis=0))
    for scale in (np.ones(3), np.zeros(64), np.full(64, np.nan)):
        with pytest.raises(ValueError, match="pass X_train"):
            attack_queries(hasher, X[:2], scale=scale)
    with pytest.raises(ValueError, match="centers of shape"):
        attack_queries(hasher, X[:2], scale=X.std(axis=0), centers=np.ones((2, 3)))


def trained(X, y, attack, seed):
    """Train a small network by a plain loop, with the adversarial term or without."""
    torch.manual_seed(seed)
    targets = torch.eye(10)[y]
    network, loss = MLPHead(64, 16, n_hidden=64), prepared("orthohash", targets, 16)
    network.learn_inputs(X)
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], lr=0.003)
    for _ in range(5):
        for rows in torch.randperm(len(X)).split(100):
            value = loss(network(X[rows]), targets[rows], rows)
            if attack is not None:
                value = value + attack.training_term(network, loss, X[rows], targets[rows], scale=X.std(dim=0))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return network.eval(), loss.eval()


@pytest.mark.parametrize("seed", range(3))
def test_adversarial_training_makes_codes_robust(digits, seed):
    X, y = torch.from_numpy(digits[0]), digits[1]
    attack = ProjectedGradient(epsilon=0.3)

    def attacked_score(network, loss):
        def project(rows):
            return loss.project(network(rows))

        with torch.no_grad():
            codes = pack_bits(project(X[300:]).numpy() >= 0)
        centers = torch.from_numpy(center_codes(y[:300], codes, y[300:], n_bits=16)).float()
        torch.manual_seed(9)
        with torch.no_grad():
            attacked = project(attack.perturb(project, X[:300], centers, scale=X.std(dim=0))).numpy()
        return mean_average_precision(pack_bits(attacked >= 0), codes, y[:300], y[300:])

    plain = attacked_score(*trained(X[300:], y[300:], None, seed))
    robust = attacked_score(*trained(X[300:], y[300:], attack, seed))
    assert robust > plain + 0.03
