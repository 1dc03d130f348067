"""When compiled loops begin to pay, and what becomes of them where nothing can be cached."""

import pytest

from skhash import _compiled
from skhash._compiled import BreakEven, entry_jit


def test_work_adds_up_to_the_break_even(monkeypatch):
    monkeypatch.setattr(_compiled, "find_spec", lambda name: name)
    monkeypatch.setattr(_compiled, "SECONDS_TO_COMPILE", 3.0)
    break_even = BreakEven()
    assert [break_even.is_reached(seconds) for seconds in (1.0, 1.5, 0.5, 0.0)] == [False, False, True, True]
    assert BreakEven().is_reached(3.0)


def test_without_numba_there_is_no_break_even(monkeypatch):
    monkeypatch.setattr(_compiled, "find_spec", lambda name: None)
    assert not BreakEven().is_reached(1e9)


def test_functions_that_cannot_be_cached_are_compiled_all_the_same():
    """A function without a file has no place for its code on disk, like a package that is installed read-only."""
    pytest.importorskip("numba", reason="the loops are compiled by numba")
    namespace = {}
    exec("def double(number):\n    return 2 * number", namespace)
    double = entry_jit(namespace["double"])
    assert double(21) == 42
    assert len(double.signatures) == 1
