"""How well NestedHash chooses its settings: beside those it prefers, the largest validation score, and hindsight.

    python benchmarks/nested_settings.py FEATURES.npz [--train 500 50 10] [--seeds 3]

FEATURES.npz holds `f_train`, `y_train`, `f_test`, `y_test`. Rows that `retrieval.py` takes as queries in its first five
splits are left out, so that what is decided here has not seen them. Of the others, each seed draws a split of the same
classes and one of seven tenths of the classes in training, three tenths in search, with 100 queries a class and up to
20,000 rows of database. Printed is the mean average precision on both, in percent, on average over 16, 32 and 64 bits.

- preferred: ridge 0.5 and residual 0.4, what "auto" begins with.
- auto: what it takes.
- largest score: what it would take if it always followed the largest sum of its validation scores.
- hindsight: the one pair of settings with the best mean over all seeds and both splits, which nobody can know.
"""

import argparse

import numpy as np
from shallow_cifar10 import load

from skhash import NestedHash
from skhash.codes import truncate_codes
from skhash.datasets import retrieval_split, unseen_class_split
from skhash.metrics import mean_average_precision

RIDGES, RESIDUALS, LENGTHS = (0.1, 0.5, 2.0, 10.0, 30.0), (0.0, 0.2, 0.4, 0.6), (16, 32, 64)
PREFERRED = (0.5, 0.4)
MOST_ROWS = 20_000


def development_rows(y):
    """Find the rows that are queries of none of the first five splits."""
    free = np.ones(len(y), dtype=bool)
    for seed in range(5):
        free[retrieval_split(y, n_queries_per_class=100, n_train_per_class=500, random_state=seed).query] = False
    return np.flatnonzero(free)


def development_data(path):
    """Load features and classes of these rows."""
    X, y = load(path)
    rows = development_rows(y)
    return X[rows], y[rows]


def development_splits(y, n_train, seed):
    """Draw a split of the same classes, and one of unseen ones."""
    counts = {"n_queries_per_class": 100, "n_train_per_class": n_train, "random_state": seed}
    return retrieval_split(y, **counts), unseen_class_split(y, n_unseen_classes=0.3, **counts)


def average_precisions(hasher, X, y, split):
    """Compute the average precision of each query, on average over the lengths."""
    database = split.database[:: -(-len(split.database) // MOST_ROWS)]
    queries, codes = hasher.transform(X[split.query]), hasher.transform(X[database])
    return np.mean(
        [
            mean_average_precision(
                truncate_codes(queries, length),
                truncate_codes(codes, length),
                y[split.query],
                y[database],
                return_per_query=True,
            )[1]
            for length in LENGTHS
        ],
        axis=0,
    )


def try_settings(X, y, split, seed):
    """Score every pair of settings, and find those that both rules take."""

    def fitted(ridge, residual):
        hasher = NestedHash(ridge=ridge, residual=residual, random_state=seed)
        return hasher.fit(X[split.train], y[split.train])

    scores = {
        (ridge, residual): average_precisions(fitted(ridge, residual), X, y, split).mean()
        for ridge in RIDGES
        for residual in RESIDUALS
    }
    auto = fitted("auto", "auto")
    validation = auto.validation_scores_
    return scores, (auto.ridge_, auto.residual_), max(validation, key=lambda setting: sum(validation[setting]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="path of the .npz file with the features")
    parser.add_argument("--train", type=int, nargs="+", default=[500, 50, 10], help="training rows of a class")
    parser.add_argument("--seeds", type=int, default=3, help="number of splits (default: 3)")
    arguments = parser.parse_args()
    X, y = development_data(arguments.features)
    print("| rows a class | settings | seen | unseen | sum | taken |\n|---|---|---|---|---|---|")
    for n_train in arguments.train:
        results = []
        for seed in range(1000, 1000 + arguments.seeds):
            results.append([try_settings(X, y, split, seed) for split in development_splits(y, n_train, seed)])
        means = {
            setting: np.mean([[scores[setting] for scores, _, _ in pair] for pair in results])
            for setting in results[0][0][0]
        }
        best = max(means, key=lambda setting: means[setting])
        rules = {
            "preferred": lambda outcome: PREFERRED,
            "auto": lambda outcome: outcome[1],
            "largest score": lambda outcome: outcome[2],
            "hindsight": lambda outcome, best=best: best,
        }
        for name, rule in rules.items():
            taken = [[rule(outcome) for outcome in pair] for pair in results]
            seen, unseen = 100 * np.mean(
                [
                    [outcome[0][setting] for outcome, setting in zip(pair, settings, strict=True)]
                    for pair, settings in zip(results, taken, strict=True)
                ],
                axis=0,
            )
            names = " ".join(f"{ridge:g}/{residual:g}" for pair in taken for ridge, residual in pair)
            print(f"| {n_train} | {name} | {seen:.2f} | {unseen:.2f} | {seen + unseen:.2f} | {names} |", flush=True)


if __name__ == "__main__":
    main()
