"""Whether rows give the same codes however they are handed over, and searches the neighbours of a naive one."""

import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.base import clone
from threadpoolctl import threadpool_limits

import skhash
from skhash import HammingNearestNeighbors

N_TRAIN, N_ROWS, N_FEATURES = 300, 501, 24
HASHERS = (
    *("LSH", "PCAH", "ITQ", "SpectralHash", "CirculantHash", "AnchorGraphHash"),
    *("ShiftInvariantKernelLSH", "SupervisedDiscreteHash", "LDAHash", "NestedHash"),
)


@dataclass
class Agreement:
    """Comparisons, and those that came out differently.

    Attributes
    ----------
    tried : int
        Number of comparisons.

    different : int
        How many differed.

    notes : list of str
        Which.
    """

    tried: int = 0
    different: int = 0
    notes: list = field(default_factory=list)

    def compare(self, what, one, other):
        self.tried += 1
        if one != other:
            self.different += 1
            self.notes.append(what)


def _train():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N_TRAIN, N_FEATURES)), rng.integers(4, size=N_TRAIN)


def _rows():
    return np.random.default_rng(1).normal(size=(N_ROWS, N_FEATURES))


def make_hasher(name):
    """Make a hasher of 16 bits by the name of its class."""
    cls = getattr(skhash, name)
    # A rank of few classes allows few bits.
    hasher = cls(2 if name == "LDAHash" else 16)
    return hasher.set_params(random_state=0) if "random_state" in hasher.get_params() else hasher


def code_hash(codes):
    """Hash codes: shape, dtype and bytes."""
    return hashlib.sha256(f"{codes.shape} {codes.dtype}".encode() + np.ascontiguousarray(codes).tobytes()).hexdigest()


def _hash_in_chunks(hasher, X, size):
    return code_hash(np.concatenate([hasher.transform(X[start : start + size]) for start in range(0, len(X), size)]))


def determinism(names=HASHERS):
    """Compare hashes of codes over threads, sizes of batches, orders in memory, files and processes.

    Parameters
    ----------
    names : list of str
        Classes of hashers.

    Returns
    -------
    agreement : Agreement
        Of all hashers.
    """
    found, X = Agreement(), _rows()
    expected = {}
    for name in names:
        hasher = make_hasher(name).fit(*_train())
        expected[name] = code_hash(hasher.transform(X))
        variants = {f"in chunks of {size}": lambda h, size=size: _hash_in_chunks(h, X, size) for size in (1, 7, 64)}
        wide = np.zeros((N_ROWS, 2 * N_FEATURES))
        wide[:, ::2] = X
        for order, rows in (
            ("column by column", np.asfortranarray(X)),
            ("with gaps", wide[:, ::2]),
            ("backwards", np.ascontiguousarray(X[::-1])[::-1]),
            ("of the other byte order", X.astype(X.dtype.newbyteorder())),
        ):
            variants[order] = lambda h, rows=rows: code_hash(h.transform(rows))
        for what, variant in variants.items():
            found.compare(f"{name} {what}", variant(hasher), expected[name])
        for n_threads in (1, 2):
            with threadpool_limits(n_threads):
                found.compare(f"{name} on {n_threads} threads", code_hash(hasher.transform(X)), expected[name])
                again = clone(hasher).fit(*_train())
                found.compare(f"{name} fitted on {n_threads} threads", code_hash(again.transform(X)), expected[name])
        with ThreadPoolExecutor(8) as pool:
            for parallel in pool.map(lambda _, h=hasher: code_hash(h.transform(X)), range(8)):
                found.compare(f"{name} by 8 callers at once", parallel, expected[name])
        X_train, y_train = _train()
        again = clone(hasher).fit(np.asfortranarray(X_train), y_train)
        found.compare(f"{name} fitted column by column", code_hash(again.transform(X)), expected[name])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "hasher.skhash")
            skhash.save(hasher, path)
            found.compare(f"{name} from a file", code_hash(skhash.load(path).transform(X)), expected[name])
    for seed, n_threads in (("0", "1"), ("1", "2")):
        printed = subprocess.run(
            [sys.executable, __file__, *names],
            env={**_environment(), "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": n_threads},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name, hashed in zip(names, printed.split(), strict=True):
            found.compare(f"{name} in a process of its own, {n_threads} threads", hashed, expected[name])
    return found


def _environment():
    folder = str(Path(skhash.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])}


def exactness():
    """Compare every way to search with a naive search, ties included.

    Returns
    -------
    agreement : Agreement
        One comparison a query.
    """
    found, rng = Agreement(), np.random.default_rng(0)
    for n_bytes, n_codes, is_tied in itertools.product((1, 8, 13), (1, 300, 5000), (False, True)):
        if is_tied:
            # A few codes again and again, which differ in few bits.
            pool = rng.integers(256, size=(1, n_bytes), dtype=np.uint8) ^ (
                1 << rng.integers(8, size=(20, n_bytes))
            ).astype(np.uint8)
            codes = pool[rng.integers(len(pool), size=n_codes)]
        else:
            codes = rng.integers(256, size=(n_codes, n_bytes), dtype=np.uint8)
        queries = np.concatenate([codes[:5], rng.integers(256, size=(6, n_bytes), dtype=np.uint8)])
        ids = rng.permutation(3 * n_codes)[:n_codes]
        k, radius = min(n_codes, 20), 8 * n_bytes // 3
        everything = np.bitwise_count(queries[:, None] ^ codes).sum(axis=2, dtype=np.int32)
        order = np.argsort(everything, axis=1, kind="stable")
        for search in _searches(codes, ids):
            what = f"{n_codes} codes of {n_bytes} bytes, {search}"
            distances, neighbors = search.kneighbors(queries, k)
            within, ids_within = search.radius_neighbors(queries, radius)
            for query in range(len(queries)):
                nearest = order[query, :k]
                expected = everything[query, nearest].tolist(), ids[nearest].tolist()
                found.compare(f"k, {what}", (distances[query].tolist(), neighbors[query].tolist()), expected)
                near = order[query][everything[query, order[query]] <= radius]
                expected = everything[query, near].tolist(), ids[near].tolist()
                found.compare(f"radius, {what}", (within[query].tolist(), ids_within[query].tolist()), expected)
    return found


def _searches(codes, ids):
    """Make a search of each kind, one of a mapped file among them."""
    for algorithm, n_jobs in itertools.product(("auto", "brute", "mih"), (1, 2)):
        yield HammingNearestNeighbors(algorithm=algorithm, n_jobs=n_jobs).fit(codes, ids=ids)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index.skhash")
        half = len(codes) // 2 or 1
        search = HammingNearestNeighbors().fit(codes[:half], ids=ids[:half])
        if half < len(codes):
            search.add(codes[half:], ids=ids[half:])
        skhash.save(search, path)
        yield skhash.load(path)
        yield skhash.load(path, mmap=True)


if __name__ == "__main__":
    for _name in sys.argv[1:]:
        print(code_hash(make_hasher(_name).fit(*_train()).transform(_rows())))
