"""Codes of -1 and +1 that are far from each other, one for each class."""

from collections.abc import Iterable
from itertools import combinations, pairwise
from math import comb
from numbers import Integral

import numpy as np
from scipy.optimize import quadratic_assignment
from sklearn.utils import check_random_state
from sklearn.utils.random import sample_without_replacement

from ._memory import check_allocation
from ._validation import as_array, check_count, shown

__all__ = [
    "NestedCodebook",
    "additional_centers",
    "balanced_centers",
    "bernoulli_centers",
    "extended_bch_centers",
    "gilbert_varshamov_distance",
    "hadamard_centers",
    "maximal_distance_centers",
    "minimum_distance",
    "plotkin_distance",
]

# Rows whose distances are held in memory together.
_BLOCK_ROWS = 1024

# Words among which a greedy search chooses.
_N_CANDIDATES = 4096

# What an exchange of two words has to gain, beyond rounding.
_SMALLEST_EXCHANGE = 1e-9

# Up to this many classes, a greedy search looks at all divisions into halves.
_MOST_CLASSES_OF_ALL_SPLITS = 12

# Irreducible polynomials over two elements whose root generates the field of 2^m, by m; bit i is the factor of x^i.
_PRIMITIVE_POLYNOMIALS = {3: 0b1011, 4: 0b10011, 5: 0b100101, 6: 0b1000011, 7: 0b10001001}


def minimum_distance(centers):
    """Compute the smallest Hamming distance between two centres.

    Parameters
    ----------
    centers : ndarray of shape (n_classes, n_bits)
        Codes of -1 and +1.

    Returns
    -------
    distance : int
        Number of bits in which the closest pair differs; `n_bits` for a single centre, which nothing is close to.

    Examples
    --------
    >>> from skhash.centers import minimum_distance
    >>> minimum_distance([[1, 1, 1], [1, -1, -1], [-1, -1, -1]])
    1
    """
    # Products of -1 and +1 are exact in float32, and much faster than in integers.
    codes = _check_signs("minimum_distance", centers)
    n_classes, n_bits = codes.shape
    largest = -n_bits
    for start in range(0, n_classes, _BLOCK_ROWS):
        products = codes[start : start + _BLOCK_ROWS] @ codes[start:].T
        np.fill_diagonal(products, -n_bits)
        largest = max(largest, int(products.max()))
    return (n_bits - largest) // 2


def hadamard_centers(n_classes, n_bits, *, random_state=None):
    r"""Draw rows of a Hadamard matrix and, when there are more classes than rows, of its negative.

    .. math::

        H_1 = (1), \quad H_{2n} = \begin{pmatrix} H_n & H_n \\ H_n & -H_n \end{pmatrix}

    Any two centres are `n_bits` / 2 apart, or `n_bits` when one is the negative of the other. By the bound of Plotkin,
    no code with more than `n_bits` words does better. With a single bit the two centres differ in that bit.

    Parameters
    ----------
    n_classes : int
        Number of centres, at most 2 `n_bits`.

    n_bits : int
        Code length, a power of two.

    random_state : int, RandomState instance or None, default=None
        Seed of the choice of rows.

    Returns
    -------
    centers : ndarray of shape (n_classes, n_bits), dtype int8
        Codes of -1 and +1 with a minimum distance of at least `n_bits` // 2.

    Raises
    ------
    MemoryError
        If the centers need more memory than is left.
    ValueError
        If there is no such matrix, or it has too few rows.

    References
    ----------
    L. Yuan et al., "Central similarity quantization for efficient image and video retrieval", CVPR 2020.

    Examples
    --------
    >>> from skhash.centers import hadamard_centers, minimum_distance
    >>> minimum_distance(hadamard_centers(10, 64, random_state=0))
    32
    """
    n_classes, n_bits = _check_counts("hadamard_centers", n_classes, n_bits)
    if n_bits & (n_bits - 1):
        raise ValueError(
            f"hadamard_centers: n_bits={n_bits} is not a power of two; choose one, or use bernoulli_centers."
        )
    if n_classes > 2 * n_bits:
        raise ValueError(
            f"hadamard_centers: {n_classes} classes exceed the {2 * n_bits} rows for n_bits={n_bits}; raise n_bits."
        )
    n_rows = 2 * n_bits if n_classes > n_bits else n_bits
    centers = np.empty((n_classes, n_bits), dtype=np.int8)
    # Of the matrix, only these rows are made: entry (i, j) is -1 where i and j share an odd number of ones.
    columns = np.arange(n_bits)
    for center, row in zip(centers, check_random_state(random_state).permutation(n_rows)[:n_classes], strict=True):
        is_odd = np.bitwise_count(columns & (row % n_bits)) & 1
        center[:] = (1 - 2 * is_odd.astype(np.int8)) * (1 if row < n_bits else -1)
    return centers


def balanced_centers(n_classes, n_bits, *, random_state=None):
    r"""Search greedily for centres that are far apart, each bit +1 for about half of the classes.

    A bit that is +1 for half of the classes differs between the largest number of pairs, and splits a database of all
    classes evenly. Bit by bit, the search takes the division of the classes into halves that differs between the pairs
    :math:`(a, b)` with the largest sum of :math:`e^{-D_{ab}}`, where :math:`D_{ab}` is the distance so far. Up to 12
    classes, it looks at all divisions, and comes close to the bound of Plotkin, :math:`K C / (2 (C - 1))` for an even
    number :math:`C` of classes, which rows of a Hadamard matrix miss. Beyond, it looks at the bits of a simplex code,
    of which it keeps as many words as there are classes, so that halves are approximate. No minimum distance is
    guaranteed: see `minimum_distance`.

    Parameters
    ----------
    n_classes : int
        Number :math:`C` of centres.

    n_bits : int
        Code length :math:`K`.

    random_state : int, RandomState instance or None, default=None
        Seed of the search.

    Returns
    -------
    centers : ndarray of shape (n_classes, n_bits), dtype int8
        Codes of -1 and +1. With an odd number of at most 12 classes, halves differ by one class.

    Raises
    ------
    MemoryError
        If the centers need more memory than is left.
    ValueError
        If there are more classes than codes.

    References
    ----------
    M. Plotkin, "Binary codes with specified minimum distance", IRE Transactions on Information Theory, 1960.

    Examples
    --------
    >>> from skhash.centers import balanced_centers, minimum_distance
    >>> minimum_distance(balanced_centers(10, 64, random_state=0))
    34
    """
    n_classes, n_bits = _check_counts("balanced_centers", n_classes, n_bits)
    _check_codes("balanced_centers", n_classes, n_bits)
    if n_classes == 1:
        return np.ones((1, n_bits), dtype=np.int8)
    rng = check_random_state(random_state)
    few = n_classes <= _MOST_CLASSES_OF_ALL_SPLITS
    splits = _all_splits(n_classes) if few else _simplex_splits(rng, n_classes)
    centers, distances = np.empty((n_classes, n_bits), dtype=np.int8), np.zeros((n_classes, n_classes))
    for bit in range(n_bits):
        candidates = splits[rng.permutation(len(splits))]
        weights = np.exp(distances[~np.eye(n_classes, dtype=bool)].min() - distances)
        np.fill_diagonal(weights, 0)
        # A pair that a split divides counts -weight, any other +weight.
        split = candidates[((candidates @ weights) * candidates).sum(axis=1).argmin()]
        centers[:, bit] = split * rng.choice([-1, 1])
        distances += split[:, None] != split
    return centers


def additional_centers(centers, n_new, *, random_state=None):
    """Search greedily for further centres, each as far from all others as is found.

    Random words, and of these the farthest from all centres, changed bit by bit as long as that moves it further away.
    No minimum distance is guaranteed: see `minimum_distance`.

    Parameters
    ----------
    centers : ndarray of shape (n_classes, n_bits)
        Codes of -1 and +1 that are taken.

    n_new : int
        Number of further centres.

    random_state : int, RandomState instance or None, default=None
        Seed of the search.

    Returns
    -------
    further_centers : ndarray of shape (n_new, n_bits), dtype int8
        Codes of -1 and +1.

    Raises
    ------
    MemoryError
        If the centers need more memory than is left.
    ValueError
        If there are more classes than codes.

    Examples
    --------
    >>> from skhash.centers import additional_centers
    >>> additional_centers([[1, 1, 1, 1], [1, 1, -1, -1]], 1, random_state=0).shape
    (1, 4)
    """
    taken = _check_signs("additional_centers", centers)
    n_new, n_bits = check_count(n_new, name="additional_centers: n_new", least=0), taken.shape[1]
    _check_room("additional_centers", len(taken) + n_new, n_bits)
    _check_codes("additional_centers", len(taken) + n_new, n_bits)
    rng = check_random_state(random_state)
    for _ in range(n_new):
        words = _candidates(rng, n_bits).astype(np.float32)
        word = words[_crowding(words, taken).argmin()]
        while True:
            # Each neighbour of the word has one other bit.
            neighbours = np.where(np.eye(n_bits, dtype=bool), -word, word)
            crowding = _crowding(neighbours, taken)
            if crowding.min() >= _crowding(word[None], taken)[0]:
                break
            word = neighbours[crowding.argmin()]
        taken = np.vstack([taken, word])
    return taken[len(taken) - n_new :].astype(np.int8)


def bernoulli_centers(n_classes, n_bits, *, n_draws=10, random_state=None):
    """Draw each bit of each centre at random, several times, and keep the draw with the largest minimum distance.

    Two centres are `n_bits` / 2 apart on average. No minimum distance is guaranteed, not even that they differ: see
    `minimum_distance`.

    Parameters
    ----------
    n_classes : int
        Number of centres, at most 2 to the power of `n_bits`.

    n_bits : int
        Code length.

    n_draws : int, default=10
        Number of sets of centres to choose from.

    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    centers : ndarray of shape (n_classes, n_bits), dtype int8
        Codes of -1 and +1.

    Raises
    ------
    MemoryError
        If the centers need more memory than is left.
    ValueError
        If there are more classes than codes.

    References
    ----------
    L. Yuan et al., "Central similarity quantization for efficient image and video retrieval", CVPR 2020.

    Examples
    --------
    >>> from skhash.centers import bernoulli_centers
    >>> bernoulli_centers(10, 48, random_state=0).shape
    (10, 48)
    """
    n_classes, n_bits = _check_counts("bernoulli_centers", n_classes, n_bits)
    _check_codes("bernoulli_centers", n_classes, n_bits)
    rng = check_random_state(random_state)
    n_draws = check_count(n_draws, name="bernoulli_centers: n_draws")
    draws = (_random_words(rng, n_classes, n_bits) for _ in range(n_draws))
    return max(draws, key=minimum_distance)


def maximal_distance_centers(n_classes, n_bits, *, random_state=None):
    r"""Search greedily for centres with a large minimum distance.

    A greedy search takes words that are at least :math:`d` away from all taken before. The words closer than that to
    one of :math:`C` centres number at most :math:`C \, V(d - 1)`, with the volume
    :math:`V(r) = \sum_{i=0}^{r} \binom{K}{i}` of a Hamming ball (Gilbert and Varshamov). The minimum distance is
    guaranteed to be at least the largest :math:`d` with

    .. math:: C \, V(d - 1) \le 2^{K-1}

    as then every second word at least can be added, and at least 1 otherwise. Larger distances are tried as long as
    a search among a few thousand random words finds enough centres.

    Parameters
    ----------
    n_classes : int
        Number :math:`C` of centres, at most 2 to the power of `n_bits`.

    n_bits : int
        Code length :math:`K`.

    random_state : int, RandomState instance or None, default=None
        Seed of the search.

    Returns
    -------
    centers : ndarray of shape (n_classes, n_bits), dtype int8
        Codes of -1 and +1 with the minimum distance above.

    Raises
    ------
    MemoryError
        If the centers need more memory than is left.
    ValueError
        If there are more classes than codes.

    References
    ----------
    E. N. Gilbert, "A comparison of signalling alphabets", Bell System Technical Journal, 1952.

    L. Wang, Y. Pan, C. Liu, H. Lai, J. Yin and Y. Liu, "Deep hashing with minimal-distance-separated hash centers",
    CVPR 2023.

    Examples
    --------
    >>> from skhash.centers import maximal_distance_centers, minimum_distance
    >>> minimum_distance(maximal_distance_centers(4, 6, random_state=0))
    4
    """
    n_classes, n_bits = _check_counts("maximal_distance_centers", n_classes, n_bits)
    _check_codes("maximal_distance_centers", n_classes, n_bits)
    rng = check_random_state(random_state)
    distance = gilbert_varshamov_distance(n_classes, n_bits)
    centers = _greedy(_candidates(rng, n_bits), np.empty((0, n_bits), dtype=np.int8), n_classes, distance)
    while len(centers) < n_classes:
        centers = _greedy(_candidates(rng, n_bits), centers, n_classes, distance)
    # Centres further apart than n_bits cannot be asked for.
    while (distance := max(distance, minimum_distance(centers)) + 1) <= n_bits:
        better = _greedy(_candidates(rng, n_bits), centers[:0], n_classes, distance)
        if len(better) < n_classes:
            break
        centers = better
    return centers


def gilbert_varshamov_distance(n_classes, n_bits):
    r"""Compute the minimum distance that a greedy search always reaches.

    .. math:: \max \left\{ d : C \sum_{i=0}^{d-1} \binom{K}{i} \le 2^{K-1} \right\}

    Parameters
    ----------
    n_classes : int
        Number :math:`C` of centres.

    n_bits : int
        Code length :math:`K`.

    Returns
    -------
    distance : int
        In bits; 1 where not even that fulfils the inequality.

    Examples
    --------
    >>> from skhash.centers import gilbert_varshamov_distance
    >>> gilbert_varshamov_distance(10, 64)
    25
    """
    n_classes, n_bits = _check_counts("gilbert_varshamov_distance", n_classes, n_bits)
    distance, volume = 1, 1 + n_bits
    while distance < n_bits and n_classes * volume <= 2 ** (n_bits - 1):
        distance += 1
        volume += comb(n_bits, distance)
    return distance


class NestedCodebook:
    r"""Code centres of which every prefix is a code whose minimum distance is known.

    The words are those of `balanced_centers`, whose greedy search adds one bit after the other, so that a prefix is as
    good as a search for that length. On construction, the distances of all pairs are computed for each prefix: that is
    the certificate, beside the bound of Plotkin that no code exceeds.

    Parameters
    ----------
    n_classes : int
        Number of words.

    n_bits : int, default=64
        Length of the words.

    prefixes : tuple of int, default=(16, 32, 64)
        Lengths for which distances are stated, ascending; those from `n_bits` on are left out, and `n_bits` is added.

    random_state : int, RandomState instance or None, default=None
        Seed of the search.

    Attributes
    ----------
    words : ndarray of shape (n_classes, n_bits), dtype int8
        Codes of -1 and +1, one for each class.

    prefixes : tuple of int
        Lengths for which distances are stated.

    minimum_distances : dict of int to int
        Smallest Hamming distance between two words, by length of the prefix; 0 where two of them are equal.

    bounds : dict of int to int
        What no code of as many words exceeds, by length of the prefix: `plotkin_distance`.

    Raises
    ------
    MemoryError
        If the words need more memory than is left.
    ValueError
        If there are more classes than codes of `n_bits` bits, or `prefixes` do not ascend from 1.

    See Also
    --------
    balanced_centers : The search.

    Examples
    --------
    >>> from skhash.centers import NestedCodebook
    >>> codebook = NestedCodebook(10, random_state=0)
    >>> codebook.minimum_distances
    {16: 8, 32: 17, 64: 34}
    >>> codebook.bounds
    {16: 8, 32: 17, 64: 35}
    """

    def __init__(self, n_classes, n_bits=64, *, prefixes=(16, 32, 64), random_state=None):
        n_classes, n_bits = _check_counts("NestedCodebook", n_classes, n_bits)
        lengths = check_prefixes("NestedCodebook", prefixes)
        self.prefixes = (*(length for length in lengths if length < n_bits), n_bits)
        self._certify(balanced_centers(n_classes, n_bits, random_state=random_state))

    def _certify(self, words):
        self.words = words
        self.minimum_distances = {length: minimum_distance(words[:, :length]) for length in self.prefixes}
        self.bounds = {length: plotkin_distance(len(words), length) for length in self.prefixes}

    @property
    def blocks(self):
        """Slices of the bits that each prefix has beyond the one before."""
        return bit_blocks(self.prefixes)

    def assign(self, prototypes):
        r"""Give each class a word, so that similar classes get near words.

        With the cosines :math:`s_{ab}` of the prototypes, the words :math:`h` are permuted to make large

        .. math:: \sum_{a \ne b} s_{ab} \sum_{k} \frac{1}{k} \langle h_a^{(k)}, h_b^{(k)} \rangle,

        where :math:`h^{(k)}` is the prefix of k bits, by a fast approximation of the quadratic assignment problem and
        exchanges of two words as long as they help. Minimum distances stay as they are.

        Parameters
        ----------
        prototypes : ndarray of shape (n_classes, n_features)
            What stands for each class, such as the mean of its rows.

        Returns
        -------
        self : object
            This codebook.

        Raises
        ------
        TypeError
            If `prototypes` are sparse.
        ValueError
            If `prototypes` are no finite matrix of real numbers with a row for each class.

        References
        ----------
        J. T. Vogelstein et al., "Fast approximate quadratic programming for graph matching", PLOS ONE 2015.
        """
        prototypes = self._check_prototypes(prototypes)
        with np.errstate(over="ignore"):
            norms = np.linalg.norm(prototypes, axis=1, keepdims=True)
        if not np.isfinite(norms).all():
            raise ValueError("NestedCodebook: prototypes are so large that their squares overflow; scale them.")
        unit = prototypes / np.maximum(norms, np.finfo(float).tiny)
        similarities = unit @ unit.T
        np.fill_diagonal(similarities, 0)
        words = self.words.astype(np.float64)
        products = sum(words[:, :length] @ words[:, :length].T / length for length in self.prefixes)
        # Nothing is drawn, but without a generator SciPy looks at NumPy's global one, and warns where it was seeded.
        options = {"maximize": True, "rng": np.random.default_rng(0)}
        order = quadratic_assignment(similarities, products, options=options).col_ind
        self.words = self.words[_exchanged(similarities, products, order)]
        return self

    def _check_prototypes(self, prototypes):
        if hasattr(prototypes, "tocsr"):
            raise TypeError(f"NestedCodebook: prototypes are a sparse {type(prototypes).__name__}; call `.toarray()`.")
        prototypes = as_array(prototypes, name="NestedCodebook: prototypes")
        if prototypes.ndim != 2 or prototypes.shape[1] == 0 or prototypes.dtype.kind not in "biuf":
            raise ValueError(
                f"NestedCodebook: prototypes have shape {prototypes.shape} and dtype {prototypes.dtype}; pass real "
                "numbers of shape (n_classes, n_features)."
            )
        if len(prototypes) != len(self.words):
            raise ValueError(
                f"NestedCodebook: got {len(prototypes)} prototypes for {len(self.words)} words; pass one a class."
            )
        with np.errstate(over="ignore"):
            prototypes = prototypes.astype(np.float64)
        if not np.isfinite(prototypes).all():
            raise ValueError("NestedCodebook: prototypes hold NaN or infinity; drop or impute them.")
        return prototypes

    def add(self, n_new, *, random_state=None):
        """Add words, block by block as far from all others as a search finds, and state all distances anew.

        Parameters
        ----------
        n_new : int
            How many.

        random_state : int, RandomState instance or None, default=None
            Seed of the search.

        Returns
        -------
        self : object
            This codebook, whose first words are those from before.

        Raises
        ------
        ValueError
            If there are more words than codes of the first prefix.
        """
        new = additional_nested_centers(self.words, n_new, self.prefixes, random_state=random_state)
        self._certify(np.vstack([self.words, new]))
        return self


def plotkin_distance(n_classes, n_bits):
    r"""Compute a minimum distance that no code exceeds.

    A bit that is +1 for :math:`c` of :math:`C` words differs between :math:`c (C - c)` pairs, so that the distances of
    all pairs, each at least :math:`d`, sum to at most :math:`K \lfloor C/2 \rfloor \lceil C/2 \rceil`:

    .. math:: d \le \left\lfloor \frac{2 K \lfloor C/2 \rfloor \lceil C/2 \rceil}{C (C - 1)} \right\rfloor

    Parameters
    ----------
    n_classes : int
        Number :math:`C` of words.

    n_bits : int
        Length :math:`K`.

    Returns
    -------
    distance : int
        In bits; `n_bits` for a single word.

    References
    ----------
    M. Plotkin, "Binary codes with specified minimum distance", IRE Transactions on Information Theory, 1960.

    Examples
    --------
    >>> from skhash.centers import plotkin_distance
    >>> plotkin_distance(10, 16)
    8
    """
    n_classes = check_count(n_classes, name="plotkin_distance: n_classes")
    n_bits = check_count(n_bits, name="plotkin_distance: n_bits")
    if n_classes == 1:
        return n_bits
    return 2 * n_bits * (n_classes // 2) * ((n_classes + 1) // 2) // (n_classes * (n_classes - 1))


def extended_bch_centers(n_classes, n_bits, *, random_state=None):
    """Draw words of the extended BCH code with the largest distance that has enough words.

    A code (n, k, d) has 2 to the power of k words of n bits, any two at least d apart. The codes are, by `n_bits`,

    - 8: (8, 4, 4), (8, 1, 8)
    - 16: (16, 11, 4), (16, 7, 6), (16, 5, 8), (16, 1, 16)
    - 32: (32, 26, 4), (32, 21, 6), (32, 16, 8), (32, 11, 12), (32, 6, 16), (32, 1, 32)
    - 64: (64, 57, 4), (64, 51, 6), (64, 45, 8), (64, 39, 10), (64, 36, 12), (64, 30, 14), (64, 24, 16), (64, 18, 22),
      (64, 16, 24), (64, 10, 28), (64, 7, 32), (64, 1, 64)
    - 128: of which (128, 50, 28), (128, 36, 32), (128, 29, 44), (128, 22, 48), (128, 15, 56), (128, 8, 64) and
      (128, 1, 128) have the fewest words

    Parameters
    ----------
    n_classes : int
        Number of centres, at most 2 to the power of the largest k.

    n_bits : int
        Code length, one of 8, 16, 32, 64 and 128.

    random_state : int, RandomState instance or None, default=None
        Seed of the choice of words.

    Returns
    -------
    centers : ndarray of shape (n_classes, n_bits), dtype int8
        Codes of -1 and +1 with minimum distance d of the code with the smallest k such that its words suffice.

    Raises
    ------
    ValueError
        If there is no such code.

    References
    ----------
    F. J. MacWilliams and N. J. A. Sloane, "The theory of error-correcting codes", 1977, chapters 7 and 9.

    Examples
    --------
    >>> from skhash.centers import extended_bch_centers, minimum_distance
    >>> minimum_distance(extended_bch_centers(128, 16, random_state=0))
    6
    """
    n_classes, n_bits = _check_counts("extended_bch_centers", n_classes, n_bits)
    lengths = {2**m: m for m in _PRIMITIVE_POLYNOMIALS}
    if n_bits not in lengths:
        raise ValueError(
            f"extended_bch_centers: n_bits={n_bits} is not one of {', '.join(map(str, lengths))}; "
            f"choose one, or use maximal_distance_centers."
        )
    generators = _bch_generators(lengths[n_bits])
    # The more zeros a code has, the fewer words, and the further apart.
    dimensions = [n_bits - len(generator) for generator in generators]
    enough = [generator for generator, k in zip(generators, dimensions, strict=True) if 2**k >= n_classes]
    if not enough:
        raise ValueError(
            f"extended_bch_centers: {n_classes} classes exceed the 2**{max(dimensions)} words for n_bits={n_bits}; "
            f"raise n_bits."
        )
    generator = enough[-1]
    k = n_bits - len(generator)
    numbers = sample_without_replacement(2**k, n_classes, random_state=random_state)
    messages = (numbers[:, None] >> np.arange(k)) & 1
    rows = np.zeros((k, n_bits - 1), dtype=np.int64)
    for shift in range(k):
        rows[shift, shift : shift + len(generator)] = generator
    words = messages @ rows % 2
    words = np.column_stack([words, words.sum(axis=1) % 2])
    return (1 - 2 * words).astype(np.int8)


def check_prefixes(name, prefixes):
    """Return lengths of prefixes as a list of int, or refuse what are no ascending lengths."""
    if isinstance(prefixes, str) or not isinstance(prefixes, Iterable):
        raise ValueError(f"{name}: prefixes={shown(prefixes)} is no tuple of lengths; pass one, such as (16, 32).")
    lengths = list(prefixes)
    # True is a whole number to Python.
    are_whole = all(isinstance(length, Integral) and not isinstance(length, bool) and length >= 1 for length in lengths)
    if not are_whole or sorted(set(lengths)) != lengths:
        raise ValueError(f"{name}: prefixes={shown(tuple(lengths))} must be different whole numbers >= 1, ascending.")
    return [int(length) for length in lengths]


def bit_blocks(lengths):
    """Return slices of the bits that each length has beyond the one before."""
    return [slice(start, stop) for start, stop in pairwise((0, *lengths))]


def additional_nested_centers(centers, n_new, lengths, *, random_state=None):
    """Search for further centres as `additional_centers` does, in each block from one length to the next by itself."""
    rng = check_random_state(random_state)
    return np.hstack([additional_centers(centers[:, block], n_new, random_state=rng) for block in bit_blocks(lengths)])


def _exchanged(similarities, products, order):
    """Exchange pairs of words as long as that makes ``sum(similarities * products[order][:, order])`` larger.

    Always the pair that gains most. Both matrices are symmetric, and the diagonal of `similarities` is 0.
    """
    order = order.copy()
    products = products[np.ix_(order, order)]
    np.fill_diagonal(products, 0)
    sums = similarities @ products
    while True:
        own = np.diag(sums)
        # Half of what each exchange adds to the sum, in which the terms of the pair with itself stay as they are.
        gains = sums + sums.T - own[:, None] - own + 2 * similarities * products
        first, second = np.unravel_index(gains.argmax(), gains.shape)
        if not gains[first, second] > _SMALLEST_EXCHANGE:
            return order
        pair, swapped = [first, second], [second, first]
        before = products[pair]
        order[pair] = order[swapped]
        products[pair] = products[swapped]
        products[:, pair] = products[:, swapped]
        sums += similarities[:, pair] @ (products[pair] - before)
        sums[:, pair] = similarities @ products[:, pair]


def _check_counts(name, n_classes, n_bits):
    """Return both as int; no result of fewer than so many bytes is worth a try."""
    n_classes = check_count(n_classes, name=f"{name}: n_classes")
    n_bits = check_count(n_bits, name=f"{name}: n_bits")
    _check_room(name, n_classes, n_bits)
    return n_classes, n_bits


def _check_room(name, n_classes, n_bits):
    what = f"n_classes={shown(n_classes)} centres of n_bits={shown(n_bits)}"
    check_allocation(name, n_classes * n_bits, what, "lower either")


def _check_signs(name, centers):
    """Return codes of -1 and +1 as float32."""
    if hasattr(centers, "tocsr"):
        raise TypeError(f"{name}: centers are a sparse {type(centers).__name__}; call `.toarray()`.")
    codes = as_array(centers, name=f"{name}: centers")
    if codes.ndim != 2 or 0 in codes.shape or codes.dtype.kind not in "if":
        raise ValueError(
            f"{name}: centers have shape {codes.shape} and dtype {codes.dtype}; pass -1 and +1 of shape "
            "(n_classes, n_bits)."
        )
    if not ((codes == 1) | (codes == -1)).all():
        raise ValueError(f"{name}: centers hold other values than -1 and +1; see skhash.codes.to_signs.")
    return codes.astype(np.float32)


def _check_codes(name, n_classes, n_bits):
    # Integers of NumPy overflow; and never the power itself of a large number of bits.
    n_classes, n_bits = int(n_classes), int(n_bits)
    if n_bits < n_classes.bit_length() and n_classes > 2**n_bits:
        raise ValueError(f"{name}: {n_classes} classes exceed the {2**n_bits} codes of n_bits={n_bits}; raise n_bits.")


def _random_words(rng, n_words, n_bits):
    return (2 * rng.randint(2, size=(n_words, n_bits)) - 1).astype(np.int8)


def _all_splits(n_classes):
    """List the divisions into halves, the first class always in the same one."""
    chosen = np.array(list(combinations(range(n_classes), n_classes // 2)))
    splits = np.full((len(chosen), n_classes), -1.0)
    np.put_along_axis(splits, chosen, 1.0, axis=1)
    return splits if n_classes % 2 else splits[splits[:, 0] > 0]


def _simplex_splits(rng, n_classes):
    """List the bits of the shortest simplex code with enough words, which are drawn at random."""
    m = (n_classes - 1).bit_length()
    messages = np.arange(2**m)[:, None] >> np.arange(m) & 1
    bits = 1.0 - 2.0 * (messages[1:] @ messages.T % 2)
    return bits[:, rng.permutation(2**m)[:n_classes]]


def _crowding(words, centers):
    """Measure how close words are to centres, of which the nearest counts most by far, and the number of those next."""
    products = words @ centers.T
    return np.exp2(products.astype(np.float64)).sum(axis=1)


def _candidates(rng, n_bits):
    """Return all words in random order where they are few, and random ones otherwise."""
    if 2 ** int(n_bits) > _N_CANDIDATES:
        return _random_words(rng, _N_CANDIDATES, n_bits)
    words = rng.permutation(2**n_bits)[:, None] >> np.arange(n_bits)
    return (2 * (words & 1) - 1).astype(np.int8)


def _greedy(candidates, centers, n_classes, distance):
    """Add candidates that are at least `distance` away from all centres, up to `n_classes`."""
    words = candidates.astype(np.float32)
    limit = words.shape[1] - 2 * distance
    for center in centers.astype(np.float32):
        words = words[words @ center <= limit]
    taken = list(centers)
    while len(words) and len(taken) < n_classes:
        taken.append(words[0].astype(np.int8))
        words = words[words @ words[0] <= limit]
    return np.array(taken, dtype=np.int8).reshape(-1, candidates.shape[1])


def _bch_generators(m):
    """List the generator polynomials of the BCH codes of length 2^m - 1 by rising degree, coefficients in 0/1."""
    length = 2**m - 1
    powers, logarithms = _field(m)
    generators, roots, generator = [], set(), np.array([1], dtype=np.int64)
    for exponent in range(1, length):
        if exponent in roots:
            continue
        # The conjugates of a root are roots of the same polynomial over two elements.
        conjugates = {exponent * 2**i % length for i in range(m)}
        roots |= conjugates
        minimal = [1]
        for conjugate in conjugates:
            # Times (x - a): shift, plus a times each coefficient; the sum of the field is the exclusive or.
            scaled = [powers[(logarithms[value] + conjugate) % length] if value else 0 for value in minimal]
            minimal = [low ^ high for low, high in zip([*scaled, 0], [0, *minimal], strict=True)]
        generator = np.convolve(generator, minimal) % 2
        generators.append(generator)
    return generators


def _field(m):
    """Tabulate the powers of the root of the primitive polynomial, and their exponents."""
    powers = [1]
    while len(powers) < 2**m - 1:
        value = powers[-1] << 1
        powers.append(value ^ _PRIMITIVE_POLYNOMIALS[m] if value >> m else value)
    return powers, {value: exponent for exponent, value in enumerate(powers)}
