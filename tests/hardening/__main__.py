"""Try hostile inputs for some time: ``python -m tests.hardening --budget SECONDS`` from the root of the repository.

Prints the number tried and the number of unexpected outcomes, each with the position that `--replay` tries again, and
exits with 1 where there are any. The same positions are the same cases on every machine, and in however many jobs.
"""

import argparse
import importlib
import json
import sys

from tests.hardening.outcomes import judge
from tests.hardening.runner import run
from tests.hardening.worker import make_case

# Modules with ENTRIES, by the name of what they try. Files for the loader will be another one.
SUITES = {"inputs": "tests.hardening.inputs"}


def main():
    """Read the command line, run, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.hardening", description=__doc__.splitlines()[0])
    parser.add_argument("suite", nargs="?", default="inputs", choices=sorted(SUITES))
    parser.add_argument("--budget", type=float, default=60, metavar="SECONDS", help="how long to try (default: 60)")
    parser.add_argument("--cases", type=int, default=sys.maxsize, help="how many to try at most")
    parser.add_argument("--first-round", type=int, default=0, help="from where to go on; a round is a run of the tests")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with rounds of its own (default: 1)")
    parser.add_argument("--json", metavar="FILE", help="where to write the numbers")
    parser.add_argument("--replay", type=int, nargs=3, metavar=("ROUND", "ENTRY", "NUMBER"), help="try one case again")
    arguments = parser.parse_args()
    module = SUITES[arguments.suite]
    if arguments.replay:
        return _replay(module, arguments.replay)
    if min(arguments.jobs, arguments.cases) < 1:
        parser.error("--jobs and --cases must be at least 1")
    report = run(
        module,
        seconds=arguments.budget,
        cases=arguments.cases,
        first_round=arguments.first_round,
        jobs=arguments.jobs,
        tell=_print_found,
    )
    print(
        f"{arguments.suite}: {report.n_tried} tried in {report.seconds:.0f} s "
        f"({report.n_returned} returned, {report.n_refused} refused), {report.n_unexpected} unexpected outcomes, "
        f"of which {report.n_crashes} crashes and {report.n_hangs} hangs; go on with --first-round {report.next_round}"
    )
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"suite": arguments.suite, **report.as_dict()}, file, indent=1)
    return int(report.n_unexpected > 0)


def _replay(module, position):
    round_number, place, number = position
    entry = importlib.import_module(module).ENTRIES[place]
    case = make_case(entry, round_number, number)
    print(entry.name, case.describe(), sep="\n")
    outcome, problems = judge(case)
    print(outcome, *problems, sep="\n")
    return int(bool(problems))


def _print_found(found):
    print(
        f"--replay {' '.join(map(str, found['position']))}: {found['entry']}",
        *found["problems"],
        found["case"],
        sep="\n",
    )


if __name__ == "__main__":
    sys.exit(main())
