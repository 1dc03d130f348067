"""Promises that the tests keep: malformed inputs, as many as are wanted, and every check of every estimator.

Both run in processes of their own, from the root of the repository.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKS = ("tests/test_common.py", "tests/test_contract.py", "tests/features/test_estimator_checks.py")
# More than a million cases have, so that each seed tries cases of its own.
_ROUNDS_OF_A_SEED = 1000


def malformed_inputs(n, *, jobs, seconds, random_state):
    """Try so many malformed inputs, for some seconds at most; return the numbers of the report."""
    with tempfile.TemporaryDirectory(prefix="skhash-inputs-") as folder:
        path = Path(folder) / "report.json"
        command = [sys.executable, "-m", "tests.hardening", "inputs", "--cases", str(n), "--budget", str(seconds)]
        command += ["--jobs", str(jobs), "--first-round", str(random_state * _ROUNDS_OF_A_SEED), "--json", str(path)]
        status = subprocess.run(command, cwd=ROOT).returncode
        if not path.exists():
            raise RuntimeError(f"{' '.join(command)} ended with status {status} and no report")
        return json.loads(path.read_text(encoding="utf-8"))


@dataclass
class Checks:
    """How many checks ran and how they ended, of which estimators."""

    passed: int = 0
    failed: list = field(default_factory=list)
    expected_to_fail: Counter = field(default_factory=Counter)
    skipped: Counter = field(default_factory=Counter)
    estimators: set = field(default_factory=set)

    @property
    def run(self):
        """Checks that ended in one way or another, those that were skipped aside."""
        return self.passed + len(self.failed) + self.expected_to_fail.total()


def estimator_checks():
    """Run the checks of scikit-learn and of our own contract; return how they ended, and all public estimators."""
    names = _python("-c", "from tests.estimators import ESTIMATORS; print(*ESTIMATORS)").stdout.split()
    with tempfile.TemporaryDirectory(prefix="skhash-checks-") as folder:
        path = Path(folder) / "report.xml"
        done = _python("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={path}", *CHECKS)
        # 1 is for tests that failed.
        if done.returncode not in (0, 1):
            raise RuntimeError(f"pytest ended with status {done.returncode}: {done.stdout}{done.stderr}")
        return read_checks(path), set(names)


def _python(*arguments):
    # Without this variable, scikit-learn leaves out the checks of arrays that are not NumPy's.
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def read_checks(path):
    """Read how checks ended from a report of JUnit's format."""
    checks = Checks()
    for case in ET.parse(path).iter("testcase"):
        name = case.get("name")
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            checks.failed.append(name)
        elif skipped is None:
            checks.passed += 1
        elif skipped.get("type") == "pytest.xfail":
            checks.expected_to_fail[skipped.get("message")] += 1
        else:
            checks.skipped[skipped.get("message")] += 1
            continue
        # Parameters of a test name the estimator first, as they show it or its class.
        estimator = re.search(r"\b[A-Z]\w+", name.partition("[")[2])
        if estimator:
            checks.estimators.add(estimator[0])
    return checks
