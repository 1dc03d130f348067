"""The only place that imports private names of scikit-learn.

scikit-learn keeps its parameter validation private. Everything private that this package relies on passes through
here, so that a change in a scikit-learn release is mended in one file.
"""

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import HasMethods, Hidden, Interval, Options, StrOptions, validate_params
from sklearn.utils._tags import get_tags

__all__ = [
    "HasMethods",
    "Hidden",
    "Interval",
    "Options",
    "StrOptions",
    "fit_context",
    "get_tags",
    "validate_params",
]
