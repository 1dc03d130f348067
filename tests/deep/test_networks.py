"""Heads: shapes, standardisation, and what may stand in for them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

from skhash.deep.networks import LinearHead, MLPHead, make_network  # noqa: E402

FEATURES = torch.from_numpy(np.random.default_rng(0).normal(3, [1, 1e-3, 1e4, 0], (50, 4)).astype(np.float32))


def standardized(features):
    rows = features.numpy().astype(np.float64)
    return torch.from_numpy((rows - rows.mean(axis=0)) / np.where(rows.std(axis=0) > 0, rows.std(axis=0), 1))


def test_linear_head_is_a_linear_map_of_standardized_features():
    head = LinearHead(4, 3)
    head.learn_inputs(FEATURES)
    layer = head.layers[0]
    expected = standardized(FEATURES) @ layer.weight.double().T + layer.bias.double()
    np.testing.assert_allclose(head(FEATURES).detach(), expected.detach(), atol=1e-3)


def test_mlp_head_has_one_rectified_hidden_layer():
    head = MLPHead(4, 3, n_hidden=7)
    head.learn_inputs(FEATURES)
    first, _, second = head.layers
    hidden = (standardized(FEATURES) @ first.weight.double().T + first.bias.double()).clamp(min=0)
    expected = hidden @ second.weight.double().T + second.bias.double()
    assert hidden.shape == (50, 7)
    np.testing.assert_allclose(head(FEATURES).detach(), expected.detach(), atol=1e-3)


def test_statistics_are_no_parameters_and_survive_a_state_dict():
    head, other = LinearHead(4, 3), LinearHead(4, 3)
    head.learn_inputs(FEATURES)
    assert len(list(head.parameters())) == 2
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other(FEATURES), head(FEATURES), rtol=0, atol=0)


def test_statistics_of_many_columns():
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(20, 150)).astype(np.float32))
    head = LinearHead(150, 2)
    head.learn_inputs(features)
    np.testing.assert_allclose(head.standardizer(features), standardized(features), atol=1e-5)


@pytest.mark.parametrize(("name", "cls"), [("auto", MLPHead), ("mlp", MLPHead), ("linear", LinearHead)])
def test_names(name, cls):
    assert isinstance(make_network(name, 4, 3, name="Name"), cls)


def test_a_module_is_copied_and_a_callable_called():
    module = torch.nn.Linear(4, 3)
    made = make_network(module, 4, 3, name="Name")
    assert made is not module
    torch.testing.assert_close(made.weight, module.weight)
    made = make_network(torch.nn.Linear, 4, 3, name="Name")
    assert made.weight.shape == (3, 4)
    assert made.training


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        ("resnet", ValueError, "network='resnet' is unknown; use one of 'auto', 'linear', 'mlp', an nn.Module"),
        (lambda n_features, n_bits: 3, TypeError, "returned a int, no nn.Module"),
        (torch.nn.Linear(5, 3), ValueError, "cannot take rows of 4 features .*; pass a callable"),
        (torch.nn.Linear(4, 2), ValueError, r"maps 2 rows to \(2, 2\) instead of \(2, 3\), one output a bit"),
    ],
    ids=["name", "callable", "inputs", "outputs"],
)
def test_networks_that_do_not_fit_are_refused_in_one_line(network, error, message):
    with pytest.raises(error, match=message) as raised:
        make_network(network, 4, 3, name="Name")
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("Name: ")
