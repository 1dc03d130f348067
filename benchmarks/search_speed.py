"""Exact Hamming search beside faiss: rivals take turns in one process, on the same number of threads.

    OMP_WAIT_POLICY=passive python benchmarks/search_speed.py [--threads 1] [--rounds 5] [--quick]
        [--case 64x1e6 ...] [--kind clustered] [--output FILE.json] [--table FILE.rst]

Needs faiss-cpu. Every row is the median of the rounds, in microseconds a query, of faiss `IndexBinaryFlat` in the
better of its two selection modes (heap, counting) and of `HammingNearestNeighbors`; `ratio` is faiss' time over ours,
`G/s` counts the pairs of codes we compared. `goal` is the ratio that this project set itself, and a `!` follows where
it is missed. Before a row is timed, the distances of both are compared; a difference stops the run. Radius searches, at
64 bits and a million codes, have a row for each radius, ours inclusive and sorted, faiss' not sorted.

Exact search that does not compare all pairs (`mih`, and `auto`, which chooses) is timed beside `brute` where this
version of the estimator has it, the codes are short and the database is large. `--case` runs single cells of any width
and size. The table has the ratios.
"""

from functools import partial

import faiss
import numpy as np
from _search import (
    KINDS,
    N_NEIGHBORS,
    algorithms_for,
    case,
    compile_loops,
    list_table,
    make_codes,
    medians,
    print_machine,
    refuse_too_large,
    search_parser,
    write_results,
)

from skhash import HammingNearestNeighbors

# Codes in the database, and queries of a batch.
BATCHES = {10**4: 1000, 10**5: 256, 10**6: 64, 10**7: 64}
CASES = [(n_bits, n_codes) for n_bits in (32, 64, 128, 256, 512) for n_codes in (10**4, 10**5, 10**6)]
CASES += [(64, 10**7), (128, 10**7)]
QUICK_CASES = [(64, 10**4), (64, 10**5)]
RADIUS_CASE, RADII = (64, 10**6), (2, 8, 16)

# Ratios to the better mode of faiss for k = 10, 100 and 1000.
LARGE_BATCH_GOALS = {32: (25, 15, 5.5), 64: (20, 14, 6.5), 128: (10, 8, 4), 256: (8, 7, 4.5), 512: (6, 6, 5)}
MEDIUM_BATCH_GOALS = {64: (14, 7, 3)}
SMALL_BATCH_GOAL = 2.5
ONE_QUERY_GOALS = {64: 2, 128: 1.3, 256: 1.2, 512: 1.2, 1024: 1.2}
RADIUS_GOAL = 10
MIH_GOALS = {64: 100, 128: 30}

HEADER = (
    f"{'bits':>5}{'codes':>12}{'kind':>11}{'search':>11}{'queries':>9}{'by':>7}"
    f"{'faiss us':>13}{'skhash us':>13}{'G/s':>8}{'ratio':>8}{'goal':>7}"
)


def batch_size(n_codes):
    return next((size for most, size in BATCHES.items() if n_codes <= most), 64)


def goal_of(row):
    """The ratio to reach, or None where none was set."""
    n_bits, n_codes, is_batch = row["bits"], row["codes"], row["queries"] > 1
    if "radius" in row:
        return RADIUS_GOAL if is_batch else None
    place = N_NEIGHBORS.index(row["k"])
    is_mih_case = row["kind"] == "clustered" and n_codes >= 10**7 and row["k"] == 10 and is_batch
    if row["algorithm"] in ("mih", "auto") and is_mih_case:
        return MIH_GOALS.get(n_bits)
    if row["algorithm"] == "mih":
        return None
    if not is_batch:
        return ONE_QUERY_GOALS.get(n_bits)
    if n_codes >= 10**6:
        return LARGE_BATCH_GOALS.get(n_bits, (None, None, None))[place]
    if n_codes == 10**5:
        return MEDIUM_BATCH_GOALS.get(n_bits, (None, None, None))[place]
    return SMALL_BATCH_GOAL if n_codes == 10**4 else None


def faiss_search(index, queries, n_neighbors, n_threads, use_heap):
    faiss.omp_set_num_threads(n_threads)
    index.use_heap = use_heap
    return index.search(queries, n_neighbors)[0]


def our_search(search, queries, n_neighbors):
    return search.kneighbors(queries, n_neighbors)[0]


def faiss_range_search(index, queries, radius, n_threads):
    """Counts, distances and positions of the codes within an inclusive radius; that of faiss is exclusive."""
    faiss.omp_set_num_threads(n_threads)
    limits, distances, positions = index.range_search(queries, radius + 1)
    return np.diff(limits.astype(np.int64)), distances, positions


def check_neighbors(rivals):
    distances = {name: run() for name, run in rivals.items()}
    for name in distances:
        np.testing.assert_array_equal(distances[name], distances["faiss heap"], err_msg=name)


def check_radius(rivals):
    """Compare what both found, whatever the order within a query."""
    expected_counts, expected_distances, expected_positions = rivals["faiss"]()
    owners = np.repeat(np.arange(len(expected_counts)), expected_counts)
    order = np.lexsort((expected_positions, expected_distances, owners))
    for name, run in rivals.items():
        if name == "faiss":
            continue
        distances, positions = run()
        np.testing.assert_array_equal([len(found) for found in positions], expected_counts, err_msg=name)
        np.testing.assert_array_equal(np.concatenate(distances), expected_distances[order], err_msg=name)
        np.testing.assert_array_equal(np.concatenate(positions), expected_positions[order], err_msg=name)


def rows_of(rivals, facts, n_rounds):
    """Time the rivals and report one row for each of our algorithms."""
    seconds = medians(rivals, n_rounds)
    of_faiss = {name: value for name, value in seconds.items() if name.startswith("faiss")}
    rows = []
    for name in seconds.keys() - of_faiss.keys():
        row = {**facts, "algorithm": name, "seconds": {**of_faiss, "skhash": seconds[name]}}
        row["distances_per_second"] = facts["codes"] * facts["queries"] / seconds[name]
        row["ratio"] = min(of_faiss.values()) / seconds[name]
        row["goal"] = goal_of(row)
        row["met"] = None if row["goal"] is None else row["ratio"] >= row["goal"]
        rows.append(row)
    return sorted(rows, key=lambda row: list(rivals).index(row["algorithm"]))


def print_row(row):
    search = f"radius {row['radius']}" if "radius" in row else f"k = {row['k']}"
    seconds = {**row["seconds"]}
    ours = seconds.pop("skhash")
    per_second = f"{row['distances_per_second'] / 1e9:.1f}" if row["algorithm"] == "brute" else "-"
    goal = "" if row["goal"] is None else f"{row['goal']:g}{' ' if row['met'] else '!'}"
    print(
        f"{row['bits']:>5}{row['codes']:>12,}{row['kind']:>11}{search:>11}{row['queries']:>9}{row['algorithm']:>7}"
        f"{min(seconds.values()) / row['queries'] * 1e6:>13,.1f}{ours / row['queries'] * 1e6:>13,.1f}"
        f"{per_second:>8}{row['ratio']:>8.1f}{goal:>7}",
        flush=True,
    )


def run_case(n_bits, n_codes, kind, n_threads, n_rounds):
    """Time k and radius searches, in a batch and alone, over one database; yield rows."""
    database, batch = make_codes(n_codes, n_bits, kind, 1), make_codes(batch_size(n_codes), n_bits, kind, 2)
    searches = {
        algorithm: HammingNearestNeighbors(n_jobs=n_threads).set_params(algorithm=algorithm).fit(database)
        for algorithm in algorithms_for(n_bits, n_codes)
    }
    index = faiss.IndexBinaryFlat(n_bits)
    index.add(database)
    for size in (len(batch), 1):
        queries, rounds = batch[:size], n_rounds * (1 if size > 1 else 5)
        facts = {"bits": n_bits, "codes": n_codes, "kind": kind, "queries": size}
        for n_neighbors in N_NEIGHBORS:
            rivals = {
                "faiss heap": partial(faiss_search, index, queries, n_neighbors, n_threads, True),
                "faiss counting": partial(faiss_search, index, queries, n_neighbors, n_threads, False),
            }
            for algorithm, search in searches.items():
                rivals[algorithm] = partial(our_search, search, queries, n_neighbors)
            check_neighbors(rivals)
            yield from rows_of(rivals, {**facts, "k": n_neighbors}, rounds)
        for radius in RADII if (n_bits, n_codes) == RADIUS_CASE else ():
            rivals = {"faiss": partial(faiss_range_search, index, queries, radius, n_threads)}
            for algorithm, search in searches.items():
                rivals[algorithm] = partial(search.radius_neighbors, queries, radius)
            check_radius(rivals)
            yield from rows_of(rivals, {**facts, "radius": radius}, rounds)


def table_of(rows):
    """One line for each database and algorithm: ratios of batches, then of one query."""
    headers = [
        ["", "", "", "", "batch", "", "", "one query", "", ""],
        ["bits", "codes", "kind", "algorithm", "k = 10", "100", "1000", "k = 10", "100", "1000"],
    ]
    lines = {}
    for row in rows:
        if "k" in row:
            name = (str(row["bits"]), f"{row['codes']:,}", row["kind"], row["algorithm"])
            column = N_NEIGHBORS.index(row["k"]) + (0 if row["queries"] > 1 else 3)
            lines.setdefault(name, [""] * 6)[column] = f"{row['ratio']:.1f}"
    return list_table(headers, [[*name, *cells] for name, cells in lines.items()], [7, 13, 12, 11, *[9] * 6])


def main():
    parser = search_parser(__doc__, n_rounds=5, quick="64 bits, up to 100,000 codes only")
    parser.add_argument("--case", type=case, action="append", help="BITSxCODES to run instead; may be repeated")
    parser.add_argument("--kind", choices=KINDS, action="append", help="kind of codes; may be repeated (default: all)")
    options = parser.parse_args()
    cases = options.case or (QUICK_CASES if options.quick else CASES)
    for n_bits, n_codes in cases:
        # The codes here, in faiss and in the estimator, its index, ids, and the same again while they are built.
        copies = 6 * len(algorithms_for(n_bits, n_codes))
        refuse_too_large(f"{n_bits}x{n_codes}", n_codes * (copies * n_bits // 8 + 16))

    print_machine(options.threads)
    print(HEADER)
    rows = []
    compiled = set()
    for n_bits, n_codes in cases:
        if n_bits not in compiled:
            compile_loops(n_bits, options.threads)
            compiled.add(n_bits)
        for kind in options.kind or KINDS:
            for row in run_case(n_bits, n_codes, kind, options.threads, options.rounds):
                print_row(row)
                rows.append(row)
    missed = sum(row["met"] is False for row in rows)
    print(f"{sum(row['met'] is True for row in rows)} goals met, {missed} missed")
    write_results(options, rows, table_of(rows))


if __name__ == "__main__":
    main()
