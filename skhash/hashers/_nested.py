"""One model for all code lengths: kernel discriminants rotated, block by block, to nested codewords."""

from copy import copy
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._sklearn import Interval, StrOptions, fit_context
from .._validation import shown
from ..centers import check_prefixes, minimum_distance
from ..codes import pack_bits, truncate_codes
from ._base import SupervisedHasher, linear_projections
from ._blocks import block_of, float_dtype, rows_at, single_threaded_blas
from ._codewords import further_words
from ._held_out import draw_groups, hold_out
from ._nested_space import NestedSpace, merge_unless_none, unlabelled_statistics
from ._root_kernel import RootKernel

# What "auto" chooses from, what it prefers, and by how much the sum of two mean average precisions has to rise for it
# to take anything else: folds as small as these are noisy, and most choices among good settings are chance.
_RIDGES = (0.1, 0.5, 2.0, 10.0, 30.0)
_RESIDUALS = (0.0, 0.2, 0.4, 0.6)
_PREFERRED_RIDGE, _PREFERRED_RESIDUAL = 0.5, 0.4
_SMALLEST_GAIN = 0.04
# Anchors and rows that settings are fitted on, and of each kind that a fold is scored on.
_ANCHORS_TO_CHOOSE, _MOST_ROWS_TO_CHOOSE = 500, 20_000
_MOST_VALIDATION_ROWS = 600


class NestedHash(SupervisedHasher):
    r"""Hash once to codes whose prefixes are codes: kernel discriminants rotated to nested codewords.

    Signed square roots of the features are scaled to norm 1, and compared with m anchors :math:`a_j`, drawn from the
    rows, by the kernel :math:`k(x, a) = e^{-\lVert x - a \rVert^2 / \tau}`, where :math:`\tau` is the mean squared
    distance of a row to an anchor. With :math:`\phi(x) = L^{-1} k(x)` and the Cholesky factor L of the anchors' own
    kernels, inner products of :math:`\phi` approximate the kernel of any two rows. The discriminants :math:`W` are
    those of `DiscriminantITQ` in that space, solutions of

    .. math:: \sum_c \pi_c (m_c - \mu)(m_c - \mu)' w = \lambda \left(S_w + \frac{\rho v}{n} I\right) w,
              \qquad w' \left(S_w + \frac{\rho v}{n} I\right) w = 1,

    with the means :math:`m_c` of the classes, their weights :math:`\pi_c`, the covariance :math:`S_w` within them,
    and the variance v of all n labelled rows. The bits come in blocks, from one prefix to the next. In block b of
    :math:`K_b` bits, the last of a prefix of :math:`k_b`, they are the signs of

    .. math:: R_b' D W'(\phi(x) - \mu) + \beta \frac{k_b}{K_b} N_b' V_b'(\phi(x) - \mu).

    The diagonal matrix D multiplies the i-th discriminant by :math:`\lambda_i^{-1/4}`, up to a common factor, so that
    the strongest do not take all bits: codewords are about equally far from each other, and so should be the class
    means. :math:`R_b` rotates these to the block of their codewords (`NestedCodebook`), as in `DiscriminantITQ`. It
    leaves :math:`K_b - (C - 1)` directions of the code empty. :math:`N_b`, orthogonal to :math:`R_b`, fills them with
    the next principal components :math:`V_b` of the rows after the span of the class means is projected out, the
    first of which is scaled to variance 1: they tell apart images of one class, and of classes that were not in
    training. Since each block holds all discriminants anew, in fewer bits than a code of one block has, the components
    weigh :math:`k_b / K_b` times as much there.

    Because each block is solved by itself, the first 16 bits of a longer code are those of a 16-bit hasher.

    Parameters
    ----------
    n_bits : int, default=64
        Code length, with no upper limit. Set to less after `fit`, it takes prefixes of the codes, without another
        fit.

    prefixes : tuple of int, default=(16, 32, 64)
        Lengths at which a prefix is a code in its own right, ascending; those below `n_bits` count.

    n_anchors : int, default=2000
        Number m of anchors; at most the number of rows is taken. More of them are more precise, and slower.

    ridge : float or "auto", default="auto"
        :math:`\rho`. "auto" takes 0.5, unless 0.1, 2, 10 or 30 is clearly better on rows and classes that are held
        out, see Notes.

    residual : float or "auto", default="auto"
        :math:`\beta`. "auto" takes 0.4, unless 0, 0.2 or 0.6 is clearly better in the same way.

    random_state : int, RandomState instance or None, default=None
        Seed of anchors, codewords, rotations and folds.

    Attributes
    ----------
    ridge_ : float
        The ridge taken.

    residual_ : float
        The weight of the residual taken.

    validation_scores_ : dict of tuple to tuple of two floats
        Mean average precision of the folds for each (ridge, residual) that was tried, of other rows of their classes
        and of the classes held out, on average over the prefixes. Only if something was chosen.

    centers_ : ndarray of shape (n_classes, n_bits), dtype int8
        Codeword of each class, of -1 and +1.

    minimum_distances_ : dict of int to int
        Smallest Hamming distance between the codewords of two classes, by length of the prefix.

    anchors_ : ndarray of shape (n_anchors, n_features)
        Signed square roots of rows, of norm 1.

    width_ : float
        :math:`\tau`.

    classes_ : ndarray of shape (n_classes,)
        Classes of the rows seen.

    statistics_ : ClassStatistics
        Weights and means of classes and the scatter within, of the kernels to the anchors; what `partial_fit` continues
        from.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    DiscriminantITQ : The linear form for one code length, quicker by far.

    skhash.codes.truncate_codes : Prefixes of codes.

    Notes
    -----
    Everything is closed form but codewords of more than :math:`K_b + 1` classes, which are learned in their block from
    as many of the next discriminants as it has bits, by turns, as in `ITQ`.

    "auto" divides the classes into three groups. With each of them held out, and a third of the other rows, it fits
    every ridge to what is left, on up to 20,000 rows and with up to 500 anchors. The third measures retrieval
    among the classes of the fit, the group held out retrieval among classes unknown to it, both as tie-aware mean
    average precision at each prefix with each row as a query for the others. The ridge with the largest sum is taken,
    and then the residual, if the sum exceeds that of the preferred settings by more than 0.04. With fewer than four
    classes, only rows are held out.

    Rows without a label count among the anchors and for the principal components. A row with several labels counts for
    each in equal parts. A row of zeros stays as it is. The fit takes 8 bytes times the square of `n_anchors` a few
    times over, however many rows there are.

    References
    ----------
    G. Baudat and F. Anouar, "Generalized discriminant analysis using a kernel approach", Neural Computation 12, 2000.

    C. Williams and M. Seeger, "Using the Nyström method to speed up kernel machines", NIPS 2001.

    F. Perronnin, J. Sánchez and T. Mensink, "Improving the Fisher kernel for large-scale image classification",
    ECCV 2010.

    Y. Gong and S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import NestedHash
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = NestedHash(n_bits=64, random_state=0).fit(X, y)
    >>> hasher.minimum_distances_
    {16: 8, 32: 17, 64: 34}
    >>> hasher.prefix(16).transform(X[:2]).shape
    (2, 2)
    """

    _parameter_constraints: dict = {
        **SupervisedHasher._parameter_constraints,
        "prefixes": [tuple, list],
        "n_anchors": [Interval(Integral, 2, None, closed="left")],
        "ridge": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "residual": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_bits=64,
        *,
        prefixes=(16, 32, 64),
        n_anchors=2000,
        ridge="auto",
        residual="auto",
        random_state=None,
    ):
        self.n_bits = n_bits
        self.prefixes = prefixes
        self.n_anchors = n_anchors
        self.ridge = ridge
        self.residual = residual
        self.random_state = random_state

    def _fit_bytes(self, n_bits, X):
        # The random rotation of the longest block, and its orthonormal rows; weights.
        width = max(np.diff((0, *self._lengths())).tolist())
        return max(2 * 8 * width**2, 8 * n_bits * min(self.n_anchors, X.shape[0]))

    def _fit_labelled(self, X, targets):
        lengths = self._lengths()
        random = check_random_state(self.random_state)
        # Drawn in any case, so that settings given by hand make the codes that they make when they are chosen.
        seed, seed_of_folds = random.randint(2**31 - 1, size=2)
        kernel = RootKernel.from_rows(type(self).__name__, X, self.n_anchors, random)
        classes = kernel.class_statistics(X, targets)
        unlabelled = unlabelled_statistics(kernel, X, targets)
        space = NestedSpace(kernel, classes, unlabelled)
        ridge, residual, scores = self._choose_settings(X, targets, lengths, seed_of_folds)
        directions, centers = space.solve(ridge, residual, lengths, seed)
        # Nothing is set before all can be.
        vars(self).pop("validation_scores_", None)
        if scores:
            self.validation_scores_ = scores
        self.ridge_, self.residual_ = ridge, residual
        self._kernel, self.anchors_, self.width_ = kernel, kernel.anchors, kernel.width
        self._fitted_lengths, self._seed = lengths, seed
        self._set_solution(X, space, directions, centers, classes, unlabelled)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Go on learning with more rows of known classes, which keep their codewords.

        Stored codes stay comparable, as rows go on to fall near the same codewords. Anchors and settings are those of
        the first call.

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
            As in `fit`, or if there is a class that is not known: see `add_classes`.
        """
        if not hasattr(self, "n_bits_"):
            return self.fit(X, y)
        X = self._check_more_rows(X)
        targets = self._encode_labels(X, y)
        new = np.setdiff1d(targets.classes, self.classes_)
        if targets.labels.ndim == 1 and len(new):
            raise ValueError(
                f"NestedHash: y holds the class {shown(new[0].item())}, which is none of the {len(self.classes_)} "
                "known; pass its rows to add_classes."
            )
        return self._learn_more(X, self._encode_labels(X, y, self.classes_))

    @fit_context(prefer_skip_nested_validation=True)
    def add_classes(self, X, y):
        """Go on learning with rows of new classes, which get codewords far from all others.

        Known classes keep their codewords, so that stored codes stay comparable.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training features of new classes, and of known ones if there are more.

        y : array-like of shape (n_samples,)
            Their classes.

        Returns
        -------
        self : object
            Fitted hasher.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the hasher is not fitted.
        ValueError
            As in `fit`, or if `y` holds indicators or classes of another type than those known.
        """
        check_is_fitted(self)
        X = self._check_more_rows(X)
        targets = self._encode_labels(X, y)
        if targets.labels.ndim == 2:
            raise ValueError(
                "NestedHash: indicators have a column for each class from the start; pass one class a row."
            )
        if (self.classes_.dtype.kind == "U") != (targets.classes.dtype.kind == "U"):
            raise ValueError(
                f"NestedHash: y holds the class {shown(targets.classes[0].item())}, but classes known so far are like "
                f"{shown(self.classes_[0].item())}; use one type."
            )
        return self._learn_more(X, self._encode_labels(X, y, np.union1d(self.classes_, targets.classes)))

    def _learn_more(self, X, targets):
        known = np.searchsorted(targets.classes, self.classes_)
        classes = self.statistics_.spread(known, len(targets.classes)).merge(self._kernel.class_statistics(X, targets))
        unlabelled = merge_unless_none(self._unlabelled, unlabelled_statistics(self._kernel, X, targets))
        centers = np.zeros((len(targets.classes), self.centers_.shape[1]), dtype=np.int8)
        centers[known] = self.centers_
        random = check_random_state(self._seed)
        new = np.flatnonzero((classes.weights > 0) & ~centers.any(axis=1))
        if len(new):
            projections = classes.means[new] @ self._weights.astype(np.float64) - self._offsets
            centers[new] = further_words(centers[centers.any(axis=1)], projections, self._fitted_lengths, random)
        space = NestedSpace(self._kernel, classes, unlabelled)
        directions, centers = space.solve(self.ridge_, self.residual_, self._fitted_lengths, self._seed, centers)
        self._set_solution(X, space, directions, centers, classes, unlabelled)
        self.classes_ = targets.classes
        return self

    def prefix(self, n_bits):
        """Take the hasher of the first bits, without another fit.

        Parameters
        ----------
        n_bits : int
            How many bits, at most those fitted. Retrieval is as good as that of a fit of this length if it is one of
            `prefixes`.

        Returns
        -------
        hasher : NestedHash
            A fitted copy, which shares the arrays of this one.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the hasher is not fitted.
        ValueError
            If there are fewer bits.
        """
        check_is_fitted(self)
        if not self._is_prefix(n_bits):
            raise ValueError(
                f"NestedHash: n_bits={shown(n_bits)} of a prefix must be a whole number from 1 to the "
                f"{self._fitted_lengths[-1]} bits fitted; fit a longer code."
            )
        return copy(self).set_params(n_bits=n_bits)

    def set_params(self, **params):
        """Set parameters: fewer bits than were fitted take effect at once, all else in the next fit.

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : object
            This hasher.
        """
        super().set_params(**params)
        if "n_bits" in params and hasattr(self, "n_bits_") and self._is_prefix(self.n_bits):
            self.n_bits_ = int(self.n_bits)
        return self

    def _is_prefix(self, n_bits):
        is_whole = isinstance(n_bits, Integral) and not isinstance(n_bits, bool)
        return is_whole and 1 <= n_bits <= self._fitted_lengths[-1]

    def _lengths(self):
        """Return the ends of the blocks."""
        lengths = check_prefixes("NestedHash", self.prefixes)
        return (*(length for length in lengths if length < self.n_bits), int(self.n_bits))

    def _set_solution(self, X, space, directions, centers, classes, unlabelled):
        weights = space.weights(directions)
        self._weights, self._offsets = np.ascontiguousarray(weights, dtype=float_dtype(X)), space.mean @ weights
        self.centers_, self.statistics_, self._unlabelled = centers, classes, unlabelled
        present = self.centers_[classes.weights > 0]
        self.minimum_distances_ = {length: minimum_distance(present[:, :length]) for length in self._fitted_lengths}

    def _project_rows(self, X):
        # All bits, so that those of a prefix round as those of the whole code.
        return linear_projections(self._kernel(X), self._weights, self._offsets)[..., : self.n_bits_]

    def _choose_settings(self, X, targets, lengths, seed):
        """Return ridge and residual, and the scores of all that were tried."""
        ridges = _RIDGES if self.ridge == "auto" else (float(self.ridge),)
        residuals = _RESIDUALS if self.residual == "auto" else (float(self.residual),)
        preferred = (
            _PREFERRED_RIDGE if self.ridge == "auto" else ridges[0],
            _PREFERRED_RESIDUAL if self.residual == "auto" else residuals[0],
        )
        folds = self._folds(X, targets, seed) if len(ridges) * len(residuals) > 1 else []
        if not folds:
            return *preferred, None
        scores = {}

        def score(ridge, residual):
            if (ridge, residual) not in scores:
                pairs = [fold.score(ridge, residual, lengths, seed) for fold in folds]
                scores[ridge, residual] = tuple(np.mean(pairs, axis=0).tolist())
            return sum(scores[ridge, residual])

        ridge = max(ridges, key=lambda ridge: score(ridge, preferred[1]))
        residual = max(residuals, key=lambda residual: score(ridge, residual))
        is_better = score(ridge, residual) > score(*preferred) + _SMALLEST_GAIN
        return *((ridge, residual) if is_better else preferred), scores

    def _folds(self, X, targets, seed):
        random = check_random_state(seed)
        rows = np.sort(random.permutation(targets.labelled)[:_MOST_ROWS_TO_CHOOSE])
        X, targets = rows_at(X, rows), targets.select(rows)
        order = random.permutation(len(rows))
        # Where no class can be spared, only rows are held out.
        groups = draw_groups(targets, random) or [[]]
        folds = []
        for fold in hold_out(targets, order, groups, _MOST_VALIDATION_ROWS):
            # What is left may have nothing to learn from, as where it is of one class.
            try:
                folds.append(_FittedFold(X, targets, fold, min(self.n_anchors, _ANCHORS_TO_CHOOSE), random))
            except ValueError:
                continue
        return folds

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class _FittedFold:
    """The space of the rows of a fold that settings are fitted to, and the others in its coordinates.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, n_features)
        Training rows.

    targets : Targets
        Their labels.

    fold : Fold
        Positions of the rows to fit to and to score on.

    n_anchors : int
        Number of anchors.

    random : numpy.random.RandomState
        Source of the anchors.
    """

    def __init__(self, X, targets, fold, n_anchors, random):
        rows = rows_at(X, fold.fitted)
        # Of rows that are fitted to: others would not be as far from the anchors as rows to come.
        kernel = RootKernel.from_rows("NestedHash", rows, n_anchors, random)
        self.space = NestedSpace(kernel, kernel.class_statistics(rows, targets.select(fold.fitted)), None)
        self.parts = [
            None if part is None else (part, self.space.coordinates(kernel(block_of(X, part.rows).astype(np.float64))))
            for part in fold.parts
        ]

    def score(self, ridge, residual, lengths, seed):
        """Compute the mean average precision of each part, on average over the lengths; 0 where nothing is relevant."""
        directions, _ = self.space.solve(ridge, residual, lengths, seed)
        scores = []
        for scored in self.parts:
            if scored is None:
                scores.append(0.0)
                continue
            part, coordinates = scored
            with single_threaded_blas():
                codes = pack_bits(coordinates @ directions >= 0)
            scores.append(np.mean([part.score(truncate_codes(codes, length)) for length in lengths]))
        return scores
