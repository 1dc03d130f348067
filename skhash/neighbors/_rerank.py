"""Order a shortlist of Hamming neighbours anew by real-valued distances.

Many codes lie at the same Hamming distance from a query. What the query knows beyond its own bits (how far each
projection is from zero, or the features themselves) tells them apart. Ties keep the order of the shortlist.

Shortlists are flat here: `counts` says how many candidates each query has, `rows` holds them query after query. So
both kinds of search, by number and by radius, share one loop.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import gen_batches

from .._validation import as_array, check_count
from ..codes import asymmetric_tables, check_codes, check_same_width, code_width, spherical_quotients

__all__ = ["rerank_asymmetric", "rerank_float", "rerank_spherical"]

# Tables of a block of queries take this many bytes at most, so that they stay in the second-level cache.
_TABLE_BYTES = 2**20
# Candidates whose bytes are looked up at once.
_BLOCK_PAIRS = 2**14
# Numbers of float vectors that are subtracted at once.
_BLOCK_NUMBERS = 2**16


def rerank_asymmetric(
    query_projections: ArrayLike, database_codes: ArrayLike, shortlist: ArrayLike, *, n_neighbors: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Order a shortlist by the asymmetric distance of real-valued queries to binary codes.

    The distance of a query with projections p to a code c adds up the magnitudes of the projections whose sign is not
    the bit of the code:

    .. math:: d(q, c) = \\sum_j |p_j| \\, [c_j \\ne (p_j \\ge 0)]

    It is the Hamming distance weighted by how sure the query is of each of its bits. With the code written as signs s,
    it is :math:`(\\lVert p \\rVert_1 - \\langle p, s \\rangle) / 2`, so its order is that of the inner product and of
    the Euclidean distance between projections and signs.

    Parameters
    ----------
    query_projections : array-like of shape (n_queries, n_bits)
        What ``hasher.project`` returns for the queries; all are finite.

    database_codes : array-like of shape (n_database, ceil(n_bits / 8))
        Packed codes of the database.

    shortlist : array-like of int of shape (n_queries, n_candidates)
        Rows of `database_codes`, as ``kneighbors`` returns them: ids are rows for a search that was fitted without ids
        and from which nothing was removed.

    n_neighbors : int, default=None
        How many of the candidates to return; all when not given.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_neighbors), dtype float64
        Asymmetric distances, rising along each row, in the unit of the projections.

    rows : ndarray of shape (n_queries, n_neighbors), dtype int64
        The candidates in this order; equal distances keep the order of the shortlist, which is by Hamming distance and
        then by position if it comes from a search.

    Raises
    ------
    TypeError
        If `n_neighbors` is not an integer.
    ValueError
        If projections are not finite, codes have another width than the projections need, or the shortlist does not
        hold rows of the database for each query.

    See Also
    --------
    rerank_float : Order a shortlist by the distances of float vectors.
    RetrievalPipeline : Does all of it with ``rescore="asymmetric"``.

    Notes
    -----
    Distances are float64: the float32 projections of most hashers then add up without rounding, so that equal sums are
    equal numbers. Each query takes a table of 256 sums a byte, one look-up a byte replaces eight additions.

    References
    ----------
    A. Gordo, F. Perronnin, Y. Gong and S. Lazebnik, "Asymmetric distances for binary embeddings", IEEE Transactions on
    Pattern Analysis and Machine Intelligence 36(1), 2014.

    L. Zhang, Y. Zhang, J. Tang, K. Lu and Q. Tian, "Binary code ranking with weighted Hamming distance", CVPR 2013.

    X. Zhang, L. Zhang and H.-Y. Shum, "QsRank: query-sensitive hash code ranking for efficient epsilon-neighbor
    search", CVPR 2012.

    Examples
    --------
    >>> from skhash import HammingNearestNeighbors
    >>> from skhash.codes import pack_bits
    >>> from skhash.neighbors import rerank_asymmetric
    >>> codes = pack_bits([[1, 1, 0], [0, 1, 1], [0, 0, 0]])
    >>> projections = [[2.0, 0.5, 0.25]]
    >>> _, shortlist = HammingNearestNeighbors().fit(codes).kneighbors(pack_bits([[1, 1, 1]]), n_neighbors=3)
    >>> distances, rows = rerank_asymmetric(projections, codes, shortlist, n_neighbors=2)
    >>> distances
    array([[0.25, 2.  ]])
    >>> rows
    array([[0, 1]])
    """
    name = "rerank_asymmetric"
    projections = _check_matrix(query_projections, name=f"{name}: query_projections")
    codes = check_codes(database_codes, n_bits=projections.shape[1], name=f"{name}: database_codes")
    rows = _check_shortlist(shortlist, len(projections), len(codes), name=name)
    n_neighbors = _check_n_neighbors(n_neighbors, rows.shape[1], name=name)
    distances = asymmetric_distances(projections, codes, np.full(len(rows), rows.shape[1]), rows.ravel(), name=name)
    return nearest_candidates(distances.reshape(rows.shape), rows, n_neighbors)


def rerank_float(
    query_vectors: ArrayLike, database_vectors: ArrayLike, shortlist: ArrayLike, *, n_neighbors: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Order a shortlist by the Euclidean distance of float vectors.

    Parameters
    ----------
    query_vectors : array-like of shape (n_queries, n_features)
        Features of the queries; all are finite.

    database_vectors : array-like of shape (n_database, n_features)
        Features of the database. Only the candidates' rows are read, block after block, so a :class:`numpy.memmap`
        need not fit into memory.

    shortlist : array-like of int of shape (n_queries, n_candidates)
        Rows of `database_vectors`, as ``kneighbors`` returns them if the ids of the search are rows.

    n_neighbors : int, default=None
        How many of the candidates to return; all when not given.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_neighbors), dtype float64
        Euclidean distances, rising along each row, in the unit of the features. Queries are rounded to the dtype of
        the database (float32 at least) first, so that an item is at distance 0 from itself.

    rows : ndarray of shape (n_queries, n_neighbors), dtype int64
        The candidates in this order; equal distances keep the order of the shortlist, which is by Hamming distance and
        then by position if it comes from a search.

    Raises
    ------
    TypeError
        If `n_neighbors` is not an integer.
    ValueError
        If a query or a candidate is not finite, widths differ, or the shortlist does not hold rows of the database for
        each query.

    See Also
    --------
    rerank_asymmetric : Order a shortlist by what the queries know of their bits, without features of the database.
    RetrievalPipeline : Does all of it with ``rescore="float"``.

    Examples
    --------
    >>> from skhash.neighbors import rerank_float
    >>> distances, rows = rerank_float([[0.0, 0.0]], [[3.0, 4.0], [9.0, 9.0], [0.0, 1.0]], [[0, 2]])
    >>> distances
    array([[1., 5.]])
    >>> rows
    array([[2, 0]])
    """
    name = "rerank_float"
    database = check_vectors(database_vectors, name=f"{name}: database_vectors")
    queries = _check_matrix(query_vectors, name=f"{name}: query_vectors")
    if queries.shape[1] != database.shape[1]:
        raise ValueError(
            f"{name}: query_vectors have {queries.shape[1]} features and database_vectors {database.shape[1]}; pass "
            "features of the same kind."
        )
    rows = _check_shortlist(shortlist, len(queries), len(database), name=name)
    n_neighbors = _check_n_neighbors(n_neighbors, rows.shape[1], name=name)
    queries = round_vectors(queries, compared_dtype(database.dtype), name=f"{name}: query_vectors")
    counts = np.full(len(rows), rows.shape[1])
    distances = euclidean_distances(queries, database, counts, rows.ravel(), name=name)
    return nearest_candidates(distances.reshape(rows.shape), rows, n_neighbors)


def rerank_spherical(
    query_codes: ArrayLike, database_codes: ArrayLike, shortlist: ArrayLike, *, n_neighbors: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Order a shortlist by the spherical Hamming distance, for codes of :class:`skhash.SphericalHash`.

    Parameters
    ----------
    query_codes : array-like of shape (n_queries, n_bytes)
        Packed codes of the queries.

    database_codes : array-like of shape (n_database, n_bytes)
        Packed codes of the database.

    shortlist : array-like of int of shape (n_queries, n_candidates)
        Rows of `database_codes`, as ``kneighbors`` returns them: ids are rows for a search that was fitted without ids
        and from which nothing was removed.

    n_neighbors : int, default=None
        How many of the candidates to return; all when not given.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_neighbors), dtype float64
        As from :func:`skhash.codes.spherical_hamming_distances`, rising along each row.

    rows : ndarray of shape (n_queries, n_neighbors), dtype int64
        The candidates in this order; equal distances keep the order of the shortlist, which is by Hamming distance and
        then by position if it comes from a search.

    Raises
    ------
    TypeError
        If `n_neighbors` is not an integer.
    ValueError
        If an array holds no packed codes, widths differ, or the shortlist does not hold rows of the database for each
        query.

    See Also
    --------
    spherical_neighbors : Search all codes by this distance.
    rerank_asymmetric : Order a shortlist by what the queries know of their bits.

    Examples
    --------
    >>> from skhash.codes import pack_bits
    >>> from skhash.neighbors import rerank_spherical
    >>> database = pack_bits([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])
    >>> distances, rows = rerank_spherical(pack_bits([[1, 1, 0, 0]]), database, [[0, 1, 2]], n_neighbors=2)
    >>> distances.round(2)
    array([[0.48, 0.91]])
    >>> rows
    array([[1, 0]])
    """
    name = "rerank_spherical"
    queries = check_codes(query_codes, name=f"{name}: query_codes")
    database = check_codes(database_codes, name=f"{name}: database_codes")
    check_same_width(queries, database)
    rows = _check_shortlist(shortlist, len(queries), len(database), name=name)
    n_neighbors = _check_n_neighbors(n_neighbors, rows.shape[1], name=name)
    query_n_set, database_n_set = (_count_set(codes) for codes in (queries, database))
    distances = np.empty(rows.shape)
    for block in gen_batches(len(rows), max(1, _BLOCK_PAIRS // rows.shape[1])):
        n_differing = _count_set(queries[block, None] ^ database[rows[block]])
        distances[block] = spherical_quotients(n_differing, query_n_set[block, None], database_n_set[rows[block]])
    return nearest_candidates(distances, rows, n_neighbors)


def _count_set(codes):
    """Count the bits that are set in codes along the last axis."""
    return np.bitwise_count(codes).sum(axis=-1, dtype=np.int64)


def asymmetric_distances(projections, codes, counts, rows, *, name):
    """Compute the asymmetric distances of queries to their candidates.

    Parameters
    ----------
    projections : ndarray of shape (n_queries, n_bits)
        Real numbers whose signs are the bits of the queries.

    codes : ndarray of shape (n_database, ceil(n_bits / 8)), dtype uint8
        Packed codes of the database, C-contiguous.

    counts : ndarray of int of shape (n_queries,)
        Number of candidates of each query.

    rows : ndarray of int of shape (counts.sum(),)
        Candidates, query after query.

    name : str
        Whom to name in errors.

    Returns
    -------
    distances : ndarray of shape (counts.sum(),), dtype float64
        Distance of each candidate. The bytes of a code are added from the first to the last.

    Raises
    ------
    ValueError
        If projections are not finite or too large to be added, or the codes have another width.
    """
    n_bytes = code_width(projections.shape[1])
    if codes.shape[1] != n_bytes:
        raise ValueError(
            f"{name}: {projections.shape[1]} projections a query need codes of {n_bytes} bytes, got {codes.shape[1]}; "
            "pass codes and projections of the same hasher."
        )
    _check_sums(projections, name=name)
    # A plain view of a memory map, whose own slices and sums are slower.
    codes, distances = np.asarray(codes), np.zeros(len(rows))
    for queries, first, last in _query_blocks(counts, max(1, _TABLE_BYTES // (n_bytes * 256 * 8))):
        tables = asymmetric_tables(projections[queries])
        owners = np.repeat(np.arange(len(tables)), counts[queries])
        for start in range(first, last, _BLOCK_PAIRS):
            pairs = slice(start, min(start + _BLOCK_PAIRS, last))
            places = owners[pairs.start - first : pairs.stop - first] * tables[0].size
            for values in codes.take(rows[pairs], axis=0).T:
                # All places are inside, "clip" only saves NumPy the check.
                distances[pairs] += tables.take(places + values, mode="clip")
                places += tables.shape[2]
    return distances


def euclidean_distances(query_vectors, vectors, counts, rows, *, name):
    """Compute the Euclidean distances of queries to their candidates.

    Differences are squared and added in float64, one row at a time, so that a distance depends on its two rows alone.

    Parameters
    ----------
    query_vectors : array-like of shape (n_queries, n_features)
        Rows that can be read by an array of positions.

    vectors : array-like of shape (n_database, n_features)
        Rows that can be read by an array of positions; only the candidates are.

    counts : ndarray of int of shape (n_queries,)
        Number of candidates of each query.

    rows : ndarray of int of shape (counts.sum(),)
        Candidates, query after query.

    name : str
        Whom to name in errors.

    Returns
    -------
    distances : ndarray of shape (counts.sum(),), dtype float64
        Distance of each candidate.

    Raises
    ------
    ValueError
        If a distance is not finite.
    """
    owners = np.repeat(np.arange(len(counts)), counts)
    distances = np.empty(len(rows))
    block_size = max(1, _BLOCK_NUMBERS // vectors.shape[1])
    for start in range(0, len(rows), block_size):
        pairs = slice(start, start + block_size)
        with np.errstate(over="ignore", invalid="ignore"):
            candidates = np.asarray(vectors[rows[pairs]], dtype=np.float64)
            candidates -= query_vectors[owners[pairs]]
            np.square(candidates, out=candidates)
            distances[pairs] = np.sqrt(candidates.sum(axis=1))
    if not np.isfinite(distances).all():
        wrong = int(np.flatnonzero(~np.isfinite(distances))[0])
        raise ValueError(
            f"{name}: the distance of query {owners[wrong]} to row {rows[wrong]} of the database is "
            f"{distances[wrong]}; drop or impute NaN and infinity, and scale features above 1e150."
        )
    return distances


def nearest_candidates(distances, rows, n_neighbors):
    """Select the nearest candidates of each query.

    Parameters
    ----------
    distances : ndarray of shape (n_queries, n_candidates)
        Distances in the order of the shortlist.

    rows : ndarray of shape (n_queries, n_candidates)
        Candidates.

    n_neighbors : int
        How many to keep.

    Returns
    -------
    distances, rows : ndarray of shape (n_queries, n_neighbors)
        By rising distance; ties keep the order of the shortlist.
    """
    order = np.argsort(distances, axis=1, kind="stable")[:, :n_neighbors]
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1)


def compared_dtype(dtype):
    """Return the dtype to which vectors are rounded before they are compared with stored ones.

    Parameters
    ----------
    dtype : numpy.dtype
        Dtype of the stored vectors.

    Returns
    -------
    dtype : numpy.dtype
        The same, or a float dtype that holds it, float32 at least.
    """
    return np.result_type(dtype, np.float32)


def check_vectors(vectors, *, name):
    """Check the shape and the dtype of float vectors without reading them.

    Parameters
    ----------
    vectors : array-like of shape (n_samples, n_features)
        Real numbers.

    name : str
        What to call them in errors.

    Returns
    -------
    vectors : ndarray of shape (n_samples, n_features)
        The same; a memory map stays one.

    Raises
    ------
    ValueError
        If they are sparse, no matrix of real numbers, or have no features.
    """
    if hasattr(vectors, "tocsr"):
        raise ValueError(f"{name} are sparse ({type(vectors).__name__}), Euclidean re-ranking needs dense vectors.")
    if not isinstance(vectors, np.memmap):
        vectors = as_array(vectors, name=name)
    if vectors.ndim != 2 or vectors.shape[1] == 0 or vectors.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} must be real numbers of shape (n_samples, n_features), got dtype {vectors.dtype} and shape "
            f"{vectors.shape}."
        )
    return vectors


def round_vectors(vectors, dtype, *, name):
    """Cast vectors, refusing what becomes infinite.

    Parameters
    ----------
    vectors : ndarray of shape (n_samples, n_features)
        Real numbers.

    dtype : numpy.dtype
        What to cast to.

    name : str
        What to call them in errors.

    Returns
    -------
    rounded : ndarray of shape (n_samples, n_features)
        The same numbers in `dtype`; may share memory with `vectors`.

    Raises
    ------
    ValueError
        If a number is not finite in `dtype`.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(vectors, dtype=dtype)
    finite = np.isfinite(rounded)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"{name} contain {vectors[row, column]} at row {row}, column {column}, which is not finite in "
            f"{np.dtype(dtype)}; drop or impute NaN and infinity, and scale large features."
        )
    return rounded


def _query_blocks(counts, block_size) -> Iterator[tuple[slice, int, int]]:
    """Yield blocks of queries, each with its first and last candidate."""
    stops = np.concatenate([[0], np.cumsum(counts)])
    for start in range(0, len(counts), block_size):
        stop = min(start + block_size, len(counts))
        yield slice(start, stop), int(stops[start]), int(stops[stop])


def _check_matrix(values, *, name):
    array = check_vectors(values, name=name)
    if len(array) == 0:
        raise ValueError(f"{name} have shape {array.shape}; pass at least one query.")
    return array


def _check_sums(projections, *, name):
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.abs(projections.astype(np.float64)).sum(axis=1)
    if not np.isfinite(sums).all():
        row = int(np.flatnonzero(~np.isfinite(sums))[0])
        raise ValueError(
            f"{name}: the magnitudes of the projections of query {row} add up to {sums[row]}; drop or impute NaN and "
            "infinity, and scale large features."
        )


def _check_shortlist(shortlist, n_queries, n_database, *, name):
    rows = as_array(shortlist, name=f"{name}: shortlist")
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or rows.shape[1] == 0:
        raise ValueError(
            f"{name}: shortlist must be integers of shape (n_queries, n_candidates), got dtype {rows.dtype} and shape "
            f"{rows.shape}; pass what kneighbors returns."
        )
    if len(rows) != n_queries:
        raise ValueError(f"{name}: got {len(rows)} shortlists for {n_queries} queries; pass one a query.")
    outside = (rows < 0) | (rows >= n_database)
    if outside.any():
        raise ValueError(
            f"{name}: shortlist holds {rows[outside][0]}, but the database has rows 0 to {n_database - 1}; pass rows, "
            "not ids of your own."
        )
    return rows.astype(np.int64)


def _check_n_neighbors(n_neighbors, n_candidates, *, name):
    if n_neighbors is None:
        return n_candidates
    n_neighbors = check_count(n_neighbors, name=f"{name}: n_neighbors")
    if n_neighbors > n_candidates:
        raise ValueError(
            f"{name}: n_neighbors={n_neighbors} must be <= {n_candidates}, the length of the shortlist; search for "
            "more candidates."
        )
    return n_neighbors
