"""Seconds and memory of fits on a million rows that lie in a file.

    python benchmarks/shallow_scale.py [--rows 1000000] [--features 512] [--bits 64] [--methods ITQ PCAH ...]

Rows are Gaussian clusters in a memory map of float32. Each hasher is fitted in a process of its own, with its default
settings and on one thread; memory is what the process held at its peak beyond what it held before the fit, without the
pages of the file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import skhash
from skhash import hashers as room

BLOCK_ROWS = 10_000


def write_rows(path, n_rows, n_features):
    """Write clusters block by block, and return their labels."""
    random = np.random.default_rng(0)
    centers = random.standard_normal((100, n_features), dtype=np.float32)
    labels = random.integers(0, 100, n_rows)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n_rows, n_features))
    for start in range(0, n_rows, BLOCK_ROWS):
        part = labels[start : start + BLOCK_ROWS]
        rows[start : start + len(part)] = centers[part] + random.standard_normal((len(part), n_features))
    rows.flush()
    return labels


def private_bytes():
    """Memory of this process, without the pages of files."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    raise OSError("this system does not tell the memory of a process in /proc/self/status")


def fit_one(name, path, labels_path, n_bits):
    """Fit one hasher, and print seconds and memory."""
    X, y = np.load(path, mmap_mode="r"), np.load(labels_path)
    hasher = getattr(room, name)(n_bits)
    if "random_state" in hasher.get_params():
        hasher.set_params(random_state=0)
    before, peak, is_done = private_bytes(), [0], threading.Event()

    def watch():
        while not is_done.wait(0.01):
            peak[0] = max(peak[0], private_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    hasher.fit(X, y)
    seconds = time.perf_counter() - start
    is_done.set()
    watcher.join()
    print(json.dumps({"method": name, "seconds": seconds, "peak_bytes": max(0, peak[0] - before)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--methods", nargs="*", choices=sorted(room.__all__), default=sorted(room.__all__))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        fit_one(*arguments.one, arguments.bits)
        return
    print(f"skhash {skhash.__version__}, {arguments.rows:,} x {arguments.features} float32, {arguments.bits} bits\n")
    print("| method | fit, s | memory beyond the file, MiB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path, labels_path = Path(folder) / "rows.npy", Path(folder) / "labels.npy"
        np.save(labels_path, write_rows(path, arguments.rows, arguments.features))
        for name in arguments.methods:
            command = [sys.executable, __file__, "--bits", str(arguments.bits), "--one", name, path, labels_path]
            found = subprocess.run(command, capture_output=True, text=True)
            if found.returncode:
                print(f"| {name} | {found.stderr.strip().splitlines()[-1]} | |", flush=True)
                continue
            row = json.loads(found.stdout)
            print(f"| {name} | {row['seconds']:.1f} | {row['peak_bytes'] / 2**20:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
