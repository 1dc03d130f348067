"""Exact Hamming search beside indexes of other libraries, approximate ones with their recall.

    OMP_WAIT_POLICY=passive python benchmarks/search_rivals.py [--threads 1] [--rounds 3] [--quick] [--large]
        [--case 64x1e6 ...] [--kind clustered] [--rival "faiss BinaryIVF" ...] [--output FILE.json] [--table FILE.rst]

Needs faiss-cpu and usearch. Prints a row for every setting: the recall, the time of a query in a batch and alone, the
ratio of both to the exhaustive search of `HammingNearestNeighbors` (above 1 we are faster), the seconds the index took
to build on all cores, and the private bytes it holds for a code, measured; `said` is what the library itself tells, of
the index in memory (usearch) or of its file (faiss).

Recall counts by distance: a neighbour is right when it is no farther than the true k-th one, whichever of equals it is.
Distances are computed again from the ids. Every rival takes turns with our search on the same queries and threads.

No rival is given bad settings. Each is swept from the least effort up, until its recall is .9995 or it takes longer
than twice the exhaustive search of faiss. Where a library has two ways to select the nearest (faiss' `use_heap`), the
better one counts, by counting in batches of 64, with which it is fastest. faiss BinaryIVF has about sqrt(N) lists, and
four times as many; graphs have the degrees that their libraries recommend; BinaryMultiHash has as many substrings as
fit. The exact rivals stand in the same table: faiss' and usearch's exhaustive searches, NumPy, which has one thread
always, and scikit-learn on unpacked bits, at 10,000 codes.
"""

import gc
import math
import os
import time
from functools import partial

import faiss
import numpy as np
from _search import (
    KINDS,
    N_NEIGHBORS,
    accepted_algorithms,
    case,
    compile_loops,
    list_table,
    make_codes,
    medians,
    print_machine,
    refuse_too_large,
    search_parser,
    settled_memory,
    write_results,
)
from sklearn.neighbors import NearestNeighbors
from usearch.index import Index, MetricKind, ScalarKind
from usearch.index import search as usearch_search

from skhash import HammingNearestNeighbors

N_QUERIES, N_QUERIES_OF_SLOW, N_QUERIES_ALONE, N_TRIAL_QUERIES = 1000, 16, 20, 32
ENOUGH_RECALL, RECALL_OF_TABLE = 0.9995, 0.95
SLOWEST_OF_FAISS_FLAT = 2
SECONDS_PER_GROUP = 30
CASES = [(n_bits, n_codes) for n_bits in (64, 128) for n_codes in (10**4, 10**5, 10**6)]
LARGE_CASES = [(64, 10**7), (128, 10**7)]
QUICK_CASES = [(64, 10**4), (64, 2 * 10**4)]
FEWEST_CODES_OF_APPROXIMATE = 2 * 10**4
MOST_CODES_OF_SKLEARN = 10**4
# Building a graph of a million codes takes minutes, so only small ones come in two degrees.
MOST_CODES_OF_TWO_DEGREES = 10**5
N_BUILD_THREADS = os.cpu_count()

HEADER = (
    f"{'bits':>5}{'codes':>11}{'kind':>10}{'k':>5}  {'rival':<22}{'index':<20}{'search':<22}{'recall':>7}"
    f"{'batch us':>12}{'ratio':>8}{'alone us':>12}{'ratio':>8}{'build s':>9}{'bytes':>7}{'said':>7}"
)


class Rival:
    """An index: how it is built, what it can be asked to spend on a search, and the ids it finds."""

    exact = True
    n_queries = N_QUERIES
    built_with = ""

    def efforts(self, n_neighbors):
        """Labels and settings from the least effort up; of the settings under one label the fastest counts."""
        return [("", [{}])]

    def said_bytes(self):
        return None


class Ours(Rival):
    """This package's search."""

    def __init__(self, algorithm):
        self.name = f"skhash {algorithm}"
        self.algorithm = algorithm

    def build(self, codes):
        self.neighbors = HammingNearestNeighbors().set_params(algorithm=self.algorithm).fit(codes)
        # The index may be made by the first search.
        self.neighbors.kneighbors(codes[:N_TRIAL_QUERIES], 1)

    def search(self, queries, n_neighbors, n_threads):
        return self.neighbors.set_params(n_jobs=n_threads).kneighbors(queries, n_neighbors, return_distance=False)


class FaissRival(Rival):
    """What the binary indexes of faiss have in common."""

    def build(self, codes):
        faiss.omp_set_num_threads(N_BUILD_THREADS)
        self.index = self.make(8 * codes.shape[1])
        self.train(codes)
        self.index.add(codes)

    def train(self, codes):
        """Only inverted lists are trained."""

    def search(self, queries, n_neighbors, n_threads, **settings):
        faiss.omp_set_num_threads(n_threads)
        for name, value in settings.items():
            owner = self.index.hnsw if name == "efSearch" else self.index
            setattr(owner, name, value)
        return self.index.search(queries, n_neighbors)[1]

    def said_bytes(self):
        return faiss.serialize_index_binary(self.index).nbytes


class FaissFlat(FaissRival):
    """Exhaustive search, by a heap or by counting."""

    name = "faiss BinaryFlat"
    n_queries = 64

    def make(self, n_bits):
        return faiss.IndexBinaryFlat(n_bits)

    def efforts(self, n_neighbors):
        return [("", [{"use_heap": True}, {"use_heap": False}])]


class FaissIVF(FaissRival):
    """Codes in lists by their nearest centre, of which a search looks through the nearest lists."""

    name = "faiss BinaryIVF"
    exact = False
    codes_per_list_in_training = 64
    # Selection by counting prepares room for k neighbours at every distance and query, so large batches slow it down.
    most_queries_of_counting = 64

    def __init__(self, n_lists):
        self.n_lists = n_lists
        self.built_with = f"nlist={n_lists}"

    def make(self, n_bits):
        self.quantizer = faiss.IndexBinaryFlat(n_bits)
        return faiss.IndexBinaryIVF(self.quantizer, n_bits, self.n_lists)

    def train(self, codes):
        # The codes come in random order, so the first ones are a sample.
        self.index.train(codes[: self.codes_per_list_in_training * self.n_lists])
        # Selection by counting takes the default, 0 for no limit, as a limit (github.com/facebookresearch/faiss, 5555).
        self.index.max_codes = len(codes)

    def efforts(self, n_neighbors):
        probes = [2**power for power in range(10) if 2**power <= self.n_lists // 4]
        return [(f"nprobe={n}", [{"nprobe": n, "use_heap": heap} for heap in (True, False)]) for n in probes]

    def search(self, queries, n_neighbors, n_threads, **settings):
        size = len(queries) if settings["use_heap"] else self.most_queries_of_counting
        found = []
        for start in range(0, len(queries), size):
            found.append(super().search(queries[start : start + size], n_neighbors, n_threads, **settings))
        return np.concatenate(found)


class FaissHNSW(FaissRival):
    """A graph of near codes in layers, which a search walks along."""

    name = "faiss BinaryHNSW"
    exact = False
    ef_construction = 64

    def __init__(self, degree):
        self.degree = degree
        self.built_with = f"M={degree}, efC={self.ef_construction}"

    def make(self, n_bits):
        index = faiss.IndexBinaryHNSW(n_bits, self.degree)
        index.hnsw.efConstruction = self.ef_construction
        return index

    def efforts(self, n_neighbors):
        return [(f"efSearch={ef}", [{"efSearch": ef}]) for ef in graph_efforts(n_neighbors)]


class FaissMultiHash(FaissRival):
    """Tables of parts of the codes, in which a search flips some bits."""

    name = "faiss BinaryMultiHash"
    exact = False

    def __init__(self, n_hashes, n_bits_of_hash):
        self.n_hashes, self.n_bits_of_hash = n_hashes, n_bits_of_hash
        self.built_with = f"nhash={n_hashes}, b={n_bits_of_hash}"

    def make(self, n_bits):
        return faiss.IndexBinaryMultiHash(n_bits, self.n_hashes, self.n_bits_of_hash)

    def efforts(self, n_neighbors):
        return [(f"nflip={n}", [{"nflip": n}]) for n in range(6)]


class UsearchExact(Rival):
    """Exhaustive search of usearch."""

    name = "usearch exact"
    n_queries = N_QUERIES_OF_SLOW

    def build(self, codes):
        self.codes = codes

    def search(self, queries, n_neighbors, n_threads):
        found = usearch_search(
            self.codes,
            queries,
            n_neighbors,
            MetricKind.Hamming,
            exact=True,
            threads=n_threads,
            dtype=ScalarKind.B1,
        )
        return ids_of_usearch(found, len(queries), n_neighbors)


class UsearchHNSW(Rival):
    """The graph of usearch."""

    name = "usearch HNSW"
    exact = False
    expansion_add = 64

    def __init__(self, degree):
        self.degree = degree
        self.built_with = f"M={degree}, efC={self.expansion_add}"

    def build(self, codes):
        self.index = Index(
            ndim=8 * codes.shape[1],
            metric=MetricKind.Hamming,
            dtype=ScalarKind.B1,
            connectivity=self.degree,
            expansion_add=self.expansion_add,
        )
        self.index.add(np.arange(len(codes)), codes, threads=N_BUILD_THREADS)

    def efforts(self, n_neighbors):
        return [(f"expansion={ef}", [{"expansion": ef}]) for ef in graph_efforts(n_neighbors)]

    def search(self, queries, n_neighbors, n_threads, expansion):
        self.index.expansion_search = expansion
        return ids_of_usearch(self.index.search(queries, n_neighbors, threads=n_threads), len(queries), n_neighbors)

    def said_bytes(self):
        return self.index.memory_usage


class SklearnBrute(Rival):
    """Unpacked bits as float32, the fastest of the dtypes that scikit-learn takes for this metric."""

    name = "scikit-learn brute"
    n_queries = 64

    def build(self, codes):
        bits = np.unpackbits(codes, axis=1).astype(np.float32)
        self.neighbors = NearestNeighbors(algorithm="brute", metric="hamming").fit(bits)

    def search(self, queries, n_neighbors, n_threads):
        bits = np.unpackbits(queries, axis=1).astype(np.float32)
        return self.neighbors.set_params(n_jobs=n_threads).kneighbors(bits, n_neighbors, return_distance=False)


class NumPyScan(Rival):
    """Population counts of words of 64 bits; distances fit into a byte up to 255 bits."""

    name = "NumPy"
    n_queries = N_QUERIES_OF_SLOW

    def build(self, codes):
        self.words = np.ascontiguousarray(codes.view(np.uint64).T)

    def search(self, queries, n_neighbors, n_threads):
        ids = np.empty((len(queries), n_neighbors), dtype=np.int64)
        for query, words in enumerate(np.ascontiguousarray(queries).view(np.uint64)):
            distances = np.bitwise_count(self.words[0] ^ words[0])
            for of_codes, of_query in zip(self.words[1:], words[1:], strict=True):
                distances += np.bitwise_count(of_codes ^ of_query)
            nearest = np.argpartition(distances, n_neighbors - 1)[:n_neighbors]
            ids[query] = nearest[np.argsort(distances[nearest], kind="stable")]
        return ids


def graph_efforts(n_neighbors):
    return [max(16, n_neighbors) * 2**power for power in range(7)]


def ids_of_usearch(found, n_queries, n_neighbors):
    """Ids, -1 where fewer were found; usearch gives a single query what was found and no count."""
    ids = found.keys.astype(np.int64).reshape(n_queries, -1)
    missing = np.arange(ids.shape[1]) >= np.reshape(getattr(found, "counts", ids.shape[1]), (-1, 1))
    ids[missing] = -1
    return np.pad(ids, ((0, 0), (0, n_neighbors - ids.shape[1])), constant_values=-1)


def rivals_for(n_bits, n_codes):
    if "mih" in accepted_algorithms():
        yield Ours("mih")
    yield from (FaissFlat(), UsearchExact(), NumPyScan())
    if n_codes <= MOST_CODES_OF_SKLEARN:
        yield SklearnBrute()
    if n_codes < FEWEST_CODES_OF_APPROXIMATE:
        return
    n_lists = 2 ** round(math.log2(math.sqrt(n_codes)))
    yield from (FaissIVF(n_lists), FaissIVF(4 * n_lists))
    yield from (FaissMultiHash(n_bits // width, width) for width in (16, 20, 24))
    two_degrees = n_codes <= MOST_CODES_OF_TWO_DEGREES
    yield from (FaissHNSW(degree) for degree in ((16, 32) if two_degrees else (32,)))
    yield from (UsearchHNSW(degree) for degree in ((16, 32) if two_degrees else (16,)))


def recall_of(ids, queries, database, kth_distances):
    """Share of the k places that hold a code no farther than the k-th nearest, each code counted once."""
    found = np.bitwise_count(database[ids] ^ queries[:, None]).sum(axis=2, dtype=np.int64)
    right = (ids >= 0) & (found <= kth_distances[:, None])
    n_right = sum(len(np.unique(row[mask])) for row, mask in zip(ids, right, strict=True))
    return n_right / ids.size


def settings_worth_timing(rival, queries, database, kth_distances, n_neighbors, n_threads, slowest):
    """Sweep the efforts of a rival; return (label, settings, recall) of each."""
    kept = []
    queries, kth_distances = queries[: rival.n_queries], kth_distances[: rival.n_queries]
    for label, settings in rival.efforts(n_neighbors):
        trial = queries[:N_TRIAL_QUERIES]
        rival.search(trial[:1], n_neighbors, n_threads, **settings[0])
        start = time.perf_counter()
        rival.search(trial, n_neighbors, n_threads, **settings[0])
        is_slow = not rival.exact and (time.perf_counter() - start) / len(trial) > slowest
        if is_slow and kept:
            break
        # All settings under a label should find neighbours at the same distances; the worst one's recall counts.
        recall = min(
            recall_of(rival.search(queries, n_neighbors, n_threads, **setting), queries, database, kth_distances)
            for setting in settings
        )
        if rival.exact and recall < 1:
            raise RuntimeError(f"{rival.name} is exact, but its recall is {recall}.")
        kept.append((label, settings, recall))
        if is_slow or recall >= ENOUGH_RECALL:
            break
    return kept


def one_by_one(search, queries, *arguments, **settings):
    for query in range(len(queries)):
        search(queries[query : query + 1], *arguments, **settings)


def time_settings(rival, reference, kept, queries, n_neighbors, n_threads, n_rounds):
    """Seconds of a query of our search and of each setting, in a batch and alone; all take turns."""
    seconds = {}
    for way, size in (("batch", rival.n_queries), ("alone", min(N_QUERIES_ALONE, rival.n_queries))):
        batch = queries[:size]
        runs = {("skhash brute", 0): (reference, {})}
        for label, settings, _ in kept:
            runs |= {(label, number): (rival, setting) for number, setting in enumerate(settings)}
        for name, (index, setting) in runs.items():
            function = index.search if way == "batch" else partial(one_by_one, index.search)
            runs[name] = partial(function, batch, n_neighbors, n_threads, **setting)
        for (label, _), value in medians(runs, n_rounds, SECONDS_PER_GROUP).items():
            seconds.setdefault(label, {}).setdefault(way, []).append(value / size)
    return {label: {way: min(values) for way, values in of_label.items()} for label, of_label in seconds.items()}


def build(rival, codes):
    """Build an index; return seconds, private bytes a code, and the bytes a code that the library tells of."""
    before = settled_memory()
    start = time.perf_counter()
    rival.build(codes)
    seconds = time.perf_counter() - start
    held = settled_memory() - before
    said = rival.said_bytes()
    return {
        "build_seconds": seconds,
        "bytes_per_code": held / len(codes),
        "said_bytes_per_code": None if said is None else said / len(codes),
    }


def seconds_of_faiss_flat(database, queries, n_neighbors, n_threads):
    """Seconds of a query, the limit of what is worth timing, and the distances of the k-th neighbours."""
    flat = FaissFlat()
    flat.build(database)
    times = []
    for use_heap in (True, False):
        start = time.perf_counter()
        ids = flat.search(queries, n_neighbors, n_threads, use_heap=use_heap)
        times.append((time.perf_counter() - start) / len(queries))
    return min(times), np.bitwise_count(database[ids[:, -1]] ^ queries).sum(axis=1, dtype=np.int64)


def run_case(n_bits, n_codes, kind, wanted, n_threads, n_rounds):
    """Time one rival after the other, each beside our exhaustive search; yield rows."""
    rivals = [rival for rival in rivals_for(n_bits, n_codes) if not wanted or rival.name in wanted]
    if not rivals:
        return
    database, queries = make_codes(n_codes, n_bits, kind, 1), make_codes(N_QUERIES, n_bits, kind, 2)
    reference = Ours("brute")
    facts = {"bits": n_bits, "codes": n_codes, "kind": kind}
    built = build(reference, database)
    kth_distances, slowest = {}, {}
    for k in N_NEIGHBORS:
        kth_distances[k] = reference.neighbors.kneighbors(queries, k)[0][:, -1]
        some = queries[: FaissFlat.n_queries]
        seconds, expected = seconds_of_faiss_flat(database, some, k, n_threads)
        np.testing.assert_array_equal(kth_distances[k][: len(some)], expected)
        slowest[k] = SLOWEST_OF_FAISS_FLAT * seconds

    ours = {**facts, "rival": reference.name, "index": "", "search": "", **built, "recall": 1.0}
    while rivals:
        # Its index goes before the next one is built.
        rival = rivals.pop(0)
        built = build(rival, database)
        for k in N_NEIGHBORS:
            kept = settings_worth_timing(rival, queries, database, kth_distances[k], k, n_threads, slowest[k])
            seconds = time_settings(rival, reference, kept, queries, k, n_threads, n_rounds)
            of_ours = seconds["skhash brute"]
            if rival.name == FaissFlat.name:
                yield {**ours, "k": k, "seconds": of_ours, "ratio": {"batch": 1.0, "alone": 1.0}}
            for label, _, recall in kept:
                yield {
                    **facts,
                    "k": k,
                    "rival": rival.name,
                    "index": rival.built_with,
                    "search": label,
                    **built,
                    "recall": recall,
                    "seconds": seconds[label],
                    "ratio": {way: seconds[label][way] / of_ours[way] for way in of_ours},
                }
        del rival
        gc.collect()


def print_row(row):
    said = "" if row["said_bytes_per_code"] is None else f"{row['said_bytes_per_code']:.0f}"
    print(
        f"{row['bits']:>5}{row['codes']:>11,}{row['kind']:>10}{row['k']:>5}  "
        f"{row['rival']:<22}{row['index']:<20}{row['search']:<22}{row['recall']:>7.4f}"
        f"{row['seconds']['batch'] * 1e6:>12,.1f}{row['ratio']['batch']:>8.1f}"
        f"{row['seconds']['alone'] * 1e6:>12,.1f}{row['ratio']['alone']:>8.1f}"
        f"{row['build_seconds']:>9.1f}{row['bytes_per_code']:>7.0f}{said:>7}",
        flush=True,
    )


def best_setting(rows):
    """The fastest setting of enough recall, or that of the most recall where none has enough."""
    enough = [row for row in rows if row["recall"] >= RECALL_OF_TABLE]
    if enough:
        return min(enough, key=lambda row: row["seconds"]["batch"])
    return max(rows, key=lambda row: row["recall"])


def table_of(rows):
    """A line for each database and rival, of its best setting: ratios and recall, bytes, build time."""
    headers = [
        ["", "", "", "", "k = 10", "", "", "k = 100", "", "", "", ""],
        [
            "bits", "codes", "kind", "rival", "batch", "alone", "recall", "batch", "alone", "recall", "bytes a code",
            "build",
        ],
    ]  # fmt: skip
    groups = {}
    for row in rows:
        name = (str(row["bits"]), f"{row['codes']:,}", row["kind"], row["rival"])
        groups.setdefault(name, {}).setdefault(row["k"], []).append(row)
    lines = []
    for name, by_k in groups.items():
        best = {k: best_setting(by_k[k]) for k in (10, 100)}
        cells = []
        for row in best.values():
            cells += [f"{row['ratio']['batch']:.2g}", f"{row['ratio']['alone']:.2g}", f"{row['recall']:.3f}"]
        cells += [f"{best[10]['bytes_per_code']:.0f}", f"{best[10]['build_seconds']:.1f} s"]
        lines.append([*name, *cells])
    return list_table(headers, lines, [6, 12, 11, 20, *[8] * 6, 9, 9])


def main():
    parser = search_parser(__doc__, n_rounds=3, quick="64 bits, up to 20,000 codes only")
    parser.add_argument("--large", action="store_true", help="10,000,000 codes as well; hours")
    parser.add_argument("--case", type=case, action="append", help="BITSxCODES to run instead; may be repeated")
    parser.add_argument("--kind", choices=KINDS, action="append", help="kind of codes; may be repeated (default: all)")
    parser.add_argument("--rival", action="append", help="name of a rival to time alone; may be repeated")
    options = parser.parse_args()
    cases = options.case or (QUICK_CASES if options.quick else CASES + LARGE_CASES * options.large)
    for n_bits, n_codes in cases:
        if n_bits not in (64, 128):
            parser.error(f"--case {n_bits}x{n_codes}: the rivals are set up for 64 and 128 bits.")
        # The largest index is a graph of some 400 bytes a code, while it grows twice that.
        refuse_too_large(f"{n_bits}x{n_codes}", n_codes * (6 * n_bits // 8 + 800))
    known = dict.fromkeys(rival.name for n_bits, n_codes in cases for rival in rivals_for(n_bits, n_codes))
    for name in options.rival or ():
        if name not in known:
            parser.error(f"--rival {name!r}: at these sizes there are {', '.join(known)}.")

    print_machine(options.threads)
    print(HEADER)
    rows = []
    for n_bits, n_codes in cases:
        compile_loops(n_bits, options.threads)
        for kind in options.kind or KINDS:
            for row in run_case(n_bits, n_codes, kind, options.rival, options.threads, options.rounds):
                print_row(row)
                rows.append(row)
    write_results(options, rows, table_of(rows))


if __name__ == "__main__":
    main()
