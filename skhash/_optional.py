"""Imports of optional dependencies, with one line that says what to install."""

import importlib
from types import ModuleType


def import_optional(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import an optional dependency or say which extra provides it.

    Parameters
    ----------
    module : str
        Dotted name of the module to import.

    extra : str
        Name of the extra of this package that installs it.

    feature : str
        What needs the module: the name of an estimator or function.

    Returns
    -------
    imported : module
        The imported module.

    Raises
    ------
    ImportError
        If the module is not installed; the message names the feature and the command to run.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{feature} needs {package!r}, which could not be imported ({error}): run `pip install 'skhash[{extra}]'`."
        ) from error
