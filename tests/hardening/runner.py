"""Runs the cases of a suite in a process of their own, and goes on where it crashes or hangs."""

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
    """What a run found."""

    n_tried: int = 0
    n_returned: int = 0
    n_refused: int = 0
    n_unexpected: int = 0
    n_crashes: int = 0
    n_hangs: int = 0
    seconds: float = 0.0
    found: list = field(default_factory=list)

    def as_dict(self):
        """Return the numbers."""
        return {name: value for name, value in vars(self).items() if name != "found"}


def run(module, *, seconds, cases=sys.maxsize, first_round=0, seconds_to_hang=_SECONDS_TO_HANG, tell=None):
    """Try the cases of a module with ``ENTRIES`` for some seconds, or so many of them.

    `tell` is called with each unexpected outcome, a dictionary with its position, entry, problems and case.
    """
    report, position, began = Report(), (first_round, 0, 0), time.monotonic()

    def note(found):
        report.found.append(found)
        if tell is not None:
            tell(found)

    while report.n_tried < cases and (left := seconds - (time.monotonic() - began)) > 0:
        counts, position, end = _run_worker(module, position, left, cases - report.n_tried, seconds_to_hang, note)
        report.n_tried += counts[0]
        report.n_returned += counts[1]
        report.n_refused += counts[2]
        report.n_unexpected += counts[3]
        if end is None:
            break
        report.n_tried += 1
        report.n_unexpected += 1
        report.n_hangs += "hang" in end
        report.n_crashes += "hang" not in end
        note(_describe(module, position, end))
        # The next position: the worker passes over shares that are used up.
        position = (*position[:2], position[2] + 1)
    report.seconds = time.monotonic() - began
    return report


def _run_worker(module, position, seconds, cases, seconds_to_hang, note):
    """Return the counts, the last position, and how the worker failed or None."""
    with tempfile.TemporaryDirectory(prefix="skhash-hardening-") as folder:
        journal, errors = os.path.join(folder, "journal"), os.path.join(folder, "errors")
        with open(journal, "wb") as file:
            file.write(JOURNAL.pack(*position, _NOT_BEGUN, 0, 0, 0))
        command = [sys.executable, "-m", "tests.hardening.worker", module, journal, "--start", *map(str, position)]
        command += ["--seconds", str(seconds), "--cases", str(min(cases, sys.maxsize))]
        with open(errors, "w") as stderr, open(os.path.join(folder, "found"), "w+") as stdout:
            process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
            hangs = _wait(process, journal, seconds_to_hang)
            stdout.seek(0)
            for line in stdout:
                with contextlib.suppress(json.JSONDecodeError):
                    note(json.loads(line))
        numbers = _read(journal)
        if numbers[3] == _NOT_BEGUN:
            numbers = (*numbers[:3], 0, 0, 0, 0)
        with open(errors) as stderr:
            last_words = stderr.read()[-3000:]
    end = None
    if hangs:
        end = f"hang of more than {seconds_to_hang:.0f} s"
    elif process.returncode:
        end = f"crash with status {process.returncode}: {last_words}"
    return numbers[3:], tuple(numbers[:3]), end


def _wait(process, journal, seconds_to_hang):
    """Wait for the end; kill a worker that is at one case for too long, and return whether it was."""
    last, since = None, time.monotonic()
    while process.poll() is None:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        numbers = _read(journal)
        if numbers != last:
            last, since = numbers, time.monotonic()
        elif time.monotonic() - since > (_SECONDS_TO_BEGIN if numbers[3] == _NOT_BEGUN else seconds_to_hang):
            process.kill()
            process.wait()
            return True
    return False


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
