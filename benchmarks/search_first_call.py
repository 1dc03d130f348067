"""What a fresh process waits for: import, fit, the first search and the second, with compiled loops cached or not.

    python benchmarks/search_first_call.py [--threads 1] [--rounds 5] [--quick] [--bits 64]
        [--output FILE.json] [--table FILE.rst]

Prints medians over processes, in seconds, for small work (100 queries on 10,000 codes) and large (1,000 queries on
1,000,000 codes), k = 10. With a cold cache numba's folder is empty, as after an installation; with a warm one an
earlier process has done the large work with it. NumPy is imported and the codes are loaded beforehand. `answer` is the
time from the import to the first answer. Codes are random. Processes with a cold and a warm cache take turns.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _search import list_table, make_codes, print_machine, search_parser, write_results

N_NEIGHBORS = 10
# Codes in the database, queries.
WORKS = {"small": (10**4, 100), "large": (10**6, 1000)}
STEPS = ("import", "fit", "first", "second")

PROGRAM = """
import json, sys, time
import numpy as np
database, queries = np.load(sys.argv[1]), np.load(sys.argv[2])
n_neighbors, n_threads = int(sys.argv[3]), int(sys.argv[4])
times = [time.perf_counter()]
from skhash import HammingNearestNeighbors
times.append(time.perf_counter())
search = HammingNearestNeighbors(n_jobs=n_threads).fit(database)
times.append(time.perf_counter())
for _ in range(2):
    search.kneighbors(queries, n_neighbors)
    times.append(time.perf_counter())
print(json.dumps(np.diff(times).tolist()))
"""


def run(folder, work, cache, n_threads):
    """Seconds of the steps in a fresh process."""
    files = [str(folder / f"{work}_{name}.npy") for name in ("database", "queries")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *files, str(N_NEIGHBORS), str(n_threads)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def measure(folder, work, n_threads, n_rounds):
    """One row for each state of the cache."""
    warm = folder / "warm"
    times = {"cold": [], "warm": []}
    for round_number in range(n_rounds):
        cold = folder / f"cold_{work}_{round_number}"
        cold.mkdir()
        for state, cache in (("cold", cold), ("warm", warm)):
            times[state].append(run(folder, work, cache, n_threads))
    n_codes, n_queries = WORKS[work]
    rows = []
    for state, of_rounds in times.items():
        row = {"work": work, "codes": n_codes, "queries": n_queries, "cache": state}
        row |= {
            step: statistics.median(values) for step, values in zip(STEPS, zip(*of_rounds, strict=True), strict=True)
        }
        row["answer"] = statistics.median(sum(seconds[:3]) for seconds in of_rounds)
        row["rounds"] = of_rounds
        rows.append(row)
    return rows


def print_row(row):
    seconds = "".join(f"{row[step]:>10.3f}" for step in (*STEPS, "answer"))
    print(f"{row['work']:<7}{row['codes']:>11,} x {row['queries']:>5,}  {row['cache']:<6}{seconds}", flush=True)


def table_of(rows):
    header = ["work", "codes", "queries", "cache", *STEPS[:3], "to the first answer", "second"]
    lines = []
    for row in rows:
        steps = [f"{row[step]:.3g} s" for step in (*STEPS[:3], "answer", "second")]
        lines.append([row["work"], f"{row['codes']:,}", f"{row['queries']:,}", row["cache"], *steps])
    return list_table([header], lines, [9, 13, 10, 9, 11, 11, 11, 14, 11])


def main():
    parser = search_parser(__doc__, n_rounds=5, quick="small work only")
    parser.add_argument("--bits", type=int, default=64, help="bits of a code (default: 64)")
    options = parser.parse_args()
    print_machine(options.threads, with_faiss=False)
    print(f"{'work':<7}{'codes x queries':>19}  {'cache':<6}" + "".join(f"{step:>10}" for step in (*STEPS, "answer")))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "warm").mkdir()
        works = {"small": WORKS["small"]} if options.quick else WORKS
        for work, (n_codes, n_queries) in WORKS.items():
            np.save(folder / f"{work}_database.npy", make_codes(n_codes, options.bits, "random", 1))
            np.save(folder / f"{work}_queries.npy", make_codes(n_queries, options.bits, "random", 2))
        run(folder, "large", folder / "warm", options.threads)
        for work in works:
            for row in measure(folder, work, options.threads, options.rounds):
                print_row(row)
                rows.append(row)
    write_results(options, rows, table_of(rows))


if __name__ == "__main__":
    main()
