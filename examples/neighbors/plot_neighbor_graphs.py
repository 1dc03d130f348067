"""
Hamming neighbors in scikit-learn's estimators
==============================================

Many estimators of scikit-learn only need to know who is near whom. They take a sparse graph of distances with
``metric="precomputed"``. Can they work with codes of 4 bytes instead of 64 floats per image? We classify, cluster and
draw the handwritten digits from their codes.
"""

# %%
# Codes
# -----
# Half of the digits are for training. A code has 32 bits.
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skhash import ITQ

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
hasher = ITQ(n_bits=32, random_state=0).fit(X_train)
print(f"{X[0].nbytes} bytes of floats become {hasher.transform(X[:1])[0].nbytes} bytes of code")

# %%
# Classification
# --------------
# :class:`~skhash.HammingNearestNeighborsTransformer` turns codes into the graph of their neighbors among the training
# codes. Distances are counts of bits.
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from skhash import HammingNearestNeighborsTransformer

on_codes = make_pipeline(
    ITQ(n_bits=32, random_state=0),
    HammingNearestNeighborsTransformer(n_neighbors=5),
    KNeighborsClassifier(n_neighbors=5, metric="precomputed"),
)
accuracy_on_codes = on_codes.fit(X_train, y_train).score(X_test, y_test)
accuracy_on_floats = KNeighborsClassifier(n_neighbors=5).fit(X_train, y_train).score(X_test, y_test)
print(f"accuracy: {accuracy_on_codes:.3f} on codes, {accuracy_on_floats:.3f} on floats")

# %%
# Clustering
# ----------
# DBSCAN asks for all neighbors within a radius, so the graph is a radius graph. Pairs beyond the radius are not stored.
# Distances of 0 between equal codes are stored: for scikit-learn an entry that is missing means "far", not "equal".
# The radius is a whole number of bits, so there are few to choose from, and one bit makes a difference.
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

codes = hasher.transform(X)
clusterings = {}
print("radius  stored pairs  clusters  clustered digits  adjusted Rand index of these")
for radius in (2, 3, 4):
    graph = HammingNearestNeighborsTransformer(radius=radius).fit_transform(codes)
    clusters = DBSCAN(eps=radius, min_samples=10, metric="precomputed").fit_predict(graph)
    clustered = clusters >= 0
    agreement = adjusted_rand_score(y[clustered], clusters[clustered])
    stored = graph.nnz / graph.shape[0] ** 2
    print(f"{radius:6d}  {stored:12.2%}  {clusters.max() + 1:8d}  {clustered.mean():16.0%}  {agreement:28.3f}")
    clusterings[radius] = clusters

# %%
# A map
# -----
# t-SNE needs three times as many neighbors as its perplexity.
from sklearn.manifold import TSNE

perplexity = 30
graph = HammingNearestNeighborsTransformer(n_neighbors=3 * perplexity + 1).fit_transform(codes)
positions = TSNE(
    perplexity=perplexity, metric="precomputed", init="random", max_iter=500, random_state=0
).fit_transform(graph)

# %%
# On the left the colors are the true digits, which t-SNE never saw. On the right they are the clusters that DBSCAN
# found within radius 3; points without a cluster are gray.
import matplotlib.pyplot as plt

clusters = clusterings[3]
clustered = clusters >= 0
n_clusters = clusters.max() + 1
figure, (digit_axes, cluster_axes) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
points = digit_axes.scatter(*positions.T, c=y, cmap="tab10", vmin=-0.5, vmax=9.5, s=5)
figure.colorbar(points, ax=digit_axes, ticks=range(10), label="digit")
digit_axes.set_title("t-SNE of 32-bit codes, true digits")
cluster_axes.scatter(*positions[~clustered].T, color="lightgray", s=5)
cluster_axes.scatter(*positions[clustered].T, c=clusters[clustered], cmap="turbo", s=5)
cluster_axes.set_title(f"{n_clusters} DBSCAN clusters of the same codes")
for axes in (digit_axes, cluster_axes):
    axes.set(xticks=[], yticks=[])
plt.show()

# %%
# Conclusion
# ----------
# The codes keep the neighborhoods. The classifier loses a few points against floats that take 128 times the memory,
# and the clusters are mostly of one digit, although no label was used and some digits fall into several clusters.
purities = [np.bincount(y[clusters == cluster]).max() / np.sum(clusters == cluster) for cluster in range(n_clusters)]
print(
    f"accuracy lost: {accuracy_on_floats - accuracy_on_codes:.3f}; mean purity of the clusters: {np.mean(purities):.3f}"
)
