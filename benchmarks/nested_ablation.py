"""What each part of NestedHash is worth: mean average precision less that without the part, paired by query.

    python benchmarks/nested_ablation.py FEATURES.npz [--train 500] [--seeds 5]

FEATURES.npz holds `f_train`, `y_train`, `f_test`, `y_test`. Rows, splits and scores are those of `nested_settings.py`,
none of which `retrieval.py` takes as queries in its first five splits. Settings are the preferred ones in every row of
the table. Intervals are of 95 % by a bootstrap over seeds and queries; "yes" where a side is worth 0.3 points at least.
"""

import argparse
import time
from contextlib import nullcontext
from unittest import mock

import numpy as np
from _retrieval_report import paired_interval
from nested_settings import PREFERRED, average_precisions, development_data, development_splits
from sklearn.utils import check_random_state

from skhash import NestedHash
from skhash.centers import NestedCodebook
from skhash.hashers import _codewords, _nested, _nested_space, _root_kernel

SMALLEST_WORTH = 0.3


def unit_rows(rows):
    """Scale rows to norm 1, without the square root."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norms == 0, 1, norms)


class LinearRoots(_root_kernel.RootKernel):
    """The unit roots themselves in place of their kernels to anchors."""

    @classmethod
    def from_rows(cls, name, X, n_anchors, random):
        return cls(np.eye(X.shape[1], dtype=X.dtype), 1.0)

    def __call__(self, rows):
        return _root_kernel.unit_roots(rows)

    def cholesky(self):
        return np.eye(len(self.anchors))


class UnassignedWords(NestedCodebook):
    """Given to classes as they come."""

    def assign(self, prototypes):
        return self


class RandomWords(NestedCodebook):
    """Of random bits."""

    def __init__(self, n_classes, n_bits, *, prefixes, random_state):
        super().__init__(n_classes, n_bits, prefixes=prefixes, random_state=random_state)
        self.words = 2 * check_random_state(random_state).randint(2, size=self.words.shape, dtype=np.int8) - 1


def equal_strengths(*arguments):
    directions, strengths = directions_and_strengths(*arguments)
    return directions, np.ones_like(strengths)


directions_and_strengths = _nested_space.discriminant_directions

# What is put in place of a part, and parameters of the hasher.
PARTS = {
    "signed square roots": (lambda: mock.patch.object(_root_kernel, "unit_roots", unit_rows), {}),
    "kernel to anchors": (lambda: mock.patch.object(_nested, "RootKernel", LinearRoots), {}),
    "2,000 anchors for 500": (nullcontext, {"n_anchors": 500}),
    "evened discriminants": (
        lambda: mock.patch.object(_nested_space, "discriminant_directions", equal_strengths),
        {},
    ),
    "components in empty directions": (nullcontext, {"residual": 0.0}),
    "their weight by block": (lambda: mock.patch.object(_nested_space, "filler_weight", return_value=1.0), {}),
    "words far from each other": (lambda: mock.patch.object(_codewords, "NestedCodebook", RandomWords), {}),
    "words near for similar classes": (lambda: mock.patch.object(_codewords, "NestedCodebook", UnassignedWords), {}),
    "blocks by themselves": (nullcontext, {"prefixes": ()}),
}


def scores(X, y, split, seed, part=None):
    """Compute the average precision of each query, on average over the lengths, in percent."""
    replace, parameters = PARTS[part] if part else (nullcontext, {})
    ridge, residual = PREFERRED
    hasher = NestedHash(**{"ridge": ridge, "residual": residual, "random_state": seed, **parameters})
    with replace():
        hasher.fit(X[split.train], y[split.train])
        return 100 * average_precisions(hasher, X, y, split)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="path of the .npz file with the features")
    parser.add_argument("--train", type=int, default=500, help="training rows of a class (default: 500)")
    parser.add_argument("--seeds", type=int, default=5, help="number of splits (default: 5)")
    arguments = parser.parse_args()
    start = time.perf_counter()
    X, y = development_data(arguments.features)
    splits = [development_splits(y, arguments.train, seed) for seed in range(1000, 1000 + arguments.seeds)]
    whole = [[scores(X, y, split, seed) for split in pair] for seed, pair in enumerate(splits)]
    seen, unseen = np.mean([[values.mean() for values in pair] for pair in whole], axis=0)
    print(f"All parts: {seen:.2f} seen, {unseen:.2f} unseen.\n")
    print("| part | seen | unseen | worth it |\n|---|---|---|---|", flush=True)
    for part in PARTS:
        without = [[scores(X, y, split, seed, part) for split in pair] for seed, pair in enumerate(splits)]
        cells, gains = [], []
        for side in range(2):
            differences = [all_parts[side] - less[side] for all_parts, less in zip(whole, without, strict=True)]
            mean, low, high = paired_interval(differences)
            cells.append(f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]")
            gains.append(mean)
        print(f"| {part} | {cells[0]} | {cells[1]} | {'yes' if max(gains) >= SMALLEST_WORTH else 'no'} |", flush=True)
    print(f"\n{arguments.seeds} splits each, {arguments.train} rows a class, {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
