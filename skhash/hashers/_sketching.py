"""Online sketching hashing."""

from numbers import Integral

from sklearn.utils import check_random_state

from .._sklearn import Interval, StrOptions
from ._base import PrincipalComponentHasher
from ._blocks import float_dtype
from ._itq import centred_projections, learn_rotation
from ._linear_algebra import procrustes_rotation, random_rotation, supported_components
from ._sketch import FrequentDirections

# Turns in which a rotation is learned, as many as ITQ takes by default.
_N_TURNS = 50


class SketchingHash(PrincipalComponentHasher):
    r"""Hash with rotated principal components of a sketch of all rows seen.

    The sketch :math:`B` has less than :math:`\ell` rows, however many have been seen, and a scatter close to that of
    the centred rows :math:`A`,

    .. math:: 0 \preceq A'A - B'B \preceq \frac{\lVert A \rVert_F^2}{\ell} I .

    Its right singular vectors :math:`V` in front take the place of the principal components:

    .. math:: b(x) = [R' V' (x - \mu) \ge 0] .

    Memory is :math:`2 \ell d` numbers for :math:`d` features where a scatter matrix has :math:`d^2`, and a row costs
    about :math:`4 \ell d` operations: the method for features so many that `ITQ` has no room for the scatter matrix.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, less than `sketch_size` and at most the rank of the training data.

    sketch_size : int, default=256
        :math:`\ell`. Up to that rank of the data, the sketch loses nothing.

    rotation : {"itq", "random"}, default="itq"
        Rotation :math:`R` of the components: learned from the first chunk as by `ITQ`, or random as in the paper.

    keep_hash_functions : bool, default=False
        Whether `partial_fit` leaves the hash functions as they are, so that stored codes stay valid, and only goes on
        with the sketch. It may be switched on and off at any time; the first call after it was switched off moves the
        hash functions to where all rows seen put them, the kept time included.

    random_state : int, RandomState instance or None, default=None
        Seed of the random rotation, which is also the one that learning starts from.

    Attributes
    ----------
    components_ : ndarray of shape (n_bits, n_features)
        Right singular vectors of the sketch by falling singular value.

    rotation_ : ndarray of shape (n_bits, n_bits), dtype float64
        The rotation. After the first chunk it is turned along with the components so that the hash functions change
        as little as possible.

    mean_ : ndarray of shape (n_features,)
        Mean of the training features; of those before the hash functions were kept.

    statistics_ : FrequentDirections
        Number, mean and sketch of all rows seen, what `partial_fit` continues from. Two of them, of parts of the data,
        ``merge`` to one of all.

    kept_variance_ratio_ : float
        Variance of the sketch along `components_`, divided by the variance along as many of its best directions: 1
        where hashing the database again has nothing to gain from better directions. Computed when it is read.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    ITQ : The same from the scatter matrix, without loss.

    Notes
    -----
    Stored codes: `partial_fit` moves the hash functions, and with ``keep_hash_functions=True`` it does not.

    Departures from the paper: it draws a new random rotation with every chunk, which changes all bits; here it is
    drawn once. Rows are sketched in blocks of :math:`\ell` with the shrinkage of the :math:`\ell`-th singular value.

    References
    ----------
    C. Leng, J. Wu, J. Cheng, X. Bai and H. Lu, "Online sketching hashing", CVPR 2015.

    E. Liberty, "Simple and deterministic matrix sketching", KDD 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skhash import SketchingHash
    >>> X, _ = load_digits(return_X_y=True)
    >>> hasher = SketchingHash(n_bits=16, sketch_size=32, random_state=0)
    >>> for chunk in np.array_split(X, 4):
    ...     hasher = hasher.partial_fit(chunk)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **PrincipalComponentHasher._parameter_constraints,
        "sketch_size": [Interval(Integral, 2, None, closed="left")],
        "rotation": [StrOptions({"itq", "random"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_bits=32,
        *,
        sketch_size=256,
        rotation="itq",
        keep_hash_functions=False,
        random_state=None,
    ):
        self.n_bits = n_bits
        self.sketch_size = sketch_size
        self.rotation = rotation
        self.keep_hash_functions = keep_hash_functions
        self.random_state = random_state

    def _statistics_of(self, X):
        return FrequentDirections.from_rows(X, self.sketch_size)

    def _decompose(self, statistics, n_components):
        return statistics.principal_components(n_components)

    def _solve(self, X, statistics, previous_weights):
        if self.sketch_size <= self.n_bits <= X.shape[1]:
            raise ValueError(
                f"SketchingHash: n_bits={self.n_bits} must be < sketch_size={self.sketch_size}; raise sketch_size."
            )
        components, _ = supported_components(self, self.n_bits, statistics, self._decompose)
        if previous_weights is not None:
            rotation = procrustes_rotation(previous_weights.T @ components.T)
        else:
            rotation = random_rotation(self.n_bits, check_random_state(self.random_state))
            if self.rotation == "itq":
                projections = centred_projections(self, X, statistics.mean, components)
                rotation, _ = learn_rotation(projections, rotation, _N_TURNS)
        self.components_ = components.astype(float_dtype(X))
        self.rotation_ = rotation
        return components.T @ rotation
