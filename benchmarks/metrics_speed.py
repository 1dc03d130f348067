"""Mean average precision beside the usual loop over queries that sorts all distances: they take turns in one process.

    python benchmarks/metrics_speed.py [--rounds 5] [--quick] [--output FILE.json]

All run on one thread. The loop is that of published deep hashing code: a product of signs, `argsort`, and the mean of
the precisions at the relevant positions, query by query. It and our NumPy path are timed on the first queries only
(their numbers are printed), and their seconds scaled to all of them; our compiled loops are timed on all queries, from
codes and labels to the score, once compiled. Every row has the medians and minima of the rounds; `ratio` divides
medians.

Before anything is timed, average precisions are compared. An argsort leaves the order of ties to chance, so the loop is
also given distances to which relevance adds, or from which it takes, less than one bit: these rankings have the worst
and the best order of ties, of which ours must be the same to 1e-9, and its default must lie between them. Both of our
paths must agree exactly.
"""

import argparse
import json
import os
import platform
import statistics
import time
from functools import partial

import numba
import numpy as np
from threadpoolctl import threadpool_limits

import skhash
from skhash.metrics import _rankings, mean_average_precision
from skhash.metrics._histograms import CompiledHistograms, NumpyHistograms

N_QUERIES, N_DATABASE = 10_000, 59_000
N_SORTED_QUERIES, N_NUMPY_QUERIES, N_CHECKED_QUERIES = 40, 1000, 20
# Bits of a code; classes, or indicators of several labels an item.
CASES = [(64, "10 classes"), (64, "24 labels"), (32, "10 classes"), (128, "10 classes"), (256, "10 classes")]


def make_items(n_items, n_bits, labels, seed):
    """Codes that are signs of random projections of noisy class centers, and the labels of the items."""
    rng, shared = np.random.default_rng(seed), np.random.default_rng(0)
    n_labels = int(labels.split()[0])
    centers = shared.standard_normal((n_labels, 64), dtype=np.float32)
    projection = shared.standard_normal((64, n_bits), dtype=np.float32)
    if labels.endswith("classes"):
        y = rng.integers(0, n_labels, n_items)
        indicators = np.eye(n_labels, dtype=np.float32)[y]
    else:
        y = rng.random((n_items, n_labels)) < 2 / n_labels
        y[np.arange(n_items), rng.integers(0, n_labels, n_items)] = True
        indicators = y.astype(np.float32)
    points = indicators @ centers + rng.standard_normal((n_items, 64), dtype=np.float32)
    return np.packbits(points @ projection > 0, axis=1), y, indicators


def average_precisions_by_sorting(query_signs, database_signs, query_indicators, indicators, tie_break=0.0):
    """The usual loop; `tie_break` times relevance is added to distances."""
    n_bits = database_signs.shape[1]
    values = []
    for signs, own_indicators in zip(query_signs, query_indicators, strict=True):
        relevance = (own_indicators @ indicators.T > 0).astype(np.float32)
        distances = 0.5 * (n_bits - signs @ database_signs.T) + tie_break * relevance
        relevance = relevance[np.argsort(distances)]
        n_relevant = int(relevance.sum())
        precisions = np.linspace(1, n_relevant, n_relevant) / (np.flatnonzero(relevance) + 1.0)
        values.append(precisions.mean())
    return np.array(values)


def counted_by(histograms, *arguments, **parameters):
    _rankings.make_histograms = histograms
    return mean_average_precision(*arguments, return_per_query=True, **parameters)[1]


def check(sort, data):
    """Stop if average precisions differ."""
    codes, database_codes, y, database_y = data
    few = (codes[:N_CHECKED_QUERIES], database_codes, y[:N_CHECKED_QUERIES], database_y)
    for ties, tie_break in (("worst", 0.5), ("best", -0.5)):
        sorted_values = sort(N_CHECKED_QUERIES, tie_break)
        for histograms in (NumpyHistograms, CompiledHistograms):
            values = counted_by(histograms, *few, ties=ties)
            np.testing.assert_allclose(values, sorted_values, rtol=0, atol=1e-9)
    expected = counted_by(CompiledHistograms, *few)
    np.testing.assert_array_equal(counted_by(NumpyHistograms, *few), expected)
    worst, best = sort(N_CHECKED_QUERIES, 0.5), sort(N_CHECKED_QUERIES, -0.5)
    if not ((worst <= expected + 1e-9) & (expected <= best + 1e-9)).all():
        raise AssertionError("An expectation over the orders of ties is not between the worst and the best of them.")


def run_case(n_bits, labels, n_rounds):
    database_codes, database_y, database_indicators = make_items(N_DATABASE, n_bits, labels, 1)
    codes, y, indicators = make_items(N_QUERIES, n_bits, labels, 2)
    signs, database_signs = (np.unpackbits(some, axis=1).astype(np.float32) * 2 - 1 for some in (codes, database_codes))

    def sort(n_queries, tie_break=0.0):
        own = slice(0, n_queries)
        return average_precisions_by_sorting(
            signs[own], database_signs, indicators[own], database_indicators, tie_break
        )

    check(sort, (codes, database_codes, y, database_y))
    some = slice(0, N_NUMPY_QUERIES)
    rivals = {
        "argsort": (N_SORTED_QUERIES, partial(sort, N_SORTED_QUERIES)),
        "numpy": (
            N_NUMPY_QUERIES,
            partial(counted_by, NumpyHistograms, codes[some], database_codes, y[some], database_y),
        ),
        "compiled": (N_QUERIES, partial(counted_by, CompiledHistograms, codes, database_codes, y, database_y)),
    }
    times = {name: [] for name in rivals}
    for _ in range(n_rounds):
        for name, (n_queries, run) in rivals.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * N_QUERIES / n_queries)
    row = {"bits": n_bits, "labels": labels}
    row["seconds"] = {name: statistics.median(values) for name, values in times.items()}
    row["fewest_seconds"] = {name: min(values) for name, values in times.items()}
    row["ratio"] = row["seconds"]["argsort"] / row["seconds"]["compiled"]
    row["ratio_to_numpy"] = row["seconds"]["numpy"] / row["seconds"]["compiled"]
    columns = [f"{row['seconds'][name]:.2f} ({row['fewest_seconds'][name]:.2f})" for name in rivals]
    print(
        f"{n_bits:>5}{labels:>12}" + "".join(f"{column:>18}" for column in columns) + f"{row['ratio']:>8.0f}"
        f"{row['ratio_to_numpy']:>10.1f}",
        flush=True,
    )
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--quick", action="store_true", help="64 bits and 10 classes only")
    parser.add_argument("--output", help="where to write the rows as JSON")
    arguments = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, 1 thread, NumPy {np.__version__}, numba {numba.__version__}; seconds for "
        f"{N_QUERIES:,} queries and {N_DATABASE:,} items, median (minimum); argsort timed on {N_SORTED_QUERIES} "
        f"queries, numpy on {N_NUMPY_QUERIES:,}"
    )
    print(f"{'bits':>5}{'labels':>12}{'argsort':>18}{'numpy':>18}{'compiled':>18}{'ratio':>8}{'to numpy':>10}")
    with threadpool_limits(1):
        rows = [run_case(*case, arguments.rounds) for case in (CASES[:1] if arguments.quick else CASES)]
    if arguments.output:
        versions = {"skhash": skhash.__version__, "numba": numba.__version__, "python": platform.python_version()}
        with open(arguments.output, "w", encoding="utf-8") as file:
            json.dump({"versions": versions, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
