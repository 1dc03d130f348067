"""Search for files that the loader does not bear: guided by coverage, with right checksums.

    python benchmarks/fuzz_load.py [--budget SECONDS] [--engine atheris|trace] [--corpus FOLDER] [--findings FOLDER]

Sound files of many kinds are changed in what they say, their checksums are computed anew, and each is inspected,
loaded, and, if it is accepted, used. Inputs that reach new code are kept and changed further. A defect is any exception
of inspecting and loading but `FileFormatError`, and a crash, more than 1 GiB of further memory or more than 30 seconds
of all three. The status is 1 if there was one; the inputs are written to the folder of findings.

The engine is atheris (``pip install atheris``), or by default, where that is not installed, a loop of its own that is
guided by the lines that `sys.settrace` sees and is slower. POSIX only.
"""

import argparse
import faulthandler
import hashlib
import io
import mmap
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np

SECONDS_A_FILE = 30
SHARE_FROM_SEEDS = 0.5
# Runs, accepted, refused, whether a file is being loaded (1) or used (2).
N_COUNTS = 8
RUNS, ACCEPTED, REFUSED, PHASE, KEPT = range(5)


def seeds():
    """Make sound files of many kinds.

    Returns
    -------
    payloads : list of bytes
        Files, and the logs of the index that `base_of_log` makes.
    """
    from sklearn.decomposition import PCA
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import skhash

    rng = np.random.default_rng(0)
    X, y, codes = rng.normal(size=(40, 10)), np.arange(40) % 3, rng.integers(256, size=(40, 2), dtype=np.uint8)
    hashers = [
        *(getattr(skhash, name)(4) for name in ("LSH", "PCAH", "ITQ", "SpectralHash", "SphericalHash", "NestedHash")),
        *(getattr(skhash, name)(2) for name in ("KMeansHash", "AnchorGraphHash", "LDAHash", "OnlineHadamardHash")),
        *(getattr(skhash, name)(2) for name in ("ShiftInvariantKernelLSH", "SketchingHash", "SupervisedDiscreteHash")),
        skhash.KernelSupervisedHash(2, n_anchors=10),
    ]
    for hasher in hashers:
        if "random_state" in hasher.get_params():
            hasher.set_params(random_state=np.random.RandomState(0))
    steps = [("scale", StandardScaler()), ("hash", skhash.ITQ(8, random_state=0))]
    search = ("search", skhash.HammingNearestNeighbors(n_neighbors=3))
    words = np.array(["a", "bb", "ccc"], dtype=object)[y]
    estimators = [
        skhash.ITQ(4),
        *(hasher.fit(X, y) for hasher in hashers),
        skhash.HammingNearestNeighbors().fit(codes),
        skhash.HammingNearestNeighbors(algorithm="mih").fit(codes, words, ids=np.arange(40) * 5),
        skhash.HammingNearestNeighbors().fit(codes, np.eye(3, dtype=bool)[y]),
        skhash.RetrievalPipeline([*steps, search]).fit(X, y),
        skhash.RetrievalPipeline([*steps, search], rescore="float").fit(X, y),
        skhash.HammingNearestNeighborsTransformer().fit(codes),
        make_pipeline(PCA(2), skhash.LSH(2)).fit(X),
        make_pipeline(skhash.LSH(8, random_state=0), KNeighborsClassifier(algorithm="brute", metric="hamming")).fit(
            X, y
        ),
        GridSearchCV(KNeighborsClassifier(algorithm="brute"), {"n_neighbors": [1, 2]}, cv=2).fit(X, y),
    ]
    if find_spec("torch") and find_spec("skorch"):
        settings = {"max_epochs": 1, "random_state": 0}
        estimators += [
            skhash.DeepSupervisedHasher(4, loss="csq", network="linear", **settings).fit(X, y),
            skhash.DeepSupervisedHasher(4, network="mlp", **settings).fit(X, y),
        ]
    payloads = []
    for estimator in estimators:
        file = io.BytesIO()
        skhash.save(estimator, file)
        payloads.append(file.getvalue())
    return payloads


def seeds_of_logs(folder):
    """Save indexes in a folder; return logs that belong to them, by path."""
    import skhash
    from skhash.persistence import SavedIndex

    codes, logs = np.random.default_rng(1).integers(256, size=(20, 2), dtype=np.uint8), {}
    # Labels of numbers and others are written in different ways.
    for name, labels in (("numbers", np.arange(20) % 3), ("words", np.array(["a", "b"])[np.arange(20) % 2])):
        path = Path(folder, name)
        skhash.save(skhash.HammingNearestNeighbors().fit(codes, labels, ids=np.arange(20)), path)
        with SavedIndex(path) as index:
            index.add(codes[:3], labels[:3], ids=[30, 31, 32])
            index.remove([4, 31])
            index.add(codes[:3], labels[:3], ids=[4, 41, 42])
        logs[path] = Path(f"{path}.log").read_bytes()
        os.unlink(f"{path}.log")
    return logs


class Target:
    """Inspects, loads and uses a file, and keeps account.

    Parameters
    ----------
    folder : path
        Of the run: counts, findings, the file that is being tried.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        logs = seeds_of_logs(folder)
        self.seeds = [*seeds(), *logs.values()]
        # By the fingerprint in the head of their logs.
        self._indexes = {log[16:32]: path for path, log in logs.items()}
        self._path = Path(folder, "tried")
        counts = os.open(Path(folder, "counts"), os.O_RDWR | os.O_CREAT)
        os.ftruncate(counts, 8 * N_COUNTS)
        self.counts = np.frombuffer(mmap.mmap(counts, 8 * N_COUNTS), dtype=np.int64)
        # Seeds may wait for compiled loops.
        self.seconds = 0
        self._known = {path.name for path in self.folder.glob("finding-*")}
        rng = np.random.default_rng(2)
        self._rows = (rng.normal(size=(3, 64)), rng.integers(256, size=(3, 64), dtype=np.uint8))

    def __call__(self, data):
        import skhash
        from skhash.persistence import FileFormatError, inspect

        self.counts[RUNS] += 1
        self.counts[PHASE] = 1
        is_log = data.startswith(b"\x89SKHLOG\n")
        index = self._indexes.get(data[16:32], self._path) if is_log else self._path
        path = Path(f"{index}.log") if is_log else self._path
        path.write_bytes(data)
        signal.alarm(self.seconds)
        estimators = []
        try:
            for read in (
                lambda: inspect(index if is_log else io.BytesIO(data), verify=True),
                *(() if is_log else (lambda: estimators.append(skhash.load(io.BytesIO(data))),)),
                lambda: estimators.append(skhash.load(index, mmap=True)),
            ):
                try:
                    read()
                except FileFormatError as error:
                    if "\n" in str(error):
                        self.report(data, error)
                except Exception as error:
                    self.report(data, error)
            self.counts[ACCEPTED if estimators else REFUSED] += 1
            self.counts[PHASE] = 2
            for estimator in estimators:
                self._use(estimator)
        finally:
            signal.alarm(0)
            self.counts[PHASE] = 0
            if is_log:
                path.unlink()

    def _use(self, estimator):
        """Ask a loaded estimator, which may hold nonsense and say so, but must not bring the process down."""
        for name in ("transform", "kneighbors", "radius_neighbors", "predict", "get_params", "__repr__"):
            method = getattr(estimator, name, None)
            n_features = getattr(estimator, "n_features_in_", 10)
            n_features = n_features if isinstance(n_features, int) and 0 <= n_features <= 64 else 10
            for rows in self._rows if name[0] in "tkrp" else ((),):
                try:
                    method(*((rows[:, :n_features],) if len(rows) else ()))
                except Exception:
                    # Whatever it says, it says so.
                    continue

    def report(self, data, error):
        """Write a finding once for each place that it comes from."""
        frames = traceback.extract_tb(error.__traceback__)
        place = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-4:]))
        name = f"finding-{hashlib.sha1(f'{type(error).__name__} {place}'.encode()).hexdigest()[:12]}"
        if name not in self._known:
            self._known.add(name)
            (self.folder / name).write_bytes(data)
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]} at {place}"
            (self.folder / f"{name}.txt").write_text(text, encoding="utf-8")
            print(f"finding: {text}", flush=True)


def work(folder, engine, seconds, random_state):
    """Fuzz in this process, which may come down."""
    warnings.simplefilter("ignore")
    faulthandler.enable(all_threads=False)
    if engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["skhash.persistence", "skhash.neighbors._hamming", "skhash.pipeline"]):
            import skhash.persistence._growing
            import skhash.persistence._inspection  # noqa: F401
    from _hostile_files import Mutator
    from _reliability_files import limit_memory

    target = Target(folder)
    mutator = Mutator(target.seeds)
    corpus = Path(folder, "corpus")
    corpus.mkdir(exist_ok=True)
    for data in target.seeds:
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
        target(data)
    limit_memory()
    signal.signal(signal.SIGALRM, _too_slow)
    target.seconds = SECONDS_A_FILE
    if engine == "trace":
        _trace(target, mutator, corpus, seconds, random_state)
        return

    def mutate(data, max_size, seed):
        rng = np.random.default_rng([random_state, seed])
        if rng.random() < SHARE_FROM_SEEDS:
            # Most of what reaches new code is refused, and so is most of what is made of it.
            data = target.seeds[rng.integers(len(target.seeds))]
        return mutator.mutate(data, rng)[:max_size]

    options = [
        f"-max_total_time={max(1, round(seconds))}",
        "-max_len=65536",
        "-len_control=0",
        "-reload=0",
        "-timeout=0",
    ]
    options += [f"-seed={random_state + 1}", f"-artifact_prefix={folder}/", "-rss_limit_mb=0", "-print_final_stats=1"]
    atheris.Setup(["fuzz_load", *options, str(corpus)], target, custom_mutator=mutate)
    atheris.Fuzz()


def _too_slow(*_):
    faulthandler.dump_traceback(all_threads=False)
    os._exit(99)


def _trace(target, mutator, corpus, seconds, random_state):
    """Keep what reaches pairs of lines that nothing has reached before."""
    seen, stop, rng = set(), time.monotonic() + seconds, np.random.default_rng(random_state)
    kept = [path.read_bytes() for path in sorted(corpus.iterdir())]
    package = os.path.join("skhash", "persistence") + os.sep

    def run(data):
        reached = set()

        def lines(frame, event, _):
            if event == "line":
                reached.add((frame.f_code.co_name, frame.f_lineno))
            return lines

        sys.settrace(lambda frame, *_: lines if package in frame.f_code.co_filename else None)
        try:
            target(data)
        finally:
            sys.settrace(None)
        is_new = not reached <= seen
        seen.update(reached)
        return is_new

    for data in kept:
        run(data)
    while time.monotonic() < stop:
        source = target.seeds if rng.random() < SHARE_FROM_SEEDS else kept
        data = mutator.mutate(source[rng.integers(len(source))], rng)
        if len(data) <= 2**16 and run(data):
            kept.append(data)
            (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    print(f"cov: {len(seen)} lines", file=sys.stderr)


def supervise(options):
    """Run workers until the time is up, and count those that came down."""
    stop, start, findings = time.monotonic() + options.budget, time.monotonic(), []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        if options.corpus:
            os.makedirs(options.corpus, exist_ok=True)
            os.symlink(os.path.abspath(options.corpus), os.path.join(folder, "corpus"))
        n_workers, coverage = 0, ""
        while (rest := stop - time.monotonic()) > 0 and n_workers < 50:
            n_workers += 1
            command = [sys.executable, __file__, "--worker", folder, "--engine", options.engine, "--budget", f"{rest}"]
            with open(Path(folder, "log"), "wb") as log:
                status = subprocess.run(
                    [*command, "--random-state", str(options.random_state + n_workers)], stderr=log, check=False
                ).returncode
            log = Path(folder, "log").read_text(encoding="utf-8", errors="replace")
            coverage = (re.findall(r"cov: (?:\d+ lines|\d+ ft: \d+)", log) or [coverage])[-1]
            if status == 0:
                break
            if not Path(folder, "counts").exists():
                raise RuntimeError(f"the fuzzer could not start: {log}")
            counts = struct.unpack(f"{N_COUNTS}q", Path(folder, "counts").read_bytes())
            phase = ("outside", "loading", "using")[counts[PHASE]]
            tail = [line for line in log.splitlines() if "File " in line or "Error" in line or "error" in line][:12]
            findings.append(
                f"{'hung' if status == 99 else 'crashed'} while {phase} (status {status}): {' | '.join(tail)}"
            )
            print(f"finding: {findings[-1]}", flush=True)
            for name in ("tried", "numbers.log", "words.log"):
                if Path(folder, name).exists():
                    data = Path(folder, name).read_bytes()
                    Path(folder, f"finding-crash{n_workers}-{name}").write_bytes(data)
                    Path(folder, f"finding-crash{n_workers}-{name}.txt").write_text(findings[-1], encoding="utf-8")
        counts = struct.unpack(f"{N_COUNTS}q", Path(folder, "counts").read_bytes())
        found = sorted(Path(folder).glob("finding-*.txt"))
        if options.findings:
            os.makedirs(options.findings, exist_ok=True)
            for path in Path(folder).glob("finding-*"):
                Path(options.findings, path.name).write_bytes(path.read_bytes())
        spent = time.monotonic() - start
        n_corpus = len(list(Path(folder, "corpus").iterdir()))
        print(
            f"{options.engine}: {counts[RUNS]:,} files in {spent:.0f} s, {counts[REFUSED]:,} refused, "
            f"{counts[ACCEPTED]:,} accepted and used,\n{n_corpus:,} kept for new code ({coverage or 'no coverage'}), "
            f"{n_workers} processes; {len(found)} findings"
        )
        return int(bool(found) or bool(findings))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = "atheris" if find_spec("atheris") else "trace"
    parser.add_argument("--budget", type=float, default=60, help="seconds (default: 60)")
    parser.add_argument("--engine", choices=["atheris", "trace"], default=default, help=f"default here: {default}")
    parser.add_argument("--corpus", help="folder of inputs to go on with and to add to")
    parser.add_argument("--findings", help="folder for inputs that are defects")
    parser.add_argument("--random-state", type=int, default=0, help="seed (default: 0)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.engine, options.budget, options.random_state)
        return 0
    return supervise(options)


if __name__ == "__main__":
    sys.exit(main())
