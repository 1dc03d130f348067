"""Configuration of the documentation build: ``python -m sphinx -W --keep-going -b html docs docs/_build/html``."""

import re
from itertools import cycle
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

import skhash

ROOT = Path(__file__).parent.parent

project = "skhash"
author = "skhash developers"
copyright = author
version = release = skhash.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**/GALLERY_HEADER.rst"]

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["skhash.css"]
html_title = f"skhash {release}"
# Browsers draw MathML themselves; MathJax would be loaded from the network whenever a page is read.
html_math_renderer = "mathml"
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "skhash"},
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "footer_end": [],
}
html_sidebars = {"install": [], "methods": [], "benchmarks": [], "contributing": [], "changelog": []}

autosummary_generate = True
# The template lists the methods; numpydoc would list those that scikit-learn's base classes bring, too.
numpydoc_show_class_members = False
autodoc_typehints = "none"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    # Every example runs when the documentation is built, and one that raises fails the build.
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skhash",),
    # Examples print what they want to show.
    "capture_repr": (),
    "inspect_global_variables": False,
    "matplotlib_animations": False,
    "remove_config_comments": True,
    "show_memory": False,
}


def skip_foreign_members(app, what, name, member, skip, options):
    """Leave out what classes inherit from scikit-learn or torch: their own documentation describes it."""
    function = getattr(member, "fget", member)
    module = getattr(function, "__module__", None) or ""
    # Attributes such as `training` have no module; torch annotates them in its own class.
    inherited = name in {"call_super_init", "dump_patches", "training", "T_destination"}
    return skip or inherited or module.startswith(("sklearn.", "torch."))


def escape_fitted_names(app, what, name, obj, options, lines):
    """Keep reStructuredText from reading a link into the type ``ndarray of shape (n_features_in_,)``."""
    for number, line in enumerate(lines):
        lines[number] = re.sub(r"(of shape|or) \([^)`]*\)", lambda shape: re.sub(r"_(?=[,) ])", r"\_", shape[0]), line)


def resolve_short_name(app, env, node, contnode):
    """Link names under which an object can be imported, too, to the name that the API reference lists."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or ("." in target and not target.startswith("skhash")):
        return None
    domain = env.domains["py"]
    matches = [
        name
        for name, entry in domain.objects.items()
        if not entry.aliased and name.rpartition(".")[2] == target.rpartition(".")[2]
    ]
    if len(matches) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", matches[0], node, contnode)


def write_formula(translator, node):
    """Write a formula as MathML."""
    as_block = node.tagname == "math_block"
    formula = tex2mathml(_with_known_commands(node.astext()), as_block=as_block)
    translator.body.append(f'<div class="formula">{formula}</div>' if as_block else formula)
    raise SkipNode


def _with_known_commands(tex):
    r"""Replace commands that the translator lacks: \Big by \Bigl and \Bigr, and \dots."""
    # A norm has the same delimiter on both sides.
    norm = cycle("lr")

    def with_side(match):
        side = "l" if match[2] in ("(", "[", r"\{") else "r" if match[2] in (")", "]", r"\}") else next(norm)
        return match[1] + side + match[2]

    tex = re.sub(r"(\\[bB]igg?)\s*(\\[{}|]|[()\[\]|])", with_side, tex)
    return re.sub(r"\\dots\b", r"\\ldots", tex)


def fill_changelog(app, docname, source):
    """Turn CHANGELOG.md, which uses only headings, lists and code, into the page."""
    if docname != "changelog":
        return
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("`", "``")
    source[0] = re.sub(r"^(#+) (.*)$", _underline, text, flags=re.MULTILINE)


def _underline(heading):
    return f"{heading[2]}\n{'=-~'[len(heading[1]) - 1] * len(heading[2])}"


def setup(app):
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
    app.connect("autodoc-skip-member", skip_foreign_members)
    # After numpydoc, which has the default priority of 500.
    app.connect("autodoc-process-docstring", escape_fitted_names, priority=600)
    app.connect("missing-reference", resolve_short_name)
    app.connect("source-read", fill_changelog)
