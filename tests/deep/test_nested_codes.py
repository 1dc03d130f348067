"""One training for codes of several lengths, from images or features to the ranking of each prefix."""

import itertools

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

from skhash import HammingNearestNeighbors, RetrievalPipeline  # noqa: E402
from skhash.codes import truncate_codes  # noqa: E402
from skhash.deep import DeepSupervisedHasher  # noqa: E402
from skhash.deep.losses import Nested  # noqa: E402
from skhash.metrics import mean_average_precision, mean_average_precision_scorer  # noqa: E402

PREFIXES = (4, 8)


def make_images(n_images, seed):
    """Noisy images whose class is the brightest of the four quarters, as many of each."""
    random = np.random.default_rng(seed)
    labels = np.arange(n_images) % 4
    images = random.integers(0, 120, (n_images, 12, 12, 3))
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * 6 : row * 6 + 6, column * 6 : column * 6 + 6] += 60
    return images.astype(np.uint8), labels


IMAGES, LABELS = make_images(200, seed=0)
NEW_IMAGES, NEW_LABELS = make_images(80, seed=1)
FEATURES = IMAGES.reshape(200, 2, 6, 2, 6, 3).mean(axis=(2, 4)).reshape(200, 12)


def quarters(n_channels, n_bits):
    """Make a network that can tell the quarters: convolutions, the mean of each quarter, and a linear layer."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(n_channels, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(32, n_bits),
    )


def on_images(**params):
    # Mirrored images would be of another class.
    settings = {"loss": Nested(prefixes=PREFIXES), "network": quarters, "augment": None, "max_epochs": 15}
    settings |= {"batch_size": 20, "lr": 0.01, "validation_fraction": None, "random_state": 0}
    return DeepSupervisedHasher(12, **{**settings, **params})


def on_features(n_bits=64, **params):
    settings = {"loss": "nested", "max_epochs": 2, "batch_size": 32, "random_state": 0}
    return DeepSupervisedHasher(n_bits, **{**settings, **params})


def assert_prefixes_find_classes(hasher):
    """Codes that tell nothing have about 1/4, the share of a class.

    Codes that tell the upper from the lower half alone have about 1/2: half of the images are at distance 0, and half
    of these are of the class. More than 3/4 needs all four quarters.
    """
    queries, database = hasher.transform(NEW_IMAGES), hasher.transform(IMAGES)
    for n_bits in (*PREFIXES, 12):
        cut = (truncate_codes(codes, n_bits) for codes in (queries, database))
        assert mean_average_precision(*cut, NEW_LABELS, LABELS) > 0.75


def test_every_prefix_of_a_network_trained_on_images_finds_its_classes():
    assert_prefixes_find_classes(on_images().fit(IMAGES, LABELS))


def test_images_with_names_of_classes_and_without_labels():
    labels = np.array(["a", "b", "c", "d"], dtype=object)[LABELS]
    labels[::5] = -1
    hasher = on_images().fit(IMAGES, labels)
    assert hasher.classes_.tolist() == ["a", "b", "c", "d"]
    assert_prefixes_find_classes(hasher)
    assert_prefixes_find_classes(on_images(consistency=0.1).fit(IMAGES, labels))


def test_images_with_several_labels():
    """Two labels an image: its row and its column, of which a class is made of."""
    indicators = np.stack([LABELS < 2, LABELS >= 2, LABELS % 2 == 0, LABELS % 2 == 1], axis=1).astype(int)
    indicators[::9] = 0
    hasher = on_images().fit(IMAGES, indicators)
    assert_prefixes_find_classes(hasher)
    with pytest.raises(ValueError, match="y has 3 columns, but 4 classes are known") as raised:
        hasher.partial_fit(IMAGES, indicators[:, :3])
    assert "\n" not in str(raised.value)


def test_more_images_keep_the_codewords():
    hasher = on_images(max_epochs=8).partial_fit(IMAGES[::2], LABELS[::2], classes=range(5))
    before = hasher.net_.criterion_.class_centers().clone()
    hasher.partial_fit(IMAGES[1::2], LABELS[1::2]).partial_fit(IMAGES, LABELS)
    assert torch.equal(hasher.net_.criterion_.class_centers(), before)
    assert_prefixes_find_classes(hasher)
    with pytest.raises(ValueError, match="y holds the class 7, which is none of the 5 known so far") as raised:
        hasher.partial_fit(IMAGES[:4], [0, 1, 2, 7])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("n_bits", "lengths"),
    [(2, [2]), (16, [16]), (24, [16, 24]), (65, [16, 32, 64, 65]), (np.int64(64), [16, 32, 64])],
)
def test_any_code_length_is_the_last_of_the_prefixes(n_bits, lengths):
    hasher = on_features(n_bits).fit(FEATURES, LABELS)
    assert list(hasher.net_.criterion_.minimum_distances) == lengths
    assert hasher.project(FEATURES).shape == (200, n_bits)


def test_a_single_class_is_hashed():
    assert on_features(16).fit(FEATURES, np.zeros(200, dtype=int)).transform(FEATURES).shape == (200, 2)


def test_more_classes_than_codewords_are_refused_in_one_line():
    with pytest.raises(ValueError, match="Nested: 4 classes exceed the 2 codes of n_bits=1") as raised:
        on_features(1).fit(FEATURES, LABELS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("prefixes", [16, None, (True, 8), "16"])
def test_prefixes_that_are_no_lengths_are_refused_in_one_line(prefixes):
    with pytest.raises(ValueError, match=r"^DeepSupervisedHasher: Nested: prefixes=") as raised:
        on_features(loss=Nested(prefixes=prefixes)).fit(FEATURES, LABELS)
    assert "\n" not in str(raised.value)


def test_search_over_lengths_of_an_array():
    pipeline = RetrievalPipeline([("hash", on_features()), ("search", HammingNearestNeighbors())])
    lengths = np.array([2, 16, 64])
    search = GridSearchCV(
        pipeline, {"hash__n_bits": lengths}, scoring=mean_average_precision_scorer, cv=2, error_score="raise"
    ).fit(FEATURES, LABELS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_distances_are_those_of_codewords_that_were_loaded(tmp_path):
    saved = on_features(random_state=3).fit(FEATURES, np.arange(200) % 12)
    saved.save_weights(tmp_path / "weights.safetensors")
    hasher = on_features(random_state=4).fit(FEATURES, np.arange(200) % 12)
    loss = hasher.load_weights(tmp_path / "weights.safetensors").net_.criterion_
    # Two classes get equal words.
    centers = loss.class_centers()
    centers[1] = centers[0]
    assert loss.minimum_distances == {16: 0, 32: 0, 64: 0}
    centers.copy_(saved.net_.criterion_.class_centers())
    words = centers.numpy()
    for length, distance in loss.minimum_distances.items():
        pairs = itertools.combinations(words[:, :length], 2)
        assert distance == min(int((first != second).sum()) for first, second in pairs)
