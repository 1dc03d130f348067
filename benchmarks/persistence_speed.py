"""Time and size of saving and loading, beside joblib, NumPy and faiss.

    python benchmarks/persistence_speed.py [--codes 10000000] [--bits 64] [--rounds 5] [--folder FOLDER] [--only index]
        [--output FILE.json]

An index of random codes, and hashers (ITQ and NestedHash of 64 bits on 512 features). Every way takes turns in each
round; medians over the rounds, and ratios to `joblib.dump` and `joblib.load` without a wait for the disk. Files are in
the system's cache when they are loaded. skhash waits until the disk has what it wrote and others do not, so each is
measured both ways. Checksums are measured by themselves as well, on one thread; saving and loading of large arrays
compute them on 4 threads.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import joblib
import numpy as np

import skhash
from skhash import ITQ, HammingNearestNeighbors, NestedHash
from skhash.persistence._container import BLOCK_BYTES, block_checksums

N_QUERIES, N_NEIGHBORS = 10, 10


def seconds(function):
    """Time one call; return what it returned as well."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def sync(path):
    """Wait until a file is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def without_sync(save):
    """Save with a disk that says it is done at once."""

    def call(path):
        with mock.patch.object(os, "fsync"):
            save(path)

    return call


def with_sync(save):
    """Save, and wait for the disk."""

    def call(path):
        save(path)
        sync(path)

    return call


def measure(n_rounds, ways, folder):
    """Let ways to save and load take turns.

    Parameters
    ----------
    n_rounds : int
        Number of turns.

    ways : dict of str to tuple
        By name: a function that saves to a path, or None with the name of another way whose file is loaded; a function
        that loads; and one that uses what was loaded, or None.

    folder : path
        Where.

    Returns
    -------
    rows : dict of str to dict
        Medians of seconds, "save", "load" and "use", and "bytes".
    """
    times = {name: {"save": [], "load": [], "use": []} for name in ways}
    for _ in range(n_rounds):
        for name, (save, load, use) in ways.items():
            path = folder / (name if callable(save) else save).replace("/", "_")
            if callable(save):
                # Writing over a file costs others the time to free its pages, and skhash that of the new ones.
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                times[name]["save"].append(seconds(lambda save=save, path=path: save(path))[0])
            if load is not None:
                spent, loaded = seconds(lambda load=load, path=path: load(path))
                times[name]["load"].append(spent)
                if use is not None:
                    times[name]["use"].append(seconds(lambda use=use, loaded=loaded: use(loaded))[0])
                del loaded
    rows = {}
    for name, (save, *_) in ways.items():
        rows[name] = {step: statistics.median(values) for step, values in times[name].items() if values}
        rows[name]["bytes"] = (folder / (name if callable(save) else save).replace("/", "_")).stat().st_size
    return rows


def ways_of_estimator(estimator, use):
    """Ways for any estimator."""

    def save(path):
        skhash.save(estimator, path)

    def dump(path):
        joblib.dump(estimator, path)

    return {
        "skhash.save, load": (save, skhash.load, use),
        "skhash.save without fsync": (without_sync(save), None, None),
        "joblib.dump, load": (dump, joblib.load, use),
        "joblib.dump and fsync": (with_sync(dump), None, None),
    }


def ways_of_index(index, codes, queries):
    """Ways for an index: those of any estimator, maps, and faiss."""

    def use(search):
        search.kneighbors(queries, N_NEIGHBORS)

    ways = ways_of_estimator(index, use)
    saved = "skhash.save, load"
    ways["skhash.load(mmap=True)"] = (saved, lambda path: skhash.load(path, mmap=True), use)
    ways["skhash.load(mmap=True, verify=True)"] = (saved, lambda path: skhash.load(path, mmap=True, verify=True), use)
    ways["joblib.load(mmap_mode='r')"] = ("joblib.dump, load", lambda path: joblib.load(path, mmap_mode="r"), use)

    def save_codes(path):
        with open(path, "wb") as file:
            np.save(file, codes)

    ways["np.save, load (codes alone)"] = (save_codes, np.load, None)
    try:
        import faiss
    except ImportError:
        return ways
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexBinaryFlat(8 * codes.shape[1])
    flat.add(codes)

    def write(path):
        faiss.write_index_binary(flat, os.fspath(path))

    ways["faiss.write_index_binary, read"] = (
        write,
        lambda path: faiss.read_index_binary(os.fspath(path)),
        lambda loaded: loaded.search(queries, N_NEIGHBORS),
    )
    ways["faiss.write_index_binary and fsync"] = (with_sync(write), None, None)
    return ways


def print_rows(title, rows):
    reference = rows["joblib.dump, load"]
    print(f"\n{title:<38}{'save':>10}{'ratio':>8}{'load':>11}{'ratio':>8}{'then use':>11}{'bytes':>13}{'ratio':>8}")
    for name, row in rows.items():
        cells = f"{name:<38}"
        for step, width in (("save", 10), ("load", 11)):
            if step in row:
                cells += f"{1e3 * row[step]:>{width - 3}.2f} ms{row[step] / reference[step]:>8.3g}"
            else:
                cells += f"{'':>{width + 8}}"
        cells += f"{1e3 * row['use']:>8.2f} ms" if "use" in row else f"{'':>11}"
        print(f"{cells}{row['bytes']:>13,}{row['bytes'] / reference['bytes']:>8.3f}")


def checksums(codes, n_rounds):
    """Seconds for the checksums of an array, on one thread and as saving computes them."""
    data = memoryview(codes.reshape(-1))

    def one_thread():
        for start in range(0, len(data), BLOCK_BYTES):
            block_checksums(data[start : start + BLOCK_BYTES])

    return {
        "one thread": statistics.median(seconds(one_thread)[0] for _ in range(n_rounds)),
        "as saving": statistics.median(seconds(lambda: block_checksums(data))[0] for _ in range(n_rounds)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", type=int, default=10**7, help="codes of the index (default: 10 million)")
    parser.add_argument("--bits", type=int, default=64, help="bits of a code (default: 64)")
    parser.add_argument("--rounds", type=int, default=5, help="turns (default: 5)")
    parser.add_argument("--folder", help="where to write (default: the system's folder for temporary files)")
    parser.add_argument("--only", choices=["index", "hashers"], help="one of the tables (default: both)")
    parser.add_argument("--output", help="JSON to write")
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, skhash {skhash.__version__}, joblib {joblib.__version__}")
    rng, found = np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory(dir=options.folder) as own:
        if options.only != "index":
            X, y = rng.normal(size=(2000, 512)), rng.integers(10, size=2000)
            for hasher in (ITQ(64, random_state=0), NestedHash(64, random_state=0)):
                hasher.fit(X, y)
                name = type(hasher).__name__
                ways = ways_of_estimator(hasher, lambda loaded: loaded.transform(X[:10]))
                found[name] = measure(4 * options.rounds, ways, Path(own))
                print_rows(f"{name} of 64 bits, 512 features", found[name])
        if options.only != "hashers":
            codes = rng.integers(256, size=(options.codes, options.bits // 8), dtype=np.uint8)
            queries = rng.integers(256, size=(N_QUERIES, options.bits // 8), dtype=np.uint8)
            index = HammingNearestNeighbors().fit(codes)
            # Compiles, or reads what was compiled.
            HammingNearestNeighbors().fit(codes[: 10**6]).kneighbors(queries, N_NEIGHBORS)
            found["index"] = measure(options.rounds, ways_of_index(index, codes, queries), Path(own))
            print_rows(f"{options.codes:,} codes of {options.bits} bits", found["index"])
            found["checksums"] = checksums(codes, options.rounds)
            speeds = ", ".join(
                f"{name} {1e3 * spent:.1f} ms ({codes.nbytes / spent / 1e9:.2f} GB/s)"
                for name, spent in found["checksums"].items()
            )
            print(f"\nchecksums of the codes: {speeds}; then use: {N_QUERIES} queries, k = {N_NEIGHBORS}")
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
