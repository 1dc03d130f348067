"""Write features with finer classes, as a dataset of hundreds of classes: each class is divided by k-means.

    python benchmarks/finer_classes.py FEATURES.npz FINER.npz [--clusters 20]

FEATURES.npz holds `f_train`, `y_train`, `f_test`, `y_test`, and FINER.npz the same with the numbers of the clusters.
Clusters are found in signed square roots of norm 1. Those of fewer than 100 rows are left out.
"""

import argparse

import numpy as np
from shallow_cifar10 import load
from sklearn.cluster import MiniBatchKMeans

FEWEST_ROWS = 100


def finer_classes(X, y, n_clusters):
    """Number the clusters of all classes; -1 for those that are too small."""
    roots = np.sign(X) * np.sqrt(np.abs(X))
    roots /= np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), np.finfo(X.dtype).tiny)
    finer = np.full(len(y), -1)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        clusters = MiniBatchKMeans(n_clusters, n_init=3, random_state=0).fit_predict(roots[rows])
        for cluster in range(n_clusters):
            members = rows[clusters == cluster]
            if len(members) >= FEWEST_ROWS:
                finer[members] = finer.max() + 1
    return finer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="path of the .npz file with the features")
    parser.add_argument("finer", help="path of the file to write")
    parser.add_argument("--clusters", type=int, default=20, help="clusters of a class (default: 20)")
    arguments = parser.parse_args()
    X, y = load(arguments.features)
    finer = finer_classes(X, y, arguments.clusters)
    kept = finer >= 0
    np.savez(arguments.finer, f_train=X[kept], y_train=finer[kept], f_test=X[:0], y_test=finer[:0])
    print(f"{finer.max() + 1} classes, {np.count_nonzero(kept)} of {len(y)} rows.")


if __name__ == "__main__":
    main()
