"""Supervised discrete hashing."""

from numbers import Integral, Real

import numpy as np
from scipy import linalg

from .._sklearn import Interval, StrOptions
from ._blocks import single_threaded_blas
from ._kernel import KernelHasher
from ._linear_algebra import RidgeRegression

# Sweeps over the bits in one step of the discrete solver; two or three leave few bits to change.
_MAX_SWEEPS = 10


class SupervisedDiscreteHash(KernelHasher):
    r"""Hash so that a linear classifier reads the labels off the codes.

    Learns codes :math:`B \in \{-1, +1\}^{n \times K}`, a classifier :math:`W` of codes, and functions
    :math:`F(x) = P' \phi(x)` of the centred Gaussian kernels of a row and some anchors, whose signs are the bits. The
    solver ``"discrete"`` minimises

    .. math:: \lVert Y - B W \rVert^2 + \lambda \lVert W \rVert^2 + \nu \lVert B - F(X) \rVert^2

    by turns: ridge regressions give :math:`W` and :math:`P`, and :math:`B` is updated bit by bit with the others fixed,
    :math:`b_k = \mathrm{sign}(q_k - B_{\setminus k} W_{\setminus k} w_k')` with :math:`Q = Y W' + \nu F(X)`. The solver
    ``"closed_form"`` regresses codes on labels instead of labels on codes,

    .. math:: \lVert B - Y W \rVert^2 + \lambda \lVert W \rVert^2 + \nu \lVert B - F(X) \rVert^2,

    so that all bits are solved at once, :math:`B = \mathrm{sign}(Y W + \nu F(X))`. No step can raise the objective.

    Parameters
    ----------
    n_bits : int, default=32
        Code length, with no upper limit.

    solver : {"discrete", "closed_form"}, default="discrete"
        Which of the two objectives. The second is faster, but with one label a row its codes hardly leave the random
        ones, one for each class, that they start from.

    n_anchors : int, default=None
        Training rows that kernels are taken with, at most as many as there are; by default 1000, or all rows if there
        are fewer.

    regularization : float, default=1.0
        :math:`\lambda`, the ridge of the regression between labels and codes.

    fit_weight : float, default=1e-05
        :math:`\nu`, how much the codes give way to what the functions can reach.

    ridge : float, default=0.01
        Ridge of the functions, in units of the mean variance of the kernels times the number of rows.

    max_iter : int, default=5
        Number of turns at most; the fit ends earlier when a turn changes no bit.

    max_samples : int, default=100000
        Labelled rows learned from; of more, as many are drawn at random. Their kernels are kept in memory.

    random_state : int, RandomState instance or None, default=None
        Seed of anchors, drawn rows and the first codes.

    Attributes
    ----------
    anchors_ : ndarray of shape (n_anchors_, n_features)
        Training rows drawn at random, unlabelled ones among them.

    n_anchors_ : int
        Number of anchors.

    width_ : float
        Standard deviation :math:`\sigma` of the kernel: the mean distance of training rows to anchors.

    objectives_ : ndarray of shape (n_iter_,)
        The objective after each turn, with :math:`\nu \rho \lVert P \rVert^2` for the ridge of the functions; it never
        rises.

    n_iter_ : int
        Number of turns taken.

    classes_ : ndarray of shape (n_classes,)
        Classes seen in `y`.

    n_bits_ : int
        Code length.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when all are strings.

    See Also
    --------
    KernelSupervisedHash : The same functions, learned from pairs bit by bit.
    ColumnSampledHash : Discrete codes from pairs.

    Notes
    -----
    Rows without a label serve as anchors, and for nothing else. The paper sets the width of the kernel for each
    dataset, and solves for :math:`P` without a ridge; here the width comes from the data, and kernels are centred,
    which stands for an intercept. Ridge and width make the functions; :math:`\nu` hardly matters below 1e-3. On 5,000
    rows of CIFAR-10 features a ridge of 0.001 gains .005 of mean average precision among known classes, and with fewer
    rows or among other classes it loses more.

    References
    ----------
    F. Shen, C. Shen, W. Liu and H. T. Shen, "Supervised discrete hashing", CVPR 2015.

    J. Gui, T. Liu, Z. Sun, D. Tao and T. Tan, "Fast supervised discrete hashing", IEEE TPAMI 40, 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import SupervisedDiscreteHash
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = SupervisedDiscreteHash(n_bits=16, random_state=0).fit(X, y)
    >>> hasher.transform(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {
        **KernelHasher._parameter_constraints,
        "solver": [StrOptions({"discrete", "closed_form"})],
        "regularization": [Interval(Real, 0, None, closed="neither")],
        "fit_weight": [Interval(Real, 0, None, closed="left")],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    _default_n_anchors = 1000

    def __init__(
        self,
        n_bits=32,
        *,
        solver="discrete",
        n_anchors=None,
        regularization=1.0,
        fit_weight=1e-5,
        ridge=0.01,
        max_iter=5,
        max_samples=100_000,
        random_state=None,
    ):
        self.n_bits = n_bits
        self.solver = solver
        self.n_anchors = n_anchors
        self.regularization = regularization
        self.fit_weight = fit_weight
        self.ridge = ridge
        self.max_iter = max_iter
        self.max_samples = max_samples
        self.random_state = random_state

    def _fit_bytes(self, n_bits, X):
        # Products of bits.
        return 8 * n_bits**2 if self.solver == "discrete" else 0

    def _learn(self, features, targets, random):
        Y = targets.indicators_of(slice(None)).astype(np.float64)
        B = np.where(random.standard_normal((len(Y), self.n_bits)) >= 0, 1.0, -1.0)
        regression = RidgeRegression(self, features, self.ridge)
        step = _discrete_step if self.solver == "discrete" else _closed_form_step
        weights, offsets = regression.fit(B)
        objectives = []
        with single_threaded_blas():
            for _ in range(self.max_iter):
                F = regression.predict(weights, offsets)
                new, classification = step(Y, B, F, self.regularization, self.fit_weight)
                misfit = np.sum((new - F) ** 2) + regression.ridge * np.sum(weights**2)
                objectives.append(classification + self.fit_weight * misfit)
                if (new == B).all():
                    break
                B = new
                weights, offsets = regression.fit(B)
        self.objectives_, self.n_iter_ = np.array(objectives), len(objectives)
        return weights, offsets


def _discrete_step(Y, B, F, regularization, fit_weight):
    """Solve for W, then bit by bit for B; return B and the terms of the objective that W is in."""
    B, W = B.copy(), _ridge(B, Y, regularization)
    Q = Y @ W.T + fit_weight * F
    coupling = W @ W.T
    np.fill_diagonal(coupling, 0)
    for _ in range(_MAX_SWEEPS):
        changed = False
        for bit in range(B.shape[1]):
            preference = Q[:, bit] - B @ coupling[:, bit]
            flipped = preference * B[:, bit] < 0
            B[flipped, bit] *= -1
            changed |= flipped.any()
        if not changed:
            break
    return B, np.sum((Y - B @ W) ** 2) + regularization * np.sum(W**2)


def _closed_form_step(Y, B, F, regularization, fit_weight):
    """Solve for W, then for all of B; return B and the terms of the objective that W is in."""
    W = _ridge(Y, B, regularization)
    fitted = Y @ W
    B = np.where(fitted + fit_weight * F >= 0, 1.0, -1.0)
    return B, np.sum((B - fitted) ** 2) + regularization * np.sum(W**2)


def _ridge(inputs, outputs, regularization):
    gram = inputs.T @ inputs
    gram[np.diag_indices_from(gram)] += regularization
    return linalg.solve(gram, inputs.T @ outputs, assume_a="pos")
