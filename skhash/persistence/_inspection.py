"""See what a file holds, without loading it."""

import io

from ._container import open_container
from ._errors import FileFormatError
from ._json import shown

# Lines of the tree of values, and tensors, that are printed at most.
_MAX_LINES = 200
_MAX_DEPTH = 30


def inspect(path, *, verify=False):
    """Describe what a file holds, without loading it: no object is made, and no tensor is read.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        A file of :func:`skhash.save`.

    verify : bool, default=False
        Whether to read all tensors and compare their checksums.

    Returns
    -------
    description : str
        Lines of printable characters: versions, the tree of estimators and parameters, and the tensors with their
        dtypes, shapes and sizes.

    Raises
    ------
    FileFormatError
        If the file is none of this package, damaged or newer.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import io
    >>> import skhash
    >>> from skhash.persistence import inspect
    >>> file = io.BytesIO()
    >>> skhash.save(skhash.LSH(16), file)
    >>> _ = file.seek(0)
    >>> print(inspect(file))
    <BytesIO>: format 1 (readers from 1), ... bytes
    skhash ..., created ...
    numpy ..., python ..., scikit-learn ..., scipy ...
    checks: head, manifest and list of tensors are sound; tensors not read
    <BLANKLINE>
    estimator: LSH
      n_bits: 16
      orthogonal: false
      random_state: null
    <BLANKLINE>
    0 tensors, 0 bytes
    """
    with open_container(path) as container:
        if verify:
            container.verify()
        return _described(container, verify)


def model_card(path):
    """Read the model card of a file, without loading the rest.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        A file of :func:`skhash.save`.

    Returns
    -------
    card : str or None
        Markdown, as its author wrote it; None if the file was saved without one.

    Raises
    ------
    FileFormatError
        If the file is none of this package, damaged or newer.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import io
    >>> import skhash
    >>> from skhash.persistence import model_card
    >>> file = io.BytesIO()
    >>> skhash.save(skhash.LSH(16), file, card={"Data": "Digits of 8 x 8 pixels."})
    >>> _ = file.seek(0)
    >>> print(model_card(file))
    # LSH
    <BLANKLINE>
    Saved by skhash ...
    0 arrays of 0 bytes.
    <BLANKLINE>
    ## Parameters
    <BLANKLINE>
    - `n_bits`: `16`
    - `orthogonal`: `False`
    - `random_state`: `None`
    <BLANKLINE>
    ## Data
    <BLANKLINE>
    Digits of 8 x 8 pixels.
    <BLANKLINE>
    """
    with open_container(path) as container:
        card = container.manifest.get("card")
        if card is not None and not isinstance(card, str):
            raise FileFormatError(f"{container.name}: has a model card that is no text.")
        return card


def _described(container, is_verified):
    manifest, lines = container.manifest, io.StringIO()
    version, oldest_reader = container.versions
    print(f"{container.name}: format {version} (readers from {oldest_reader}), {container.n_bytes} bytes", file=lines)
    print(f"skhash {_text(manifest.get('skhash_version'))}, created {_text(manifest.get('created'))}", file=lines)
    versions = manifest.get("versions")
    if isinstance(versions, dict):
        print(", ".join(f"{_text(name)} {_text(found)}" for name, found in sorted(versions.items())), file=lines)
    tensors = "and all tensors are sound" if is_verified else "are sound; tensors not read"
    print(f"checks: head, manifest{',' if is_verified else ' and'} list of tensors {tensors}\n", file=lines)
    tree = list(_tree("estimator", manifest.get("estimator"), 0))
    print("\n".join(_cut(tree)), file=lines)
    if "card" in manifest:
        print("\nmodel card: yes", file=lines)
    n_bytes = sum(tensor.nbytes for tensor in container.tensors.values())
    print(f"\n{len(container.tensors)} tensors, {n_bytes} bytes", file=lines)
    rows = [
        f"  {_text(name)}  {tensor.dtype}  {'x'.join(map(str, tensor.shape)) or 'scalar'}  {tensor.nbytes} bytes"
        for name, tensor in container.tensors.items()
    ]
    print("\n".join(_cut(rows)), file=lines)
    return lines.getvalue().rstrip("\n")


def _cut(lines):
    if len(lines) <= _MAX_LINES:
        return lines
    return [*lines[:_MAX_LINES], f"  ... and {len(lines) - _MAX_LINES} more"]


def _tree(name, node, depth):
    """Yield the lines of a node and what lies in it."""
    head = f"{'  ' * depth}{name}: "
    if depth > _MAX_DEPTH:
        yield f"{head}..."
    elif isinstance(node, list):
        yield f"{head}list of {len(node)}"
        for place, item in enumerate(node):
            yield from _tree(f"[{place}]", item, depth + 1)
    elif not isinstance(node, dict):
        yield head + _value(node)
    else:
        kind = node.get("kind")
        parts = {key: value for key, value in node.items() if key not in ("kind", "id", "class")}
        if kind in ("object", "module", "net", "partial"):
            yield head + _text(node.get("class", kind))
            # What users set and what a fit learned, alike; modules list their parts in pairs.
            for key, value in parts.items():
                is_table = key in ("parameters", "buffers", "modules", "state", "keywords")
                for attribute, item in _named(value) if is_table else [(key, value)]:
                    yield from _tree(_text(attribute), item, depth + 1)
        elif kind == "tuple" and isinstance(node.get("items"), list):
            yield f"{head}tuple of {len(node['items'])}"
            for place, item in enumerate(node["items"]):
                yield from _tree(f"[{place}]", item, depth + 1)
        else:
            yield f"{head}{_text(kind)} {shown(parts)}"


def _named(values):
    """List the names and values of a table, or of a list of pairs."""
    if isinstance(values, dict):
        return list(values.items())
    if not isinstance(values, list):
        return [("?", values)]
    return [pair if isinstance(pair, list) and len(pair) == 2 else ("?", pair) for pair in values]


def _value(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return shown(value)


def _text(value):
    """Show a name without quotes where it is plain."""
    is_plain = isinstance(value, str) and value.isascii() and value.isprintable() and len(value) <= 80
    return value if is_plain else shown(value)
