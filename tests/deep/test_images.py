"""Images into deep hashers: arrays and files, one after the other, from pixels to codes."""

import os
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold

torch = pytest.importorskip("torch", reason="deep hashing needs torch")
Image = pytest.importorskip("PIL.Image", reason="images are read with Pillow")

from skhash import HammingNearestNeighbors, RetrievalPipeline  # noqa: E402
from skhash.codes import pack_bits  # noqa: E402
from skhash.deep import DeepSupervisedHasher, DeepUnsupervisedHasher, _inputs  # noqa: E402
from skhash.deep._inputs import ImageArray, ImageList, ImageReader, to_network  # noqa: E402
from skhash.deep._kinds import holds_images  # noqa: E402
from skhash.metrics import mean_average_precision, mean_average_precision_scorer  # noqa: E402


def make_images(n_images, size=16, seed=0):
    """Noisy images whose class is the brightest of the four quarters."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, n_images)
    images = random.integers(0, 120, (n_images, size, size, 3))
    half = size // 2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] += 130
    return images.astype(np.uint8), labels


class PooledQuarters(torch.nn.Module):
    """A small network that can tell quarters: mean of each, then a linear map."""

    def __init__(self, n_channels, n_bits):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(4 * n_channels, n_bits)
        )

    def forward(self, images):
        return self.layers(images)


IMAGES, LABELS = make_images(240)
SMALL = DeepSupervisedHasher(
    8, network=PooledQuarters, max_epochs=3, batch_size=32, lr=0.05, augment=None, random_state=0
)


def small(**params):
    return clone(SMALL).set_params(**params)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    files = [folder / f"{number}.png" for number in range(len(IMAGES))]
    for path, image in zip(files, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    return files


@pytest.fixture(scope="module")
def fitted():
    return small().fit(IMAGES, LABELS)


def as_the_network_sees(images):
    return np.moveaxis(images.astype(np.float32) / 255, -1, 1)


def test_the_network_is_given_pixels_from_0_to_1_with_the_channels_first(fitted):
    weights = [parameter.detach().numpy().astype(float) for parameter in fitted.net_.module_.parameters()]
    pooled = as_the_network_sees(IMAGES).astype(float).reshape(-1, 3, 2, 8, 2, 8).mean(axis=(3, 5)).reshape(-1, 12)
    expected = pooled @ weights[0].T + weights[1]
    outputs = fitted.net_.module_(torch.from_numpy(as_the_network_sees(IMAGES))).detach().numpy()
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    projections = fitted.net_.criterion_.project(torch.from_numpy(outputs)).detach().numpy()
    np.testing.assert_allclose(fitted.project(IMAGES), projections, atol=1e-4)
    np.testing.assert_array_equal(fitted.transform(IMAGES), pack_bits(fitted.project(IMAGES) >= 0))


def test_images_of_a_class_get_near_codes(fitted):
    images, labels = make_images(80, seed=1)
    score = mean_average_precision(fitted.transform(images), fitted.transform(IMAGES), labels, LABELS)
    assert score > 0.9
    assert fitted.image_shape_ == (16, 16, 3)
    assert not hasattr(fitted, "n_features_in_")


def test_arrays_files_and_pil_images_of_the_same_pixels_train_alike(fitted, paths):
    projections = fitted.project(IMAGES)
    for images in (paths, [str(path) for path in paths], [Image.fromarray(image) for image in IMAGES], list(IMAGES)):
        other = small(image_size=16).fit(images, LABELS)
        np.testing.assert_array_equal(other.project(IMAGES), projections)
    np.testing.assert_array_equal(fitted.project(np.array(paths, dtype=object)), projections)


def test_the_code_of_an_image_depends_on_no_other_and_on_no_thread(fitted):
    projections = fitted.project(IMAGES)
    np.testing.assert_array_equal(fitted.project(IMAGES[5:18]), projections[5:18])
    np.testing.assert_array_equal(fitted.project(IMAGES[[7]]), projections[[7]])
    n_threads = torch.get_num_threads()
    torch.set_num_threads(n_threads + 1)
    try:
        np.testing.assert_array_equal(fitted.project(IMAGES), projections)
    finally:
        torch.set_num_threads(n_threads)


def file_inputs(paths, *, n_jobs):
    reader = ImageReader(paths, (16, 16, 3), name="test")
    return ImageList(reader, np.arange(len(paths)), torch.device("cpu"), n_jobs=n_jobs)


def test_decoded_images_are_kept_up_to_a_limit(paths, tmp_path, monkeypatch):
    """Files that are gone tell which images are still known."""
    monkeypatch.setattr(_inputs, "_BYTES_KEPT", 5 * 16 * 16 * 3)
    copies = [tmp_path / path.name for path in paths[:8]]
    for path, copy in zip(paths, copies, strict=False):
        copy.write_bytes(path.read_bytes())
    inputs = file_inputs(copies, n_jobs=1)
    first = next(batch for batch, _ in inputs.batches(torch.arange(8), [8]))
    for copy in copies:
        copy.unlink()
    again = next(batch for batch, _ in inputs.select(np.arange(5)).batches(torch.arange(5), [5]))
    assert torch.equal(again, first[:5])
    with pytest.raises(ValueError, match="cannot read image 5"):
        next(inputs.batches(torch.arange(8), [8]))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_files_are_decoded_by_any_number_of_threads(paths, n_jobs):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16 * 16 * 3, 8))
    inputs = file_inputs(paths, n_jobs=n_jobs)
    order = torch.randperm(240, generator=torch.Generator().manual_seed(0))
    batches = list(inputs.batches(order, [100, 100, 40]))
    assert torch.equal(torch.cat([positions for _, positions in batches]), order)
    pixels = torch.cat([batch for batch, _ in batches])
    np.testing.assert_allclose(pixels.numpy(), as_the_network_sees(IMAGES)[order], rtol=1e-6)
    assert network(pixels).shape == (240, 8)


def test_batches_of_an_array_are_copies_in_the_layout_of_convolutions():
    inputs = ImageArray(IMAGES, np.arange(10, 20), torch.device("cpu"))
    ((batch, positions),) = inputs.select(np.array([3, 1])).batches(torch.arange(2), [2])
    np.testing.assert_allclose(batch.numpy(), as_the_network_sees(IMAGES[[13, 11]]), rtol=1e-6)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert positions.tolist() == [0, 1]
    before = IMAGES.copy()
    batch.zero_()
    np.testing.assert_array_equal(IMAGES, before)


def test_gray_images_have_one_channel(fitted):
    gray = IMAGES[..., 0]
    hasher = small().fit(gray, LABELS)
    assert hasher.image_shape_ == (16, 16, 1)
    np.testing.assert_array_equal(hasher.project(gray[..., np.newaxis]), hasher.project(gray))
    # A gray image has three equal channels where the network was trained on three.
    np.testing.assert_array_equal(fitted.project(gray), fitted.project(np.repeat(gray[..., np.newaxis], 3, axis=3)))


def test_images_of_another_size_are_resized(fitted):
    large = IMAGES.repeat(2, axis=1).repeat(2, axis=2)
    assert fitted.transform(large).shape == (240, 1)
    assert small(image_size=8).fit(IMAGES, LABELS).image_shape_ == (8, 8, 3)
    with pytest.raises(ValueError, match="image_size=None is unknown for files and a network of your own"):
        small().fit([Image.fromarray(image) for image in IMAGES], LABELS)


def test_auto_takes_a_small_network_for_small_images():
    hasher = DeepSupervisedHasher(8, max_epochs=1, random_state=0).fit(IMAGES, LABELS)
    assert type(hasher.net_.module_).__name__ == "SmallCNN"
    assert hasher.image_shape_ == (16, 16, 3)


def test_auto_takes_a_pretrained_network_for_large_images_and_files(paths):
    pytest.importorskip("efficientnet_lite_pytorch", reason="the backbone of photographs")
    hasher = DeepSupervisedHasher(8, image_size=96, max_epochs=1, random_state=0).fit(paths[:24], LABELS[:24])
    assert type(hasher.net_.module_).__name__ == "BackboneNetwork"
    assert hasher.image_shape_ == (96, 96, 3)
    rates = {group["lr"] for group in hasher.net_.optimizer_.param_groups}
    assert rates == {0.001, 0.0001}
    backbone = {id(parameter) for parameter in hasher.net_.module_.backbone.parameters()}
    for group in hasher.net_.optimizer_.param_groups:
        assert {id(parameter) in backbone for parameter in group["params"]} == {group["lr"] == 0.0001}


def test_a_corrupt_image_in_the_middle_of_an_epoch_is_named(paths, tmp_path, reading_threads):
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:200])
    files = [*paths[:100], broken, *paths[101:]]
    hasher = small(image_size=16, batch_size=16)
    with pytest.raises(ValueError, match=r"cannot read image 100 \('.*broken\.png'\): corrupt or truncated") as raised:
        hasher.fit(files, LABELS)
    assert not reading_threads()
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("DeepSupervisedHasher ")
    assert not hasattr(hasher, "net_")
    fitted = small(image_size=16).fit(paths, LABELS)
    with pytest.raises(ValueError, match="cannot read image 100"):
        fitted.transform(files)
    assert not reading_threads()


@pytest.mark.parametrize("consistency", [None, 1.0])
@pytest.mark.parametrize("n_batches", [2, 9])
def test_no_thread_reads_on_after_a_training_that_failed(paths, reading_threads, consistency, n_batches):
    """The traceback, which the test keeps, holds every frame of the training."""

    class Fails(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.n_batches = 0

        def forward(self, images):
            self.n_batches += 1
            if self.n_batches == n_batches:
                raise ZeroDivisionError
            return images

    hasher = small(image_size=16, batch_size=16, n_jobs=2, augment=Fails(), consistency=consistency)
    labels = np.where(np.arange(len(LABELS)) % 2, LABELS, -1) if consistency else LABELS
    with pytest.raises(ZeroDivisionError) as raised:
        hasher.fit(paths, labels)
    assert not reading_threads()
    assert raised.tb is not None


def test_an_image_that_breaks_in_a_later_epoch_leaves_the_hasher_as_it_was(paths, tmp_path, monkeypatch):
    """The file is lost after the first epoch of the second training, and too little memory kept its pixels."""
    monkeypatch.setattr(_inputs, "_BYTES_KEPT", 0)
    copies = [tmp_path / path.name for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    hasher = small(image_size=16).fit(copies, LABELS)
    before = hasher.project(IMAGES)

    class LosesFile(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.n_batches = 0

        def forward(self, images):
            self.n_batches += 1
            if self.n_batches == 10 and copies[7].exists():
                os.remove(copies[7])
            return images

    with pytest.raises(ValueError, match=r"cannot read image 7 \('.*7\.png'\): the file does not exist"):
        hasher.set_params(augment=LosesFile()).partial_fit(copies, LABELS)
    np.testing.assert_array_equal(hasher.project(IMAGES), before)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (
            IMAGES.astype(np.float32) / 255,
            r"Found array with dim 4 and dtype float32; .* images are uint8: multiply by",
        ),
        (IMAGES[..., 0] / 255, r"Found array with dim 3 and dtype float64; .* images are uint8"),
        (np.moveaxis(IMAGES, -1, 1), r"shape \(240, 3, 16, 16\).*move the channels last"),
        (IMAGES[:1], "got 1 image, but a minimum of 2 is required"),
        (IMAGES[:0], "got 0 images"),
        ("folder/of/images", "got the single path 'folder/of/images': pass a list of image files"),
        ([*IMAGES[:3], "x.png", 5], "image 4 of type int"),
        (np.zeros((4, 2, 2, 3), dtype=np.uint8), None),
    ],
    ids=["floats", "gray-floats", "channels-first", "one", "none", "path", "mixed", "tiny"],
)
def test_what_are_no_images_is_refused_in_one_line(X, message):
    n_rows = len(X) if not isinstance(X, str) else 2
    if message is None:
        assert small(n_bits=2, loss="csq").fit(X, [0, 1, 0, 1]).transform(X).shape == (4, 1)
        return
    with pytest.raises((ValueError, TypeError), match=message) as raised:
        small().fit(X, LABELS[:n_rows])
    assert "\n" not in str(raised.value)
    assert "DeepSupervisedHasher" in str(raised.value)


def test_features_and_images_are_not_confused(fitted):
    features = IMAGES.reshape(240, -1).astype(np.float32)
    with pytest.raises(ValueError, match=r"was fitted on images, got ndarray of shape \(240, 768\)"):
        fitted.transform(features)
    with pytest.raises(ValueError, match="was fitted on images"):
        clone(fitted).fit(IMAGES, LABELS).partial_fit(features, LABELS)
    on_features = small(network="linear").fit(features, LABELS)
    assert on_features.image_shape_ is None
    for method in (on_features.transform, on_features.project):
        with pytest.raises(ValueError, match=r"was fitted on features, got images \(ndarray of shape"):
            method(IMAGES)
    again = on_features.set_params(network=PooledQuarters).fit(IMAGES, LABELS)
    assert not hasattr(again, "n_features_in_")
    assert again.transform(IMAGES).shape == (240, 1)


def test_a_failed_fit_on_images_leaves_what_was_fitted_on_features():
    features = IMAGES.reshape(240, -1).astype(np.float32)
    hasher = small(network="linear").fit(features, LABELS)
    before = hasher.project(features)
    with pytest.raises(ValueError, match="X has 240 rows and y 3"):
        hasher.fit(IMAGES, LABELS[:3])
    np.testing.assert_array_equal(hasher.project(features), before)
    assert hasher.n_features_in_ == 768


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (IMAGES, True),
        (IMAGES[..., 0], True),
        (["a.png"], True),
        (np.array(["a.png"]), True),
        ([IMAGES[0]], True),
        ("a.png", True),
        (IMAGES / 255, False),
        (IMAGES[:, :, 0, 0], False),
        ([[1, 2], [3, 4]], False),
        ([np.zeros(3)], False),
        ([], False),
        (None, False),
        (np.array([["a"]]), False),
    ],
)
def test_images_are_told_from_features(X, expected):
    assert holds_images(X) is expected


def test_data_frames_of_paths(paths):
    pd = pytest.importorskip("pandas", reason="the test passes a series")
    series = pd.Series([str(path) for path in paths], index=np.arange(240)[::-1])
    hasher = small(image_size=16).fit(series, LABELS)
    np.testing.assert_array_equal(hasher.project(series), hasher.project(paths))


def test_partial_fit_goes_on_with_more_images(fitted):
    hasher = small(validation_fraction=None)
    whole = clone(hasher).set_params(max_epochs=6).fit(IMAGES, LABELS)
    parts = pickle.loads(pickle.dumps(clone(hasher).fit(IMAGES, LABELS))).partial_fit(IMAGES, LABELS)
    np.testing.assert_array_equal(parts.project(IMAGES), whole.project(IMAGES))


def test_grid_search_from_image_files_to_scores_in_two_processes(paths):
    pipeline = RetrievalPipeline([("hash", small(image_size=16)), ("search", HammingNearestNeighbors())])
    search = GridSearchCV(
        pipeline,
        {"hash__lr": [1e-9, 0.05]},
        scoring=mean_average_precision_scorer,
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
        n_jobs=2,
        error_score="raise",
    ).fit([str(path) for path in paths], LABELS)
    assert search.best_params_ == {"hash__lr": 0.05}
    assert search.best_score_ > 0.8


def test_hashing_reads_files_once_and_keeps_the_order(fitted, paths):
    order = np.random.default_rng(0).permutation(240)
    codes = fitted.transform([paths[number] for number in order])
    np.testing.assert_array_equal(codes, fitted.transform(IMAGES)[order])


@pytest.mark.parametrize("loss", ["greedyhash", "cibhash"])
def test_images_are_hashed_without_labels(loss):
    hasher = DeepUnsupervisedHasher(16, loss=loss, network=PooledQuarters, max_epochs=5, lr=0.01, random_state=0)
    codes = hasher.fit(IMAGES).transform(IMAGES)
    score = mean_average_precision(codes, None, LABELS)
    untrained = clone(hasher).set_params(max_epochs=1, lr=1e-30).fit(IMAGES).transform(IMAGES)
    assert score > mean_average_precision(untrained, None, LABELS)


def test_pixels_of_a_batch_are_of_unit_range():
    pixels = np.array([[[[0, 51, 255]]]], dtype=np.uint8)
    assert to_network(torch.from_numpy(pixels)).flatten().tolist() == pytest.approx([0, 0.2, 1])
