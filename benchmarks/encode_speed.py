"""Hashing features, and fitting ITQ, beside NumPy and faiss: rivals take turns in one process, on the same threads.

    OMP_WAIT_POLICY=passive python benchmarks/encode_speed.py [--threads 1] [--rounds 5] [--quick]
        [--output FILE.json] [--table FILE.rst]

Needs faiss-cpu and 11 GB of memory (1.5 GB with --quick). A row has the median and the minimum of the rounds; `ratio`
is the median of the first row of its task over that of the row. Rows of other dtypes than float32 have no rival: they
show what a conversion costs. `NumPy, the product alone` writes the projections into memory that is there already, which
is what no way of hashing can do without. faiss trains ITQ on a sample, whose size is in the name of the row.

Before anything is timed, the codes of all who compute the same function are compared. Rounding decides some bits, in
float16 that of the features themselves; where more differ, the run stops.
"""

import argparse
import statistics
import time
from pathlib import Path

import faiss
import numpy as np
from _search import list_table, print_machine, write_results
from threadpoolctl import threadpool_limits

from skhash import ITQ, LSH

N_FEATURES, N_BITS, N_TURNS = 512, 64, 50
LARGEST_DIFFERENCE = {"float64": 1e-5, "float32": 1e-5, "float16": 1e-3}
CHECKED_ROWS = 100_000


def make_features(n_samples):
    """Correlated features of falling variance around a mean, in float32."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((N_FEATURES, N_FEATURES), dtype=np.float32)
    mixing *= np.linspace(1, 0.05, N_FEATURES, dtype=np.float32) / np.sqrt(np.float32(N_FEATURES))
    mean = rng.standard_normal(N_FEATURES, dtype=np.float32)
    X = np.empty((n_samples, N_FEATURES), dtype=np.float32)
    for start in range(0, n_samples, 10_000):
        rows = X[start : start + 10_000]
        np.matmul(rng.standard_normal(rows.shape, dtype=np.float32), mixing, out=rows)
        rows += mean
    return X


def weights_of(itq):
    return (itq.components_.T @ itq.rotation_).astype(np.float32)


def naive_codes(X, mean, weights):
    return np.packbits((X - mean) @ weights > 0, axis=1)


def faiss_with_weights(mean, weights):
    """The function of our hasher as faiss computes it: product, thresholds, bits."""
    transform = faiss.LinearTransform(*weights.shape, True)
    faiss.copy_array_to_vector(weights.T.ravel(), transform.A)
    faiss.copy_array_to_vector(-mean @ weights, transform.b)
    transform.is_trained = True
    return faiss.IndexPreTransform(transform, faiss.IndexLSH(N_BITS, N_BITS, False, False))


def faiss_itq(training):
    transform = faiss.ITQTransform(N_FEATURES, N_BITS, True)
    transform.train(training)
    return faiss.IndexPreTransform(transform, faiss.IndexLSH(N_BITS, N_BITS, False, False))


def faiss_lsh(training):
    index = faiss.IndexLSH(N_FEATURES, N_BITS, True, True)
    index.train(training)
    return index


def check_equal_codes(X, itq, expected, from_faiss):
    found = {f"ITQ, {dtype}": (dtype, itq.transform(X.astype(dtype))) for dtype in LARGEST_DIFFERENCE}
    # faiss puts bit 0 lowest in a byte.
    bits = np.unpackbits(from_faiss.sa_encode(X), axis=1, bitorder="little")
    found["faiss LinearTransform"] = ("float32", np.packbits(bits, axis=1))
    for name, (dtype, codes) in found.items():
        difference = np.bitwise_count(codes ^ expected).sum() / (N_BITS * len(codes))
        if difference > LARGEST_DIFFERENCE[dtype]:
            raise SystemExit(f"{name}: {difference:.2g} of the bits differ from the naive way.")


def plain_itq(X):
    """Gong and Lazebnik's released code in NumPy: whole matrices, one after the other."""
    rng = np.random.default_rng(0)
    centred = X - X.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    V = centred @ vectors[:, : -N_BITS - 1 : -1]
    rotation, _, _ = np.linalg.svd(rng.standard_normal((N_BITS, N_BITS), dtype=np.float32))
    for _ in range(N_TURNS):
        Z = V @ rotation
        B = -np.ones_like(Z)
        B[Z >= 0] = 1
        u, _, v_transposed = np.linalg.svd(B.T @ V)
        rotation = v_transposed.T @ u.T
    return rotation


def report(task, rivals, n_threads, n_rounds):
    """Time the rivals of one task in turns, after one round that does not count; print and return their rows."""
    seconds = {name: [] for name in rivals}
    with threadpool_limits(n_threads):
        faiss.omp_set_num_threads(n_threads)
        for round_number in range(n_rounds + 1):
            for name, run in rivals.items():
                start = time.perf_counter()
                run()
                if round_number:
                    seconds[name].append(time.perf_counter() - start)
    reference, rows = statistics.median(next(iter(seconds.values()))), []
    for name, values in seconds.items():
        median = statistics.median(values)
        row = {"task": task, "name": name, "median": median, "minimum": min(values), "ratio": reference / median}
        rows.append(row)
        print(f"{task:<8}{name:<38}{median:>10.3f}{row['minimum']:>10.3f}{row['ratio']:>8.2f}", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of every rival (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--output", type=Path, help="where to write the rows as JSON")
    parser.add_argument("--table", type=Path, help="where to write the table of the documentation")
    options = parser.parse_args()
    n_encoded, n_training = (100_000, 10_000) if options.quick else (1_000_000, 100_000)
    X = make_features(n_encoded)
    training = X[:n_training]
    itq, lsh = ITQ(N_BITS, random_state=0).fit(training), LSH(N_BITS, random_state=0).fit(training)
    mean, weights = itq.mean_, weights_of(itq)
    same, their_itq, their_lsh = faiss_with_weights(mean, weights), faiss_itq(training), faiss_lsh(training)
    check_equal_codes(X[:CHECKED_ROWS], itq, naive_codes(X[:CHECKED_ROWS], mean, weights), same)
    projections = np.empty((n_encoded, N_BITS), dtype=np.float32)
    doubles, halves = X.astype(np.float64), X.astype(np.float16)
    n_sampled = min(n_training, faiss.ITQTransform(N_FEATURES, N_BITS, True).max_train_per_dim * N_FEATURES)
    hashing = {
        "NumPy, packbits((X - mean) @ W > 0)": lambda: naive_codes(X, mean, weights),
        "NumPy, the product alone": lambda: np.matmul(X, weights, out=projections),
        "faiss IndexLSH": lambda: their_lsh.sa_encode(X),
        "faiss LinearTransform, IndexLSH": lambda: same.sa_encode(X),
        "faiss ITQTransform, IndexLSH": lambda: their_itq.sa_encode(X),
        "skhash LSH": lambda: lsh.transform(X),
        "skhash ITQ": lambda: itq.transform(X),
        "skhash ITQ, float64 features": lambda: itq.transform(doubles),
        "skhash ITQ, float16 features": lambda: itq.transform(halves),
    }
    fitting = {
        "NumPy, the authors' loop": lambda: plain_itq(training),
        f"faiss ITQTransform, {n_sampled:,} rows": lambda: faiss_itq(training),
        "skhash ITQ": lambda: ITQ(N_BITS, max_iter=N_TURNS, random_state=0).fit(training),
    }
    print_machine(options.threads)
    print(
        f"{N_FEATURES} float32 features, {N_BITS} bits: {n_encoded:,} rows are hashed, ITQ is fitted on {n_training:,} "
        f"in {N_TURNS} turns"
    )
    print(f"{'task':<8}{'':<38}{'median s':>10}{'minimum':>10}{'ratio':>8}")
    rows = report("encode", hashing, options.threads, options.rounds)
    rows += report("fit", fitting, options.threads, options.rounds)
    cells = [
        (row["task"], row["name"], f"{row['median']:.2f}", f"{row['minimum']:.2f}", f"{row['ratio']:.1f}")
        for row in rows
    ]
    write_results(
        options, rows, list_table([("Task", "", "median s", "minimum s", "ratio")], cells, (10, 44, 15, 15, 12))
    )


if __name__ == "__main__":
    main()
