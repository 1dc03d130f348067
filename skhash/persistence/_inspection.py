"""See what a file holds, without loading it."""

import contextlib
import io
from operator import add

from ._container import open_container
from ._errors import FileFormatError
from ._files import file_name
from ._growing import paths_beside
from ._json import shown
from ._lock import no_writer
from ._log import open_log
from ._log_records import N_FIRST_BYTES, count_changes

# Lines of the tree of values, and tensors, that are printed at most.
_MAX_LINES = 200
_MAX_DEPTH = 30


def inspect(path, *, verify=False):
    """Describe what a file holds, without loading it: no object is made, and no tensor is read.

    The log of a :class:`SavedIndex` that lies beside the file is described with it. All its records are read, piece by
    piece, and their checksums compared.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        A file of :func:`skhash.save`; of a file object, nobody knows what lies beside it.

    verify : bool, default=False
        Whether to read all tensors and compare their checksums.

    Returns
    -------
    description : str
        Lines of printable characters: versions, the tree of estimators and parameters, and the tensors with their
        dtypes, shapes and sizes; then the log: its size, what it adds and removes, and whether it belongs to the file.

    Raises
    ------
    FileFormatError
        If the file or its log is none of this package, damaged or newer.
    OSError
        If the file or its log cannot be read.

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
    beside = paths_beside(path)
    with contextlib.ExitStack() as stack:
        # In this order: a log that is removed meanwhile has become part of the file that is opened then.
        log = None if beside is None else open_log(beside[0])
        if log is not None:
            stack.callback(log.close)
        container = stack.enter_context(open_container(path))
        if verify:
            container.verify()
        lines = [_described(container, verify)]
        if log is not None:
            lines += _described_log(log, container.fingerprint, *beside)
        elif beside is not None:
            lines += ["", "log: none"]
        return "\n".join(lines)


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


def _described_log(log, fingerprint, path, lock_path):
    """List what a log says, and check it as far as that can be done without the database."""
    name, (version, oldest_reader) = file_name(path), log.versions
    lines = ["", f"log: {name}: format {version} (readers from {oldest_reader}), {log.n_bytes()} bytes"]
    if log.fingerprint != fingerprint:
        return [
            *lines,
            f"  belongs to another file, {shown(log.fingerprint)}; this is {fingerprint!r}: loading ignores the log",
            "  checks: its head is sound; records not read",
        ]
    acknowledged = count_changes(log.acknowledged_records(n_first=N_FIRST_BYTES), name)
    n_acknowledged, n_records = log.stop, log.n_records
    behind, checked = [], "all records"
    if log.n_bytes() > log.stop:
        with no_writer(lock_path) as is_free:
            if is_free:
                # A writer may have acknowledged more since, and closed the log.
                more = count_changes(log.acknowledged_records(n_first=N_FIRST_BYTES), name)
                acknowledged = tuple(map(add, acknowledged, more))
                n_acknowledged, n_records = log.stop, log.n_records
                left = count_changes(log.left_records(n_first=N_FIRST_BYTES), name)
                what = f"{log.n_records - n_records} whole records, {_counted(left)}; left by a writer that was stopped"
            else:
                what, checked = "not checked, as somebody may be writing them", "acknowledged records"
            n_behind = log.n_bytes() - n_acknowledged
        if n_behind:
            behind = [f"  behind them: {n_behind} bytes, {what}"]
    return [
        *lines,
        "  belongs to this file",
        f"  acknowledged: {n_acknowledged} bytes, {n_records} records, {_counted(acknowledged)}",
        *behind,
        f"  checks: head and {checked} are sound; whether they fit the file is seen when it is loaded",
    ]


def _counted(changes):
    return "{} codes added, {} removed".format(*changes)


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
