"""What the benchmarks of search share: codes, clocks, memory, command lines and tables."""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import platform
import statistics
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from skhash import HammingNearestNeighbors

CLUSTER_SPREAD = {"clustered": 0.25, "loose": 0.5}
KINDS = ("clustered", "loose", "random")
N_NEIGHBORS = (10, 100, 1000)
# Multi-index hashing is for codes this short and databases this large; elsewhere it is not timed.
MIH_MOST_BITS, MIH_FEWEST_CODES = 128, 2 * 10**5

_CODES_PER_BLOCK = 100_000
_SECONDS_BETWEEN_SAMPLES = 0.002


def code_blocks(n_codes, n_bits, kind, seed):
    """Codes in blocks: as hashing gives them, signs of random projections of clusters, or uniformly random ones."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(0)
    centers = shared.standard_normal((1000, 64), dtype=np.float32)
    projection = shared.standard_normal((64, n_bits), dtype=np.float32)
    for start in range(0, n_codes, _CODES_PER_BLOCK):
        size = min(_CODES_PER_BLOCK, n_codes - start)
        if kind == "random":
            yield rng.integers(0, 256, (size, n_bits // 8), dtype=np.uint8)
            continue
        noise = rng.standard_normal((size, 64), dtype=np.float32)
        points = centers[rng.integers(0, 1000, size)] + CLUSTER_SPREAD[kind] * noise
        yield np.packbits(points @ projection > 0, axis=1)


def fill_codes(codes, kind, seed):
    """Fill an array of shape (n_codes, n_bytes), in memory or in a file, with codes."""
    start = 0
    for block in code_blocks(len(codes), 8 * codes.shape[1], kind, seed):
        codes[start : start + len(block)] = block
        start += len(block)
    return codes


def make_codes(n_codes, n_bits, kind, seed):
    return fill_codes(np.empty((n_codes, n_bits // 8), dtype=np.uint8), kind, seed)


def accepted_algorithms():
    """Ways to search that the estimator knows besides "auto": "brute", and "mih" where this version has it."""
    search = HammingNearestNeighbors(n_neighbors=1)
    accepted = []
    for algorithm in ("brute", "mih"):
        with contextlib.suppress(ValueError):
            search.set_params(algorithm=algorithm).fit(np.zeros((1, 8), dtype=np.uint8))
            accepted.append(algorithm)
    return accepted


def algorithms_for(n_bits, n_codes):
    """Algorithms worth timing on a database; "auto" only where it has a choice."""
    algorithms = accepted_algorithms()
    if n_bits > MIH_MOST_BITS or n_codes < MIH_FEWEST_CODES:
        return ["brute"]
    return [*algorithms, "auto"] if "mih" in algorithms else algorithms


def compile_loops(n_bits, n_threads, algorithm="brute"):
    """Search enough for the compiled loops of a code length to be made, so that nothing timed waits for the compiler.

    Small searches are otherwise answered without them; what the first ones wait for is asked by search_first_call.py.
    """
    rng = np.random.default_rng(0)
    database = rng.integers(0, 256, (2**18, n_bits // 8), dtype=np.uint8)
    search = HammingNearestNeighbors(n_jobs=n_threads).set_params(algorithm=algorithm).fit(database)
    queries = database[: max(4096 * 64 // n_bits, 256)]
    for _ in range(2):
        search.kneighbors(queries, 10)
        search.radius_neighbors(queries, 0)
    search.kneighbors(queries[:1], 10)


def medians(rivals, n_rounds, budget=None):
    """Median seconds of each rival; they take turns, after one round that does not count.

    With a budget in seconds, no round begins once it is spent, except the first that counts.
    """
    times = {name: [] for name in rivals}
    begun = time.perf_counter()
    for round_number in range(n_rounds + 1):
        if budget is not None and round_number > 1 and time.perf_counter() - begun > budget:
            break
        for name, run in rivals.items():
            start = time.perf_counter()
            run()
            if round_number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def memory(field):
    """Bytes of a field of this process that Linux tells: RssAnon is private, VmHWM the peak, file pages included."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return 1024 * int(value.split()[0])
    raise ValueError(f"Linux tells no {field} of a process.")


def settled_memory():
    """Private bytes of this process once it gave back to the system what it no longer uses."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # Only glibc keeps freed memory and can be told to return it.
        ctypes.CDLL(None).malloc_trim(0)
    return memory("RssAnon")


class PeakMemory:
    """Watches the memory of this process: `private` bytes in samples, `resident` ones as Linux counts them.

    Both are peaks within the `with` block, over what the process held when it began.
    """

    def __enter__(self):
        self._private_before, self._resident_before = settled_memory(), memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Forget the peak so far.
        self._peak = self._private_before
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._done.set()
        self._thread.join()
        self.private = self._peak - self._private_before
        self.resident = memory("VmHWM") - self._resident_before
        self.kept = settled_memory() - self._private_before

    def _watch(self):
        while True:
            self._peak = max(self._peak, memory("RssAnon"))
            if self._done.wait(_SECONDS_BETWEEN_SAMPLES):
                self._peak = max(self._peak, memory("RssAnon"))
                return


def refuse_too_large(name, n_bytes):
    """Stop before a case that would not fit into the memory that is free."""
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    free = 1024 * int(meminfo.partition("MemAvailable:")[2].split()[0])
    if n_bytes > 0.8 * free:
        raise SystemExit(
            f"{name}: needs about {n_bytes / 2**30:.1f} GiB of memory of {free / 2**30:.1f} GiB free; take fewer codes."
        )


def case(text):
    """Read BITSxCODES, such as 64x1000000 or 64x1e6, from a command line."""
    n_bits, separator, n_codes = text.partition("x")
    try:
        n_bits, n_codes = int(n_bits), int(float(n_codes))
    except ValueError:
        separator = ""
    if not separator or n_bits < 8 or n_bits % 8 or n_codes < max(N_NEIGHBORS):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not BITSxCODES, bits a multiple of 8 and at least {max(N_NEIGHBORS)} codes; such as 64x1e6."
        )
    return n_bits, n_codes


def search_parser(doc, *, n_rounds, quick):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of every rival (default: 1)")
    parser.add_argument("--rounds", type=int, default=n_rounds, help=f"timed rounds (default: {n_rounds})")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--output", type=Path, help="where to write the rows as JSON")
    parser.add_argument("--table", type=Path, help="where to write the table of the documentation")
    return parser


def machine():
    """The processor and the versions that figures belong to."""
    names = ("skhash", "numpy", "numba", "scikit-learn", "faiss-cpu", "usearch")
    versions = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(ModuleNotFoundError):
            versions[name] = version(name)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    vectors = [flag for flag in ("avx2", "avx512f", "avx512bw", "avx512_vpopcntdq") if flag in flags]
    return {
        "processor": models[0] if models else platform.machine(),
        "vectors": vectors,
        "cores": os.cpu_count(),
        "versions": versions,
    }


def print_machine(n_threads, with_faiss=True):
    facts = machine()
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    print(f"{facts['processor']} ({', '.join(facts['vectors'])}), {facts['cores']} cores, {n_threads} threads")
    print(versions)
    if with_faiss and os.environ.get("OMP_WAIT_POLICY", "").lower() != "passive":
        print("OMP_WAIT_POLICY is not passive: threads of faiss spin after a search and slow down whoever is next.")
    sys.stdout.flush()


def write_results(options, rows, table=None):
    """Write the rows as JSON and the table of the documentation, where the command line asks for them."""
    if options.output:
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
        options.output.write_text(
            json.dumps({"machine": machine(), "settings": settings, "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )
    if options.table:
        options.table.write_text(table, encoding="utf-8")


def list_table(headers, rows, widths):
    """Lay out cells as a list table of reStructuredText."""
    lines = [".. list-table::", f"   :header-rows: {len(headers)}", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in [*headers, *rows]:
        for column, cell in enumerate(row):
            lines.append(f"   {'* -' if column == 0 else '  -'} {cell}".rstrip())
    return "\n".join(lines) + "\n"
