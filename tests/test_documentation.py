"""What the documentation has to keep up with: public names, hashers, examples."""

import importlib
import pkgutil
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import skhash
import skhash.hashers

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"

needs_docs = pytest.mark.skipif(not DOCS.is_dir(), reason="the source distribution has no docs folder")


def public_names():
    """Return (module, name) of every name in an `__all__` below skhash, private modules left out."""
    names = set()
    for module in pkgutil.walk_packages(skhash.__path__, "skhash."):
        if module.name.startswith("skhash.deep.") and find_spec("torch") is None:
            continue
        if any(part.startswith("_") for part in module.name.split(".")):
            continue
        names |= {(module.name, name) for name in getattr(importlib.import_module(module.name), "__all__", [])}
    return names


def documented_names():
    """Return (module, name) of every entry of the API reference, and of every name that its sentences mention."""
    listed, mentioned, module = set(), set(), None
    for line in (DOCS / "api.rst").read_text(encoding="utf-8").splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split()[-1]
        elif re.fullmatch(r"   \w+", line):
            listed.add((module, line.strip()))
        else:
            mentioned |= {(module, name) for name in re.findall(r"``(\w+)``", line)}
    return listed, mentioned


@needs_docs
def test_every_public_name_is_in_the_api_reference():
    names = public_names()
    assert ("skhash.codes", "pack_bits") in names
    listed, mentioned = documented_names()
    assert names - listed - mentioned == set()


@needs_docs
def test_the_api_reference_lists_no_name_that_does_not_exist():
    listed, _ = documented_names()
    if find_spec("torch") is None:
        listed = {(module, name) for module, name in listed if not module.startswith("skhash.deep.")}
    assert listed - public_names() == set()


@needs_docs
def test_names_of_the_top_level_are_documented_in_their_room():
    listed, _ = documented_names()
    assert set(skhash.__all__) - {name for _, name in listed} == set()


@needs_docs
def test_every_hasher_has_one_row_in_the_method_table():
    text = (DOCS / "methods.rst").read_text(encoding="utf-8")
    rows = re.findall(r"^   \* - :class:`~skhash\.\w+\.(\w+)`$", text, flags=re.MULTILINE)
    assert sorted(rows) == sorted(skhash.hashers.__all__)


@needs_docs
def test_every_page_of_the_user_guide_is_in_its_table_of_contents():
    contents = (DOCS / "user_guide" / "index.rst").read_text(encoding="utf-8")
    pages = [path.stem for path in (DOCS / "user_guide").glob("*.rst") if path.stem != "index"]
    assert len(pages) >= 7
    assert [page for page in pages if f"\n   {page}\n" not in contents] == []


def example_folders():
    return sorted({path.parent for path in EXAMPLES.rglob("*.py")})


def test_every_example_folder_has_a_header_and_the_name_of_a_room():
    folders = example_folders()
    assert EXAMPLES in folders
    assert len(folders) > 1
    rooms = {module.name for module in pkgutil.iter_modules(skhash.__path__)}
    for folder in folders:
        assert (folder / "GALLERY_HEADER.rst").is_file(), f"{folder} has no GALLERY_HEADER.rst"
        assert folder == EXAMPLES or folder.name in rooms


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_a_story_with_a_title_and_a_conclusion(path):
    text = path.read_text(encoding="utf-8")
    assert re.match(r'"""\n\S.*\n=+\n', text), "the docstring starts with an underlined title"
    cells = text.split("\n# %%\n")
    assert len(cells) >= 4
    assert re.match(r"# .+\n# -+\n", cells[-1]), "the last cell starts with an underlined heading"
