"""The flow that every hasher shares: validate, fit, project, take signs, pack."""

from abc import ABCMeta, abstractmethod
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._labels import encode_labels, warn_of_signs
from .._memory import check_allocation
from .._sklearn import Interval, fit_context
from .._validation import all_finite, check_features, check_finite, largest_magnitude, shown
from ..codes import code_width, pack_bits
from ._blocks import apply_to_rows, float_dtype
from ._linear_algebra import principal_components
from ._statistics import RunningStatistics, check_finite_statistics, overflow_error


class BaseHasher(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, metaclass=ABCMeta):
    """Base of all hashers: features in, packed binary codes out.

    A subclass supplies its mathematics in two hooks: ``_fit(X, y)`` learns from checked rows, which it takes as floats
    by ``block_of``, and ``_project_rows(X)`` maps float rows, of shape (..., n_features), to real numbers whose signs
    are the bits. Think twice before adding anything to this class.
    """

    _parameter_constraints: dict = {"n_bits": [Interval(Integral, 1, None, closed="left")]}

    @abstractmethod
    def _fit(self, X, y):
        """Learn from checked features; set the fitted attributes."""

    @abstractmethod
    def _project_rows(self, X):
        """Map rows to projections, each row by itself: a stack of blocks of shape (..., n_features), or a CSR matrix.

        NaN or infinity in a row must come out as NaN or infinity, as it does of a product with any weights: projections
        are checked instead of features, which are many more.
        """

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the hash functions from training features.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training features.

        y : None
            Ignored, present for consistency with the API.

        Returns
        -------
        self : object
            Fitted hasher.

        Raises
        ------
        ValueError
            If a parameter is out of its range, `X` holds NaN or infinity or fewer than two rows, or the data cannot
            support `n_bits` bits.
        """
        return self._fit_first(X, y)

    def _fit_first(self, X, *labels):
        """Check the rows that come first, and learn from them."""
        if isinstance(self.n_bits, bool):
            raise ValueError(f"{type(self).__name__}: n_bits={self.n_bits} must be an integer >= 1.")
        self._make_numbers_plain()
        X = self._check_training_rows(X)
        what = f"a fit with n_bits={self.n_bits:,}"
        check_allocation(type(self).__name__, self._fit_bytes(int(self.n_bits), X), what, "use fewer bits")
        self._fit(X, *labels)
        self.n_bits_ = int(self.n_bits)
        return self

    def _fit_bytes(self, n_bits, X):
        """Bytes that a fit takes at one time, at least, and that grow with `n_bits` beyond what the data support."""
        return 0

    def project(self, X) -> NDArray:
        """Compute the real-valued projections whose signs are the bits.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        projections : ndarray of shape (n_samples, n_bits)
            float32 for float16 and float32 features, else float64. A row's values do not depend on the other rows.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the hasher is not fitted.
        ValueError
            If `X` holds NaN or infinity, or has another number of features than the training data.
        """
        check_is_fitted(self)
        X = self._check_features(X, reset=False)
        self._check_output(X, "projections", float_dtype(X).itemsize * self.n_bits_)
        return apply_to_rows(lambda rows: self._finite_projections(rows, X), X, self.n_bits_, float_dtype(X))

    def transform(self, X) -> NDArray[np.uint8]:
        """Hash features to packed codes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        codes : ndarray of shape (n_samples, ceil(n_bits / 8)), dtype uint8
            ``pack_bits(project(X) >= 0)``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the hasher is not fitted.
        ValueError
            If `X` holds NaN or infinity, or has another number of features than the training data.
        """
        check_is_fitted(self)
        X = self._check_features(X, reset=False)
        self._check_output(X, "codes", code_width(self.n_bits_))
        return apply_to_rows(
            lambda rows: pack_bits(self._finite_projections(rows, X) >= 0), X, code_width(self.n_bits_), np.uint8
        )

    def _check_output(self, X, what, row_bytes):
        what = f"the result, {what} of {X.shape[0]:,} rows and n_bits={self.n_bits_:,}"
        check_allocation(type(self).__name__, X.shape[0] * row_bytes, what, "pass fewer rows at a time")

    def _finite_projections(self, rows, X):
        """Project some rows of X, refusing what is not finite before or after."""
        projections = self._project_rows(rows).reshape(-1, self.n_bits_)
        if all_finite(projections):
            return projections
        check_finite(self, X)
        raise ValueError(
            f"{type(self).__name__}: features up to {largest_magnitude(X):.3g} overflow in {float_dtype(X)}; scale "
            "them, for example with sklearn.preprocessing.StandardScaler."
        )

    def _check_training_rows(self, X):
        X = self._check_features(X, reset=True, ensure_min_samples=2)
        check_finite(self, X)
        return X

    def _check_more_rows(self, X):
        """Check training rows that come after others."""
        X = self._check_features(X, reset=False)
        check_finite(self, X)
        return X

    def _make_numbers_plain(self):
        """Turn numbers of NumPy among the parameters into those of Python, which neither overflow nor change dtypes."""
        for name, value in self.get_params(deep=False).items():
            if isinstance(value, np.floating):
                setattr(self, name, float(value))
            elif isinstance(value, Integral) and not isinstance(value, bool):
                if abs(int(value)) >= 2**63:
                    raise ValueError(
                        f"{type(self).__name__}: {name}={shown(value)} is too large; pass less than 2**63."
                    )
                setattr(self, name, int(value))

    def _check_same_n_bits(self):
        if self.n_bits != self.n_bits_:
            raise ValueError(
                f"{type(self).__name__}: n_bits={self.n_bits} differs from the {self.n_bits_} bits fitted so far; "
                "call fit to start again."
            )

    def _check_features(self, X, *, reset, ensure_min_samples=1):
        accept_sparse = self.__sklearn_tags__().input_tags.sparse
        return check_features(self, X, reset=reset, accept_sparse=accept_sparse, ensure_min_samples=ensure_min_samples)

    def __sklearn_is_fitted__(self):
        # scikit-learn would take the number of features, which is set before the fit can fail, for a fit.
        return hasattr(self, "n_bits_")

    @property
    def _n_features_out(self):
        return code_width(self.n_bits_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


class SupervisedHasher(BaseHasher, metaclass=ABCMeta):
    """Base of hashers that learn from labels.

    A subclass supplies ``_fit_labelled(X, targets)`` in place of ``_fit``: it takes checked rows, some of which may
    have no label, and their `Targets`. ``classes_`` is set for it before.
    """

    @abstractmethod
    def _fit_labelled(self, X, targets):
        """Learn from checked features and encoded labels; set the fitted attributes."""

    def fit(self, X, y=None):
        """Learn the hash functions from training features and their labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training features.

        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Classes, numbers or strings, with the number -1 for rows without a label; or indicators of zeros and ones,
            with rows of zeros for those without a label.

        Returns
        -------
        self : object
            Fitted hasher.

        Raises
        ------
        ValueError
            If a parameter is out of its range, `X` holds NaN or infinity or fewer than two rows, `y` is missing, of
            another length or no array of labels, or the data cannot support `n_bits` bits.
        """
        return super().fit(X, y)

    def _fit(self, X, y, classes=None):
        targets = self._encode_labels(X, y, classes)
        if classes is None:
            warn_of_signs(type(self).__name__, targets)
        self.classes_ = targets.classes
        self._fit_labelled(X, targets)

    def _encode_labels(self, X, y, classes=None):
        name, targets = type(self).__name__, encode_labels(type(self).__name__, y, classes)
        if len(targets) != X.shape[0]:
            raise ValueError(f"{name}: X has {X.shape[0]} rows and y {len(targets)}; pass one label per row.")
        return targets

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class LinearMap:
    """Mixin of hashers that compute ``sign(x W - offsets)``."""

    def _set_linear_map(self, X, weights, mean):
        """Keep W, of shape (n_features, n_bits), and the mean of the rows, in the dtype of training rows `X`."""
        # Cast here: features mostly come in the dtype of the training, and then no block has to cast the weights again.
        self._weights = np.ascontiguousarray(weights, dtype=float_dtype(X))
        self.mean_ = mean.astype(float_dtype(X))
        # (x - mean) W = x W - mean W: the mean costs n_bits subtractions a row instead of n_features.
        self._offsets = mean @ self._weights

    def _project_rows(self, X):
        return linear_projections(X, self._weights, self._offsets)


class LinearHasher(LinearMap, BaseHasher, metaclass=ABCMeta):
    """Base of hashers that compute ``sign((x - mean) W)`` and learn from statistics that can be merged.

    A subclass supplies ``_solve``, which sets ``components_`` and returns the matrix W of shape (n_features, n_bits),
    and names in ``_with_scatter`` whether it needs the scatter matrix.
    """

    _with_scatter = True

    @abstractmethod
    def _solve(self, X, statistics, previous_weights):
        """Learn W from the statistics; `X` are the rows that came last, `previous_weights` W before them or None."""

    def _fit(self, X, y):
        self._learn(X, self._statistics_of(X), previous_weights=None)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Go on learning with more rows, as if all had come at once where the method allows it.

        Stored codes are not updated: hash the database again, or have the hash functions kept, by
        ``keep_hash_functions=True`` where there is such a parameter.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            More training features.

        y : None
            Ignored, present for consistency with the API.

        Returns
        -------
        self : object
            Fitted hasher.

        Raises
        ------
        ValueError
            As in `fit`, or if `n_bits` was changed since the first call.
        """
        if not hasattr(self, "n_bits_"):
            return self.fit(X, y)
        self._check_same_n_bits()
        X = self._check_more_rows(X)
        self._update(X, self.statistics_.merge(self._statistics_of(X)))
        return self

    def _statistics_of(self, X):
        return RunningStatistics.from_rows(X, with_scatter=self._with_scatter, name=type(self).__name__)

    def _update(self, X, statistics):
        """Go on from the statistics of all rows, of which `X` came last."""
        self._learn(X, statistics, previous_weights=self._weights)

    def _learn(self, X, statistics, previous_weights):
        check_finite_statistics(self, statistics)
        # Nothing is kept of rows that a method refuses.
        weights = self._solve(X, statistics, previous_weights)
        self._set_linear_map(X, weights, statistics.mean)
        self.statistics_ = statistics

    def _set_explained_variance(self, X, variances):
        """Keep the variances in the dtype of training rows `X`, whose squares may not fit it."""
        with np.errstate(over="ignore"):
            self.explained_variance_ = variances.astype(float_dtype(X))
        if not np.isfinite(self.explained_variance_).all():
            raise overflow_error(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class PrincipalComponentHasher(LinearHasher, metaclass=ABCMeta):
    """Base of linear hashers on principal components, which keep their hash functions over `partial_fit` when asked.

    A subclass has the parameter `keep_hash_functions`, and sets ``components_`` to orthonormal directions.
    """

    _parameter_constraints: dict = {**LinearHasher._parameter_constraints, "keep_hash_functions": ["boolean"]}

    def _update(self, X, statistics):
        if not self.keep_hash_functions:
            super()._update(X, statistics)
            return
        check_finite_statistics(self, statistics)
        self.statistics_ = statistics

    def _decompose(self, statistics, n_components):
        return principal_components(statistics, n_components)

    @property
    def kept_variance_ratio_(self):
        """Variance of all rows seen along the components in use, as a share of what the best ones would have."""
        check_is_fitted(self)
        _, best = self._decompose(self.statistics_, self.n_bits_)
        kept = self.statistics_.variances_along(self.components_.astype(np.float64))
        # Rounding errors may put the share of the best components a little above 1.
        return float(min(kept.sum() / best.sum(), 1.0))


def linear_projections(X, weights, offsets):
    """Compute ``X W - offsets`` in the dtype of the rows.

    Parameters
    ----------
    X : {ndarray of shape (..., n_features), CSR matrix}
        Rows.

    weights : ndarray of shape (n_features, n_bits)
        W.

    offsets : ndarray of shape (n_bits,)
        What is subtracted.

    Returns
    -------
    projections : ndarray of shape (..., n_bits)
        Of the dtype of `X`.
    """
    projections = X @ weights.astype(X.dtype, copy=False)
    projections -= offsets.astype(X.dtype, copy=False)
    return projections
