"""Memory that calls need beside their input and their result, against the ceilings that the documentation states.

    python benchmarks/memory_ceilings.py [--rows 200000] [--features 256] [--bits 64]
        [--codes 10000000] [--code-bits 128] [--queries 64] [--only fit "search map" ...]
        [--folder DIR] [--output FILE.json]

Linux only. Every row is a process of its own, which makes its input, calls the same once on a small input (compiled
loops are then ready), gives freed memory back, and calls. Features and codes lie in files of the folder, which are
deleted in the end. From before to after the call, the process may not allocate more than the ceiling and its result:
`RLIMIT_DATA`, which counts private memory alone, neither maps of files nor room for stacks that nobody uses, holds it
to that. What it does use is sampled from outside every two milliseconds. A row whose ceiling was too low says so. One
thread multiplies matrices, unless `OMP_NUM_THREADS` says otherwise.
"""

import argparse
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np

import skhash
from skhash import hashers

MIB = 2**20
N_CLASSES = 100
N_NEIGHBORS = 10
# What a call may take for blocks, whatever it is given.
BLOCKS = 64 * MIB
# What searching a memory map of any size takes in all, compiled loops included.
BESIDE_A_MAP = 200 * 10**6
SMALL = 3000


def memory(field, process="self"):
    """Bytes of a field of a process that Linux tells."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"this system does not tell {field} in /proc/{process}/status")


def write_rows(path, n_rows, n_features):
    """Write clustered rows of float32 to a file, and return their labels."""
    random = np.random.default_rng(0)
    centers = random.standard_normal((N_CLASSES, n_features), dtype=np.float32)
    labels = random.integers(0, N_CLASSES, n_rows)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n_rows, n_features))
    for start in range(0, n_rows, 10_000):
        part = labels[start : start + 10_000]
        rows[start : start + len(part)] = centers[part] + random.standard_normal((len(part), n_features))
    rows.flush()
    return labels


def write_codes(path, n_codes, n_bytes):
    """Write random codes to a file."""
    random = np.random.default_rng(0)
    codes = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n_codes, n_bytes))
    for start in range(0, n_codes, 2**20):
        part = codes[start : start + 2**20]
        part[:] = random.integers(0, 256, part.shape, dtype=np.uint8)
    codes.flush()


class Case:
    """A call, and the ceiling of what it needs beside its input and its result.

    Parameters
    ----------
    sizes : argparse.Namespace
        Sizes, and the folder of the files.
    """

    def __init__(self, sizes):
        self.sizes = sizes

    def rows(self):
        """The features in their file, and labels."""
        X = np.load(Path(self.sizes.folder) / "rows.npy", mmap_mode="r")
        return X, np.load(Path(self.sizes.folder) / "labels.npy")

    def codes(self):
        """The codes in their file."""
        return np.load(Path(self.sizes.folder) / "codes.npy", mmap_mode="r")


class Fit(Case):
    """Fit a hasher on rows in a memory map."""

    def __init__(self, sizes, name):
        super().__init__(sizes)
        self.hasher = getattr(hashers, name)(sizes.bits)
        if "random_state" in self.hasher.get_params():
            self.hasher.set_params(random_state=0)

    def warm_up(self):
        X, y = self.rows()
        self.hasher.fit(np.array(X[:SMALL]), y[:SMALL])

    def call(self):
        self.hasher.fit(*self.rows())

    def ceiling(self):
        n, d = self.sizes.rows, self.sizes.features
        own = FIT_CEILINGS[type(self.hasher).__name__](n, d, self.sizes.bits, self.hasher.get_params())
        return BLOCKS + 8 * 8 * d**2 + 16 * n + own


def kernels(n_anchors, max_samples, *, per_bit):
    """Ceiling of hashers that learn from kernels of drawn rows and anchors: those, twice, and codes of these rows."""

    def ceiling(n, d, b, parameters):
        n_learned = min(n, parameters["max_samples"] if max_samples is None else max_samples)
        anchors = parameters["n_anchors"] or n_anchors
        return n_learned * (4 * d + 2 * 8 * anchors + per_bit * b)

    return ceiling


# Bytes beyond 64 MiB, 8 matrices of n_features x n_features and 16 bytes a row, in which all hashers come to terms.
FIT_CEILINGS = {
    "LSH": lambda n, d, b, p: 32 * b * d,
    "PCAH": lambda n, d, b, p: 0,
    "IsotropicHash": lambda n, d, b, p: 0,
    "CirculantHash": lambda n, d, b, p: 0,
    "ShiftInvariantKernelLSH": lambda n, d, b, p: 32 * b * d,
    "SpectralHash": lambda n, d, b, p: 0,
    "DiscriminantITQ": lambda n, d, b, p: 0,
    "KMeansHash": lambda n, d, b, p: min(n, p["max_samples"]) * (3 * 8 * d + 8 * 2 ** p["bits_per_subspace"]),
    # Projections of all rows, their bits, and those that a turn changed.
    "ITQ": lambda n, d, b, p: n * b * (4 + 1 / 8 + 1),
    "SketchingHash": lambda n, d, b, p: n * b * (4 + 1 / 8 + 1) + 8 * 8 * p["sketch_size"] * d,
    "CCAITQ": lambda n, d, b, p: n * b * (4 + 1 / 8 + 1),
    # Projections of all rows, and the pairs below each threshold of one bit.
    "LDAHash": lambda n, d, b, p: n * (4 * b + 200),
    "SphericalHash": lambda n, d, b, p: min(n, p["max_samples"]) * (4 * d + 4 * 8 * b),
    "AnchorGraphHash": lambda n, d, b, p: 50 * p["n_anchors"] * 12 * d + 2 * 8 * 4096 * p["n_anchors"],
    "InductiveManifoldHash": lambda n, d, b, p: 50 * p["n_anchors"] * 12 * d + 2 * 8 * 4096 * p["n_anchors"],
    "NestedHash": lambda n, d, b, p: 12 * 8 * p["n_anchors"] ** 2 + 4096 * 2 * 8 * (p["n_anchors"] + d),
    "OnlineHadamardHash": lambda n, d, b, p: 16 * 8 * b**2,
    "MutualInformationHash": lambda n, d, b, p: 16 * 8 * p["reservoir_size"] * (p["reservoir_size"] + d),
    "KernelSupervisedHash": kernels(300, None, per_bit=24),
    "SupervisedDiscreteHash": kernels(1000, None, per_bit=6 * 8),
    "ColumnSampledHash": kernels(0, None, per_bit=1),
}


class Encode(Case):
    """Hash rows in a memory map."""

    def __init__(self, sizes, method):
        super().__init__(sizes)
        self.method = method

    def warm_up(self):
        X, _ = self.rows()
        self.hasher = skhash.ITQ(self.sizes.bits, random_state=0).fit(np.array(X[:SMALL]))
        getattr(self.hasher, self.method)(X[:SMALL])

    def call(self):
        return getattr(self.hasher, self.method)(self.rows()[0])

    def ceiling(self):
        return BLOCKS / 2


class Search(Case):
    """Search codes in a memory map, or in memory."""

    def __init__(self, sizes, kind):
        super().__init__(sizes)
        self.where, _, self.kind = kind.partition(" ")

    def warm_up(self):
        codes = self.codes()
        self.queries = np.array(codes[:: -(-len(codes) // self.sizes.queries)])
        self.search = skhash.HammingNearestNeighbors(N_NEIGHBORS, radius=self.radius())
        self.labels = np.arange(len(codes)) % N_CLASSES if self.kind == "score" else None
        # Enough work that compiled loops are taken now, as they are in the call.
        sample = np.array(codes[: 2**18])
        small = skhash.HammingNearestNeighbors(N_NEIGHBORS, radius=2).fit(sample, self.labels_of(2**18))
        queries = sample[:4096]
        small.kneighbors(queries)
        small.radius_neighbors(queries)
        if self.kind == "score":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                small.score(queries, self.labels[:4096])
        if self.kind == "where":
            self.mask = np.zeros(len(codes), dtype=bool)
            self.mask[::2] = True
        if self.where == "memory":
            self.search.fit(np.array(codes), self.labels_of(len(codes)))
            self.search.kneighbors(self.queries)

    def labels_of(self, n):
        return None if self.labels is None else self.labels[:n]

    def radius(self):
        """About a ten-thousandth of random codes lies within this."""
        return int(self.sizes.code_bits / 2 - 3.7 * np.sqrt(self.sizes.code_bits / 4))

    def call(self):
        if self.where == "map":
            self.search.fit(self.codes(), self.labels)
        if self.kind == "score":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.search.score(self.queries, self.labels[:: -(-len(self.codes()) // self.sizes.queries)])
        if self.kind == "one":
            return self.search.kneighbors(self.queries[:1])
        if self.kind == "where":
            return self.search.kneighbors(self.queries, where=self.mask)
        return getattr(self.search, self.kind)(self.queries)

    def ceiling(self):
        n, n_bytes = self.sizes.codes, self.sizes.code_bits // 8
        n_queries = len(self.queries)
        if self.kind in ("radius_neighbors", "radius_neighbors_graph"):
            n_hits = n_queries * n * 2e-4
            return BLOCKS / 2 + 40 * n_hits
        if self.kind == "score":
            return BLOCKS + n * (3 * n_bytes + 40)
        return BLOCKS / 2 + n_queries * N_NEIGHBORS * 40


class FirstSearches(Search):
    """Search codes in a memory map, in every way, where nothing was searched before."""

    def warm_up(self):
        codes = self.codes()
        self.queries = np.array(codes[:: -(-len(codes) // self.sizes.queries)])

    def call(self):
        search = skhash.HammingNearestNeighbors(N_NEIGHBORS, radius=self.radius()).fit(self.codes())
        return (
            search.kneighbors(self.queries[:1]),
            search.kneighbors(self.queries),
            search.kneighbors_graph(self.queries),
            search.radius_neighbors(self.queries),
        )

    def ceiling(self):
        return BESIDE_A_MAP


class Fitting(Case):
    """Copy codes from their file, and build the index of compiled loops."""

    def warm_up(self):
        sample = np.array(self.codes()[: 2**18])
        skhash.HammingNearestNeighbors(N_NEIGHBORS).fit(sample).kneighbors(sample[:4096])
        self.given = np.array(self.codes())

    def call(self):
        search = skhash.HammingNearestNeighbors(N_NEIGHBORS).fit(self.given)
        return search.kneighbors(self.given[:64])

    def ceiling(self):
        return BLOCKS / 2 + self.given.nbytes * 2.2 + self.sizes.codes / 4


class Score(Case):
    """Compute a metric of codes in a memory map."""

    def __init__(self, sizes, metric):
        super().__init__(sizes)
        self.metric = metric

    def _compute(self, n):
        from skhash import metrics

        codes = self.codes()[:n]
        step = max(1, len(codes) // self.sizes.queries)
        labels = np.arange(len(codes)) % N_CLASSES
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.metric == "code_statistics":
                return metrics.code_statistics(codes)
            keywords = {"k": 100} if self.metric.endswith("_at_k") else {}
            function = getattr(metrics, self.metric)
            return function(np.array(codes[::step]), codes, labels[::step], labels, **keywords)

    def warm_up(self):
        self._compute(2**19)

    def call(self):
        return self._compute(None)

    def ceiling(self):
        n, n_bytes = self.sizes.codes, self.sizes.code_bits // 8
        if self.metric == "code_statistics":
            return BLOCKS + n * (3 * n_bytes + 32)
        # The labels, which are made in the call, and the largest of the blocks of counts, a few times over.
        return 8 * n + 3 * BLOCKS + n * (3 * n_bytes + 32)


class Pixels(Case):
    """Compute features of images in memory, one of which cannot be read."""

    def warm_up(self):
        random = np.random.default_rng(0)
        self.images = list(random.integers(0, 256, (self.sizes.rows // 20, 48, 48, 3), dtype=np.uint8))
        self.images[7] = "no such file"
        self.features = skhash.PixelFeatures(image_size=48, on_error="skip").fit(self.images)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.features.transform(self.images[:50])

    def call(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.features.transform(self.images)

    def ceiling(self):
        return BLOCKS / 2


class Network(Case):
    """Compute features of many images by a network."""

    def warm_up(self):
        self.images = np.random.default_rng(0).integers(0, 256, (2000, 64, 64, 3), dtype=np.uint8)
        self.features = skhash.CNNFeatures(image_size=64).fit(self.images)
        self.features.transform(self.images[:64])

    def call(self):
        return self.features.transform(self.images)

    def ceiling(self):
        return 4 * BLOCKS


CASES = {
    **{f"fit {name}": (Fit, name) for name in sorted(hashers.__all__)},
    "encode transform": (Encode, "transform"),
    "encode project": (Encode, "project"),
    **{
        f"search {kind}": (Search, kind)
        for kind in (
            "map kneighbors",
            "map one",
            "map where",
            "map kneighbors_graph",
            "map radius_neighbors",
            "memory kneighbors",
            "memory radius_neighbors",
            "memory radius_neighbors_graph",
            "memory score",
        )
    },
    "search map first": (FirstSearches, "map"),
    "search fit": (Fitting,),
    **{
        f"metrics {metric}": (Score, metric)
        for metric in (
            "mean_average_precision",
            "precision_at_k",
            "precision_recall_by_radius",
            "code_statistics",
        )
    },
    "features pixels": (Pixels,),
    "features network": (Network,),
}


def size_of(result):
    """Bytes of arrays, however they are grouped."""
    if isinstance(result, np.ndarray):
        return result.nbytes + (sum(part.nbytes for part in result) if result.dtype == object else 0)
    if isinstance(result, tuple):
        return sum(size_of(part) for part in result)
    if hasattr(result, "indptr"):
        return result.data.nbytes + result.indices.nbytes + result.indptr.nbytes
    return 0


def run_one(sizes, name):
    """Run one case in this process, which tells what it does and waits to be watched."""
    kind, *arguments = CASES[name]
    case = kind(sizes, *arguments)
    case.warm_up()
    gc.collect()
    with suppress(OSError, AttributeError):
        # Only glibc keeps what is freed, and can be told to give it back.
        ctypes.CDLL(None).malloc_trim(0)
    print("ready", flush=True)
    input()
    if sizes.limit is not None:
        allowed = memory("VmData") + sizes.limit
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, resource.RLIM_INFINITY))
    start = time.perf_counter()
    result = case.call()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "result": size_of(result), "ceiling": int(case.ceiling())}), flush=True)


def watch(arguments):
    """Run one case in a process of its own; return what it printed, and the most private memory that it had."""
    process = subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"OMP_NUM_THREADS": "1", **os.environ},
    )
    if process.stdout.readline().strip() != "ready":
        return {"error": process.communicate()[1].strip().splitlines()[-1]}
    before = peak = memory("RssAnon", process.pid)
    process.stdin.write("\n")
    process.stdin.flush()
    while process.poll() is None:
        with suppress(OSError):
            peak = max(peak, memory("RssAnon", process.pid))
        time.sleep(0.002)
    printed, errors = process.communicate()
    if process.returncode:
        return {"error": errors.strip().splitlines()[-1] if errors.strip() else f"ended by signal {process.returncode}"}
    return {**json.loads(printed), "peak": peak - before, "process": peak}


def measure(sizes, arguments, name):
    """Measure a case without a limit, then again with as much memory as its ceiling and its result take."""
    free = watch([*arguments, "--one", name])
    if "error" in free:
        return free
    limit = free["ceiling"] + free["result"]
    held = watch([*arguments, "--one", name, "--limit", str(limit)])
    return {**free, "beside": max(0, free["peak"] - free["result"]), "held": held.get("error", "yes")}


def measurements(sizes, names):
    """Write the files that cases need, yield each with what was measured, and delete the files."""
    with tempfile.TemporaryDirectory(dir=sizes.folder) as folder:
        if any(name.startswith(("fit", "encode")) for name in names):
            np.save(Path(folder) / "labels.npy", write_rows(Path(folder) / "rows.npy", sizes.rows, sizes.features))
        if any(name.startswith(("search", "metrics")) for name in names):
            write_codes(Path(folder) / "codes.npy", sizes.codes, sizes.code_bits // 8)
        numbers = ("rows", "features", "bits", "codes", "code_bits", "queries")
        arguments = [f"--{name.replace('_', '-')}={getattr(sizes, name)}" for name in numbers] + [f"--folder={folder}"]
        for name in names:
            yield name, measure(sizes, arguments, name)


def options():
    """The command line, whose defaults are the sizes that the documentation is checked at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--codes", type=int, default=10_000_000)
    parser.add_argument("--code-bits", type=int, default=128)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of the names of cases")
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--output")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    return parser


def main():
    sizes = options().parse_args()
    if sizes.one:
        run_one(sizes, sizes.one)
        return
    names = [name for name in CASES if name.startswith(tuple(sizes.only))]
    print(
        f"skhash {skhash.__version__}; rows: {sizes.rows:,} x {sizes.features} float32, {sizes.bits} bits; codes: "
        f"{sizes.codes:,} of {sizes.code_bits} bits, {sizes.queries} queries, k = {N_NEIGHBORS}\n"
    )
    print("| call | seconds | result, MiB | beside, MiB | ceiling, MiB | held |\n|---|---|---|---|---|---|")
    measured = {}
    for name, row in measurements(sizes, names):
        measured[name] = row
        if "error" in row:
            print(f"| {name} | {row['error']} | | | | |", flush=True)
            continue
        cells = [f"{row[key] / MIB:,.0f}" for key in ("result", "beside", "ceiling")]
        print(f"| {name} | {row['seconds']:.1f} | {' | '.join(cells)} | {row['held']} |", flush=True)
    if sizes.output:
        Path(sizes.output).write_text(json.dumps({"sizes": vars(sizes), "rows": measured}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
