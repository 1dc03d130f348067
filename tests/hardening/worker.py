"""A process that tries cases until it is told to stop, and leaves a trace of what it is doing.

Compiled loops may take the process down with them, or never come back. So each case is written into shared memory
before it is tried, from where the parent reads which one it was.
"""

import argparse
import faulthandler
import importlib
import json
import mmap
import random
import struct
import sys
import time

from tests.hardening.outcomes import judge

# Round, entry, number of the case; cases tried, returned, refused, unexpected.
JOURNAL = struct.Struct("7q")


def make_case(entry, round_number, number):
    """Make the case that three numbers stand for, always the same."""
    return entry.make(random.Random(f"{entry.name}:{round_number}:{number}"))


def positions(entries, start, step):
    """Yield entry after entry of every `step`-th round, from a position on."""
    round_number, first_entry, first_number = start
    while True:
        for place in range(first_entry, len(entries)):
            for number in range(first_number, entries[place].share):
                yield round_number, place, number
            first_number = 0
        first_entry, round_number = 0, round_number + step


def main():
    """Try cases of a module with ``ENTRIES``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("journal")
    parser.add_argument("--start", type=int, nargs=3, default=(0, 0, 0))
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--cases", type=int, required=True)
    arguments = parser.parse_args()
    stop = time.monotonic() + arguments.seconds
    faulthandler.enable()
    entries = importlib.import_module(arguments.module).ENTRIES
    counts = {"returned": 0, "refused": 0}
    n_unexpected = 0
    with open(arguments.journal, "r+b") as file:
        journal = mmap.mmap(file.fileno(), JOURNAL.size)
    for n_tried, position in enumerate(positions(entries, arguments.start, arguments.step)):
        journal[:] = JOURNAL.pack(*position, n_tried, counts["returned"], counts["refused"], n_unexpected)
        if time.monotonic() > stop or n_tried >= arguments.cases:
            break
        entry = entries[position[1]]
        case = make_case(entry, position[0], position[2])
        outcome, problems = judge(case)
        counts[outcome] += 1
        if problems:
            n_unexpected += 1
            found = {"position": position, "entry": entry.name, "problems": problems, "case": case.describe()}
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
