"""Runs the cases of a suite in processes of their own, and goes on where one crashes or hangs."""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

from tests.hardening.worker import JOURNAL, make_case

# A case that takes longer than this hangs; compiling loops for the first time takes a while.
_SECONDS_TO_HANG = 180.0
# Importing what the cases are made of takes a while, too.
_SECONDS_TO_BEGIN = 180.0
_SECONDS_BETWEEN_LOOKS = 0.5
_NOT_BEGUN = -1


@dataclass
class Report:
    """What a run found, and the round from which another one tries what this one did not."""

    n_tried: int = 0
    n_returned: int = 0
    n_refused: int = 0
    n_unexpected: int = 0
    n_crashes: int = 0
    n_hangs: int = 0
    seconds: float = 0.0
    next_round: int = 0
    found: list = field(default_factory=list)

    def as_dict(self):
        """Return the numbers."""
        return {name: value for name, value in vars(self).items() if name != "found"}


def run(module, *, seconds, cases=sys.maxsize, first_round=0, jobs=1, seconds_to_hang=_SECONDS_TO_HANG, tell=None):
    """Try the cases of a module with ``ENTRIES`` for some seconds, or so many of them.

    Each of `jobs` processes takes every `jobs`-th round, so that no case is tried twice, and an equal share of `cases`.
    `tell` is called with each unexpected outcome, a dictionary with its position, entry, problems and case.
    """
    report, began = Report(next_round=first_round), time.monotonic()

    def note(found):
        report.found.append(found)
        if tell is not None:
            tell(found)

    with contextlib.ExitStack() as stack:
        workers = []
        for number in range(min(jobs, cases)):
            share = cases // jobs + (number < cases % jobs)
            worker = _Job(module, (first_round + number, jobs), share, began + seconds, seconds_to_hang, report, note)
            workers.append(stack.enter_context(worker))
        # Every one of them is looked at, not only the first that goes on.
        while sum(worker.goes_on() for worker in workers):
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    report.seconds = time.monotonic() - began
    return report


class _Job:
    """A process that tries cases, and the next one where a case brought it down; its numbers go into a report."""

    def __init__(self, module, rounds, cases, stop, seconds_to_hang, report, note):
        first_round, self.step = rounds
        self.module, self.left, self.stop, self.seconds_to_hang = module, cases, stop, seconds_to_hang
        self.report, self.note = report, note
        self.position = (first_round, 0, 0)
        self.process = None

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="skhash-hardening-")
        self.journal, self.found, self.errors = (
            os.path.join(self.folder.name, name) for name in ("journal", "found", "errors")
        )
        self._start()
        return self

    def __exit__(self, *error):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def goes_on(self):
        """Look at the process, count what it did if it ended, and tell whether there is more to wait for."""
        if self.process is None:
            return False
        hangs = self.process.poll() is None and self._hangs()
        if self.process.poll() is None and not hangs:
            return True
        if hangs:
            self.process.kill()
            self.process.wait()
        if self._count(hangs) and self.left > 0 and time.monotonic() < self.stop:
            self._start()
            return True
        self.process = None
        return False

    def _start(self):
        with open(self.journal, "wb") as file:
            file.write(JOURNAL.pack(*self.position, _NOT_BEGUN, 0, 0, 0))
        command = [sys.executable, "-m", "tests.hardening.worker", self.module, self.journal]
        command += ["--start", *map(str, self.position), "--step", str(self.step)]
        command += ["--seconds", str(self.stop - time.monotonic()), "--cases", str(self.left)]
        # Workers share the cores, which each would otherwise take all of for its products of matrices.
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.step))}
        with open(self.found, "w") as stdout, open(self.errors, "w") as stderr:
            self.process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env={**threads, **os.environ})
        self.last, self.since = None, time.monotonic()

    def _hangs(self):
        """Tell whether the process has been at one case for too long."""
        numbers = _read(self.journal)
        if numbers != self.last:
            self.last, self.since = numbers, time.monotonic()
        limit = _SECONDS_TO_BEGIN if numbers[3] == _NOT_BEGUN else self.seconds_to_hang
        return time.monotonic() - self.since > limit

    def _count(self, hangs):
        """Add up what a process did; return whether a case brought it down."""
        with open(self.found) as stdout:
            for line in stdout:
                # The last line of a process that was killed may be half a line.
                with contextlib.suppress(json.JSONDecodeError):
                    self.note(json.loads(line))
        *position, n_tried, n_returned, n_refused, n_unexpected = _read(self.journal)
        n_tried = max(n_tried, 0)
        end = None
        if hangs:
            end = f"hang of more than {self.seconds_to_hang:.0f} s"
        elif self.process.returncode:
            with open(self.errors) as stderr:
                end = f"crash with status {self.process.returncode}: {stderr.read()[-3000:]}"
        report = self.report
        if end is not None:
            n_tried, n_unexpected = n_tried + 1, n_unexpected + 1
            report.n_hangs += hangs
            report.n_crashes += not hangs
            self.note(_describe(self.module, tuple(position), end))
        report.n_tried += n_tried
        report.n_returned += n_returned
        report.n_refused += n_refused
        report.n_unexpected += n_unexpected
        report.next_round = max(report.next_round, position[0] + 1)
        self.left -= n_tried
        # The next position: the worker passes over shares that are used up.
        self.position = (*position[:2], position[2] + 1)
        return end is not None


def _read(journal):
    with open(journal, "rb") as file:
        return JOURNAL.unpack(file.read(JOURNAL.size))


def _describe(module, position, end):
    entry = importlib.import_module(module).ENTRIES[position[1]]
    try:
        case = make_case(entry, position[0], position[2]).describe()
    except Exception as error:
        case = f"the case itself could not be made: {error!r}"
    return {"position": position, "entry": entry.name, "problems": [end], "case": case}
