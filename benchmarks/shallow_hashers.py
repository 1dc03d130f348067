"""Quality, time and memory of every hasher without torch, on classes that are trained on and on others.

    python benchmarks/shallow_hashers.py FEATURES.npz --output RUN.jsonl [--seeds 3] [--bits 16 32 64 128] [--rst]

FEATURES.npz holds `f_train`, `y_train`, `f_test`, `y_test`. Hashers are found by discovery, with their default
settings; nothing is tuned. For each seed there are two protocols. `seen`: queries and training images of each class,
the others are the database. `unseen`: three tenths of the classes are drawn; training images are of the others, and
queries and database of these. faiss stands beside: `IndexLSH`, and `ITQMatrix` with a sign, on one thread.

Times are of one thread, of fits on the training images of `seen` and of hashing its database. Memory is what NumPy
holds at its peak in a fit beyond the features, by `tracemalloc`, in a fit of its own. Each line of RUN.jsonl is one
outcome; a run that was stopped goes on.
"""

import argparse
import platform
import statistics
import time
import tracemalloc

import numpy as np
from deep_cifar10 import Run, drop_incomplete_line, say
from shallow_cifar10 import load
from sklearn.base import clone
from threadpoolctl import threadpool_limits

import skhash
from skhash import hashers as room
from skhash.datasets import retrieval_split, unseen_class_split
from skhash.metrics import mean_average_precision

# Variants that the papers compare, beside the default of each class.
VARIANTS = {"PCAH, random rotation": ("PCAH", {"rotation": "random"})}


def methods():
    """Name every hasher, and say how to make it."""
    found = {name: (name, {}) for name in room.__all__} | VARIANTS
    return {name: (getattr(room, cls), params) for name, (cls, params) in found.items()}


class FaissLSH:
    """Random projections of faiss."""

    def __init__(self, n_bits):
        self.n_bits = n_bits

    def fit(self, X, y=None):
        import faiss

        self.index = faiss.IndexLSH(X.shape[1], self.n_bits, True)
        self.mean = X.mean(axis=0)
        self.index.train(X - self.mean)
        return self

    def transform(self, X):
        return self.index.sa_encode(X - self.mean)


class FaissITQ:
    """Principal components and rotation of faiss, and a sign: ours, step by step."""

    def __init__(self, n_bits):
        self.n_bits = n_bits

    def fit(self, X, y=None):
        import faiss

        self.pca = faiss.PCAMatrix(X.shape[1], self.n_bits)
        self.pca.train(X)
        self.rotation = faiss.ITQMatrix(self.n_bits)
        self.rotation.train(self.pca.apply(X))
        return self

    def transform(self, X):
        return np.packbits(self.rotation.apply(self.pca.apply(X)) >= 0, axis=1)


class FaissITQTransform:
    """The recipe of faiss: rows less their mean and divided by their lengths, then components and rotation."""

    def __init__(self, n_bits):
        self.n_bits = n_bits

    def fit(self, X, y=None):
        import faiss

        self.transformation = faiss.ITQTransform(X.shape[1], self.n_bits, True)
        self.transformation.train(X)
        return self

    def transform(self, X):
        return np.packbits(self.transformation.apply(X) >= 0, axis=1)


RIVALS = {"faiss IndexLSH": FaissLSH, "faiss ITQMatrix": FaissITQ, "faiss ITQTransform": FaissITQTransform}


def make(name, n_bits, seed):
    if name in RIVALS:
        return RIVALS[name](n_bits)
    cls, params = methods()[name]
    hasher = cls(n_bits, **params)
    return clone(hasher).set_params(random_state=seed) if "random_state" in hasher.get_params() else hasher


def split_of(protocol, y, seed, arguments):
    counts = {"n_queries_per_class": arguments.queries, "n_train_per_class": arguments.train}
    if protocol == "seen":
        return retrieval_split(y, random_state=seed, **counts)
    return unseen_class_split(y, n_unseen_classes=0.3, random_state=seed, **counts)


def measure(name, n_bits, protocol, seed, X, y, arguments):
    split = split_of(protocol, y, seed, arguments)
    X_train, y_train = X[split.train], y[split.train]
    hasher = make(name, n_bits, seed)
    try:
        start = time.perf_counter()
        hasher.fit(X_train, y_train)
        fitted = time.perf_counter()
        database = hasher.transform(X[split.database])
        hashed = time.perf_counter()
    except ValueError as error:
        return {"refused": str(error)}
    score = mean_average_precision(hasher.transform(X[split.query]), database, y[split.query], y[split.database])
    return {
        "map": score,
        "fit_seconds": fitted - start,
        "hashed_per_second": len(split.database) / (hashed - fitted),
        "split": split.split_hash,
    }


def peak_memory(name, n_bits, seed, X, y, arguments):
    split = split_of("seen", y, seed, arguments)
    X_train, y_train = X[split.train], y[split.train]
    hasher = make(name, n_bits, seed)
    tracemalloc.start()
    try:
        hasher.fit(X_train, y_train)
        return {"peak_bytes": tracemalloc.get_traced_memory()[1]}
    except ValueError as error:
        return {"refused": str(error)}
    finally:
        tracemalloc.stop()


def cells_of(rows, name, bits):
    """Cells of the row of a method."""
    own = [row for row in rows if row["task"].get("method") == name]
    cells = []
    for protocol in ("seen", "unseen"):
        for n_bits in bits:
            scores = [
                row["map"]
                for row in own
                if row["task"].get("protocol") == protocol and row["task"]["n_bits"] == n_bits and "map" in row
            ]
            cells.append(f"{statistics.mean(scores):.3f}"[1:] if scores else "")
    # The longest code that the method could learn.
    timed = [row for row in own if row["task"].get("protocol") == "seen" and "map" in row]
    longest = max((row["task"]["n_bits"] for row in timed), default=0)
    timed = [row for row in timed if row["task"]["n_bits"] == longest]
    if not timed:
        return [*cells, "", "", ""]
    peaks = [row["peak_bytes"] for row in own if "peak_bytes" in row]
    return [
        *cells,
        f"{statistics.median(row['fit_seconds'] for row in timed):.2f}",
        f"{statistics.median(row['hashed_per_second'] for row in timed):,.0f}",
        f"{statistics.median(peaks) / 2**20:,.0f}" if peaks else "",
    ]


def report(rows, names, bits, *, rst):
    header = ["method", *(f"{p} {b}" for p in ("seen", "unseen") for b in bits), "fit s", "hashed/s", "peak MiB"]
    table = [[name, *cells_of(rows, name, bits)] for name in names]
    if rst:
        print(".. list-table::\n   :header-rows: 1\n")
        for cells in [header, *table]:
            print("\n".join(f"   {'* -' if k == 0 else '  -'} {cell}".rstrip() for k, cell in enumerate(cells)))
        return
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for cells in table:
        print("| " + " | ".join(cells) + " |")


def main():
    names = [*sorted(methods()), *RIVALS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="path of the .npz file with the features")
    parser.add_argument("--output", required=True, help="file of JSON lines; a stopped run goes on with it")
    parser.add_argument("--seeds", type=int, default=3, help="number of splits (default: 3)")
    parser.add_argument("--methods", nargs="*", choices=names, default=names, metavar="NAME", help="default: all")
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 32, 64, 128], help="code lengths")
    parser.add_argument("--queries", type=int, default=100, help="queries of a class (default: 100)")
    parser.add_argument("--train", type=int, default=500, help="training images of a class (default: 500)")
    parser.add_argument("--rst", action="store_true", help="print the table for Sphinx instead of Markdown")
    arguments = parser.parse_args()
    drop_incomplete_line(arguments.output)
    run = Run(arguments.output)
    run.get({"kind": "versions", "skhash": skhash.__version__, "python": platform.python_version()}, dict)
    X, y = load(arguments.features)
    with threadpool_limits(1):
        for seed in range(arguments.seeds):
            for n_bits in arguments.bits:
                for name in arguments.methods:
                    for protocol in ("seen", "unseen"):
                        task = {"method": name, "n_bits": n_bits, "protocol": protocol, "seed": seed}
                        given = (name, n_bits, protocol, seed, X, y, arguments)
                        row = run.get(task, lambda given=given: measure(*given))
                        say(f"{task}: {row.get('map', row.get('refused'))}")
                    if seed == 0 and n_bits == max(arguments.bits) and name not in RIVALS:
                        task = {"method": name, "n_bits": n_bits, "memory": True, "seed": seed}
                        given = (name, n_bits, seed, X, y, arguments)
                        run.get(task, lambda given=given: peak_memory(*given))
    report(list(run.rows.values()), arguments.methods, arguments.bits, rst=arguments.rst)


if __name__ == "__main__":
    main()
