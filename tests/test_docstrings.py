"""Every public name has a docstring that numpydoc finds complete, with an example where it is used by itself."""

import inspect
import pathlib
import tomllib

import pytest

import skhash
from tests.estimators import public_modules

numpydoc_validate = pytest.importorskip("numpydoc.validate", reason="numpydoc reads the docstrings")

PYPROJECT = pathlib.Path(skhash.__file__).parents[1] / "pyproject.toml"


def public_names():
    """Map the import path of each exported function and class to the object."""
    found = {}
    for module in public_modules():
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if value not in found.values() and (inspect.isclass(value) or inspect.isfunction(value)):
                found[f"{module.__name__}.{name}"] = value
    return found


def own_methods(cls):
    """Names of the public methods that this package defines for a class."""
    for name, _ in inspect.getmembers(cls, callable):
        defined_here = any(name in base.__dict__ and base.__module__.startswith("skhash") for base in cls.__mro__)
        if defined_here and not name.startswith("_"):
            yield name


NAMES = public_names()
ESTIMATORS_AND_DISPLAYS = {
    path: value for path, value in NAMES.items() if inspect.isclass(value) and not issubclass(value, BaseException)
}


def described_elsewhere(cls, name):
    """Whether a method overrides one of a public class, whose description says what callers need to know."""
    return any(base is not cls and hasattr(base, name) for base in cls.__mro__ if base in NAMES.values())


METHODS = [
    f"{path}.{name}"
    for path, cls in ESTIMATORS_AND_DISPLAYS.items()
    for name in own_methods(cls)
    if not described_elsewhere(cls, name)
]


def test_there_are_public_names():
    assert len(NAMES) > 40
    assert len(METHODS) > 40


@pytest.mark.parametrize("path", [*NAMES, *METHODS])
def test_numpydoc_finds_nothing_missing(path):
    checks = set(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["numpydoc_validation"]["checks"])
    errors = [error for error in numpydoc_validate.validate(path)["errors"] if error[0] in checks]
    assert errors == []


@pytest.mark.parametrize("path", ESTIMATORS_AND_DISPLAYS)
def test_documented_defaults_are_those_of_the_signature(path):
    """The line `name : type, default=value` must say what `__init__` says."""
    cls = NAMES[path]
    documented = {
        line.split(" : ")[0].strip(): line.rsplit("default=", 1)[1].strip()
        for line in (inspect.getdoc(cls) or "").splitlines()
        if " : " in line and "default=" in line
    }
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in documented and parameter.default is not parameter.empty:
            assert documented[name].strip("\"'") == str(parameter.default).strip("\"'"), name


@pytest.mark.parametrize("path", [path for path, value in NAMES.items() if value.__module__.startswith("skhash")])
def test_functions_and_classes_show_an_example(path):
    if path.endswith("Error"):
        pytest.skip("errors are raised, not used")
    assert ">>>" in inspect.getdoc(NAMES[path])
