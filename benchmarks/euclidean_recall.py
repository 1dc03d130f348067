"""Recall of Euclidean neighbours, which is what some hashers optimise instead of labels.

    python benchmarks/euclidean_recall.py [FEATURES.npz] [--bits 16 32 64] [--train 5000] [--methods ITQ KMeansHash ...]

Rows are `f_train` of FEATURES.npz or, without it, Gaussian with variances 1, 1/2, 1/3 and so on in 128 turned
directions. Of random rows, some train, 500 are queries and 20,000 the database. The recall is the part of a query's 10
nearest rows that is among the first 100 or 1000 by Hamming distance, on average over the orders of equal distances.
"""

import argparse

import numpy as np
from shallow_cifar10 import load
from threadpoolctl import threadpool_limits

from skhash import ITQ, LSH, PCAH, KMeansHash, SphericalHash
from skhash.codes import unpack_codes

METHODS = {
    "LSH": lambda n_bits: LSH(n_bits, random_state=0),
    "PCAH, random rotation": lambda n_bits: PCAH(n_bits, rotation="random", random_state=0),
    "ITQ": lambda n_bits: ITQ(n_bits, random_state=0),
    "SphericalHash": lambda n_bits: SphericalHash(n_bits, random_state=0),
    "KMeansHash": lambda n_bits: KMeansHash(n_bits, random_state=0),
    "KMeansHash, 2 bits": lambda n_bits: KMeansHash(n_bits, bits_per_subspace=2, random_state=0),
    "KMeansHash, 8 bits": lambda n_bits: KMeansHash(n_bits, bits_per_subspace=8, random_state=0),
}
N_QUERIES, N_DATABASE, N_NEIGHBORS = 500, 20_000, 10
LENGTHS = (100, 1000)


def gaussian_rows(n_rows, random):
    turn = np.linalg.qr(random.standard_normal((128, 128)))[0]
    return (random.standard_normal((n_rows, 128)) / np.sqrt(np.arange(1, 129)) @ turn).astype(np.float32)


def nearest(queries, database):
    squares = (database**2).sum(axis=1) - 2 * queries @ database.T
    return np.argpartition(squares, N_NEIGHBORS, axis=1)[:, :N_NEIGHBORS]


def recalls(hasher, queries, database, neighbors):
    """Compute the recall among the first rows, for each of `LENGTHS`."""
    n_bits = hasher.n_bits_
    signs = [2.0 * unpack_codes(hasher.transform(rows), n_bits) - 1 for rows in (queries, database)]
    distances = ((n_bits - signs[0] @ signs[1].T) / 2).astype(int)
    found = np.zeros((len(LENGTHS), len(queries)))
    for query, row in enumerate(distances):
        counts = np.bincount(row, minlength=n_bits + 1)
        before = np.cumsum(counts) - counts
        for k, length in enumerate(LENGTHS):
            # Part of the rows at each distance that is among the first.
            part = np.clip((length - before) / np.maximum(counts, 1), 0, 1)
            found[k, query] = part[row[neighbors[query]]].mean()
    return found.mean(axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", nargs="?", help="path of the .npz file with the features")
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 32, 64], help="code lengths")
    parser.add_argument("--train", type=int, default=5000, help="training rows (default: 5000)")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS), metavar="NAME")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    n_rows = arguments.train + N_QUERIES + N_DATABASE
    if arguments.features:
        rows = load(arguments.features)[0]
        rows = rows[random.permutation(len(rows))[:n_rows]].astype(np.float32)
    else:
        rows = gaussian_rows(n_rows, random)
    queries, database, train = np.split(rows, [N_QUERIES, N_QUERIES + N_DATABASE])
    neighbors = nearest(queries, database)
    header = [f"{n_bits} bits, {length}" for n_bits in arguments.bits for length in LENGTHS]
    print("| method | " + " | ".join(header) + " |\n|" + "---|" * (len(header) + 1))
    with threadpool_limits(1):
        for name in arguments.methods:
            cells = []
            for n_bits in arguments.bits:
                hasher = METHODS[name](n_bits).fit(train)
                cells += [f"{recall:.3f}"[1:] for recall in recalls(hasher, queries, database, neighbors)]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
