"""Model cards: what is in a file, in words for people."""


def write_card(estimator, manifest, arrays, sections):
    """Write a model card.

    Parameters
    ----------
    estimator : estimator
        What is saved.

    manifest : dict
        Its file's, with versions and the time.

    arrays : dict of str to ndarray
        Its arrays.

    sections : dict of str to str
        Further texts by their headings.

    Returns
    -------
    card : str
        Markdown.
    """
    for heading, text in sections.items():
        if not (isinstance(heading, str) and isinstance(text, str)):
            raise TypeError(f"skhash.save: card has {heading!r}: {text!r}; headings and texts are strings.")
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    n_bytes = sum(array.nbytes for array in arrays.values())
    lines = [
        f"# {type(estimator).__name__}",
        "",
        f"Saved by skhash {manifest['skhash_version']} at {manifest['created']} ({versions}).",
        f"{len(arrays)} arrays of {n_bytes} bytes.",
        "",
        "## Parameters",
        "",
        *(f"- `{name}`: `{' '.join(repr(value).split())}`" for name, value in sorted(estimator.get_params().items())),
    ]
    for heading, text in sections.items():
        lines += ["", f"## {heading}", "", text]
    return "\n".join(lines) + "\n"
