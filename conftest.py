"""Leave out doctests whose optional packages are not installed."""

from importlib.util import find_spec

import pytest

HAS_TORCH, HAS_MATPLOTLIB, HAS_PILLOW = (find_spec(name) is not None for name in ("torch", "matplotlib", "PIL"))

# Modules that cannot even be imported, or whose every example needs the package.
collect_ignore_glob = []
if not HAS_TORCH:
    collect_ignore_glob += ["skhash/_backbones.py", "skhash/features/_cnn*.py", "skhash/deep/*.py"]
if not HAS_PILLOW:
    collect_ignore_glob += ["skhash/_images/*.py", "skhash/features/*.py"]
if not HAS_MATPLOTLIB:
    collect_ignore_glob += ["skhash/inspection/*.py"]


def pytest_collection_modifyitems(items):
    """Skip the pages: they tell one story each, of which most use the features of images or show a picture."""
    if HAS_TORCH and HAS_MATPLOTLIB:
        return
    skip = pytest.mark.skip(reason="pages use the extras 'deep' and 'plot'")
    for item in items:
        if item.path.suffix in (".rst", ".md"):
            item.add_marker(skip)
