"""Augmentation: every change against a plain computation for each image, and what batches must keep."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

from skhash.deep.augmentation import FeatureNoise, ImageAugmentation  # noqa: E402

NONE = {"flip": False, "shift": 0.0}
SETTINGS = {
    "default": ImageAugmentation(),
    "contrastive": ImageAugmentation.contrastive(),
    "zoom and shift": ImageAugmentation(scale=(0.3, 0.9), shift=0.2),
    "colours": ImageAugmentation(brightness=2.0, contrast=2.0, saturation=2.0, grayscale=0.3),
}


def random_images(n_samples=16, n_channels=3, height=8, width=10, *, low=0.0, high=1.0, seed=0):
    images = np.random.default_rng(seed).uniform(low, high, (n_samples, n_channels, height, width))
    return torch.from_numpy(images.astype(np.float32))


def augment(images, seed=0, **settings):
    torch.manual_seed(seed)
    return ImageAugmentation(**settings)(images)


# ------------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.2, 0.4])
def test_every_image_is_a_whole_shift_of_itself_or_of_its_mirror_image(flip, shift):
    images = random_images(150, 2, 8, 10)
    down, right = round(shift * 8), round(shift * 10)
    seen = set()
    for image, result in zip(images.numpy(), augment(images, flip=flip, shift=shift).numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (down, down), (right, right)), mode="reflect")
        matches = [
            (row, column, mirrored)
            for row in range(2 * down + 1)
            for column in range(2 * right + 1)
            for mirrored in ([False, True] if flip else [False])
            if np.array_equal(padded[:, row : row + 8, column : column + 10][..., :: -1 if mirrored else 1], result)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    rows, columns, mirrored = (set(values) for values in zip(*seen, strict=True))
    assert rows == set(range(2 * down + 1))
    assert columns == set(range(2 * right + 1))
    assert mirrored == ({False, True} if flip else {False})


def test_half_of_the_images_are_mirrored_and_shifts_are_uniform():
    ramp = (torch.arange(9.0) / 8).expand(9000, 1, 9, 9)
    mirrored = augment(ramp, shift=0)[:, 0, 0, 0] == 1
    # Five standard deviations of the share of 9000 coins, and of one among three equal shares.
    assert abs(mirrored.double().mean() - 0.5) < 5 * np.sqrt(0.25 / 9000)
    centres = augment(ramp, flip=False, shift=0.125)[:, 0, 4, 4]
    shares = np.unique(centres.numpy(), return_counts=True)[1] / 9000
    np.testing.assert_allclose(shares, [1 / 3] * 3, atol=5 * np.sqrt(2 / 9 / 9000))


def test_nothing_changes_without_settings():
    images = random_images()
    assert torch.equal(augment(images, **NONE), images)


def naive_bilinear(image, rows, columns):
    """Read an image at fractional positions, reflected at its border, position by position."""
    height, width = image.shape
    out = np.empty((len(rows), len(columns)))

    def inside(position, length):
        if position < -0.5:
            position = -1 - position
        if position > length - 0.5:
            position = 2 * length - 1 - position
        return min(max(position, 0), length - 1)

    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            y, x = inside(row, height), inside(column, width)
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            b, a = y - top, x - left
            out[i, j] = (1 - b) * ((1 - a) * image[top, left] + a * image[top, left + 1]) + b * (
                (1 - a) * image[top + 1, left] + a * image[top + 1, left + 1]
            )
    return out


@pytest.mark.parametrize(("scale", "shift"), [((0.5, 1.0), 0.0), ((0.2, 0.4), 0.0), ((0.9, 1.0), 0.1)])
def test_zoom_enlarges_a_window_of_the_shape_of_the_image(scale, shift):
    n_samples, height, width = 60, 20, 30
    images = random_images(n_samples, 3, height, width)
    # Two channels tell where each pixel comes from: they hold its own place, from 0 to 1.
    images[:, 0] = ((torch.arange(height) + 0.5) / height)[:, None]
    images[:, 1] = (torch.arange(width) + 0.5) / width
    results = augment(images, scale=scale, shift=shift).numpy().astype(np.float64)
    areas, mirrored = [], []
    for image, (vertical, horizontal, pixels) in zip(images[:, 2].numpy(), results, strict=True):
        # The middle half of the result never comes from beyond the border of the image.
        step_y = (vertical[height // 2 + 3, width // 2] - vertical[height // 2 - 3, width // 2]) / 6
        step_x = (horizontal[height // 2, width // 2 + 3] - horizontal[height // 2, width // 2 - 3]) / 6
        assert abs(step_y * height - abs(step_x * width)) < 1e-4
        areas.append((step_y * height) ** 2)
        mirrored.append(step_x < 0)
        ys = vertical[height // 2, 0] + step_y * (np.arange(height) - height // 2)
        xs = horizontal[0, width // 2] + step_x * (np.arange(width) - width // 2)
        # Windows lie inside, but for the shift.
        edges = np.array([ys[0] - step_y / 2, ys[-1] + step_y / 2, xs[0] - step_x / 2, xs[-1] + step_x / 2])
        assert edges.min() > -shift - 1e-4
        assert edges.max() < 1 + shift + 1e-4
        expected = naive_bilinear(image, ys * height - 0.5, xs * width - 0.5)
        np.testing.assert_allclose(pixels, expected, atol=1e-3)
    assert scale[0] - 1e-4 < min(areas) < max(areas) < scale[1] + 1e-4
    assert max(areas) - min(areas) > 0.7 * (scale[1] - scale[0])
    assert 0 < np.mean(mirrored) < 1


# -------------------------------------------------------------------------------------------- colours


def luma_of(image):
    return 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2] if len(image) == 3 else image[0]


COLOURS = {
    "brightness": np.zeros_like,
    "contrast": lambda image: np.full_like(image, luma_of(image).mean()),
    "saturation": lambda image: np.broadcast_to(luma_of(image), image.shape),
}


@pytest.mark.parametrize(
    ("name", "n_channels"), [("brightness", 1), ("brightness", 3), ("contrast", 1), ("contrast", 3), ("saturation", 3)]
)
@pytest.mark.parametrize("strength", [0.4, 3.0])
def test_colour_jitter_multiplies_the_difference_from_a_center(name, strength, n_channels):
    images = random_images(200, n_channels, low=0.3, high=0.6)
    results = augment(images, **NONE, **{name: strength}).numpy().astype(np.float64)
    factors = []
    for image, result in zip(images.numpy().astype(np.float64), results, strict=True):
        center = COLOURS[name](image)
        inside = (result > 0) & (result < 1)
        factors.append(np.median(((result - center) / (image - center))[inside]) if inside.any() else np.nan)
        if inside.any():
            np.testing.assert_allclose(result, np.clip(center + factors[-1] * (image - center), 0, 1), atol=1e-4)
    low, high = max(0, 1 - strength), 1 + strength
    assert low - 1e-3 <= np.nanmin(factors) < low + 0.1 * (high - low)
    assert np.nanmax(factors) <= high + 1e-3
    if strength == 0.4:
        assert np.nanmax(factors) > high - 0.1 * (high - low)


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
def test_grayscale_leaves_the_luma(n_channels, probability):
    images = random_images(1000, n_channels, 2, 2)
    results = augment(images, **NONE, grayscale=probability).numpy()
    gray = np.stack([np.broadcast_to(luma_of(image), image.shape) for image in images.numpy()])
    is_gray = np.abs(results - gray).max((1, 2, 3)) < 1e-6
    is_same = (results == images.numpy()).all((1, 2, 3))
    assert (is_gray | is_same).all()
    if n_channels == 3:
        assert abs(is_gray.mean() - probability) <= 5 * np.sqrt(probability * (1 - probability) / 1000)


def test_gray_images_ignore_saturation():
    images = random_images(n_channels=1)
    assert torch.equal(augment(images, **NONE, saturation=2.0, grayscale=1.0), images)


def test_contrastive_setting():
    augmentation = ImageAugmentation.contrastive()
    assert augmentation.flip
    assert (augmentation.scale, augmentation.shift, augmentation.grayscale) == ((0.5, 1.0), 0.0, 0.2)
    assert {augmentation.brightness, augmentation.contrast, augmentation.saturation} == {0.4}
    assert "scale=(0.5, 1.0)" in repr(augmentation)


# -------------------------------------------------------------------------------- what batches must keep


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_values_stay_in_range_and_the_input_is_left_alone(name, n_channels):
    images = random_images(64, n_channels).round()
    before = images.clone()
    torch.manual_seed(0)
    results = SETTINGS[name](images)
    assert results.dtype == torch.float32
    assert results.shape == images.shape
    assert results.min() >= 0
    assert results.max() <= 1
    assert torch.equal(images, before)
    assert not torch.equal(results, images)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_seed_decides_and_each_batch_draws_anew(name):
    images = random_images()
    torch.manual_seed(3)
    first, second = SETTINGS[name](images), SETTINGS[name](images)
    torch.manual_seed(3)
    assert torch.equal(SETTINGS[name](images), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", SETTINGS)
def test_no_image_depends_on_another(name):
    images = random_images(12)
    torch.manual_seed(3)
    expected = SETTINGS[name](images)
    others = torch.cat([images[:4], random_images(1, seed=9), images[5:]])
    torch.manual_seed(3)
    results = SETTINGS[name](others)
    kept = [index for index in range(12) if index != 4]
    torch.testing.assert_close(results[kept], expected[kept], rtol=0, atol=1e-6)
    assert not torch.allclose(results[4], expected[4])


@pytest.mark.parametrize("name", SETTINGS)
def test_memory_format_is_kept_and_does_not_matter(name):
    images = random_images()
    last = images.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(3)
    expected = SETTINGS[name](images)
    torch.manual_seed(3)
    results = SETTINGS[name](last)
    assert expected.is_contiguous()
    assert results.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(results, expected, rtol=0, atol=1e-6)


def test_evaluation_mode_changes_nothing():
    images = random_images()
    assert ImageAugmentation.contrastive().eval()(images) is images
    features = torch.rand(3, 4)
    assert FeatureNoise().eval()(features) is features


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 1, 2, 5)], ids=str)
def test_a_single_tiny_image_passes(shape):
    images = torch.full(shape, 0.5)
    for augmentation in (ImageAugmentation(shift=0.5), ImageAugmentation(scale=(0.5, 0.5))):
        torch.testing.assert_close(augmentation(images), images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SETTINGS)
def test_cuda_images_stay_on_their_device(name):
    images = random_images().cuda()
    results = SETTINGS[name](images)
    assert results.device == images.device
    assert results.min() >= 0
    assert results.max() <= 1


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (ImageAugmentation, {"shift": 0.6}, "shift=0.6 must be a finite number between 0 and 0.5"),
        (ImageAugmentation, {"scale": (0.0, 1.0)}, r"scale=\(0.0, 1.0\) must be a pair"),
        (ImageAugmentation, {"scale": (0.9, 0.5)}, r"scale=\(0.9, 0.5\) must be a pair"),
        (ImageAugmentation, {"scale": 0.5}, "scale=0.5 must be a pair"),
        (ImageAugmentation, {"brightness": -1}, "brightness=-1 must be a finite number at least 0"),
        (ImageAugmentation, {"contrast": float("nan")}, "contrast=nan must be"),
        (ImageAugmentation, {"saturation": float("inf")}, "saturation=inf must be"),
        (ImageAugmentation, {"grayscale": 2}, "grayscale=2 must be a finite number between 0 and 1"),
        (FeatureNoise, {"noise": -0.1}, "noise=-0.1 must be a finite number at least 0"),
        (FeatureNoise, {"dropout": 1.5}, "dropout=1.5 must be a finite number between 0 and 1"),
    ],
)
def test_parameters_out_of_range_are_refused_in_one_line(cls, arguments, message):
    with pytest.raises(ValueError, match=f"^{cls.__name__}: {message}") as raised:
        cls(**arguments)
    assert "\n" not in str(raised.value)


# ------------------------------------------------------------------------------------------- features


def features_of_scales(n_samples=4000):
    columns = np.random.default_rng(0).normal(5, [0.01, 1, 100, 0], (n_samples, 4))
    return torch.from_numpy(columns.astype(np.float32))


@pytest.mark.parametrize("learned", [False, True])
def test_noise_is_in_units_of_each_feature(learned):
    features = features_of_scales()
    augmentation = FeatureNoise(noise=0.1, dropout=0.0)
    deviations = features.double().numpy().std(axis=0)
    if learned:
        # Of other rows than those that are changed.
        augmentation.learn_inputs(3 * features)
        deviations = 3 * deviations
    torch.manual_seed(0)
    noise = (augmentation(features) - features).double().numpy()
    assert (noise[:, 3] == 0).all()
    np.testing.assert_allclose(noise.std(axis=0)[:3], 0.1 * deviations[:3], rtol=5 / np.sqrt(2 * 4000))
    np.testing.assert_allclose(noise.mean(axis=0)[:3] / deviations[:3], 0, atol=5 * 0.1 / np.sqrt(4000))


def test_dropout_sets_features_to_zero_and_keeps_the_mean():
    features = features_of_scales()
    torch.manual_seed(0)
    results = FeatureNoise(noise=0.0, dropout=0.3)(features)
    is_zero = results == 0
    torch.testing.assert_close(results[~is_zero], features[~is_zero] / 0.7)
    assert abs(is_zero.double().mean() - 0.3) < 5 * np.sqrt(0.21 / 16000)


def test_rows_are_independent_once_the_scale_is_learned():
    features = features_of_scales(20)
    augmentation = FeatureNoise()
    augmentation.learn_inputs(features)
    torch.manual_seed(0)
    expected = augmentation(features)
    features[4] *= 2
    torch.manual_seed(0)
    results = augmentation(features)
    kept = [index for index in range(20) if index != 4]
    torch.testing.assert_close(results[kept], expected[kept], rtol=0, atol=0)
    torch.manual_seed(0)
    torch.testing.assert_close(augmentation(features), results, rtol=0, atol=0)


def test_single_row_without_learned_scale_gets_no_noise():
    features = torch.rand(1, 5)
    assert torch.equal(FeatureNoise(dropout=0.0)(features), features)


def test_learned_scale_survives_a_state_dict():
    features = features_of_scales(20)
    learned, other = FeatureNoise(), FeatureNoise()
    other.load_state_dict(learned.state_dict())
    assert other.scale is None
    learned.learn_inputs(features)
    other.load_state_dict(learned.state_dict())
    assert torch.equal(other.scale, learned.scale)
    np.testing.assert_allclose(other.scale, features.double().numpy().std(axis=0), rtol=1e-5)
