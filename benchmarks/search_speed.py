"""Exact Hamming search beside faiss and NumPy: rivals take turns in one process, on the same number of threads.

    OMP_WAIT_POLICY=passive python benchmarks/search_speed.py [--threads 1] [--quick] [--output FILE.json]

Needs faiss-cpu. faiss counts with the better of its two selection modes (heap, counting). Every row is the median of
the rounds; `ratio` is faiss' time over ours. `distances/s` counts pairs of codes. Before a row is timed, the distances
of both are compared; a difference stops the run.
"""

import argparse
import json
import os
import platform
import statistics
import time

import faiss
import numpy as np

import skhash
from skhash import HammingNearestNeighbors
from skhash.neighbors import _engine

# Bits, codes in the database, queries of a batch.
CASES = [
    (32, 10**4, 1000), (32, 10**6, 64), (64, 10**4, 1000), (64, 10**5, 256), (64, 10**6, 64),
    (128, 10**4, 1000), (128, 10**6, 64), (256, 10**6, 64), (512, 10**6, 32),
]  # fmt: skip
N_NEIGHBORS = (10, 100, 1000)
CLUSTER_SPREAD = {"clustered": 0.25, "loose": 0.5}


def make_codes(n_codes, n_bits, kind, seed):
    """Codes as hashing gives them, signs of random projections of clusters, or uniformly random ones."""
    rng = np.random.default_rng(seed)
    if kind == "random":
        return rng.integers(0, 256, (n_codes, n_bits // 8), dtype=np.uint8)
    shared = np.random.default_rng(0)
    centers = shared.standard_normal((1000, 64), dtype=np.float32)
    projection = shared.standard_normal((64, n_bits), dtype=np.float32)
    codes = np.empty((n_codes, n_bits // 8), dtype=np.uint8)
    for start in range(0, n_codes, 100_000):
        size = min(100_000, n_codes - start)
        noise = rng.standard_normal((size, 64), dtype=np.float32)
        points = centers[rng.integers(0, 1000, size)] + CLUSTER_SPREAD[kind] * noise
        codes[start : start + size] = np.packbits(points @ projection > 0, axis=1)
    return codes


def faiss_search(index, queries, n_neighbors, n_threads, use_heap):
    def run():
        faiss.omp_set_num_threads(n_threads)
        index.use_heap = use_heap
        return index.search(queries, n_neighbors)[0]

    return run


def medians(rivals, n_rounds):
    """Median seconds of each rival; they take turns, after one round that does not count."""
    times = {name: [] for name in rivals}
    for round_number in range(n_rounds + 1):
        for name, run in rivals.items():
            start = time.perf_counter()
            run()
            if round_number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(search, index, queries, n_neighbors, n_threads, n_rounds):
    rivals = {
        "faiss heap": faiss_search(index, queries, n_neighbors, n_threads, use_heap=True),
        "faiss counting": faiss_search(index, queries, n_neighbors, n_threads, use_heap=False),
        "skhash": lambda: search.kneighbors(queries, n_neighbors)[0],
    }
    results = [run() for run in rivals.values()]
    for other in results[:2]:
        np.testing.assert_array_equal(results[2], other)
    seconds = medians(rivals, n_rounds)
    best = min(seconds["faiss heap"], seconds["faiss counting"])
    return {**seconds, "ratio": best / seconds["skhash"]}


def run_case(n_bits, n_codes, n_queries, kind, n_threads, n_rounds):
    database, queries = make_codes(n_codes, n_bits, kind, 1), make_codes(n_queries, n_bits, kind, 2)
    search = HammingNearestNeighbors(n_jobs=n_threads).fit(database)
    index = faiss.IndexBinaryFlat(n_bits)
    index.add(database)
    rows = []
    for n_neighbors in N_NEIGHBORS:
        for size in (n_queries, 1):
            result = measure(search, index, queries[:size], n_neighbors, n_threads, n_rounds * (1 if size > 1 else 5))
            row = {"bits": n_bits, "codes": n_codes, "kind": kind, "k": n_neighbors, "queries": size, **result}
            row["distances_per_second"] = n_codes * size / result["skhash"]
            rows.append(row)
            faiss_seconds = min(result["faiss heap"], result["faiss counting"])
            print(
                f"{n_bits:>5}{n_codes:>11,}{kind:>11}{n_neighbors:>6}{size:>8}"
                f"{faiss_seconds / size * 1e6:>13,.1f}{result['skhash'] / size * 1e6:>13,.1f}"
                f"{row['distances_per_second'] / 1e9:>8.1f}{result['ratio']:>8.1f}",
                flush=True,
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of every rival (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of a batch (default: 5)")
    parser.add_argument("--quick", action="store_true", help="64 bits only")
    parser.add_argument("--output", help="where to write the rows as JSON")
    arguments = parser.parse_args()
    # The loops are compiled before anything is timed; what small first searches wait for is another question.
    _engine._SECONDS_TO_COMPILE = 0.0
    print(f"{os.cpu_count()} cores, {arguments.threads} threads, faiss {faiss.__version__}; microseconds a query")
    print(
        f"{'bits':>5}{'codes':>11}{'kind':>11}{'k':>6}{'queries':>8}{'faiss us':>13}{'skhash us':>13}"
        f"{'G/s':>8}{'ratio':>8}"
    )
    rows = []
    for n_bits, n_codes, n_queries in CASES:
        if arguments.quick and n_bits != 64:
            continue
        for kind in ("clustered", "loose", "random") if n_bits == 64 else ("clustered",):
            rows += run_case(n_bits, n_codes, n_queries, kind, arguments.threads, arguments.rounds)
    if arguments.output:
        versions = {"skhash": skhash.__version__, "faiss": faiss.__version__, "python": platform.python_version()}
        with open(arguments.output, "w", encoding="utf-8") as file:
            json.dump({"versions": versions, "threads": arguments.threads, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
