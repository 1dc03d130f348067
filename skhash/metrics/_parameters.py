"""Checks of the parameters that several metrics share, for the functions and for the scorers alike."""

from numbers import Integral

from .._validation import shown

_OPTIONS = {
    "ties": ("expected", "best", "worst"),
    "normalizer": ("min_k_total", "retrieved"),
    "zero_relevant": ("zero", "skip", "error"),
}
_LOWEST = {"k": 1, "radius": 0}


def check_parameters(caller, *, k_may_be_none=False, **parameters):
    """Raise a one-line ValueError naming `caller` for the first of `parameters` that has no legal value."""
    for name, value in parameters.items():
        if name in _OPTIONS:
            _check_option(caller, name, value)
        elif not (k_may_be_none and name == "k" and value is None):
            _check_integer(caller, name, value)


def _check_option(caller, name, value):
    if not isinstance(value, str) or value not in _OPTIONS[name]:
        options = ", ".join(repr(option) for option in _OPTIONS[name])
        raise ValueError(f"{caller}: {name}={shown(value)} must be one of {options}.")


def _check_integer(caller, name, value):
    lowest = _LOWEST[name]
    if isinstance(value, bool) or not isinstance(value, Integral) or value < lowest:
        raise ValueError(f"{caller}: {name}={shown(value)} must be an integer >= {lowest}.")


def check_rank_limit(caller, k, n_database):
    """Raise a one-line ValueError if a ranking of `n_database` items has no first `k` positions."""
    if k is not None and k > n_database:
        raise ValueError(f"{caller}: k={k} must be <= the {n_database} database items that each query ranks.")
