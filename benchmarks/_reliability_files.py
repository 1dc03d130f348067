"""Damaged and hostile files: what loading them leads to, for each kind of file and each fault.

Each try damages a sound file in one way, writes it, and opens it in each way there is. Tries run in forked processes
with a limit on memory and on time, so that one that brings the process down is counted, and the rest goes on.
"""

import faulthandler
import json
import mmap
import os
import re
import resource
import signal
import struct
import sys
import tempfile
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
from sklearn.preprocessing import StandardScaler

import skhash
from skhash import ITQ, HammingNearestNeighbors, NestedHash, RetrievalPipeline
from skhash.persistence import FileFormatError, SavedIndex

# What a try may take beyond what the process has taken so far.
ROOM_BYTES = 2**30
SECONDS_A_TRY = 10
# How often an attempt to damage a file in a way that changes a byte is made.
N_ATTEMPTS = 20
OUTCOMES = ("refused", "unexpected", "same", "wrong", "crashed", "hung")
FAULTS = ("truncated", "bit flipped", "header flipped", "hostile sizes", "spliced", "zeroed")
HOSTILE = (0, 1, 7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


@dataclass
class Counts:
    """Outcomes of one fault on one kind of file, opened in one way.

    Attributes
    ----------
    refused : int
        Errors that are documented for such files: for skhash `FileFormatError`, for others any exception.

    unexpected : int
        Other errors, of skhash alone.

    same : int
        Opened without an error, with the answers of the sound file.

    wrong : int
        Opened without an error, with other answers.

    crashed, hung : int
        Ended the process, or took longer than 10 seconds.

    notes : list of str
        What was unexpected, crashed or wrong first.
    """

    refused: int = 0
    unexpected: int = 0
    same: int = 0
    wrong: int = 0
    crashed: int = 0
    hung: int = 0
    notes: list = field(default_factory=list)

    @property
    def tried(self):
        return sum(getattr(self, name) for name in OUTCOMES)

    @property
    def accepted(self):
        return self.same + self.wrong

    def add(self, other):
        for name in OUTCOMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.notes += other.notes


class Kind:
    """A kind of file: two sound ones of the same shape, and ways to open one that give an answer.

    Parameters
    ----------
    name : str
        Of the table.

    payloads : pair of bytes
        Sound files; the first is the one that is damaged.

    ways : dict of str to callable
        Take the path of a file, return bytes that tell one answer from another.

    n_header : int
        Bytes before the payload.

    hostile : callable
        Takes a generator and a file, returns a file with sizes that cannot be, or None.

    refusals : tuple of types
        Errors that are documented.

    beside : bytes or None
        A sound file that the damaged one, with ".log" after its name, belongs to.
    """

    def __init__(self, name, payloads, ways, *, n_header, hostile, refusals=(Exception,), beside=None):
        self.name, self.payloads, self.ways, self.n_header = name, payloads, ways, n_header
        self.hostile, self.refusals, self.beside = hostile, refusals, beside

    def damaged(self, fault, rng):
        """Damage the file; None if that changed nothing."""
        data, other = self.payloads
        for _ in range(N_ATTEMPTS):
            if fault == "truncated":
                found = data[: rng.integers(len(data))]
            elif fault in ("bit flipped", "header flipped"):
                place = int(rng.integers(len(data) if fault == "bit flipped" else self.n_header))
                found = bytearray(data)
                found[place] ^= 1 << int(rng.integers(8))
            elif fault == "spliced":
                place = int(rng.integers(1, min(len(data), len(other))))
                found = data[:place] + other[place:]
            elif fault == "zeroed":
                n_bytes = int(2 ** rng.integers(0, 13))
                place = int(rng.integers(len(data)))
                found = bytearray(data)
                found[place : place + n_bytes] = bytes(len(found[place : place + n_bytes]))
            else:
                found = self.hostile(rng, data)
            if found is not None and bytes(found) not in self.payloads:
                return bytes(found)
        return None


# Files of skhash


def _rows(seed, n_rows=60, n_features=12):
    return np.random.default_rng(seed).normal(size=(n_rows, n_features))


def _codes(seed, n_codes, n_bytes=8):
    return np.random.default_rng(seed).integers(256, size=(n_codes, n_bytes), dtype=np.uint8)


def _file_of(estimator, seed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        # Manifests of the same length that differ, as those of two days do.
        skhash.save(estimator, path, card={"Data": f"rows of seed {seed}"})
        return path.read_bytes()


def _answer_of_hasher(hasher):
    return hasher.transform(_rows(9)).tobytes()


def _answer_of_search(search):
    distances, ids = search.kneighbors(_codes(9, 5), 5)
    return distances.tobytes() + ids.tobytes() + search.ids_.tobytes() + search.codes_.tobytes()


def _answer_of_pipeline(pipeline):
    distances, ids = pipeline.kneighbors(_rows(9, 5), 5)
    return distances.tobytes() + ids.tobytes()


def _ways(answer):
    return {
        "load": lambda path: answer(skhash.load(path)),
        "load(mmap=True)": lambda path: answer(skhash.load(path, mmap=True)),
    }


def _header_of_container(data):
    manifest_bytes = struct.unpack_from("<Q", data, 16)[0]
    section = 40 + manifest_bytes + -(40 + manifest_bytes) % 64
    return section + 8 + struct.unpack_from("<Q", data, section)[0]


def unpacked(data):
    """Take a file of skhash apart.

    Parameters
    ----------
    data : bytes
        A sound file.

    Returns
    -------
    manifest, entries : dict
        The manifest and the list of tensors.

    payload : bytes
        Bytes of the tensors, but the checksum of the table of checksums at their end.

    n_table : int
        Bytes of that table.
    """
    manifest_bytes = struct.unpack_from("<Q", data, 16)[0]
    section = 40 + manifest_bytes + -(40 + manifest_bytes) % 64
    stop = _header_of_container(data)
    entries = json.loads(data[section + 8 : stop])
    n_table = 4 * entries["#checksums"]["shape"][0] - 4
    return json.loads(data[40 : 40 + manifest_bytes]), entries, data[stop:-4], n_table


def packed(manifest, entries, payload, n_table, *, lengths=(), version=(1, 1)):
    """Put a file of skhash together, all checksums of its headers right.

    Parameters
    ----------
    manifest, entries : dict or bytes
        As of `unpacked`; bytes are written as they are.

    payload : bytes
        As of `unpacked`.

    n_table : int
        As of `unpacked`.

    lengths : dict of str to int
        Lengths that are not what they should be: "manifest", "section", "list".

    version : pair of int
        Format, and oldest reader.

    Returns
    -------
    data : bytes
        The file.
    """
    lengths = dict(lengths)
    header = entries if isinstance(entries, bytes) else json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header)) % 64)
    header = struct.pack("<Q", lengths.get("list", len(header)) % 2**64) + header
    if isinstance(manifest, dict):
        manifest = json.dumps({**manifest, "section_header_crc32": zlib.crc32(header)}, separators=(",", ":")).encode()
    head = struct.pack(
        "<8sIIQQI",
        b"\x89SKHASH\n",
        *version,
        lengths.get("manifest", len(manifest)) % 2**64,
        lengths.get("section", len(header) + len(payload) + 4) % 2**64,
        zlib.crc32(manifest),
    )
    text = head + struct.pack("<I", zlib.crc32(head)) + manifest
    table_crc = zlib.crc32(payload[len(payload) - n_table :], zlib.crc32(manifest))
    return text + bytes(-len(text) % 64) + header + payload + struct.pack("<I", table_crc)


def _hostile_number(rng, true):
    """A size that is another than the true one, near to it or beyond reason."""
    choices = [*HOSTILE, -1, true - 1, true + 1, true + 64, 2 * true, -true, true + 2**32, true + 2**63]
    found = int(choices[rng.integers(len(choices))])
    return found if found != true else true + 8


def _hostile_container(rng, data):
    manifest, entries, payload, n_table = unpacked(data)
    what = rng.integers(5)
    if what == 0:
        name = ("manifest", "section", "list")[rng.integers(3)]
        n_header = _header_of_container(data)
        manifest_bytes, section_bytes = struct.unpack_from("<QQ", data, 16)
        true = {"manifest": manifest_bytes, "section": section_bytes, "list": n_header - len(data) + section_bytes - 8}
        return packed(manifest, entries, payload, n_table, lengths={name: _hostile_number(rng, true[name])})
    names = [name for name in entries if np.prod(entries[name]["shape"])]
    entry = entries[names[rng.integers(len(names))]]
    if what == 1:
        entry["data_offsets"][place] = _hostile_number(rng, entry["data_offsets"][(place := int(rng.integers(2)))])
    elif what == 2:
        place = int(rng.integers(len(entry["shape"]))) if entry["shape"] else None
        if place is None:
            entry["shape"] = [_hostile_number(rng, 1)]
        else:
            entry["shape"][place] = _hostile_number(rng, entry["shape"][place])
    elif what == 3:
        # The bytes fit the shape, but lie elsewhere or beyond the end.
        factor = int(2 ** rng.integers(1, 40))
        entry["shape"] = [*entry["shape"][:-1], entry["shape"][-1] * factor] if entry["shape"] else [factor]
        start, stop = entry["data_offsets"]
        entry["data_offsets"] = [start, start + (stop - start) * factor]
    else:
        shift = int(rng.choice([-64, -8, -1, 1, 8, 64, 4096, 2**31, 2**40]))
        entry["data_offsets"] = [offset + shift for offset in entry["data_offsets"]]
    return packed(manifest, entries, payload, n_table)


def _hostile_log(rng, data):
    """Change a length in a log, and compute the checksums that cover it anew."""
    found = bytearray(data)
    seed = zlib.crc32(found[32:40])
    records = []
    start = 68
    while start < len(found):
        n_bytes = struct.unpack_from("<Q", found, start + 16)[0]
        records.append((start, n_bytes))
        start += 32 + n_bytes
    if rng.integers(3) == 0:
        raw = struct.pack("<Q", _hostile_number(rng, len(data)) % 2**64)
        for place in (44, 56):
            found[place : place + 12] = raw + struct.pack("<I", zlib.crc32(raw, seed))
        return found
    start, n_bytes = records[rng.integers(len(records))]
    head = list(struct.unpack_from("<4sB3xQQI", found, start))
    content = found[start + 32 : start + 32 + n_bytes]
    what = rng.integers(3)
    if what == 0:
        head[3] = _hostile_number(rng, n_bytes) % 2**64
    elif what == 1:
        head[2] = _hostile_number(rng, head[2]) % 2**64
    elif head[1] == 1:
        # Codes and bytes of a code, of an addition.
        place, letter = ((0, "Q"), (8, "I"))[rng.integers(2)]
        true = struct.unpack_from(f"<{letter}", content, place)[0]
        struct.pack_into(f"<{letter}", content, place, _hostile_number(rng, true) % 2 ** (64 if letter == "Q" else 32))
        head[4] = zlib.crc32(content, seed)
    else:
        return None
    raw = struct.pack("<4sB3xQQI", *head)
    found[start : start + 32] = raw + struct.pack("<I", zlib.crc32(raw, seed))
    found[start + 32 : start + 32 + n_bytes] = content
    return found


def _pipeline(seed):
    X = _rows(seed)
    steps = [("scale", StandardScaler()), ("hash", ITQ(8, random_state=0)), ("search", HammingNearestNeighbors())]
    return RetrievalPipeline(steps).fit(X)


def _container_kind(name, estimators, answer):
    payloads = tuple(_file_of(estimator, seed) for seed, estimator in enumerate(estimators))
    return Kind(
        name,
        payloads,
        _ways(answer),
        n_header=_header_of_container(payloads[0]),
        hostile=_hostile_container,
        refusals=(FileFormatError,),
    )


def _log_kind():
    with tempfile.TemporaryDirectory() as folder:
        path, logs = Path(folder, "index"), []
        skhash.save(HammingNearestNeighbors().fit(_codes(0, 40), np.arange(40) % 3, ids=np.arange(40)), path)
        for seed in (1, 2):
            with SavedIndex(path) as index:
                for first in (100, 110, 120):
                    index.add(_codes(seed + first, 4), np.arange(4), ids=np.arange(first, first + 4))
                index.remove([3, 111])
            log = Path(f"{path}.log")
            logs.append(log.read_bytes())
            log.unlink()
        return Kind(
            "log of an index",
            tuple(logs),
            _ways(_answer_of_search),
            n_header=68,
            hostile=_hostile_log,
            refusals=(FileFormatError,),
            beside=path.read_bytes(),
        )


def own_kinds():
    """Make the kinds of files of skhash, each with the share of tries that it gets.

    Returns
    -------
    kinds : dict of Kind to float
        The large index is the only one whose codes stay in the file with ``mmap=True``.
    """
    labels = np.arange(60) % 3
    return {
        _container_kind("hasher", [ITQ(8, random_state=0).fit(_rows(seed)) for seed in (0, 1)], _answer_of_hasher): 0.2,
        _container_kind(
            "supervised hasher",
            [NestedHash(8, random_state=0).fit(_rows(seed), labels) for seed in (0, 1)],
            _answer_of_hasher,
        ): 0.15,
        _container_kind("pipeline", [_pipeline(seed) for seed in (0, 1)], _answer_of_pipeline): 0.15,
        _container_kind(
            "index",
            [
                HammingNearestNeighbors().fit(_codes(seed, 200), np.arange(200) % 5, ids=np.arange(200) * 3)
                for seed in (0, 1)
            ],
            _answer_of_search,
        ): 0.25,
        _container_kind(
            "large index",
            [HammingNearestNeighbors().fit(_codes(seed, 140_000)) for seed in (0, 1)],
            lambda search: b"".join(part.tobytes() for part in search.kneighbors(_codes(9, 2), 5)),
        ): 0.03,
        _log_kind(): 0.22,
    }


# Files of others


def _hostile_bytes(rng, data):
    """Overwrite a number of 4 or 8 bytes among the first 128 ones."""
    size = int(rng.choice([4, 8]))
    place = int(rng.integers(0, min(128, len(data)) - size))
    found = bytearray(data)
    found[place : place + size] = (HOSTILE[rng.integers(len(HOSTILE))] % 2 ** (8 * size)).to_bytes(size, "little")
    return found


def _hostile_npy(rng, data):
    """Write another shape into the text of the header, which keeps its length where there is room."""
    if rng.integers(2):
        return _hostile_bytes(rng, data)
    head, tail = data[:10], data[10:]
    numbers = list(re.finditer(rb"\d+(?=,|\))", tail[:110]))
    number = numbers[rng.integers(len(numbers))]
    new = str(_hostile_number(rng, int(number.group()))).encode()
    text = tail[: number.start()] + new + tail[number.end() : 118]
    return head + (text.rstrip() + b" " * 118)[:117] + b"\n" + data[128:]


def _with_file(save):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        save(path)
        return path.read_bytes()


def _answer_of_faiss(path):
    import faiss

    distances, ids = faiss.read_index_binary(os.fspath(path)).search(_codes(9, 5), 5)
    return distances.tobytes() + ids.tobytes()


def _faiss_kind(name, make, n_codes):
    import faiss

    def save(path, seed):
        index = make(faiss)
        index.add(_codes(seed, n_codes))
        faiss.write_index_binary(index, os.fspath(path))

    payloads = tuple(_with_file(lambda path, seed=seed: save(path, seed)) for seed in (0, 1))
    return Kind(name, payloads, {"read": _answer_of_faiss}, n_header=64, hostile=_hostile_bytes)


def _usearch_kind():
    from usearch.index import Index

    def save(path, seed):
        index = Index(ndim=64, metric="hamming", dtype="b1")
        index.add(np.arange(500), _codes(seed, 500))
        index.save(os.fspath(path))

    def answer(path):
        matches = Index.restore(os.fspath(path)).search(_codes(9, 5), 5)
        return matches.keys.tobytes() + matches.distances.tobytes()

    payloads = tuple(_with_file(lambda path, seed=seed: save(path, seed)) for seed in (0, 1))
    return Kind("usearch", payloads, {"restore": answer}, n_header=64, hostile=_hostile_bytes)


def _npy_kind():
    def save(path, seed):
        with open(path, "wb") as file:
            np.save(file, _codes(seed, 2000))

    def answer(path):
        found = np.load(path)
        return str(found.shape).encode() + found.tobytes()

    payloads = tuple(_with_file(lambda path, seed=seed: save(path, seed)) for seed in (0, 1))
    return Kind("np.save", payloads, {"load": answer}, n_header=128, hostile=_hostile_npy)


def _joblib_kind():
    payloads = tuple(
        _with_file(lambda path, seed=seed: joblib.dump(ITQ(8, random_state=0).fit(_rows(seed)), path))
        for seed in (0, 1)
    )
    answer = {"load": lambda path: _answer_of_hasher(joblib.load(path))}
    return Kind("joblib.dump", payloads, answer, n_header=128, hostile=_hostile_bytes)


def peer_kinds():
    """Make the kinds of files of the libraries that are installed.

    Returns
    -------
    kinds : list of Kind
        As many as can be made.
    """
    found = []
    for make in (
        lambda: _faiss_kind("faiss BinaryFlat", lambda faiss: faiss.IndexBinaryFlat(64), 2000),
        lambda: _faiss_kind("faiss BinaryHNSW", lambda faiss: faiss.IndexBinaryHNSW(64, 8), 500),
        _usearch_kind,
        _npy_kind,
        _joblib_kind,
    ):
        try:
            found.append(make())
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
    return found


# Tries


def try_files(kind, fault, n, *, random_state=0, folder="/dev/shm"):
    """Damage a kind of file `n` times, and count what opening it leads to.

    Parameters
    ----------
    kind : Kind
        The file.

    fault : str
        One of `FAULTS`.

    n : int
        Number of files.

    random_state : int, default=0
        Seed.

    folder : str, default="/dev/shm"
        Where the files are written; the system's folder for temporary files where there is no such folder.

    Returns
    -------
    counts : dict of str to Counts
        By the way of opening.
    """
    folder = folder if os.path.isdir(folder) else None
    with tempfile.TemporaryDirectory(dir=folder) as own:
        return _Tries(kind, fault, n, random_state, Path(own)).run()


class _Tries:
    # Number of the try, of the way within it, and a note; then the counts.
    _NOTE_BYTES = 4096

    def __init__(self, kind, fault, n, random_state, folder):
        self._kind, self._fault, self._n, self._seed = kind, fault, n, random_state
        self._base = folder / "file"
        self._path = Path(f"{self._base}.log") if kind.beside is not None else self._base
        self._base.write_bytes(kind.beside if kind.beside is not None else kind.payloads[0])
        self._path.write_bytes(kind.payloads[0])
        self._expected = {name: way(self._base) for name, way in kind.ways.items()}
        self._shared = mmap.mmap(-1, 2**16)
        self._numbers = np.frombuffer(self._shared, dtype=np.int64, count=2 + len(kind.ways) * len(OUTCOMES))
        self._notes = {name: [] for name in kind.ways}

    def run(self):
        names, last = list(self._kind.ways), -1
        while self._numbers[0] < self._n:
            child = os.fork()
            if child == 0:
                try:
                    self._run_child()
                    os._exit(0)
                except BaseException as error:
                    print(f"a try itself failed: {error!r}", file=sys.stderr)
                    os._exit(99)
            _, status = os.waitpid(child, 0)
            if status == 0:
                break
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 99:
                raise RuntimeError(f"{self._kind.name}, {self._fault}: the benchmark itself failed.")
            number, way = map(int, self._numbers[:2])
            what = "hung" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else "crashed"
            self._count(way, what)
            self._notes[names[way]].append(f"try {number} {what} with status {status}")
            if number == last and way + 1 >= len(names):
                raise RuntimeError("a try was repeated")
            last = number
            self._numbers[:2] = (number, way + 1) if way + 1 < len(names) else (number + 1, 0)
        counts = {}
        for way, name in enumerate(names):
            start = 2 + way * len(OUTCOMES)
            values = dict(zip(OUTCOMES, self._numbers[start : start + len(OUTCOMES)].tolist(), strict=True))
            counts[name] = Counts(**values, notes=self._notes[name] + self._note_of_child())
        return counts

    def _count(self, way, outcome):
        self._numbers[2 + way * len(OUTCOMES) + OUTCOMES.index(outcome)] += 1

    def _note(self, text):
        """Keep the first note of a child that lives on."""
        data = text.encode("utf-8", "replace")[: self._NOTE_BYTES]
        if not self._note_of_child():
            start = len(self._shared) - self._NOTE_BYTES
            self._shared[start : start + len(data)] = data

    def _note_of_child(self):
        text = self._shared[len(self._shared) - self._NOTE_BYTES :].rstrip(b"\0").decode("utf-8", "replace")
        return [text] if text else []

    def _run_child(self):
        limit_memory()
        faulthandler.disable()
        # What libraries print about files that they refuse.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        warnings.simplefilter("ignore")
        descriptor = os.open(self._path, os.O_RDWR)
        os.chdir(self._base.parent)
        first_way = int(self._numbers[1])
        for number in range(int(self._numbers[0]), self._n):
            rng = np.random.default_rng([self._seed, FAULTS.index(self._fault), number])
            data = self._kind.damaged(self._fault, rng)
            self._numbers[0] = number
            if data is None:
                continue
            # A new file each time, as maps of the one before may still be there.
            os.close(descriptor)
            os.unlink(self._path)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT)
            os.write(descriptor, data)
            for way, (name, open_file) in list(enumerate(self._kind.ways.items()))[first_way:]:
                self._numbers[1] = way
                signal.setitimer(signal.ITIMER_REAL, SECONDS_A_TRY)
                outcome = self._outcome(number, name, open_file)
                signal.setitimer(signal.ITIMER_REAL, 0)
                self._count(way, outcome)
            first_way = 0
            self._numbers[:2] = number + 1, 0
        os.close(descriptor)

    def _outcome(self, number, name, open_file):
        try:
            answer = open_file(self._base)
        except self._kind.refusals:
            return "refused"
        except Exception as error:
            self._note(f"try {number}, {name}: {type(error).__name__}: {error}")
            return "unexpected"
        if answer == self._expected[name]:
            return "same"
        self._note(f"try {number}, {name}: another answer without an error")
        return "wrong"


def limit_memory():
    """Let the process take `ROOM_BYTES` more than it has, where the system can."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            n_bytes = int(file.read().split()[0]) * resource.getpagesize() + ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        pass
