"""Save estimators to files and load them."""

import sys
import warnings
from datetime import UTC, datetime

import numpy as np
import scipy
import sklearn
from sklearn.base import BaseEstimator

import skhash

from ._card import write_card
from ._container import open_container, write_container
from ._encoding import Decoder, Encoder
from ._errors import FileFormatError
from ._json import shown

# What may go wrong where sound bytes describe what cannot be.
_FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError)


def save(estimator, path, *, card=None):
    """Save an estimator to a file that loads without running any code in it.

    Parameters
    ----------
    estimator : estimator
        Any estimator of this package, fitted or not; a pipeline of such and of scikit-learn's transformers.

    path : str, os.PathLike or binary file object
        Where to write; by convention the name ends in ``.skhash``. A path is replaced as a whole once the new file is
        on the disk, and stays as it was when anything fails. An address such as ``"s3://bucket/name.skhash"`` is
        written through fsspec, and a file object is written to from where it stands; neither can promise this.

    card : bool or dict of str to str, default=None
        Whether to write a model card into the file: what it holds, its parameters and versions, and what the
        dictionary says, heading by heading, such as ``{"Data": ..., "Figures": ...}``. See
        :func:`skhash.persistence.model_card`.

    Raises
    ------
    TypeError
        If the estimator is or holds what a file cannot, such as a function; the message names the attribute.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : Load the file.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> import skhash
    >>> X = np.random.default_rng(0).normal(size=(100, 8))
    >>> hasher, file = skhash.ITQ(4, random_state=0).fit(X), io.BytesIO()
    >>> skhash.save(hasher, file)
    >>> _ = file.seek(0)
    >>> bool((skhash.load(file).transform(X) == hasher.transform(X)).all())
    True
    """
    if isinstance(estimator, type):
        raise TypeError(f"skhash.save takes an estimator, got the class {estimator.__name__}; pass an instance.")
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"skhash.save takes an estimator, got a {type(estimator).__name__}; save arrays with NumPy.")
    if not (card is None or isinstance(card, bool | dict)):
        raise TypeError(f"skhash.save: card={card!r} must be True, False, None or a dict of texts.")
    manifest, arrays = describe(estimator)
    if card:
        manifest["card"] = write_card(estimator, manifest, arrays, card if isinstance(card, dict) else {})
    write_container(path, manifest, arrays)


def describe(estimator):
    """Turn an estimator into what a container holds.

    Parameters
    ----------
    estimator : estimator
        As `save` takes it.

    Returns
    -------
    manifest : dict
        For `write_container`.

    arrays : dict of str to ndarray
        For `write_container`.

    Raises
    ------
    TypeError
        If the estimator is or holds what a file cannot.
    """
    encoder = Encoder()
    try:
        node = encoder.encode(estimator)
    except TypeError as error:
        raise TypeError(f"{type(estimator).__name__} cannot be saved: {error}") from None
    manifest = {
        "skhash_version": skhash.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(encoder.class_names),
        "estimator": node,
    }
    return manifest, encoder.arrays


def load(path, mmap=False, verify=False):
    """Load an estimator that `save` saved.

    Nothing that a file holds is run: it names classes out of a fixed list, and everything it says is checked.

    Parameters
    ----------
    path : str, os.PathLike or binary file object
        A file, an address of fsspec, or a file object that can seek, which is read from where it stands to its end.

    mmap : bool, default=False
        Whether to leave the codes, ids, labels and stored vectors of a large database in the file, to be read when
        they are searched. The file then has to stay as it is; `save` may replace it, as it leaves the old one alone.

    verify : bool, default=False
        With ``mmap=True``, whether to compare all checksums before returning, rather than that of each block when it
        is first touched. Everything else is always verified.

    Returns
    -------
    estimator : estimator
        Equal to the one that was saved: the same parameters, and the same results bit for bit. Networks are on the
        CPU.

    Raises
    ------
    FileFormatError
        If the file is none of this package, damaged, newer than this version, or names what is not on the list.
    ImportError
        If the file holds a network and torch is not installed.
    OSError
        If the file cannot be read.

    Warns
    -----
    UserWarning
        If the file holds estimators of another version of scikit-learn.

    See Also
    --------
    save : Save an estimator.
    skhash.persistence.SavedIndex : Add to a saved search, whose log is loaded with it.
    skhash.persistence.inspect : See what a file holds without loading it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import skhash
    >>> codes = np.random.default_rng(0).integers(256, size=(200_000, 8), dtype=np.uint8)
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "index.skhash")
    >>> skhash.save(skhash.HammingNearestNeighbors(2).fit(codes), path)
    >>> search = skhash.load(path, mmap=True)
    >>> distances, ids = search.kneighbors(codes[:1])
    >>> int(ids[0, 0])
    0
    >>> folder.cleanup()
    """
    from ._growing import SavedIndex, fingerprint_of_log

    # In this order: a log that is removed meanwhile has become part of the file that is opened then.
    logged = fingerprint_of_log(path)
    with open_container(path, mmap=mmap) as container:
        if verify and mmap:
            container.verify()
        if container.fingerprint != logged:
            return load_from_container(container, mmap=mmap)
    return SavedIndex(path, mmap=mmap).snapshot()


def load_from_container(container, *, mmap):
    """Load the estimator of an open file.

    Parameters
    ----------
    container : Container
        The file.

    mmap : bool
        As in `load`.

    Returns
    -------
    estimator : estimator
        As `load` returns it.

    Raises
    ------
    FileFormatError
        If the file holds no estimator that is sound.
    """
    decoder = Decoder(container, mmap=mmap)
    try:
        estimator = decoder.decode_all(container.manifest.get("estimator"))
    except FileFormatError:
        raise
    except _FAILURES as error:
        reason = shown(" ".join(str(error).split()))
        raise FileFormatError(
            f"{container.name}: holds values that do not fit together ({type(error).__name__}: {reason}); save the "
            "estimator again."
        ) from error
    if not isinstance(estimator, BaseEstimator):
        raise FileFormatError(f"{container.name}: holds no estimator but a {type(estimator).__name__}.")
    _warn_of_versions(container, decoder.class_names)
    return estimator


def _versions(class_names):
    versions = {
        "python": ".".join(map(str, sys.version_info[:3])),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
    }
    if any(name.startswith(("deep.", "torch.")) for name in class_names):
        versions["torch"] = sys.modules["torch"].__version__
    return versions


def _warn_of_versions(container, class_names):
    versions = container.manifest.get("versions")
    found = versions.get("scikit-learn") if isinstance(versions, dict) else None
    others = sorted(name for name in class_names if name.startswith("sklearn."))
    if others and found != sklearn.__version__:
        warnings.warn(
            f"{container.name}: holds {', '.join(others)} of scikit-learn {shown(found)}, and this is "
            f"{sklearn.__version__!r}; results may differ.",
            UserWarning,
            stacklevel=4,
        )
