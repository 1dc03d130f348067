"""
How many bits does a code need?
===============================

Longer codes retrieve better and cost more memory. How much better, and for which kind of search? We let
:class:`~sklearn.model_selection.GridSearchCV` try five code lengths in a :class:`~skhash.RetrievalPipeline` that
starts from images. The network that computes the features is by far the slowest step, so we make sure that it sees
each image once and not once per candidate and fold.

The images are the handwritten digits that come with scikit-learn. They are far smaller than photographs, and the
network was trained on photographs, so the scores are no measure of the network. The steps are the same for your own
images.
"""

# %%
# Images and labels
# -----------------
# The digits come as floats from 0 to 16. Features are computed from bytes from 0 to 255. 300 images are held out: the
# search over code lengths does not see them.
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

digits = load_digits()
images = (digits.images * (255 / 16)).round().astype(np.uint8)
train_images, query_images, train_labels, query_labels = train_test_split(
    images, digits.target, test_size=300, stratify=digits.target, random_state=0
)

# %%
# The pipeline and its cache
# --------------------------
# ``cache_dir`` keeps the features of every image on disk. An entry is found by the bytes of the image and by a digest
# of the network, so clones of the estimator, folds and later sessions all find it. In your own work, give a folder
# that stays.
from skhash import ITQ, CNNFeatures, HammingNearestNeighbors, RetrievalPipeline

cache = tempfile.TemporaryDirectory()
pipeline = RetrievalPipeline(
    [
        ("features", CNNFeatures(image_size=64, cache_dir=cache.name)),
        ("hash", ITQ(random_state=0)),
        ("search", HammingNearestNeighbors()),
    ]
)

# %%
# The search over code lengths
# ----------------------------
# One scorer computes two metrics from one pass over the test fold: mean average precision over the whole ranking, and
# precision within radius 2, which is what a look-up in a hash table finds. ``database="fitted"`` ranks the images of
# the test fold against those of the training fold. ``refit`` names the metric that chooses the code length.
# ``error_score="raise"`` stops at the first error instead of writing NaN.
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from skhash.metrics import make_retrieval_scorer

n_bits = [8, 16, 32, 64, 128]
search = GridSearchCV(
    pipeline,
    {"hash__n_bits": n_bits},
    scoring=make_retrieval_scorer(["mean_average_precision", "precision_within_radius"], database="fitted"),
    refit="mean_average_precision",
    cv=StratifiedKFold(3, shuffle=True, random_state=0),
    error_score="raise",
)
search.fit(train_images, train_labels)
results = search.cv_results_

print("bits  mAP             precision within radius 2")
for row, bits in enumerate(n_bits):
    scores = "   ".join(
        f"{results[f'mean_test_{name}'][row]:.3f} +- {results[f'std_test_{name}'][row]:.3f}"
        for name in ("mean_average_precision", "precision_within_radius")
    )
    print(f"{bits:4d}  {scores}")

# %%
# Was each image computed once?
# -----------------------------
# Five candidates, three folds and the last fit with the best candidate send every training image through the pipeline
# sixteen times. The cache holds one entry per distinct image, and only the first candidate had to wait for the
# network.
n_entries = sum(path.is_file() for path in Path(cache.name).rglob("*"))
n_distinct = len(np.unique(train_images, axis=0))
seconds = results["mean_fit_time"] + results["mean_score_time"]
print(f"{n_distinct} distinct training images, {n_entries} entries in the cache")
print(f"first candidate {seconds[0]:.2f} s a fold, the others {seconds[1:].mean():.2f} s a fold")

# %%
# Quality against memory
# ----------------------
# Memory is exact arithmetic: a code of ``n_bits`` bits takes ``ceil(n_bits / 8)`` bytes.
import matplotlib.pyplot as plt

from skhash.codes import code_width

figure, (quality_axes, memory_axes) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, label in [
    ("mean_average_precision", "mAP, whole ranking"),
    ("precision_within_radius", "precision within radius 2"),
]:
    quality_axes.errorbar(
        n_bits,
        results[f"mean_test_{name}"],
        yerr=results[f"std_test_{name}"],
        marker="o",
        capsize=3,
        label=label,
    )
quality_axes.set(title="Quality on the test folds", xlabel="bits", ylabel="score", ylim=(0, 1))
quality_axes.legend()
memory_axes.plot(n_bits, [code_width(bits) for bits in n_bits], marker="o", color="tab:green")
memory_axes.set(title="Memory", xlabel="bits", ylabel="bytes per image, or MB per million images", ylim=(0, None))
for axes in (quality_axes, memory_axes):
    axes.set_xscale("log", base=2)
    axes.set_xticks(n_bits, [str(bits) for bits in n_bits])
plt.show()

# %%
# Conclusion
# ----------
# The whole ranking improves with each doubling of the length, by less and less. Look-up within radius 2 has its best
# length in the middle: short codes put different digits into one ball, and around long codes most balls are empty,
# which counts as 0. So the answer depends on how you will search. The chosen pipeline is ready: it was fitted on all
# training images, and the 300 images held out are its queries.
best = search.best_estimator_
score = make_retrieval_scorer("mean_average_precision")(best, query_images, query_labels)
distances, ids = best.kneighbors(query_images[:1], n_neighbors=5)
print(f"chosen: {search.best_params_['hash__n_bits']} bits; mAP of the held-out queries {score:.3f}")
print(f"a {query_labels[0]} finds {train_labels[ids[0]]} at distances {distances[0]}")
cache.cleanup()
