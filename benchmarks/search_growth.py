"""Time and memory of exact Hamming search against the size of the database, memory-mapped, up to 100 million codes.

    OMP_WAIT_POLICY=passive python benchmarks/search_growth.py [--threads 1] [--rounds 5] [--quick] [--largest 1e8]
        [--bits 64] [--kind clustered] [--folder DIR] [--output FILE.json] [--table FILE.rst] [--figure FILE.svg]

Linux only; needs faiss-cpu, and matplotlib for the figure, which is log-log. Codes are written to an .npy file in the
folder, 800 MB for the largest database of 64 bits. Every row is a process of its own, whose compiled loops are ready
before anything counts. It fits and searches, 64 queries and one, k = 10, and prints

- `map`: `HammingNearestNeighbors().fit(np.load(file, mmap_mode="r"))`; `array`: the same codes loaded beforehand, whose
  own memory does not count; `limited`: the map where its file is larger than 128 MiB, while `RLIMIT_DATA` keeps the
  process from allocating more than that. `faiss`: `IndexBinaryFlat`, which copies the codes of the map.
- seconds of the fit, of the first batch, which may build the index, and medians of the searches that follow;
- bytes a code: `kept` is private memory held after the searches, `private` its peak while fitting and in the first
  searches, sampled, `resident` the peak that counts the pages of the file too, which the system may take back.

A row whose process runs out of memory says so.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _search import (
    KINDS,
    PeakMemory,
    accepted_algorithms,
    compile_loops,
    fill_codes,
    list_table,
    make_codes,
    medians,
    memory,
    print_machine,
    refuse_too_large,
    search_parser,
    write_results,
)

from skhash import HammingNearestNeighbors

N_NEIGHBORS, N_QUERIES = 10, 64
SECONDS_PER_ROW = 60
# What a process may allocate beside what it has when it opens the file, the stacks of its threads included.
ALLOWED_BYTES = 128 * 2**20
FEWEST_CODES = 10**4

HEADER = (
    f"{'codes':>12} {'search':<14}{'codes in':<9}{'fit s':>8}{'first s':>9}{'batch us':>12}{'one us':>12}"
    f"{'kept':>8}{'private':>9}{'resident':>10}"
)


class FaissFlat:
    """faiss behind the two methods that are timed, in its faster selection mode for few neighbours."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def fit(self, codes):
        import faiss

        faiss.omp_set_num_threads(self.n_threads)
        self.index = faiss.IndexBinaryFlat(8 * codes.shape[1])
        self.index.add(codes)
        return self

    def kneighbors(self, queries, n_neighbors):
        return self.index.search(queries, n_neighbors)


def search_for(name, n_threads):
    if name == "faiss":
        return FaissFlat(n_threads)
    return HammingNearestNeighbors(n_jobs=n_threads).set_params(algorithm=name)


def measure(job):
    """Fit and search in this process, which does nothing else; return the row."""
    queries = np.load(job["queries"])
    if job["search"] == "faiss":
        search_for("faiss", job["threads"]).fit(queries).kneighbors(queries, N_NEIGHBORS)
    else:
        compile_loops(8 * queries.shape[1], job["threads"], job["search"])
    codes = np.load(job["file"], mmap_mode=None if job["source"] == "array" else "r")
    search = search_for(job["search"], job["threads"])
    row = {}
    with PeakMemory() as peak:
        if job["source"] == "limited":
            allowed = memory("VmData") + ALLOWED_BYTES
            resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
        start = time.perf_counter()
        search.fit(codes)
        row["fit_seconds"] = time.perf_counter() - start
        start = time.perf_counter()
        search.kneighbors(queries, N_NEIGHBORS)
        row["first_seconds"] = time.perf_counter() - start
        search.kneighbors(queries[:1], N_NEIGHBORS)
    for name in ("kept", "private", "resident"):
        row[f"{name}_bytes"] = getattr(peak, name)
    for name, batch in (("batch", queries), ("one", queries[:1])):
        seconds = medians(
            {name: lambda batch=batch: search.kneighbors(batch, N_NEIGHBORS)}, job["rounds"], job["budget"]
        )
        row[f"{name}_seconds"] = seconds[name] / len(batch)
    return row


def run(job):
    """Measure in a fresh process; a failure is a row too."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", json.dumps(job)],
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return {"failed": lines[-1]}


def print_row(row):
    start = f"{row['codes']:>12,} {row['search']:<14}{row['source']:<9}"
    if "failed" in row:
        print(f"{start}{row['failed']}", flush=True)
        return
    per_code = [row[f"{name}_bytes"] / row["codes"] for name in ("kept", "private", "resident")]
    print(
        f"{start}{row['fit_seconds']:>8.2f}{row['first_seconds']:>9.2f}"
        f"{row['batch_seconds'] * 1e6:>12,.1f}{row['one_seconds'] * 1e6:>12,.1f}"
        f"{per_code[0]:>8.1f}{per_code[1]:>9.1f}{per_code[2]:>10.1f}",
        flush=True,
    )


def table_of(rows):
    headers = [
        ["", "", "", "time of a query", "", "private bytes a code", ""],
        ["codes", "search", "codes in", "batch", "one", "kept", "peak"],
    ]
    lines = []
    for row in rows:
        cells = [f"{row['codes']:,}", row["search"], row["source"]]
        if "failed" in row:
            cells += ["out of memory" if "Memory" in row["failed"] else "failed", "", "", ""]
        else:
            cells += [f"{row[f'{name}_seconds'] * 1e6:,.0f} µs" for name in ("batch", "one")]
            cells += [f"{row[f'{name}_bytes'] / row['codes']:.1f}" for name in ("kept", "private")]
        lines.append(cells)
    return list_table(headers, lines, [16, 12, 12, 14, 14, 12, 12])


def draw(rows, path):
    """Time of a query and peak memory against the number of codes, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    drawn = [row for row in rows if "failed" not in row and row["source"] == "map"]
    for number, name in enumerate(dict.fromkeys(row["search"] for row in drawn)):
        of_name = [row for row in drawn if row["search"] == name]
        n_codes = [row["codes"] for row in of_name]
        for way, style in (("batch", "-"), ("one", "--")):
            label = f"{name}, {f'{N_QUERIES} queries' if way == 'batch' else 'one query'}"
            time_axes.plot(n_codes, [row[f"{way}_seconds"] for row in of_name], f"C{number}o{style}", label=label)
        for what, style in (("private", "-"), ("resident", "--")):
            # Less than a page is no memory, and has no place on a logarithmic axis.
            peaks = [max(row[f"{what}_bytes"], 4096) for row in of_name]
            memory_axes.plot(n_codes, peaks, f"C{number}o{style}", label=f"{name}, {what}")
    sizes = sorted({(row["codes"], row["file_bytes"]) for row in rows})
    memory_axes.plot(*zip(*sizes, strict=True), color="black", linestyle=":", label="the file of codes")
    time_axes.set(title="Time of a query", ylabel="seconds")
    memory_axes.set(title="Peak memory beside that of the idle process", ylabel="bytes")
    for axes in (time_axes, memory_axes):
        axes.set(xscale="log", yscale="log", xlabel="codes in the database")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def jobs_for(n_bytes):
    """Searches and where their codes are."""
    algorithms = accepted_algorithms()
    sources = ["map", "array"] + ["limited"] * (n_bytes > ALLOWED_BYTES)
    return [(algorithm, source) for algorithm in algorithms for source in sources] + [("faiss", "map")]


def main():
    parser = search_parser(__doc__, n_rounds=5, quick="up to 1,000,000 codes only")
    parser.add_argument("--largest", type=float, default=1e8, help="codes of the largest database (default: 1e8)")
    parser.add_argument("--bits", type=int, default=64, help="bits of a code (default: 64)")
    parser.add_argument("--kind", choices=KINDS, default="clustered", help="kind of codes (default: clustered)")
    parser.add_argument("--folder", help="where the files of codes are written for a while")
    parser.add_argument("--figure", type=Path, help="where to draw the growth, log-log")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(json.loads(options.measure))))
        return

    largest = int(min(options.largest, 1e6 if options.quick else options.largest))
    # An estimator may copy the codes, lay them out anew and name each by a number.
    refuse_too_large(f"{options.bits}x{largest}", largest * (4 * options.bits // 8 + 16))
    print_machine(options.threads)
    print(f"{options.bits} bits, {options.kind}, k = {N_NEIGHBORS}; memory in bytes a code")
    print(HEADER)
    rows = []
    n_codes = FEWEST_CODES
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        queries, file = Path(folder, "queries.npy"), Path(folder, "codes.npy")
        np.save(queries, make_codes(N_QUERIES, options.bits, options.kind, 2))
        while n_codes <= largest:
            shape = (n_codes, options.bits // 8)
            codes = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
            fill_codes(codes, options.kind, 1)
            codes.flush()
            n_bytes = codes.nbytes
            del codes
            for search, source in jobs_for(n_bytes):
                job = {"queries": str(queries), "file": str(file), "search": search, "source": source}
                row = run({**job, "threads": options.threads, "rounds": options.rounds, "budget": SECONDS_PER_ROW})
                rows.append({"codes": n_codes, "search": search, "source": source, "file_bytes": n_bytes, **row})
                print_row(rows[-1])
            n_codes *= 10
    if options.figure:
        draw(rows, options.figure)
    write_results(options, rows, table_of(rows))


if __name__ == "__main__":
    main()
