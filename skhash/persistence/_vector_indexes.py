"""Databases of codes to and from the binary indexes of faiss and usearch."""

import numpy as np
from sklearn.utils import gen_batches

from .._optional import import_optional
from ._exchange import are_positions, check_any, database_of, search_on

# Keys that are looked up together, each of which takes an array of its own.
_KEYS_TOGETHER = 2**16


def to_faiss(search, *, bit_order="big", drop_labels=False):
    """Copy the database of a search into a binary index of faiss.

    Parameters
    ----------
    search : HammingNearestNeighbors
        Fitted search.

    bit_order : {"big", "little"}, default="big"
        Order of the bits in each byte of the index. faiss compares bytes as they are, so that distances do not depend
        on it, but queries need the order of the index: "big" is that of this package and of ``numpy.packbits``,
        "little" that of faiss' own hashing, as in ``IndexLSH``.

    drop_labels : bool, default=False
        Whether to leave labels out, for which faiss has no room. Without it, labels are an error.

    Returns
    -------
    index : faiss.IndexBinaryFlat or faiss.IndexBinaryIDMap2
        With the codes in the order of adding; an ID map where ids are not the positions.

    Raises
    ------
    ImportError
        If faiss is not installed.
    sklearn.exceptions.NotFittedError
        If the search is not fitted.
    TypeError
        If `search` is something else.
    ValueError
        If the search has labels, or the id -1, by which faiss says that it found nothing.

    See Also
    --------
    from_faiss : The inverse.

    Examples
    --------
    >>> from skhash import HammingNearestNeighbors
    >>> from skhash.persistence import to_faiss
    >>> search = HammingNearestNeighbors().fit([[0b0000], [0b0111], [0b0001]], ids=[10, 20, 30])
    >>> index = to_faiss(search)
    >>> distances, ids = index.search(search.codes_[:1], 2)
    >>> distances, ids
    (array([[0, 1]], dtype=int32), array([[10, 30]]))
    """
    faiss = import_optional("faiss", extra="faiss", feature="to_faiss")
    codes, ids, _ = database_of(search, bit_order, drop_labels, name="to_faiss", format="a faiss index")
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    if ids is None:
        index.add(codes)
        return index
    if (ids == -1).any():
        raise ValueError("to_faiss: the id -1 means 'nothing found' in faiss; give that code another id.")
    # The map takes empty indexes only, and keeps the one below it alive.
    index = faiss.IndexBinaryIDMap2(index)
    index.add_with_ids(codes, ids)
    return index


def from_faiss(index, *, bit_order="big"):
    """Fit a search on the codes of a binary index of faiss.

    Parameters
    ----------
    index : faiss.IndexBinaryFlat, faiss.IndexBinaryIDMap or faiss.IndexBinaryIDMap2
        An index that is not empty; an ID map has to be one of a flat index.

    bit_order : {"big", "little"}, default="big"
        Order of the bits in each byte of the index: "little" for codes that faiss itself made of real numbers.

    Returns
    -------
    search : HammingNearestNeighbors
        With the default parameters. Ids are those of an ID map, else positions.

    Raises
    ------
    ImportError
        If faiss is not installed.
    TypeError
        If the index is of another type.
    ValueError
        If the index is empty, or an id occurs twice.

    See Also
    --------
    to_faiss : The inverse.

    Notes
    -----
    ``faiss.read_index_binary`` accepts most damaged files. Read files from people you trust.

    Examples
    --------
    >>> import faiss
    >>> import numpy as np
    >>> from skhash.persistence import from_faiss
    >>> index = faiss.IndexBinaryFlat(8)
    >>> index.add(np.array([[0b0000], [0b0111]], dtype=np.uint8))
    >>> from_faiss(index).kneighbors([[0b0011]], n_neighbors=1)
    (array([[1]], dtype=int32), array([[1]]))
    """
    faiss = import_optional("faiss", extra="faiss", feature="from_faiss")
    # Objects of faiss come as their base class from attributes and files. The name `index` keeps what owns the memory.
    typed = faiss.downcast_IndexBinary(index) if isinstance(index, faiss.IndexBinary) else index
    flat, ids = typed, None
    # IndexBinaryIDMap2 is an IndexBinaryIDMap.
    if isinstance(typed, faiss.IndexBinaryIDMap):
        flat, ids = faiss.downcast_IndexBinary(typed.index), faiss.vector_to_array(typed.id_map)
    if not isinstance(flat, faiss.IndexBinaryFlat):
        kind = type(typed).__name__ if flat is typed else f"{type(typed).__name__} of an {type(flat).__name__}"
        raise TypeError(
            f"from_faiss: takes an IndexBinaryFlat, or an ID map of one, got {kind}; reconstruct its vectors and pass "
            "them to HammingNearestNeighbors().fit."
        )
    n_bytes = flat.d // 8
    if flat.xb.size() != flat.ntotal * n_bytes:
        raise ValueError(
            f"from_faiss: the index says that it holds {flat.ntotal} codes of {n_bytes} bytes, but has "
            f"{flat.xb.size()} bytes; write it again."
        )
    check_any(flat.ntotal, "from_faiss: the index")
    # A view: `fit` copies.
    codes = faiss.rev_swig_ptr(flat.xb.data(), flat.ntotal * n_bytes).reshape(-1, n_bytes)
    return search_on(codes, ids, None, bit_order, name="from_faiss")


def to_usearch(search, *, bit_order="big", drop_labels=False):
    """Copy the database of a search into an index of usearch, with the metric Hamming on single bits.

    Parameters
    ----------
    search : HammingNearestNeighbors
        Fitted search.

    bit_order : {"big", "little"}, default="big"
        Order of the bits in each byte of the index; distances do not depend on it. "big" is that of this package, of
        ``numpy.packbits`` and of usearch's examples.

    drop_labels : bool, default=False
        Whether to leave labels out, for which usearch has no room. Without it, labels are an error.

    Returns
    -------
    index : usearch.index.Index
        With ids as keys. Its search is approximate; ``index.search(codes, k, exact=True)`` gives the distances of
        `search`.

    Raises
    ------
    ImportError
        If usearch is not installed.
    sklearn.exceptions.NotFittedError
        If the search is not fitted.
    TypeError
        If `search` is something else.
    ValueError
        If the search has labels, or negative ids.

    See Also
    --------
    from_usearch : The inverse.

    Notes
    -----
    usearch stores whole bytes and counts the bits of padding, which are zeros here, so the index is one of
    ``8 * n_bytes`` dimensions. It has no order of adding.

    Examples
    --------
    >>> from skhash import HammingNearestNeighbors
    >>> from skhash.persistence import to_usearch
    >>> search = HammingNearestNeighbors().fit([[0b0000], [0b0111], [0b0001]], ids=[10, 20, 30])
    >>> to_usearch(search).search(search.codes_[0], 2, exact=True).keys.tolist()
    [10, 30]
    """
    usearch = import_optional("usearch.index", extra="usearch", feature="to_usearch")
    codes, ids, _ = database_of(search, bit_order, drop_labels, name="to_usearch", format="a usearch index")
    ids = np.arange(len(codes)) if ids is None else ids
    if (ids < 0).any():
        raise ValueError(f"to_usearch: keys of usearch are not negative, got the id {ids.min()}; give other ids.")
    index = usearch.Index(
        ndim=8 * codes.shape[1], metric=usearch.MetricKind.Hamming, dtype=usearch.ScalarKind.B1, multi=False
    )
    if len(codes):
        index.add(ids.astype(np.uint64), codes)
    return index


def from_usearch(index, *, bit_order="big"):
    """Fit a search on the codes of a usearch index.

    Parameters
    ----------
    index : usearch.index.Index
        An index of single bits with the metric Hamming and one vector a key, which is not empty.

    bit_order : {"big", "little"}, default="big"
        Order of the bits in each byte of the index.

    Returns
    -------
    search : HammingNearestNeighbors
        With the default parameters. Codes come by rising key, as usearch has no order of adding. Keys are the ids;
        where they are 0, 1, 2 and so on, ids are positions.

    Raises
    ------
    ImportError
        If usearch is not installed.
    TypeError
        If `index` is something else, has another metric or type of numbers, or keys that do not fit int64.
    ValueError
        If the index is empty, cannot look up keys, or a bit beyond its number of dimensions is set.

    See Also
    --------
    to_usearch : The inverse.

    Notes
    -----
    usearch may crash on a damaged file. Read files from people you trust.

    Examples
    --------
    >>> import numpy as np
    >>> from skhash.persistence import from_usearch
    >>> from usearch.index import Index
    >>> index = Index(ndim=8, metric="hamming", dtype="b1")
    >>> keys = index.add(np.array([10, 20]), np.array([[0b0000], [0b0111]], dtype=np.uint8))
    >>> from_usearch(index).kneighbors([[0b0011]], n_neighbors=1)
    (array([[1]], dtype=int32), array([[20]]))
    """
    usearch = import_optional("usearch.index", extra="usearch", feature="from_usearch")
    if not isinstance(index, usearch.Index):
        raise TypeError(f"from_usearch: takes a usearch.index.Index, got a {type(index).__name__}.")
    is_binary = index.dtype == usearch.ScalarKind.B1 and index.metric_kind == usearch.MetricKind.Hamming
    if not is_binary or index.multi:
        raise TypeError(
            f"from_usearch: takes an index with metric='hamming', dtype='b1' and multi=False, got {index.metric_kind}, "
            f"{index.dtype} and multi={index.multi}."
        )
    check_any(len(index), "from_usearch: the index")
    # By rising key, because what usearch lists them by depends on its threads.
    keys = np.sort(index.keys[:])
    codes = np.empty((len(keys), -(-index.ndim // 8)), dtype=np.uint8)
    for block in gen_batches(len(keys), _KEYS_TOGETHER):
        vectors = index.get(keys[block])
        if any(vector is None for vector in vectors):
            raise ValueError(
                "from_usearch: the index cannot look up its keys; restore it with enable_key_lookups=True."
            )
        codes[block] = vectors
    ids = None if are_positions(keys) else keys
    return search_on(codes, ids, None, bit_order, n_bits=index.ndim, name="from_usearch")
