"""Attacks on codes by small changes of the input, the training against them, and retrieval under attack."""

from collections.abc import Sized
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch, check_random_state, gen_batches
from sklearn.utils.validation import check_is_fitted

from .._sklearn import Interval
from .._validation import as_array
from ..codes import check_codes, pack_bits, to_signs
from ..metrics import mean_average_precision
from ..metrics._labels import check_labels

__all__ = ["ProjectedGradient", "adversarial_loss", "attack_queries", "attacked_mean_average_precision", "center_codes"]

# The usual radius for images of 8 bits a channel, in pixels from 0 to 1.
_PIXEL_EPSILON = 8 / 255

# In standard deviations of a feature.
_FEATURE_EPSILON = 0.1

# Projections are divided by half of their root mean square before the hyperbolic tangent of the attack.
_STEEPNESS = 2.0

# Rows of features, and images, that are attacked together.
_BLOCK_ROWS, _BLOCK_IMAGES = 1024, 64

# Codes whose votes are counted together.
_BLOCK_CODES = 2**16


class ProjectedGradient(BaseEstimator):
    r"""Move the code of an input away from a centre by a small change of the input.

    From a random start in the box of radius :math:`\epsilon` around an input :math:`x`, steps go against the sign of a
    gradient, back into the box and into the range of the inputs:

    .. math:: x' \leftarrow \Pi \Big( x' - \eta \operatorname{sign} \nabla_{x'}
        \sum_k c_k \tanh \frac{2 z_k(x')}{r(x')} \Big), \quad r = \sqrt{\tfrac{1}{K} \sum_k z_k^2},

    with the projections :math:`z` of the hasher and a centre :math:`c \in \{-1, +1\}^K` for each row. The divisor
    :math:`r` counts as a constant.

    Parameters
    ----------
    epsilon : float or None, default=None
        Radius :math:`\epsilon` of the box. In pixels from 0 to 1, 8/255 when None. In features, in units of their
        scale, such as the standard deviations over the training rows, 0.1 when None.

    n_steps : int, default=7
        Number of steps.

    step_size : float or None, default=None
        Length :math:`\eta` of a step, in the units of `epsilon`; ``2.5 * epsilon / n_steps`` when None, with which all
        steps together reach any place of the box from any start.

    weight : float, default=1.0
        Weight of the adversarial term in the loss of the training.

    See Also
    --------
    attacked_mean_average_precision : Retrieval quality under attack.

    Notes
    -----
    The hyperbolic tangent of outputs that lie far from 0 is flat: its gradient vanishes, and a model looks robust that
    only hides its gradient. HAG [2]_ and targeted attacks [3]_ therefore start with a flat tangent, ``tanh(a z)`` with
    small ``a``, and make it steeper with the steps. That presumes outputs near -1 and +1, but those of many losses have
    a scale of their own. Here the projections of each row are divided by their own root mean square, so that a typical
    bit never saturates, whatever the scale; bits near 0, which are the easiest to flip, count most.

    References
    ----------
    .. [1] A. Madry, A. Makelov, L. Schmidt, D. Tsipras and A. Vladu, "Towards deep learning models resistant to
       adversarial attacks", ICLR 2018.
    .. [2] E. Yang, T. Liu, C. Deng and D. Tao, "Adversarial examples for Hamming space search", IEEE Transactions on
       Cybernetics 50(4), 2020.
    .. [3] J. Bai, B. Chen, Y. Li, D. Wu, W. Guo, S.-T. Xia and E.-H. Yang, "Targeted attack for deep hashing based
       retrieval", ECCV 2020.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.adversarial import ProjectedGradient
    >>> attack = ProjectedGradient(epsilon=0.5)
    >>> attack.perturb(lambda x: x, torch.tensor([[2.0, -3.0]]), torch.tensor([[1.0, -1.0]]))
    tensor([[ 1.5000, -2.5000]])
    """

    _parameter_constraints: dict = {
        "epsilon": [Interval(Real, 0, None, closed="neither"), None],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither"), None],
        "weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, *, epsilon=None, n_steps=7, step_size=None, weight=1.0):
        self.epsilon = epsilon
        self.n_steps = n_steps
        self.step_size = step_size
        self.weight = weight

    def perturb(self, project, inputs, centers, *, scale=1.0, bounds=None):
        """Move the projections of each row away from its centre.

        The random start comes from torch's global generator. Gradients are taken with respect to the inputs alone: the
        parameters' ``grad`` is left as it is. The network has to be in evaluation mode, which
        :func:`evaluation_mode` sees to: in training mode each step would change the statistics of a batch norm.

        Parameters
        ----------
        project : callable
            Maps inputs to projections of shape (n, n_bits), row by row.

        inputs : tensor of shape (n, ...), dtype float
            Rows, which are not changed.

        centers : tensor of shape (n, n_bits)
            The centre of each row, of -1 and +1; a 0 leaves the bit alone.

        scale : float or tensor that broadcasts to a row, default=1.0
            Unit of `epsilon` in each input: 1 for pixels, the standard deviation for a feature.

        bounds : tuple of two float, or None, default=None
            Range of the inputs, (0, 1) for pixels; None for features, which have none.

        Returns
        -------
        perturbed : tensor of shape (n, ...), dtype of `inputs`
            Between ``inputs - epsilon * scale`` and ``inputs + epsilon * scale``, as these round in their dtype, and
            inside of the bounds.

        Raises
        ------
        ValueError
            If a parameter is out of its range.
        """
        self._validate_params()
        epsilon = self._radius(bounds)
        step_size = 2.5 * epsilon / self.n_steps if self.step_size is None else self.step_size
        # Clones are ordinary tensors even where the originals were made in inference mode.
        with torch.inference_mode(False):
            clean, centers = inputs.detach().clone(), centers.clone()
            scale = torch.as_tensor(scale, dtype=clean.dtype, device=clean.device)
            low, high = clean - epsilon * scale, clean + epsilon * scale
            if bounds is not None:
                # Inputs outside of the bounds are brought inside, even where that is farther away than epsilon.
                low, high = low.clamp(*bounds), high.clamp(*bounds)
            start = clean + (2 * torch.rand_like(clean) - 1) * epsilon * scale
            perturbed = torch.minimum(torch.maximum(start, low), high)
            for _ in range(self.n_steps):
                gradient = _gradient_of_agreement(project, perturbed, centers)
                perturbed = torch.minimum(torch.maximum(perturbed - step_size * scale * gradient.sign(), low), high)
        return perturbed

    def training_term(self, network, loss, inputs, targets, *, scale=1.0, bounds=None):
        r"""Compute the term that trains a network to withstand the attack.

        The rows of a batch are moved away from their centres; the term is `weight` times :func:`adversarial_loss` of
        the rows moved. The centres are those of the loss where it has fixed ones, else the signs of the sums of
        the clean projections of each class in the batch. A row with several classes has the sign of the sum of their
        centres; CgAT [1]_ weighs such votes by similarity. Where they tie, and in rows without a class, the row's own
        bit is defended.

        The pull towards the centres helps without any attack too, and accounts for a part of the robustness gained.

        Network and loss work in evaluation mode meanwhile, so that the statistics of batch norms are those of clean
        rows only, and are left in the mode in which they were.

        Parameters
        ----------
        network : nn.Module
            Maps inputs to outputs.

        loss : HashLoss
            Prepared.

        inputs : tensor of shape (n, ...), dtype float
            Rows of the batch.

        targets : tensor of shape (n, n_classes), dtype float
            1 for the classes of a row, else 0.

        scale : float or tensor that broadcasts to a row, default=1.0
            As in :meth:`perturb`.

        bounds : tuple of two float, or None, default=None
            As in :meth:`perturb`.

        Returns
        -------
        term : tensor of shape (), dtype float
            Differentiable with respect to the parameters of the network and the loss.

        References
        ----------
        .. [1] X. Wang, Y. Lin and X. Li, "CgAT: center-guided adversarial training for deep hashing-based retrieval",
           arXiv:2204.10779, 2022.
        """

        def project(rows):
            return loss.project(network(rows))

        with evaluation_mode(network, loss):
            with torch.no_grad():
                centers = row_centers(loss, project(inputs.clone()), targets)
            perturbed = self.perturb(project, inputs, centers, scale=scale, bounds=bounds)
            return self.weight * adversarial_loss(project(perturbed), centers)

    def _radius(self, bounds):
        if self.epsilon is not None:
            return self.epsilon
        return _FEATURE_EPSILON if bounds is None else _PIXEL_EPSILON


def _gradient_of_agreement(project, inputs, centers):
    """Differentiate the agreement of relaxed codes with centres with respect to the inputs alone."""
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        # Of a copy, because a network may begin with a layer that works in place.
        relaxed = _relaxed_codes(project(inputs.clone()), steepness=_STEEPNESS)
        return torch.autograd.grad((relaxed * centers).sum(), inputs)[0]


def _relaxed_codes(projections, *, steepness):
    spread = projections.detach().square().mean(dim=1, keepdim=True).sqrt()
    return torch.tanh(steepness * projections / spread.clamp(min=torch.finfo(spread.dtype).tiny))


def adversarial_loss(projections, centers):
    r"""Compute how far relaxed codes are from their centres.

    .. math:: -\frac{1}{nK} \sum_{ik} c_{ik} \tanh \frac{z_{ik}}{r_i}, \quad r_i = \sqrt{\tfrac{1}{K} \sum_k z_{ik}^2}

    The divisor counts as a constant. With it, the term suits losses that leave the scale of the outputs free.

    Parameters
    ----------
    projections : tensor of shape (n, n_bits), dtype float
        Projections of rows under attack.

    centers : tensor of shape (n, n_bits)
        The centre of each row, of -1 and +1.

    Returns
    -------
    loss : tensor of shape (), dtype float
        Mean over rows and bits, between -1 and 1.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.adversarial import adversarial_loss
    >>> round(adversarial_loss(torch.tensor([[5.0, -5.0]]), torch.tensor([[1.0, -1.0]])).item(), 4)
    -0.7616
    """
    return -(_relaxed_codes(projections, steepness=1.0) * centers).mean()


def row_centers(loss, projections, targets):
    """Find the centre that the code of each row should be near.

    Parameters
    ----------
    loss : HashLoss
        Prepared.

    projections : tensor of shape (n, n_bits), dtype float
        Clean projections of the rows.

    targets : tensor of shape (n, n_classes), dtype float
        1 for the classes of a row, else 0.

    Returns
    -------
    centers : tensor of shape (n, n_bits), dtype of `projections`
        Of -1 and +1: the sign of the sum of the centres of a row's classes, the row's own bit where that is 0.
    """
    targets = targets.to(projections.dtype)
    centers = loss.class_centers()
    if centers is None:
        centers = _signs(targets.T @ projections)
    return _fill_with_own_bits((targets @ centers.to(projections.dtype)).sign(), projections)


def _signs(values):
    return torch.where(values >= 0, 1.0, -1.0).to(values.dtype)


def _fill_with_own_bits(centers, projections):
    return torch.where(centers == 0, _signs(projections), centers.to(projections.dtype))


@contextmanager
def evaluation_mode(*modules):
    """Put modules in evaluation mode for a while, and then each part of them back in its own mode.

    Parameters
    ----------
    *modules : nn.Module
        A network and a loss, for example.
    """
    parts = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, training in parts:
            part.training = training


def center_codes(
    query_labels: ArrayLike, database_codes: ArrayLike, database_labels: ArrayLike, *, n_bits: int
) -> NDArray[np.int8]:
    """Find the centre of the classes of each query in the codes of a database.

    The centre of a class is the majority of the codes of its items in each bit; that of a query, the majority of the
    centres of its classes.

    Parameters
    ----------
    query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
        Classes, or indicators of zeros and ones.

    database_codes : array-like of shape (n_database, n_bytes)
        Packed codes.

    database_labels : array-like of shape (n_database,) or (n_database, n_labels)
        Labels of the database, of the same kind.

    n_bits : int
        Code length.

    Returns
    -------
    centers : ndarray of shape (n_queries, n_bits), dtype int8
        -1 and +1; 0 where votes tie, and for queries whose classes do not occur in the database.

    Raises
    ------
    ValueError
        If codes or labels are not of the given shapes, or labels of different kinds.

    Examples
    --------
    >>> from skhash.codes import pack_bits
    >>> from skhash.deep.adversarial import center_codes
    >>> codes = pack_bits([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]])
    >>> center_codes(["a", "b"], codes, ["a", "a", "a", "b"], n_bits=3)
    array([[-1,  1,  1],
           [-1, -1, -1]], dtype=int8)
    """
    database_codes = check_codes(database_codes, n_bits=n_bits, name="center_codes: database_codes")
    n_queries = len(query_labels) if isinstance(query_labels, Sized) else 0
    query_labels = check_labels(query_labels, n_queries, name="center_codes: query_labels")
    database_labels = check_labels(database_labels, len(database_codes), name="center_codes: database_labels")
    members, database_members = _memberships(query_labels, database_labels)
    votes = np.zeros((members.shape[1], n_bits), dtype=np.int64)
    for block in gen_batches(len(database_codes), _BLOCK_CODES):
        votes += database_members[block].T @ to_signs(database_codes[block], n_bits, dtype=np.int64)
    return np.sign(members @ np.sign(votes)).astype(np.int8)


def _memberships(query_labels, database_labels):
    """Return sparse matrices of which queries and which database items belong to which of the database's classes."""
    if query_labels.ndim != database_labels.ndim or query_labels.shape[1:] != database_labels.shape[1:]:
        raise ValueError(
            f"center_codes: query_labels has shape {query_labels.shape} and database_labels {database_labels.shape}; "
            "pass classes (1D) for both, or indicators (2D) of the same labels for both."
        )
    if query_labels.ndim == 2:
        return sparse.csr_array(query_labels.astype(np.int64)), sparse.csr_array(database_labels.astype(np.int64))
    numbers = {label: number for number, label in enumerate(dict.fromkeys(database_labels.tolist()))}
    return _one_hot(query_labels, numbers), _one_hot(database_labels, numbers)


def _one_hot(labels, numbers):
    pairs = [(row, numbers[label]) for row, label in enumerate(labels.tolist()) if label in numbers]
    rows, columns = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    ones = np.ones(len(rows), dtype=np.int64)
    return sparse.csr_array((ones, (rows, columns)), shape=(len(labels), len(numbers)))


def attack_queries(hasher, X, *, scale=None, centers=None, attack=None, random_state=None) -> NDArray[np.float32]:
    """Change queries a little so that their codes leave the centres of their classes.

    Parameters
    ----------
    hasher : DeepSupervisedHasher
        Fitted.

    X : array-like of shape (n_queries, n_features), or images
        The queries.

    scale : array-like of shape (n_features,), default=None
        Unit of the attack's `epsilon` in each feature: the standard deviations over the training rows. Features need
        it; images take none, as their unit is a pixel from 0 to 1.

    centers : array-like of shape (n_queries, n_bits), default=None
        The codes to lead away from, of -1 and +1, such as :func:`center_codes`; a 0 stands for the query's own bit.
        Without labels, None leads away from the query's own code.

    attack : ProjectedGradient, default=None
        Settings of the attack; ``ProjectedGradient()`` when None. An evaluation may deserve more steps than a training.

    random_state : int, RandomState instance or None, default=None
        Seed of the random starts.

    Returns
    -------
    attacked : ndarray of shape (n_queries, n_features) or (n_queries, height, width, n_channels), dtype float32
        Features under attack, or pixels from 0 to 1 that are not rounded to 8 bits.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the hasher is not fitted.
    TypeError
        If the hasher is no deep one, through which no gradient passes.
    ValueError
        If `X` or `centers` do not fit the hasher, `scale` is no positive length a feature, or a parameter of the
        attack is out of its range.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.adversarial import attack_queries
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = DeepSupervisedHasher(16, max_epochs=2, random_state=0).fit(X, y)
    >>> attacked = attack_queries(hasher, X[:3], scale=X.std(axis=0), random_state=0)
    >>> bool((abs(attacked - X[:3]) <= 0.101 * X.std(axis=0)).all())
    True
    """
    inputs, scale, bounds = _query_inputs(hasher, X, scale)
    attacked = _attack_inputs(hasher, inputs, centers, attack, scale, bounds, random_state)
    return (attacked if attacked.ndim == 2 else attacked.permute(0, 2, 3, 1)).numpy()


def _query_inputs(hasher, X, scale):
    """Turn what a user passes into inputs of the network, the scale of an attack, and the range of the inputs."""
    check_is_fitted(hasher)
    if not hasattr(hasher, "net_"):
        raise TypeError(f"attack_queries: no gradient passes through {type(hasher).__name__}; pass a deep hasher.")
    inputs = hasher._network_inputs(X)
    if hasher.image_shape_ is not None:
        if scale is not None:
            raise ValueError("attack_queries: scale is for features; leave it out for images, whose unit is the pixel.")
        return inputs, 1.0, (0.0, 1.0)
    n_features = inputs.shape[1]
    if scale is None:
        raise ValueError(f"attack_queries: scale is missing; pass {n_features} lengths, such as X_train.std(axis=0).")
    scale = _check_scale(scale)
    if scale.shape != (n_features,) or not (np.isfinite(scale).all() and (scale >= 0).all() and scale.any()):
        raise ValueError(
            f"attack_queries: scale of shape {scale.shape} must hold {n_features} finite lengths >= 0, not all 0, one "
            "a feature; pass X_train.std(axis=0)."
        )
    return inputs, torch.from_numpy(scale), None


def _check_scale(scale):
    scale = as_array(scale, name="attack_queries: scale")
    if scale.dtype.kind not in "biuf":
        raise TypeError(
            f"attack_queries: scale has dtype {scale.dtype}; pass real numbers, such as X_train.std(axis=0)."
        )
    with np.errstate(over="ignore"):
        return scale.astype(np.float32)


def _attack_inputs(hasher, inputs, centers, attack, scale, bounds, random_state):
    """Attack inputs of the network of a fitted hasher, block by block."""
    from ._torch_state import isolated_torch

    attack = ProjectedGradient() if attack is None else attack
    net = hasher.net_
    device = torch.device(net.device)
    if centers is None:
        centers = np.zeros((len(inputs), hasher.n_bits_), dtype=np.int8)
    centers = as_array(centers, name="attack_queries: centers")
    if centers.shape != (len(inputs), hasher.n_bits_) or not np.isin(centers, (-1, 0, 1)).all():
        raise ValueError(
            f"attack_queries: centers of shape {centers.shape} must be of shape {(len(inputs), hasher.n_bits_)} and "
            "hold -1, 0 and 1 only; pass center_codes(...)."
        )
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    blocks = []
    with isolated_torch(1, device), evaluation_mode(net.module_, net.criterion_):
        torch.manual_seed(seed)
        for rows in gen_batches(len(inputs), _block_size(inputs)):
            block = inputs[rows].to(device)
            goals = _fill_with_own_bits(torch.from_numpy(centers[rows]), net.project(block.clone())).to(device)
            blocks.append(attack.perturb(_differentiable(net), block, goals, scale=scale, bounds=bounds).cpu())
    return torch.cat(blocks)


def _block_size(inputs):
    return _BLOCK_ROWS if inputs.ndim == 2 else _BLOCK_IMAGES


def _differentiable(net):
    return lambda inputs: net.criterion_.project(net.module_(inputs))


def attacked_mean_average_precision(
    hasher, query_X, database_X, query_labels, database_labels, *, scale=None, attack=None, random_state=None
) -> Bunch:
    """Compute the mean average precision of queries before and after an attack on them.

    The attacker knows the network and the database, and leads the code of each query away from the majority code of
    its classes in the database. The database is not attacked.

    Parameters
    ----------
    hasher : DeepSupervisedHasher
        Fitted.

    query_X : array-like of shape (n_queries, n_features), or images
        The queries. The pixels of attacked images are hashed as they are, not rounded to 8 bits.

    database_X : array-like of shape (n_database, n_features), or images
        The database.

    query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
        Classes, or indicators of zeros and ones.

    database_labels : array-like of shape (n_database,) or (n_database, n_labels)
        Labels of the database, of the same kind.

    scale : array-like of shape (n_features,), default=None
        As in :func:`attack_queries`; for features the standard deviations over the database when None.

    attack : ProjectedGradient, default=None
        Settings of the attack; ``ProjectedGradient()`` when None.

    random_state : int, RandomState instance or None, default=None
        Seed of the random starts.

    Returns
    -------
    scores : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        clean : float
            Tie-aware mean average precision of the queries as they are.
        attacked : float
            That of the queries under attack.
        changed_bits : float
            Mean share of the bits of a query that the attack changes.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the hasher is not fitted.
    TypeError
        If the hasher is no deep one.
    ValueError
        If features, labels or `scale` do not fit.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.adversarial import attacked_mean_average_precision
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = DeepSupervisedHasher(16, max_epochs=5, random_state=0).fit(X[200:], y[200:])
    >>> scores = attacked_mean_average_precision(hasher, X[:200], X[200:], y[:200], y[200:], random_state=0)
    >>> scores.attacked < scores.clean
    True
    """
    if scale is None and getattr(hasher, "image_shape_", None) is None:
        scale = np.asarray(database_X, dtype=np.float64).std(axis=0)
    inputs, scale, bounds = _query_inputs(hasher, query_X, scale)
    database_codes = hasher.transform(database_X)
    centers = center_codes(query_labels, database_codes, database_labels, n_bits=hasher.n_bits_)
    attacked = _attack_inputs(hasher, inputs, centers, attack, scale, bounds, random_state)
    codes = [_codes_of_inputs(hasher, rows) for rows in (inputs, attacked)]
    clean, under_attack = (
        mean_average_precision(part, database_codes, query_labels, database_labels) for part in codes
    )
    changed = np.bitwise_count(codes[0] ^ codes[1]).sum(axis=1).mean() / hasher.n_bits_
    return Bunch(clean=clean, attacked=under_attack, changed_bits=float(changed))


def _codes_of_inputs(hasher, inputs):
    """Hash real-valued inputs of the network, which attacked pixels are, without rounding them to bytes."""
    projections = [hasher.net_.project(block.clone()) for block in inputs.split(_block_size(inputs))]
    return pack_bits(torch.cat(projections).numpy() >= 0)
