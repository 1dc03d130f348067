"""What importing the package costs, and who may import whom."""

import ast
import pathlib
import subprocess
import sys

import pytest

import skhash

PACKAGE = pathlib.Path(skhash.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Rooms may import the shared modules; besides, only what this table allows.
SHARED = {
    "codes",
    "_checked_map",
    "_compiled",
    "_memory",
    "_rows",
    "_images",
    "_sklearn",
    "_optional",
    "_validation",
    "_labels",
    "centers",
}
ALLOWED = {
    "neighbors": {"metrics"},  # HammingNearestNeighbors.score
    "inspection": {"metrics"},
    "pipeline": {"neighbors"},  # rescoring of what the search finds
    "features": {"_backbones"},
    "hashers": {"metrics"},  # validation mAP of DiscriminantITQ's ridge
    "deep": {"_backbones", "hashers", "metrics"},  # the base of all hashers; validation mAP
    "persistence": {
        "__version__",
        "deep",
        "features",
        "hashers",
        "metrics",
        "neighbors",
        "pipeline",
    },  # it saves what they fit
    "__main__": {"persistence"},
    "__init__": {"deep", "features", "hashers", "neighbors", "persistence", "pipeline"},
}
# Optional packages, and where they may be imported at all; `import_optional` names them in strings.
# Modules named _cnn_* and _torch_* are loaded by functions only, so they may import torch at their top. So may what the
# former share with the deep room, and the modules of that room, except for those that the estimators are imported from.
LOADED_BY_FUNCTIONS = {
    path
    for path in MODULES
    if path.name.startswith(("_cnn_", "_torch_"))
    or path.name == "_backbones.py"
    or path.is_relative_to(PACKAGE / "deep")
} - {
    PACKAGE / "deep" / name
    for name in ("__init__.py", "_estimator.py", "_kinds.py", "_labels.py", "_supervised.py", "_unsupervised.py")
}
OPTIONAL = {
    "torch": ("_backbones", "features", "deep", "persistence"),
    "skorch": ("deep",),
    "matplotlib": ("inspection",),
    "PIL": ("_images", "inspection"),
    "faiss": ("persistence",),
    "usearch": ("persistence",),
    "pyarrow": ("persistence",),
    "onnx": ("persistence",),
    "onnxscript": ("persistence",),
}


def room_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_names(path):
    """Yield (dotted name from the package root or of another package, whether it runs at import) of each import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(node) for outer in ast.walk(tree) if isinstance(outer, ast.FunctionDef) for node in ast.walk(outer)}
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, id(node) not in inside
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                # As many dots as the file is deep lead to the package root.
                outside = depth - node.level == 0
                names = [f"skhash.{base or name.name}" for name in node.names] if outside else [f"own.{base}"]
                for name in names:
                    yield name, id(node) not in inside
            else:
                yield base, id(node) not in inside


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_only_what_the_design_allows(path):
    room = room_of(path)
    allowed = SHARED | ALLOWED.get(room, set()) | {room}
    used = {name.split(".")[1] for name, _ in imported_names(path) if name.startswith("skhash.")}
    assert used <= allowed


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_scikit_learn_names_come_from_one_file(path):
    if path.name == "_sklearn.py":
        return
    for name, _ in imported_names(path):
        parts = name.split(".")
        assert not (parts[0] == "sklearn" and any(part.startswith("_") for part in parts)), name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_optional_packages_stay_in_their_rooms_and_inside_functions(path):
    for name, at_import in imported_names(path):
        package = name.split(".")[0]
        if package in OPTIONAL:
            assert room_of(path) in OPTIONAL[package]
            assert not at_import or path in LOADED_BY_FUNCTIONS, f"{path.name} imports {name} at the top"


def test_import_loads_neither_torch_nor_matplotlib_nor_pillow():
    heavy = {"torch", "skorch", "matplotlib", "PIL", "faiss", "usearch", "onnx", "tqdm"}
    command = f"import sys, skhash; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_there_is_a_module_to_check():
    assert len(MODULES) > 20


def test_all_is_sorted_and_complete():
    assert len(skhash.__all__) == len(set(skhash.__all__))
    for name in skhash.__all__:
        assert hasattr(skhash, name)
