"""Entry points that break each of the promises, for the tests of the tests."""

import os
import time
import warnings

import numpy as np

from tests.hardening.hostile import EITHER, EQUAL, REFUSED, Argument
from tests.hardening.inputs import Entry, any_result
from tests.hardening.outcomes import Case


def _fine(values):
    raise ValueError("refused in one line")


def _of_lines(values):
    raise ValueError("one line\nanother")


def _other_error(values):
    raise KeyError("not documented")


def _warns(values):
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    raise ValueError("refused")


def _changes(values):
    values[0] = 7
    raise ValueError("refused")


def _accepts(values):
    return 1


def _by_stride(values):
    return float(values.strides[0])


def _crashes(values):
    os.abort()


def _hangs(values):
    time.sleep(60)


def _case(call, verdict):
    values = np.arange(4.0)[::-1] if verdict == EQUAL else np.arange(4.0)
    return Case(
        call, {"values": Argument(values, values.copy() if verdict == EQUAL else None, verdict, "numbers")}, any_result
    )


CASES = {
    "fine": (_fine, REFUSED, None),
    "several lines": (_of_lines, REFUSED, "of several lines"),
    "other error": (_other_error, EITHER, "KeyError"),
    "warning": (_warns, REFUSED, "RuntimeWarning"),
    "change": (_changes, REFUSED, "values was changed"),
    "silent acceptance": (_accepts, REFUSED, "accepted"),
    "another result for another layout": (_by_stride, EQUAL, "plain arguments give"),
}

ENTRIES = [
    Entry("fine", 3, lambda rng: _case(_fine, REFUSED)),
    Entry("crash", 1, lambda rng: _case(_crashes, REFUSED)),
    Entry("other error", 2, lambda rng: _case(_other_error, EITHER)),
    Entry("hang", 1, lambda rng: _case(_hangs, REFUSED)),
]
