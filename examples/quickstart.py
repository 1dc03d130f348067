"""
Quickstart: hash, search and score real images
==============================================

How good are binary codes of 2, 4 or 8 bytes at finding images of the same class? This story takes the handwritten
digits that come with scikit-learn, so nothing is downloaded. Images become features in a convolutional network
trained on photographs, features become codes with four classic methods, and codes are searched and scored.
"""

# %%
# Images
# ------
#
# 1 797 digits of 8 x 8 pixels. Pixels run from 0 to 16 there; images here are unsigned bytes from 0 to 255.

import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from skhash import ITQ, LSH, PCAH, CNNFeatures, HammingNearestNeighbors, RetrievalPipeline, SpectralHash
from skhash.datasets import retrieval_split
from skhash.inspection import RetrievalGalleryDisplay
from skhash.metrics import mean_average_precision

digits = load_digits()
images = np.round(digits.images * (255 / 16)).astype(np.uint8)
labels = digits.target

# %%
# Twenty images of each class are the queries. The rest is the database, and the hashers learn from it.

split = retrieval_split(
    labels, n_queries_per_class=20, n_train_per_class=None, database="all_but_queries", random_state=0
)
print(f"{len(split.query)} queries, {len(split.database)} images in the database")

# %%
# Features
# --------
#
# The network has never seen a digit. Its pooled output, 1 280 numbers an image, is computed once: a folder keeps the
# features of every image for whoever asks again.

cache = tempfile.TemporaryDirectory()
features_step = CNNFeatures(image_size=64, cache_dir=cache.name)
start = time.perf_counter()
features = features_step.fit_transform(images)
seconds = time.perf_counter() - start
print(f"CNN features: {features.shape} {features.dtype} in {seconds:.1f} s ({len(images) / seconds:.0f} images/s)")

# %%
# Codes
# -----
#
# Every method learns from the same features. The score is mean average precision over the full ranking, with ties
# counted by their expectation, so that it does not depend on how a sort happens to order equal distances. Codes are
# compared with what they replace: 5 120 bytes of floating-point numbers an image.

methods = {
    "LSH": lambda n_bits: LSH(n_bits, random_state=0),
    "PCAH": lambda n_bits: PCAH(n_bits, rotation="random", random_state=0),
    "SpectralHash": lambda n_bits: SpectralHash(n_bits),
    "ITQ": lambda n_bits: ITQ(n_bits, random_state=0),
}

print(f"\n{'method':<14}{'bits':>5}{'mAP':>8}{'fit s':>8}{'encode images/s':>17}{'bytes/image':>13}")
for name, make in methods.items():
    for n_bits in (16, 32, 64):
        start = time.perf_counter()
        hasher = make(n_bits).fit(features[split.train])
        fitted = time.perf_counter()
        database_codes = hasher.transform(features[split.database])
        encoded = time.perf_counter()
        score = mean_average_precision(
            hasher.transform(features[split.query]), database_codes, labels[split.query], labels[split.database]
        )
        speed = len(split.database) / (encoded - fitted)
        row = f"{name:<14}{n_bits:>5}{score:>8.3f}{fitted - start:>8.2f}{speed:>17,.0f}{database_codes.shape[1]:>13}"
        print(row)

# %%
# Search
# ------
#
# The same steps in one pipeline: images in, ids and distances out.

pipeline = RetrievalPipeline(
    [("features", features_step), ("hash", ITQ(64, random_state=0)), ("search", HammingNearestNeighbors())]
)
pipeline.fit(images[split.database], labels[split.database])
distances, ids = pipeline.kneighbors(images[split.query], n_neighbors=10)
precision = (labels[split.database][ids] == labels[split.query][:, None]).mean()
print(f"\nITQ, 64 bits: {precision:.1%} of the ten nearest neighbours show the digit of the query")

# %%
# Look
# ----
#
# Queries on the left, their nearest neighbours to the right with the distance in bits. Green borders mark the same
# digit, red ones another.

shown = split.query[:: len(split.query) // 8][:8]
display = RetrievalGalleryDisplay.from_estimator(
    pipeline, images[shown], images[split.database], query_labels=labels[shown], n_neighbors=10, max_queries=8
)
path = Path("quickstart_gallery.png")
display.figure_.savefig(path, dpi=120)
cache.cleanup()
print(f"\nThe picture is {path}")

# %%
# What to take home
# -----------------
#
# Codes that adapt to the data beat random hyperplanes, and they need no labels for it. Learning the rotation (ITQ) is
# worth more than drawing it (PCAH). A code takes 8 bytes where the features take 5 120.
