"""What is left of files whose writer was killed, or whose disk was full, and what readers see meanwhile.

Each function tries a fault `n` times and returns a `Tally` for each way of writing a file. POSIX only. Writers are
forked from a process that has everything imported, so that a try takes some hundredths of a second.
"""

import contextlib
import itertools
import os
import resource
import signal
import struct
import subprocess
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import numpy as np

import skhash
from skhash import HammingNearestNeighbors
from skhash.persistence import SavedIndex

N_BYTES = 8
# Versions of a file that follow one another, so that an old one is told from a new one.
N_VERSIONS = 4
# 8 MB, as long as a few kills take.
N_CODES = 2**20
N_CODES_ON_SMALL_DISK = 2**15
# A growing index has as many blocks of codes; one is added at its end, then one removed at its start.
N_BLOCKS, BLOCK_CODES = 300, 3
OPERATIONS_PER_COMPACTION = 40


@dataclass
class Tally:
    """Outcomes of a fault.

    Attributes
    ----------
    tried : int
        Faults, or reads during writes.

    struck : int
        Those that hit: all kills, the calls that failed on a full disk, and the reads that found a later state than
        the read before.

    lost : int
        Files that could not be read, or had lost what was acknowledged.

    wrong : int
        Files that were read without an error and held neither what they had held nor what was being written.

    left_behind : int
        Further files that were found beside them.

    left_for_good : int
        Those of them that the next writer of the same file did not remove.
    """

    tried: int = 0
    struck: int = 0
    lost: int = 0
    wrong: int = 0
    left_behind: int = 0
    left_for_good: int = 0


class SkhashFile:
    """`skhash.save` of a search."""

    name = "skhash.save"

    def prepare(self, codes):
        return HammingNearestNeighbors().fit(codes)

    def save(self, prepared, path):
        skhash.save(prepared, path)

    def load(self, path):
        return skhash.load(path).codes_


class JoblibFile(SkhashFile):
    """`joblib.dump` of the same search."""

    name = "joblib.dump"

    def save(self, prepared, path):
        joblib.dump(prepared, path)

    def load(self, path):
        return joblib.load(path).codes_


class NumpyFile:
    """`np.save` of the codes."""

    name = "np.save"

    def prepare(self, codes):
        return codes

    def save(self, prepared, path):
        # A name without the suffix is given one.
        with open(path, "wb") as file:
            np.save(file, prepared)

    def load(self, path):
        return np.load(path)


class FaissFile:
    """`faiss.write_index_binary` of a flat index."""

    name = "faiss.write_index_binary"

    def __init__(self):
        import faiss

        self._faiss = faiss

    def prepare(self, codes):
        index = self._faiss.IndexBinaryFlat(8 * codes.shape[1])
        index.add(codes)
        return index

    def save(self, prepared, path):
        self._faiss.write_index_binary(prepared, os.fspath(path))

    def load(self, path):
        index = self._faiss.read_index_binary(os.fspath(path))
        return self._faiss.vector_to_array(index.xb).reshape(index.ntotal, -1)


def ways_to_write():
    """Make one of each way to write a file; faiss only where it is installed."""
    ways = [SkhashFile(), NumpyFile(), JoblibFile()]
    with contextlib.suppress(ImportError):
        ways.append(FaissFile())
    return ways


def sigkill_during_save(n, *, n_others=None, folder=None, random_state=0):
    """Kill processes while they save a file of 8 MB over an older one, again and again.

    Parameters
    ----------
    n : int
        Number of kills of `skhash.save`.

    n_others : int, default=None
        Number of kills of each other way of writing; as many by default.

    folder : path, default=None
        Where to write; a new folder of the system's for temporary files by default.

    random_state : int, default=0
        Seed of the moments.

    Returns
    -------
    tallies : dict of str to Tally
        By way of writing.
    """
    rng = np.random.default_rng(random_state)
    versions = [rng.integers(256, size=(N_CODES, N_BYTES), dtype=np.uint8) for _ in range(N_VERSIONS)]
    tallies = {}
    for way in ways_to_write():
        prepared = [way.prepare(codes) for codes in versions]
        tally = tallies[way.name] = Tally()
        with tempfile.TemporaryDirectory(dir=folder) as own:
            path = Path(own, "file")
            way.save(prepared[0], path)
            start = time.perf_counter()
            way.save(prepared[0], path)
            seconds = time.perf_counter() - start
            n_saved = 0
            for _ in range(_n_of(way, n, n_others)):
                n_acknowledged = _killed(
                    partial(_save_for_ever, way, prepared, path, n_saved), rng.uniform(0, 3 * seconds)
                )
                tally.tried += 1
                n_saved += n_acknowledged
                # A writer that was killed before it had begun leaves the version that was there.
                expected = [versions[(n_saved + ahead) % N_VERSIONS] for ahead in (0, 1)]
                if not _count_file(tally, way, path, expected):
                    n_saved = 0
                elif _holds(way, path, expected[1]):
                    # Complete, but killed before it could say so.
                    n_saved += 1
                tally.left_behind += len(_others(own, path))
                way.save(prepared[n_saved % N_VERSIONS], path)
                tally.left_for_good += _remove_others(own, path)
        tally.struck = tally.tried
    return tallies


def _n_of(way, n, n_others):
    return n if n_others is None or type(way) is SkhashFile else n_others


def _save_for_ever(way, prepared, path, first, report):
    for version in itertools.count(first + 1):
        way.save(prepared[version % N_VERSIONS], path)
        report()


def _count_file(tally, way, path, expected):
    """Count a file that is none of those expected; return whether it was one of them."""
    try:
        found = way.load(path)
    except Exception:
        tally.lost += 1
        return False
    if not any(np.array_equal(found, codes) for codes in expected):
        tally.wrong += 1
        return False
    return True


def _holds(way, path, codes):
    return np.array_equal(way.load(path), codes)


def _others(folder, path):
    """Name the files that are neither a file nor the log and the lock of a growing one."""
    return set(os.listdir(folder)) - {path.name, f"{path.name}.log", f"{path.name}.lock"}


def _remove_others(folder, path):
    others = _others(folder, path)
    for other in others:
        os.unlink(os.path.join(folder, other))
    return len(others)


def sigkill_during_append(n, *, folder=None, random_state=0):
    """Kill processes while they add to, remove from and compact a saved index, over and over the same one.

    Parameters
    ----------
    n : int
        Number of kills.

    folder : path, default=None
        Where to write.

    random_state : int, default=0
        Seed of the moments.

    Returns
    -------
    tallies : dict of str to Tally
        Of `SavedIndex` alone: the others have no files that grow.
    """
    rng, tally = np.random.default_rng(random_state), Tally()
    with tempfile.TemporaryDirectory(dir=folder) as own:
        path = Path(own, "index.skhash")
        skhash.save(_growing_search(0), path)
        n_done = 0
        for _ in range(n):
            n_acknowledged = n_done + _killed(partial(_grow_for_ever, path, n_done), rng.uniform(0, 0.1))
            tally.tried += 1
            try:
                found = skhash.load(path)
            except Exception:
                tally.lost += 1
                found = None
            candidates = (n_acknowledged, n_acknowledged + 1)
            matching = [number for number in candidates if found is not None and _is_state(found, number)]
            if matching:
                n_done = matching[0]
            else:
                if found is not None:
                    place = found._n_added, found.n_samples_fit_
                    expected = _growing_search(n_acknowledged)
                    is_older = place < (expected._n_added, expected.n_samples_fit_)
                    tally.lost += is_older
                    tally.wrong += not is_older
                n_done = 0
                path.with_name(f"{path.name}.log").unlink(missing_ok=True)
                skhash.save(_growing_search(0), path)
            tally.left_behind += len(_others(own, path))
            n_done = _write_all_files(path, n_done)
            tally.left_for_good += _remove_others(own, path)
    tally.struck = tally.tried
    return {"skhash SavedIndex": tally}


def _grow_for_ever(path, first, report):
    with SavedIndex(path) as index:
        for number in itertools.count(first):
            _grow(index, number)
            report()
            if number % OPERATIONS_PER_COMPACTION == 0:
                index.compact()


def _write_all_files(path, n_done):
    """Write the file and its log anew; return the number of operations after it."""
    with SavedIndex(path) as index:
        _grow(index, n_done)
        _grow(index.compact(), n_done + 1)
    return n_done + 2


def _grow(index, number):
    """Do the operation of a number: every other one adds a block at the end or removes one from the start."""
    place, removes = divmod(number, 2)
    ids = _ids_of_blocks(place, place + 1) if removes else _ids_of_blocks(N_BLOCKS + place, N_BLOCKS + place + 1)
    if removes:
        index.remove(ids)
    else:
        index.add(_codes_of(ids), ids % 7, ids=ids)


def _ids_of_blocks(first, stop):
    return np.arange(BLOCK_CODES * first, BLOCK_CODES * stop)


def _ids_after(n_operations):
    n_removed, is_odd = divmod(n_operations, 2)
    return _ids_of_blocks(n_removed, N_BLOCKS + n_removed + is_odd)


def _codes_of(ids):
    """Make codes that differ from id to id in a way that can be computed again."""
    mixed = (ids.astype(np.uint64) + 1) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return (mixed * np.uint64(0xBF58476D1CE4E5B9)).view(np.uint8).reshape(-1, N_BYTES)


def _growing_search(n_operations):
    ids = _ids_after(n_operations)
    return HammingNearestNeighbors(n_neighbors=5).fit(_codes_of(ids), ids % 7, ids=ids)


def _is_state(search, n_operations):
    ids = _ids_after(n_operations)
    return (
        np.array_equal(search.ids_, ids)
        and np.array_equal(search.codes_, _codes_of(ids))
        and np.array_equal(search.labels_, ids % 7)
    )


def _fork(function):
    """Run a function in a process that ends with it."""
    with warnings.catch_warnings():
        # Threads of linear algebra are idle.
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return child


def _killed(function, seconds):
    """Run a function in another process, kill it after some time, and count what it reported."""
    receiver, sender = os.pipe()
    child = _fork(lambda: function(lambda: os.write(sender, b"x")))
    os.close(sender)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(receiver, "rb") as file:
        return len(file.read())


def full_disk(n, *, n_others=None, random_state=0):
    """Let the disk run full while a file is replaced by a larger one, and while an index grows.

    The disk is a file system in memory of a few megabytes, filled up to a random rest; mounting it needs to be root.
    Elsewhere RLIMIT_FSIZE limits the size of the files instead, at which writes fail after a part, too.

    Parameters
    ----------
    n : int
        Number of tries for `skhash.save`, and of failed calls for `SavedIndex`.

    n_others : int, default=None
        Number of tries for each other way of writing; as many by default.

    random_state : int, default=0
        Seed of the room that is left.

    Returns
    -------
    tallies : dict of str to Tally
        By way of writing.
    """
    rng = np.random.default_rng(random_state)
    old, new = (rng.integers(256, size=(factor * N_CODES_ON_SMALL_DISK, N_BYTES), dtype=np.uint8) for factor in (1, 2))
    tallies = {}
    with _small_disk(8 * new.nbytes) as (folder, little_room):
        for way in ways_to_write():
            prepared, tally = [way.prepare(codes) for codes in (old, new)], Tally()
            path = folder / "file"
            way.save(prepared[0], path)
            for _ in range(_n_of(way, n, n_others)):
                tally.tried += 1
                # The larger file takes twice as much.
                with little_room(int(rng.integers(0, 3 * old.nbytes // 4))):
                    try:
                        way.save(prepared[1], path)
                        expected = [new]
                    except Exception:
                        tally.struck += 1
                        expected = [old]
                    is_found = _count_file(tally, way, path, expected)
                if not is_found:
                    path.unlink(missing_ok=True)
                tally.left_behind += len(_others(folder, path))
                way.save(prepared[0], path)
                tally.left_for_good += _remove_others(folder, path)
            tallies[way.name] = tally
            path.unlink(missing_ok=True)
        tallies["skhash SavedIndex"] = _grow_on_full_disk(n, folder / "index.skhash", little_room, rng)
    return tallies


def _grow_on_full_disk(n, path, little_room, rng):
    tally, n_done = Tally(), 0
    skhash.save(_growing_search(0), path)
    with SavedIndex(path, compact_at=None) as index:
        while tally.struck < n:
            with little_room(int(rng.integers(0, 2**13))):
                for _ in range(2000):
                    tally.tried += 1
                    try:
                        _grow(index, n_done)
                    except OSError:
                        tally.struck += 1
                        break
                    n_done += 1
                try:
                    tally.wrong += not (_is_state(skhash.load(path), n_done) and _is_state(index.snapshot(), n_done))
                except Exception:
                    tally.lost += 1
            tally.left_behind += len(_others(path.parent, path))
            index.compact()
            tally.left_for_good += _remove_others(path.parent, path)
    return tally


@contextlib.contextmanager
def _small_disk(n_bytes):
    """Give a folder on a small disk, and a function that leaves little room on it for a while."""
    with tempfile.TemporaryDirectory() as own:
        command = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", own]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            yield Path(own), _limited_files
            return
        try:
            yield Path(own), lambda room: _filled(own, room)
        finally:
            subprocess.run(["umount", own], check=True)


@contextlib.contextmanager
def _filled(folder, room):
    """Fill a disk up to some room."""
    path = os.path.join(folder, ".filler")
    status = os.statvfs(folder)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.posix_fallocate(descriptor, 0, max(1, status.f_bavail * status.f_frsize - room))
        yield
    finally:
        os.close(descriptor)
        os.unlink(path)


@contextlib.contextmanager
def _limited_files(room):
    """Limit the size of files, which fail with EFBIG beyond it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def readers_during_writes(seconds, n_threads=8, n_processes=8, *, folder=None):
    """Search an index on threads and in processes while another process adds, removes and compacts without a pause.

    Every answer is compared with a naive search of the state that it belongs to, which must be one that was
    acknowledged, and none before one that the same reader saw.

    Parameters
    ----------
    seconds : float
        How long.

    n_threads : int, default=8
        Threads of this process that read.

    n_processes : int, default=8
        Processes that read.

    folder : path, default=None
        Where to write.

    Returns
    -------
    tallies : dict of str to Tally
        By kind of reader; ``lost`` counts errors.
    """
    with tempfile.TemporaryDirectory(dir=folder) as own:
        path = Path(own, "index.skhash")
        skhash.save(_growing_search(0), path)
        stop = time.monotonic() + seconds
        receiver, sender = os.pipe()
        writer = _fork(lambda: _write_until(path, stop + 1))
        readers = [
            _fork(lambda number=number: _report(sender, _read_until(path, stop, number)))
            for number in range(n_processes)
        ]
        os.close(sender)
        of_threads = [Tally() for _ in range(n_threads)]

        def read(number):
            of_threads[number] = _read_until(path, stop, number)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with open(receiver, "rb") as file:
            reports = list(struct.iter_unpack("<6q", file.read()))
        statuses = [os.waitpid(child, 0)[1] for child in readers]
        is_writer_sound = os.waitpid(writer, 0)[1] == 0
    of_processes = [Tally(*report) for report in reports]
    total = {"threads": _sum(of_threads), "processes": _sum(of_processes)}
    # A reader or writer that broke down counts as one that lost.
    total["processes"].lost += sum(status != 0 for status in statuses) + (not is_writer_sound)
    return total


def _write_until(path, stop):
    with SavedIndex(path) as index:
        for number in itertools.count():
            if time.monotonic() > stop:
                return
            _grow(index, number)
            if number % OPERATIONS_PER_COMPACTION == 0:
                index.compact()


def _read_until(path, stop, number):
    """Read in one of three ways: with one index that is refreshed, with a new one each time, by `skhash.load`."""
    tally, last = Tally(), (0, 0)
    index = SavedIndex(path, mmap=number % 2 == 1)
    rng = np.random.default_rng(number)
    while time.monotonic() < stop:
        tally.tried += 1
        try:
            if number % 3 == 0:
                search = index.refresh().snapshot()
            elif number % 3 == 1:
                search = SavedIndex(path).snapshot()
            else:
                search = skhash.load(path, mmap=number % 2 == 1)
            queries = rng.integers(256, size=(2, N_BYTES), dtype=np.uint8)
            distances, ids = search.kneighbors(queries)
        except Exception:
            tally.lost += 1
            continue
        n_removed = int(search.ids_[0]) // BLOCK_CODES
        n_operations = 2 * n_removed + (search.n_samples_fit_ > BLOCK_CODES * N_BLOCKS)
        place = n_operations, search._n_added
        tally.wrong += not (_is_state(search, n_operations) and place[0] >= last[0])
        tally.struck += place[0] > last[0]
        last = place
        all_ids = _ids_after(n_operations)
        everything = np.bitwise_count(queries[:, None] ^ _codes_of(all_ids)).sum(axis=2)
        nearest = np.argsort(everything, axis=1, kind="stable")[:, :5]
        is_right = np.array_equal(ids, all_ids[nearest])
        is_right &= np.array_equal(distances, np.take_along_axis(everything, nearest, axis=1))
        tally.wrong += not is_right
    return tally


def _report(descriptor, tally):
    os.write(descriptor, struct.pack("<6q", *vars(tally).values()))


def _sum(tallies):
    return Tally(*(sum(values) for values in zip(*(vars(tally).values() for tally in tallies), strict=True)))
