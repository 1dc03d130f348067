"""Synthetic codes whose nearest neighbors are known from how they were made."""

from numbers import Integral

import numpy as np
from sklearn.utils import Bunch, check_random_state, gen_batches

from .._memory import check_allocation
from .._sklearn import Interval, validate_params
from .._validation import check_count
from ..codes import code_width, pack_bits

# Up to this length a last attempt goes through all codes in order, which finds room that random draws miss.
_MAX_ENUMERATED_BITS = 16
# Random numbers are drawn for this many bits of codes at a time.
_BLOCK_BITS = 2**22


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_bits": [Interval(Integral, 1, None, closed="left")],
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "n_queries": [Interval(Integral, 1, None, closed="left")],
        "radius": [Interval(Integral, 0, None, closed="left")],
        "query_radius": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_clustered_codes(
    n_samples: int = 1000,
    *,
    n_bits: int = 64,
    n_clusters: int = 10,
    n_queries: int = 10,
    radius: int = 2,
    query_radius: int = 1,
    random_state=None,
) -> Bunch:
    """Make clustered binary codes, and queries whose nearest neighbors are known without a search.

    Codes differ from the center of their cluster in at most `radius` bits, queries in at most `query_radius`
    bits. The bits that codes flip and the bits that queries flip are disjoint within a cluster, so a query q
    and a code x of one cluster with center c are at the distance

        d(q, x) = d(q, c) + d(c, x) <= radius + query_radius,

    and centers lie so far apart that any code of another cluster is farther than that.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of codes in the database.

    n_bits : int, default=64
        Code length in bits.

    n_clusters : int, default=10
        Number of clusters. Their sizes differ by one at most.

    n_queries : int, default=10
        Number of queries, spread over the clusters in turn.

    radius : int, default=2
        Most bits in which a code differs from its center; the number is uniform from 0 to `radius`.

    query_radius : int, default=1
        Most bits in which a query differs from its center; the number is uniform from 0 to `query_radius`.

    random_state : int, RandomState instance or None, default=None
        Seed of everything drawn.

    Returns
    -------
    dataset : :class:`~sklearn.utils.Bunch`
        With the attributes

        codes : ndarray of shape (n_samples, ceil(n_bits / 8)), dtype uint8
            Packed database codes, in random order.
        target : ndarray of shape (n_samples,), dtype int64
            Cluster of each code.
        queries : ndarray of shape (n_queries, ceil(n_bits / 8)), dtype uint8
            Packed query codes.
        query_target : ndarray of shape (n_queries,), dtype int64
            Cluster of each query.
        neighbor_ids : ndarray of shape (n_queries, n_samples // n_clusters), dtype int64
            Positions in `codes` of the exact nearest neighbors, nearest first, ties by ascending position.
        neighbor_distances : ndarray of shape (n_queries, n_samples // n_clusters), dtype int64
            Their Hamming distances in bits.

    Raises
    ------
    MemoryError
        If the codes and the neighbours of the queries need more memory than is left.
    ValueError
        If a parameter is out of its range, ``n_samples < n_clusters``, ``radius + query_radius > n_bits``, or
        no room was found for the centers.

    See Also
    --------
    skhash.codes.hamming_distances : Distances between packed codes.

    Notes
    -----
    With R = `radius` + `query_radius`, any two centers differ in at least 2 R + 1 bits. For a query q around
    the center c and a code x around another center c', the triangle inequality gives

        d(q, x) >= d(c, c') - d(q, c) - d(c', x) >= 2 R + 1 - R = R + 1,

    while the codes of the query's own cluster are at most R away. So a search within the radius R returns
    exactly the query's cluster, and all its codes rank before any other.

    Centers are drawn one by one and kept if they are far enough from those before (the construction behind
    the Gilbert-Varshamov bound [1]_). Where that fails and there are at most 16 bits, they are taken greedily
    from all codes in ascending order, which gives a lexicographic code [2]_, moved by a random offset.

    References
    ----------
    .. [1] E. N. Gilbert, "A comparison of signalling alphabets", Bell System Technical Journal, 31(3), 1952.

    .. [2] J. H. Conway, N. J. A. Sloane, "Lexicographic codes: error-correcting codes from game theory", IEEE
       Transactions on Information Theory, 32(3), 1986.

    Examples
    --------
    >>> import numpy as np
    >>> from skhash.codes import hamming_distances
    >>> from skhash.datasets import make_clustered_codes
    >>> data = make_clustered_codes(60, n_bits=32, n_clusters=4, n_queries=2, random_state=0)
    >>> data.codes.shape, data.neighbor_ids.shape
    ((60, 4), (2, 15))
    >>> distances = hamming_distances(data.queries, data.codes)
    >>> bool((np.sort(distances)[:, :15] == data.neighbor_distances).all())
    True
    """
    n_samples, n_bits, n_clusters, n_queries = (
        check_count(value, name=f"make_clustered_codes: {name}")
        for name, value in {
            "n_samples": n_samples, "n_bits": n_bits, "n_clusters": n_clusters, "n_queries": n_queries,
        }.items()
    )  # fmt: skip
    radius, query_radius = (_check_radius(value) for value in (radius, query_radius))
    _check_sizes(n_samples, n_bits, n_clusters, radius + query_radius)
    # Codes and their clusters, and the distances of the queries.
    n_bytes = (n_samples + n_queries) * (code_width(n_bits) + 8) + n_queries * (n_samples // n_clusters) * 16
    what = f"{n_samples=}, {n_queries=} and {n_bits=}"
    check_allocation("make_clustered_codes", n_bytes + n_clusters * n_bits, what, "ask for less")
    rng = check_random_state(random_state)
    min_distance = 2 * (radius + query_radius) + 1
    centers = _draw_centers(n_clusters, n_bits, min_distance, rng)
    if len(centers) < n_clusters:
        raise ValueError(
            f"make_clustered_codes: found room for {len(centers)} of n_clusters={n_clusters} centers that "
            f"differ in 2 * (radius + query_radius) + 1 = {min_distance} of n_bits={n_bits} bits; "
            "raise n_bits, or lower n_clusters, radius or query_radius."
        )
    code_bits, query_bits = _partition_bits(n_clusters, n_bits, radius, query_radius, rng)
    target = rng.permutation(np.arange(n_samples) % n_clusters)
    query_target = np.arange(n_queries) % n_clusters
    codes, n_flips = _flip_bits(centers, target, code_bits, radius, rng)
    queries, query_n_flips = _flip_bits(centers, query_target, query_bits, query_radius, rng)
    ids, distances = _rank_clusters(target, n_flips, query_target, query_n_flips, n_samples // n_clusters)
    return Bunch(
        codes=codes,
        target=target,
        queries=queries,
        query_target=query_target,
        neighbor_ids=ids,
        neighbor_distances=distances,
    )


def _check_radius(radius):
    if isinstance(radius, (bool, np.bool_)):
        raise TypeError(f"make_clustered_codes: a radius of {radius} must be an integer >= 0.")
    return int(radius)


def _check_sizes(n_samples, n_bits, n_clusters, total_radius):
    if n_samples < n_clusters:
        raise ValueError(f"make_clustered_codes: n_samples={n_samples} must be >= n_clusters={n_clusters}.")
    if total_radius > n_bits:
        raise ValueError(
            f"make_clustered_codes: radius + query_radius = {total_radius} must be <= n_bits={n_bits}, "
            "because codes and queries flip different bits."
        )


def _draw_centers(n_clusters, n_bits, min_distance, rng):
    """Return up to n_clusters centers, as booleans, any two of which differ in min_distance bits or more."""
    n_draws = 1000 + 10 * n_clusters
    draws = (rng.randint(2, size=n_bits).astype(bool) for _ in range(n_draws))
    centers = _keep_separated(draws, n_clusters, n_bits, min_distance)
    if len(centers) == n_clusters or n_bits > _MAX_ENUMERATED_BITS:
        return centers
    powers = 2 ** np.arange(n_bits)
    all_codes = ((number & powers) > 0 for number in range(2**n_bits))
    centers = _keep_separated(all_codes, n_clusters, n_bits, min_distance)
    # Distances do not change when all codes are added to the same offset.
    return centers ^ rng.randint(2, size=n_bits).astype(bool)


def _keep_separated(candidates, n_clusters, n_bits, min_distance):
    centers = np.empty((n_clusters, n_bits), dtype=bool)
    n_kept = 0
    for candidate in candidates:
        if (np.count_nonzero(centers[:n_kept] != candidate, axis=1) >= min_distance).all():
            centers[n_kept] = candidate
            n_kept += 1
            if n_kept == n_clusters:
                break
    return centers[:n_kept]


def _partition_bits(n_clusters, n_bits, radius, query_radius, rng):
    """Return per cluster the bits that its codes and the bits that its queries may flip."""
    order = np.argsort(rng.uniform(size=(n_clusters, n_bits)), axis=1)
    n_query_bits = min(max(n_bits // 2, query_radius), n_bits - radius) if query_radius else 0
    return order[:, n_query_bits:], order[:, :n_query_bits]


def _flip_bits(centers, labels, bits, radius, rng):
    """Flip up to `radius` of the cluster's bits in each label's center; return packed codes and counts."""
    n_flips = rng.randint(radius + 1, size=len(labels))
    blocks = []
    for block in gen_batches(len(labels), max(1, _BLOCK_BITS // centers.shape[1])):
        codes, flippable = centers[labels[block]], bits[labels[block]]
        flipped = np.argsort(rng.uniform(size=flippable.shape), axis=1) < n_flips[block, np.newaxis]
        rows, columns = np.nonzero(flipped)
        codes[rows, flippable[rows, columns]] ^= True
        blocks.append(pack_bits(codes))
    return np.concatenate(blocks), n_flips


def _rank_clusters(target, n_flips, query_target, query_n_flips, n_neighbors):
    """Rank each query's cluster by distance to the center, then position: a query adds a constant to them."""
    ids = np.empty((len(query_target), n_neighbors), dtype=np.int64)
    for row, label in enumerate(query_target):
        members = np.flatnonzero(target == label)
        ids[row] = members[np.argsort(n_flips[members], kind="stable")][:n_neighbors]
    return ids, n_flips[ids] + query_n_flips[:, np.newaxis]
