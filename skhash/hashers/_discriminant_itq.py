"""Discriminant directions rotated to codewords that are certified to be far apart."""

from copy import deepcopy
from functools import reduce
from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state, gen_batches

from .._sklearn import Interval, StrOptions, fit_context
from .._validation import shown
from ..centers import NestedCodebook, minimum_distance
from ._base import LinearMap, SupervisedHasher
from ._blocks import SelectedRows, block_of, float_dtype, map_in_order, single_threaded_blas
from ._class_statistics import ClassStatistics
from ._codewords import further_words
from ._held_out import draw_groups, hold_out
from ._itq import learn_rotation
from ._linear_algebra import discriminant_directions, procrustes_rotation, random_rotation
from ._statistics import check_finite_statistics

# Rows whose scatter matrix is computed at once.
_BLOCK_ROWS = 4096
# Turns between codes and rotation of the class means.
_N_TURNS = 50
# What ridge="auto" chooses from, and what it takes where classes are too few to hold any out.
_RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0)
_RIDGE_OF_FEW_CLASSES = 1.0
# Rows of each kind that a fold is scored on.
_MOST_VALIDATION_ROWS = 1000


class DiscriminantITQ(LinearMap, SupervisedHasher):
    r"""Hash with discriminant directions, rotated so that classes fall on codewords that are far apart.

    Rows are scaled to norm 1. With the scatter :math:`S_w` within classes, the weights :math:`\pi_c` of the classes and
    their means :math:`m_c`, whose mean is :math:`\mu`, the columns of :math:`W` are the at most C - 1 directions of

    .. math:: \sum_c \pi_c (m_c - \mu)(m_c - \mu)' w = \lambda \left(S_w + \rho \frac{\mathrm{tr}\, S_w}{d} I\right) w,
              \qquad w' \left(S_w + \rho \frac{\mathrm{tr}\, S_w}{d} I\right) w = 1,

    and the bits are :math:`\mathrm{sign}(R' W'(x - \mu))` with the R that brings the class means closest to their
    centres :math:`h_c \in \{-1, +1\}^K`:

    .. math:: \min_R \sum_c \lVert h_c - R' W'(m_c - \mu) \rVert^2, \quad R R' = I.

    Up to K classes, the centres are words of a code whose minimum distance is certified by `minimum_distance_`,
    assigned so that similar classes get near words. Beyond that they are learned as in `ITQ`, from the class means: the
    K leading directions and, by turns, :math:`h_c = \mathrm{sign}(R' W'(m_c - \mu))` and R.

    Parameters
    ----------
    n_bits : int, default=32
        Code length :math:`K`, with no upper limit.

    ridge : float or "auto", default=1.0
        :math:`\rho`, from about 0.3, best for the classes of the training, to 10, better for classes that were not in
        training. "auto" chooses from 0.1, 0.3, 1, 3 and 10 by holding out classes, see Notes.

    random_state : int, RandomState instance or None, default=None
        Seed of the codewords, of the first rotation of learned centres and of the folds of "auto".

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Columns of W by falling :math:`\lambda`.

    rotation_ : ndarray of shape (n_components, n_bits), dtype float64
        R.

    centers_ : ndarray of shape (n_classes, n_bits), dtype int8
        Centre of each class of -1 and +1; zeros for a class that had no row so far.

    minimum_distance_ : int
        Smallest Hamming distance between two centres.

    ridge_ : float
        The ridge taken.

    ridge_scores_ : dict of float to tuple of two floats
        Mean average precision of the folds for each ridge that was tried, of other rows of their classes and of the
        classes held out. Only if some were.

    classes_ : ndarray of shape (n_classes,)
        Classes of the rows seen.

    mean_ : ndarray of shape (n_features,)
        Mean of the labelled rows, each scaled to norm 1.

    statistics_ : ClassStatistics
        Weights and means of classes and the scatter within, what `partial_fit` continues from.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    CCAITQ : Canonical correlations and a rotation learned from rows instead of class means.

    Notes
    -----
    Everything is closed form but the learned centres, and takes one pass over the rows, of which some thousand are in
    memory at a time. Nearly all the time of a fit goes into the scatter matrix, n d^2 operations, and the factorisation
    of one matrix of d x d; what follows is that of C - 1 directions. Directions beyond C - 1 are not taken for longer
    codes: they tell no classes apart and spoil the code.

    ``ridge="auto"`` divides the classes into three groups. With each of them held out, and a third of the other rows,
    it fits every ridge to what is left. The third measures retrieval among the classes of the fit, the group held out
    retrieval among classes unknown to it, both as tie-aware mean average precision at `n_bits` bits with each row as a
    query for the others, at most a thousand rows of either kind. The ridge with the largest sum of both, over all
    folds, is taken. This takes about as long as ten fits. With fewer than four classes, none of which can be spared, or
    where no fold leaves two classes that differ, the ridge is 1. `partial_fit` keeps the ridge of the first call.

    `partial_fit` merges statistics and keeps the centres of known classes: their rows go on to fall near the same
    codes, so stored codes stay comparable. A new class takes the word, far from all centres, that it falls nearest to;
    where there are more classes than bits, the signs that its mean has already.

    A row with several labels counts for each in equal parts. Rows without a label are left out. A row of zeros stays
    as it is. Data whose norms carry meaning are better served by `CCAITQ`.

    References
    ----------
    Y. Gong and S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011.

    J. H. Friedman, "Regularized discriminant analysis", Journal of the American Statistical Association 84, 1989.

    L. Yuan et al., "Central similarity quantization for efficient image and video retrieval", CVPR 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import DiscriminantITQ
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = DiscriminantITQ(n_bits=16, random_state=0).fit(X, y)
    >>> hasher.minimum_distance_
    8
    """

    _parameter_constraints: dict = {
        **SupervisedHasher._parameter_constraints,
        "ridge": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "random_state": ["random_state"],
    }

    def __init__(self, n_bits=32, *, ridge=1.0, random_state=None):
        self.n_bits = n_bits
        self.ridge = ridge
        self.random_state = random_state

    def _fit_bytes(self, n_bits, X):
        # Weights.
        return 8 * n_bits * X.shape[1]

    def _fit_labelled(self, X, targets):
        statistics = _unit_statistics(X, targets)
        check_finite_statistics(self, statistics)
        random_state = check_random_state(self.random_state)
        # The statistics of a fit that went before.
        vars(self).pop("ridge_scores_", None)
        if self.ridge == "auto":
            # A copy, so that the codes are those of the same ridge given by hand.
            ridge, scores = self._choose_ridge(X, targets, deepcopy(random_state))
            if scores:
                self.ridge_scores_ = scores
        else:
            ridge = float(self.ridge)
        self._set_solution(X, statistics, ridge, self._solve(statistics, ridge, random_state))

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Go on learning with more rows, which may be of new classes, and keep the centres of known classes.

        Stored codes stay comparable, as rows of known classes go on to fall near the same codes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            More training features.

        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Their labels, as in `fit`; indicators have as many columns as in the first call.

        Returns
        -------
        self : object
            Fitted hasher.

        Raises
        ------
        ValueError
            As in `fit`, or if `n_bits` was changed since the first call, or the classes are of another type.
        """
        if not hasattr(self, "n_bits_"):
            return self.fit(X, y)
        if self.n_bits != self.n_bits_:
            raise ValueError(
                f"DiscriminantITQ: n_bits={self.n_bits} differs from the {self.n_bits_} bits fitted so far; call fit "
                "to start again."
            )
        X = self._check_more_rows(X)
        targets = self._encode_labels(X, y)
        classes = self._join_classes(targets)
        centers = np.zeros((len(classes), self.n_bits_), dtype=np.int8)
        known = np.searchsorted(classes, self.classes_)
        centers[known] = self.centers_
        statistics = self.statistics_.spread(known, len(classes)).merge(
            _unit_statistics(X, targets).spread(np.searchsorted(classes, targets.classes), len(classes))
        )
        check_finite_statistics(self, statistics)
        random_state = check_random_state(self.random_state)
        self._set_solution(X, statistics, self.ridge_, self._solve(statistics, self.ridge_, random_state, centers))
        self.classes_ = classes
        return self

    def _join_classes(self, targets):
        if (self.classes_.dtype.kind == "U") != (targets.classes.dtype.kind == "U"):
            raise ValueError(
                f"DiscriminantITQ: y holds the class {shown(targets.classes[0].item())}, but classes known so far are "
                f"like {shown(self.classes_[0].item())}; use one type."
            )
        if targets.labels.ndim == 2 and len(targets.classes) != len(self.classes_):
            raise ValueError(
                f"DiscriminantITQ: y has {len(targets.classes)} columns, but {len(self.classes_)} classes are known; "
                "pass as many."
            )
        return np.union1d(self.classes_, targets.classes)

    def _solve(self, statistics, ridge, random_state, centers=None):
        """Return W, R and the centres, keeping those that are given."""
        present = np.flatnonzero(statistics.weights > 0)
        shares = statistics.weights[present] / statistics.n_samples
        offsets = statistics.means[present] - statistics.mean
        between = (offsets * np.sqrt(shares)[:, None]).T
        if not np.abs(between).max() > 1e-12:
            raise ValueError(
                f"DiscriminantITQ: scaled to norm 1, the {len(present)} classes of the labelled rows have the same "
                f"mean in all n_features={len(statistics.scatter_within)}; pass rows of classes that differ."
            )
        within = statistics.scatter_within / statistics.n_samples
        if not np.trace(within) > 1e-12:
            raise ValueError(
                "DiscriminantITQ: all rows of a class are equal but for their norm, so there is no scatter within "
                "classes to learn from; pass rows that differ."
            )
        directions, _ = discriminant_directions(self, within, ridge, between)
        directions = directions[:, : self.n_bits]
        prototypes = offsets @ directions
        if centers is None:
            centers = np.zeros((len(statistics.weights), self.n_bits), dtype=np.int8)
            centers[present] = self._first_centers(prototypes, random_state)
        else:
            new = present[~centers[present].any(axis=1)]
            centers[new] = self._new_centers(statistics.means[new], centers[centers.any(axis=1)], random_state)
        with single_threaded_blas():
            rotation = procrustes_rotation(centers[present].T @ prototypes)
        return directions, rotation, centers

    def _first_centers(self, prototypes, random_state):
        n_classes, n_directions = prototypes.shape
        if n_classes <= self.n_bits:
            codebook = NestedCodebook(n_classes, self.n_bits, prefixes=(), random_state=random_state)
            return codebook.assign(prototypes).words
        start = random_rotation(self.n_bits, random_state)[:n_directions]
        rotation, _ = learn_rotation(prototypes, start, _N_TURNS)
        return np.where(prototypes @ rotation >= 0, 1, -1)

    def _new_centers(self, means, centers, random_state):
        """Give each new class a centre near to where its mean falls so far."""
        projections = means @ self._weights.astype(np.float64) - self._offsets
        if len(centers) + len(means) > self.n_bits:
            return np.where(projections >= 0, 1, -1)
        return further_words(centers, projections, (self.n_bits,), random_state)

    def _set_solution(self, X, statistics, ridge, solution):
        directions, self.rotation_, self.centers_ = solution
        self.ridge_ = ridge
        self.minimum_distance_ = minimum_distance(self.centers_[statistics.weights > 0])
        self.components_ = directions.T.astype(float_dtype(X))
        self.statistics_ = statistics
        self._set_linear_map(X, directions @ self.rotation_, statistics.mean)

    def _project_rows(self, X):
        # Of the products, not of the features, which are more.
        projections = X @ self._weights.astype(X.dtype, copy=False)
        projections /= _norms(X)
        projections -= self._offsets.astype(X.dtype, copy=False)
        return projections

    def _choose_ridge(self, X, targets, random_state):
        """Return the ridge that serves held-out rows and held-out classes best, and all scores."""
        groups = draw_groups(targets, random_state)
        order = random_state.permutation(targets.labelled)
        folds = (
            self._fold_scores(X, targets, fold) for fold in hold_out(targets, order, groups, _MOST_VALIDATION_ROWS)
        )
        scores = [fold for fold in folds if fold is not None]
        if not scores:
            return _RIDGE_OF_FEW_CLASSES, None
        mean = np.mean(scores, axis=0)
        best = _RIDGES[int(mean.sum(axis=1).argmax())]
        return best, {ridge: tuple(pair) for ridge, pair in zip(_RIDGES, mean.tolist(), strict=True)}

    def _fold_scores(self, X, targets, fold):
        """Score each ridge on other rows of known classes and on rows of the classes held out.

        None where the other classes leave nothing to learn from, as where there is only one.
        """
        statistics = _unit_statistics(SelectedRows(X, fold.fitted), targets.select(fold.fitted))
        model = DiscriminantITQ(self.n_bits, random_state=0)
        scores = np.zeros((len(_RIDGES), 2))
        for number, ridge in enumerate(_RIDGES):
            try:
                solution = model._solve(statistics, ridge, check_random_state(0))
            except ValueError:
                return None
            model._set_solution(X, statistics, ridge, solution)
            model.n_bits_ = self.n_bits
            scores[number] = [0.0 if part is None else part.score(model.transform(X[part.rows])) for part in fold.parts]
        return scores

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _norms(X):
    """Compute the norms of rows, 1 for rows of zeros and NaN where the square overflows, as a column."""
    if sparse.issparse(X):
        squares = np.asarray(X.multiply(X).sum(axis=1)).reshape(-1, 1).astype(X.dtype)
    else:
        squares = np.einsum("...i,...i->...", X, X)[..., None]
    squares[squares == 0] = 1
    # Infinity would turn features that are too large into zeros.
    squares[np.isinf(squares)] = np.nan
    return np.sqrt(squares)


def _unit_statistics(X, targets):
    """Accumulate the statistics of rows scaled to norm 1."""

    def of_block(rows):
        block = block_of(X, rows)
        with np.errstate(over="ignore", invalid="ignore"):
            norms = _norms(block)
            unit = block.multiply(1 / norms).tocsr() if sparse.issparse(block) else block / norms
        return ClassStatistics.from_rows(unit, targets.indicators_of(rows), dtype=block.dtype)

    blocks = map_in_order(of_block, gen_batches(X.shape[0], _BLOCK_ROWS), n_pending=2)
    return reduce(ClassStatistics.merge, blocks)
