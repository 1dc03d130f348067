"""What a call did, and whether it may."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from tests.hardening.hostile import EQUAL, REFUSED

DOCUMENTED = (ValueError, TypeError, NotFittedError, ImportError, MemoryError)
# scikit-learn lists the names of columns that differ, a line each.
_MESSAGES_OF_LINES = ("The feature names should match", "Feature names unseen at fit time")


@dataclass
class Case:
    """A call to try.

    `call` takes the arguments by name; `check(result, plain)` says in a few words what is wrong with a result of the
    plain arguments, or None.
    """

    call: object
    arguments: dict
    check: object
    allowed: tuple = ()
    text: str = ""

    def describe(self):
        parts = [f"{name}: {argument.text}\n    {_show(argument.value)}" for name, argument in self.arguments.items()]
        return "\n  ".join([self.text, *parts])


@dataclass
class Outcome:
    """What a call returned or raised, and what it warned of."""

    result: object = None
    error: BaseException | None = None
    warnings: list = field(default_factory=list)


def judge(case):
    """Try a case. Return "returned" or "refused", and a list of what is wrong."""
    values = {name: argument.value for name, argument in case.arguments.items()}
    before = {name: _snapshot(value) for name, value in values.items()}
    outcome = _outcome_of(case.call, values)
    problems = _problems_of(outcome, case.allowed)
    for name, value in values.items():
        if before[name] is not None and not _same_snapshot(before[name], _snapshot(value)):
            problems.append(f"{name} was changed")
    verdicts = {argument.verdict for argument in case.arguments.values()}
    if REFUSED in verdicts:
        if outcome.error is None:
            problems.append(f"accepted, and returned {_show(outcome.result)}")
        return ("refused" if outcome.error else "returned"), problems
    plain = {name: argument.plain for name, argument in case.arguments.items()}
    unknown = any(argument.plain is None and argument.value is not None for argument in case.arguments.values())
    if outcome.error is None:
        problem = case.check(outcome.result, None if unknown else plain)
        if problem:
            problems.append(problem)
    if not unknown:
        expected = _outcome_of(case.call, plain)
        problems += [f"with plain arguments: {problem}" for problem in _problems_of(expected, case.allowed)]
        if outcome.error is None and expected.error is None and not same(outcome.result, expected.result):
            problems.append(f"returned {_show(outcome.result)}, plain arguments give {_show(expected.result)}")
        if outcome.error is None and expected.error is not None:
            problems.append(f"accepted, plain arguments raise {expected.error!r}")
        if outcome.error is not None and expected.error is None and verdicts == {EQUAL}:
            problems.append(f"raised {outcome.error!r}, plain arguments give {_show(expected.result)}")
    return ("refused" if outcome.error else "returned"), problems


def _outcome_of(call, values):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = Outcome(result=call(**values))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            outcome = Outcome(error=error)
    outcome.warnings = caught
    return outcome


def _problems_of(outcome, allowed):
    problems = []
    for warning in outcome.warnings:
        message = str(warning.message)
        if not issubclass(warning.category, UserWarning) or "\n" in message:
            problems.append(f"warned: {warning.category.__name__}: {message!r} ({warning.filename}:{warning.lineno})")
    error = outcome.error
    if error is None:
        return problems
    if not isinstance(error, (*DOCUMENTED, *allowed)) or isinstance(error, UnicodeError):
        problems.append(f"raised {_place(error)} {type(error).__name__}: {str(error)[:300]}")
    elif not str(error).strip():
        problems.append(f"raised {_place(error)} {type(error).__name__} without a message")
    elif isinstance(error, InvalidParameterError):
        # scikit-learn's own check of parameters shows the value as it is.
        return problems
    elif "\n" in str(error) and not str(error).startswith(_MESSAGES_OF_LINES):
        problems.append(f"raised {_place(error)} {type(error).__name__} of several lines: {str(error)[:300]!r}")
    elif len(str(error)) > 1500:
        problems.append(f"raised {_place(error)} {type(error).__name__} of {len(str(error))} letters")
    return problems


def _place(error):
    """Name the last line of the package that an error came through."""
    place, trace = "", error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if "/skhash/" in filename:
            place = f"skhash/{filename.rsplit('/skhash/', 1)[1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def same(one, other):
    """Tell whether two results are of one type, dtype and shape, and equal."""
    if sparse.issparse(one):
        return sparse.issparse(other) and all(
            same(getattr(one, name), getattr(other, name)) for name in ("data", "indices", "indptr", "shape")
        )
    if isinstance(one, np.ndarray):
        if not isinstance(other, np.ndarray) or one.shape != other.shape or one.dtype != other.dtype:
            return False
        if one.dtype == object:
            return all(same(a, b) for a, b in zip(one.ravel(), other.ravel(), strict=True))
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (tuple, list)):
        return isinstance(other, type(one)) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and one != one:
        return other != other
    if hasattr(one, "to_numpy"):
        return type(one) is type(other) and same(one.to_numpy(), other.to_numpy())
    return type(one) is type(other) and one == other


def _snapshot(value):
    """Remember what a value holds, if it is something that a call might change."""
    if isinstance(value, np.ma.MaskedArray):
        return value.data.tobytes(), np.ma.getmaskarray(value).tobytes()
    if isinstance(value, np.ndarray):
        flags = value.flags.writeable, value.dtype.str, value.shape
        return (list(map(id, value.ravel())), flags) if value.dtype == object else (value.tobytes(), flags)
    if sparse.issparse(value):
        parts = [
            getattr(value, name) for name in ("data", "indices", "indptr", "coords", "offsets") if hasattr(value, name)
        ]
        return [part.tobytes() if isinstance(part, np.ndarray) else repr(part) for part in parts]
    if hasattr(value, "to_numpy") and hasattr(value, "columns"):
        return value.to_numpy().tolist().__repr__(), list(value.columns)
    if isinstance(value, (list, dict, set, bytearray)):
        try:
            return repr(value)
        except Exception:
            return None
    return None


def _same_snapshot(before, after):
    return before == after


def _show(value):
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} without a representation: {error!r}>"
    if isinstance(value, np.ndarray):
        text += f" {value.dtype} {value.shape} strides {value.strides}"
    elif sparse.issparse(value) and hasattr(value, "indices"):
        text += f" data={value.data!r} indices={value.indices!r} indptr={value.indptr!r}"
    return text if len(text) <= 1200 else f"{text[:800]} ... {text[-300:]}"
