"""What the command counts, and how it goes on after crashes and hangs."""

import subprocess
import sys

import pytest

from tests.hardening import faulty
from tests.hardening.outcomes import judge
from tests.hardening.runner import run


@pytest.mark.parametrize("name", faulty.CASES)
def test_each_broken_promise_is_noticed(name):
    call, verdict, expected = faulty.CASES[name]
    _, problems = judge(faulty._case(call, verdict))
    assert (expected is None and not problems) or expected in problems[0]


def test_crashes_and_hangs_are_counted_and_passed_over():
    # A round: three refusals, a crash, two undocumented errors, a hang.
    report = run("tests.hardening.faulty", seconds=300, cases=10, seconds_to_hang=3)
    assert (report.n_tried, report.n_unexpected, report.n_crashes, report.n_hangs) == (10, 4, 1, 1)
    assert [found["entry"] for found in report.found] == ["crash", "other error", "other error", "hang"]
    assert report.found[0]["position"] == (0, 1, 0)


def test_jobs_try_no_case_twice():
    # Of rounds of seven cases, with a crash and a hang each, the first job takes 5 and 7, the second one 6 and 8.
    found = []
    report = run(
        "tests.hardening.faulty", seconds=300, cases=28, first_round=5, jobs=2, seconds_to_hang=3, tell=found.append
    )
    assert (report.n_tried, report.n_refused, report.n_unexpected) == (28, 20, 16)
    assert (report.n_crashes, report.n_hangs) == (4, 4)
    expected = [(number, *place) for number in (5, 6, 7, 8) for place in ((1, 0), (2, 0), (2, 1), (3, 0))]
    assert sorted(tuple(one["position"]) for one in found) == expected
    assert report.next_round >= 9


def test_the_command_tries_inputs_and_finds_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "tests.hardening", "--budget", "60", "--cases", "300", "--first-round", "1"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "inputs: 300 tried" in done.stdout
    assert "0 unexpected outcomes" in done.stdout
