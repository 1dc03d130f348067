"""Leave out doctests whose optional packages are not installed."""

from importlib.util import find_spec

import pytest

HAS_TORCH, HAS_MATPLOTLIB, HAS_PILLOW = (find_spec(name) is not None for name in ("torch", "matplotlib", "PIL"))
# What databases and hashers are exported to.
HAS_PEERS = {name: find_spec(name) is not None for name in ("faiss", "usearch", "pyarrow", "onnx")}

# Modules that cannot even be imported, or whose every example needs the package.
collect_ignore_glob = []
if not HAS_TORCH:
    collect_ignore_glob += [
        "skhash/_backbones.py",
        "skhash/features/_cnn*.py",
        "skhash/deep/*.py",
        "skhash/persistence/_torch_*.py",
    ]
if not HAS_PILLOW:
    collect_ignore_glob += ["skhash/_images/*.py", "skhash/features/*.py"]
if not HAS_MATPLOTLIB:
    collect_ignore_glob += ["skhash/inspection/*.py"]
if not HAS_PEERS["faiss"] or not HAS_PEERS["usearch"]:
    collect_ignore_glob += ["skhash/persistence/_vector_indexes.py"]
if not HAS_PEERS["pyarrow"]:
    collect_ignore_glob += ["skhash/persistence/_arrow.py"]
if not HAS_PEERS["onnx"]:
    collect_ignore_glob += ["skhash/persistence/_onnx.py"]


def pytest_collection_modifyitems(items):
    """Skip the pages: they tell one story each, of which most use the features of images or show a picture."""
    for item in items:
        if item.path.suffix not in (".rst", ".md"):
            continue
        if not (HAS_TORCH and HAS_MATPLOTLIB):
            item.add_marker(pytest.mark.skip(reason="pages use the extras 'deep' and 'plot'"))
        elif item.path.name == "exchange.rst" and not all(HAS_PEERS.values()):
            item.add_marker(pytest.mark.skip(reason="uses the extras 'faiss', 'usearch', 'parquet' and 'onnx'"))
