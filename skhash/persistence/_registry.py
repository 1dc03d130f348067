"""The classes and functions that a file may name. A name that is not listed here leads nowhere."""

import contextlib
import functools
import importlib
import inspect

from sklearn.base import BaseEstimator

from .._optional import import_optional

# Whose public estimators a file may name. Modules whose compiled code trusts what was fitted are left out.
_SKLEARN_MODULES = (
    "sklearn.cluster",
    "sklearn.compose",
    "sklearn.cross_decomposition",
    "sklearn.decomposition",
    "sklearn.discriminant_analysis",
    "sklearn.feature_extraction",
    "sklearn.feature_extraction.text",
    "sklearn.feature_selection",
    "sklearn.impute",
    "sklearn.kernel_approximation",
    "sklearn.linear_model",
    "sklearn.manifold",
    "sklearn.model_selection",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.random_projection",
)
# Of these modules, only the estimators that `_checks` knows how to check.
_SOME_OF_SKLEARN = {
    "sklearn.cluster": {"KMeans", "MiniBatchKMeans"},
    "sklearn.neighbors": {"KNeighborsClassifier", "KNeighborsRegressor"},
}
# Not estimators, but what searches over parameters keep.
_SPLITTERS = {
    *("GroupKFold", "KFold", "LeaveOneOut", "PredefinedSplit", "ShuffleSplit", "StratifiedGroupKFold"),
    *("StratifiedKFold", "StratifiedShuffleSplit", "TimeSeriesSplit"),
}
_PREFIX_OF_SKLEARN, _PREFIXES_OF_TORCH = "sklearn.", ("deep.", "torch.")


@functools.cache
def _own_classes():
    """Classes of this package by the names that files know them by, which never change."""
    import skhash

    from .._images import UnreadableImage
    from ..hashers._anchors import AnchorMap
    from ..hashers._class_statistics import ClassStatistics
    from ..hashers._kernel import AnchorKernel
    from ..hashers._root_kernel import RootKernel
    from ..hashers._sketch import FrequentDirections
    from ..hashers._statistics import RunningStatistics
    from ..metrics._scorer import _RetrievalScorer
    from ..neighbors._engine import SearchEngine
    from ..neighbors._hamming import _Database
    from ..neighbors._stored_vectors import StoredVectors
    from ..pipeline import _KeptFeatures

    public = {name: getattr(skhash, name) for name in skhash.__all__}
    return {name: value for name, value in public.items() if inspect.isclass(value)} | {
        "AnchorKernel": AnchorKernel,
        "AnchorMap": AnchorMap,
        "ClassStatistics": ClassStatistics,
        "Database": _Database,
        "FrequentDirections": FrequentDirections,
        "KeptFeatures": _KeptFeatures,
        "RetrievalScorer": _RetrievalScorer,
        "RootKernel": RootKernel,
        "RunningStatistics": RunningStatistics,
        "SearchEngine": SearchEngine,
        "StoredVectors": StoredVectors,
        "UnreadableImage": UnreadableImage,
    }


@functools.cache
def _own_functions():
    """Functions that attributes of estimators may be, by the names that files know them by."""
    from ..hashers._cosdish import _identity
    from ..metrics import mean_average_precision_scorer, precision_within_radius_scorer

    return {
        "identity": _identity,
        "mean_average_precision_scorer": mean_average_precision_scorer,
        "precision_within_radius_scorer": precision_within_radius_scorer,
    }


def _torch_classes():
    from . import _torch_registry

    return _torch_registry.classes()


def name_of_class(cls):
    """Find the name of a class in files.

    Parameters
    ----------
    cls : type
        Any class.

    Returns
    -------
    name : str or None
        None for a class that no file may name.
    """
    module = cls.__module__
    if module.startswith(_PREFIX_OF_SKLEARN):
        return _name_in_sklearn(cls)
    for name, known in _own_classes().items():
        if known is cls:
            return name
    if module.startswith(("skhash.deep.", "torch.")):
        for name, known in _torch_classes().items():
            if known is cls:
                return name
    return None


def class_of_name(name):
    """Find the class that a file names.

    Parameters
    ----------
    name : str
        From a file.

    Returns
    -------
    cls : type or None
        None if the name is not known.

    Raises
    ------
    ImportError
        If the class needs torch, which is not installed.
    """
    if name.startswith(_PREFIX_OF_SKLEARN):
        return _class_in_sklearn(name)
    if name.startswith(_PREFIXES_OF_TORCH):
        import_optional("torch", extra="deep", feature="skhash.load, for a file with a network,")
        return _torch_classes().get(name)
    return _own_classes().get(name)


def name_of_function(function):
    """Find the name of a function in files, or None."""
    return next((name for name, known in _own_functions().items() if known is function), None)


def function_of_name(name):
    """Find the function that a file names, or None."""
    return _own_functions().get(name)


def is_object(name, cls):
    """Whether objects of a class are their attributes, and no modules of torch."""
    return issubclass(cls, BaseEstimator) or not name.startswith(_PREFIXES_OF_TORCH)


def is_of_sklearn(cls):
    """Whether a class is one of scikit-learn's own."""
    return cls.__module__.startswith(_PREFIX_OF_SKLEARN)


def _name_in_sklearn(cls):
    for module in _SKLEARN_MODULES:
        name = f"{module}.{cls.__name__}"
        if cls.__module__.startswith(module) and _class_in_sklearn(name) is cls:
            return name
    return None


def _class_in_sklearn(name):
    """Find a public estimator or splitter of scikit-learn."""
    module_name, _, class_name = name.rpartition(".")
    # What is imported is an entry of the table, never the text of a file.
    for module in _SKLEARN_MODULES:
        if module == module_name and class_name in _SOME_OF_SKLEARN.get(module, {class_name}):
            public = importlib.import_module(module)
            found = None
            if class_name in getattr(public, "__all__", ()):
                # Experimental ones raise ImportError until they are enabled.
                with contextlib.suppress(AttributeError, ImportError):
                    found = getattr(public, class_name)
            is_splitter = module == "sklearn.model_selection" and class_name in _SPLITTERS
            if inspect.isclass(found) and (is_splitter or issubclass(found, BaseEstimator)):
                return found
    return None
