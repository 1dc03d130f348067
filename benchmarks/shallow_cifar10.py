"""Mean average precision of the shallow hashers on CIFAR-10 features, in the protocol of the literature.

    python benchmarks/shallow_cifar10.py FEATURES.npz [--seeds 5] [--output FILE.json]

FEATURES.npz holds `f_train` (50000, d), `y_train`, `f_test` (10000, d), `y_test`. For each seed, 100 images of each
class become queries, 500 others training images, and the remaining 54 000 the database. Nothing is tuned. Hashers take
turns inside each seed, so that a slow moment of the machine meets all of them.
"""

import argparse
import json
import platform
import statistics
import time

import numpy as np

import skhash
from skhash import ITQ, LSH, PCAH, SpectralHash
from skhash.datasets import retrieval_split
from skhash.metrics import mean_average_precision

N_BITS = (16, 32, 64)


def hashers(n_bits, seed):
    return {
        "LSH": LSH(n_bits, random_state=seed),
        "LSH, orthogonal": LSH(n_bits, orthogonal=True, random_state=seed),
        "PCAH": PCAH(n_bits),
        "PCAH, random rotation": PCAH(n_bits, rotation="random", random_state=seed),
        "SpectralHash": SpectralHash(n_bits),
        "ITQ": ITQ(n_bits, random_state=seed),
    }


def load(path):
    with np.load(path) as data:
        X = np.concatenate([data["f_train"], data["f_test"]]).astype(np.float32)
        y = np.concatenate([data["y_train"], data["y_test"]])
    return X, y


def measure(hasher, X, y, split):
    start = time.perf_counter()
    hasher.fit(X[split.train])
    fitted = time.perf_counter()
    database = hasher.transform(X[split.database])
    encoded = time.perf_counter()
    score = mean_average_precision(hasher.transform(X[split.query]), database, y[split.query], y[split.database])
    return {
        "map": score,
        "fit_seconds": fitted - start,
        "encode_images_per_second": len(split.database) / (encoded - fitted),
        "bytes_per_image": database.shape[1],
    }


def run(X, y, n_seeds):
    rows = []
    for seed in range(n_seeds):
        split = retrieval_split(y, n_queries_per_class=100, n_train_per_class=500, random_state=seed)
        for n_bits in N_BITS:
            for name, hasher in hashers(n_bits, seed).items():
                result = measure(hasher, X, y, split)
                rows.append({"method": name, "n_bits": n_bits, "seed": seed, "split": split.split_hash, **result})
        print(f"seed {seed} done", flush=True)
    return rows


def report(rows):
    print(f"\nmAP@ALL, mean ± standard deviation over {len({row['seed'] for row in rows})} seeds; median times")
    print(f"{'method':<24}{'bits':>5}{'mAP':>16}{'fit s':>8}{'images/s':>12}{'bytes':>7}")
    for method in dict.fromkeys(row["method"] for row in rows):
        for n_bits in N_BITS:
            own = [row for row in rows if (row["method"], row["n_bits"]) == (method, n_bits)]
            scores = [row["map"] for row in own]
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            fit = statistics.median(row["fit_seconds"] for row in own)
            speed = statistics.median(row["encode_images_per_second"] for row in own)
            print(
                f"{method:<24}{n_bits:>5}{statistics.mean(scores):>9.3f} ± {spread:.3f}"
                f"{fit:>8.2f}{speed:>12,.0f}{own[0]['bytes_per_image']:>7}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="path of the .npz file with the features")
    parser.add_argument("--seeds", type=int, default=5, help="number of splits (default: 5)")
    parser.add_argument("--output", help="where to write the rows as JSON")
    arguments = parser.parse_args()
    X, y = load(arguments.features)
    rows = run(X, y, arguments.seeds)
    report(rows)
    if arguments.output:
        versions = {"skhash": skhash.__version__, "numpy": np.__version__, "python": platform.python_version()}
        with open(arguments.output, "w", encoding="utf-8") as file:
            json.dump({"versions": versions, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
