"""The only place that imports private names of scikit-learn.

scikit-learn keeps its parameter validation private. Everything private that this package relies on passes through
here, so that a change in a scikit-learn release is mended in one file.
"""

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params

__all__ = ["HasMethods", "Interval", "StrOptions", "fit_context", "validate_params"]
