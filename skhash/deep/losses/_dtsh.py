"""Deep supervised hashing with triplet labels."""

import torch.nn.functional as F

from ..regularizers import l2_quantization
from ._base import HashLoss, similarity
from ._pairs import labelled_pairs, mean_where


class DTSH(HashLoss):
    r"""Negative log likelihood of triplet labels, with outputs pulled to their codes.

    With :math:`\theta_{ij} = \tfrac{1}{2} u_i' u_j` for the outputs :math:`u` of the network and
    :math:`b_i = \operatorname{sign}(u_i)`,

    .. math:: L = -\sum_{(q, p, n)} \log \sigma(\theta_{qp} - \theta_{qn} - \alpha) + \lambda \sum_i \|b_i - u_i\|_2^2

    over all triplets of a batch in which the query :math:`q` shares a class with :math:`p`, not with :math:`n`, and
    each has a label. The first sum is a mean over triplets, the second a mean over all samples and bits.

    Parameters
    ----------
    alpha : float or None, default=None
        Margin between the two :math:`\theta` of a triplet; half the code length when None.

    lam : float, default=1.0
        :math:`\lambda`, weight of the distance of the outputs to their codes.

    References
    ----------
    X. Wang, Y. Shi and K. M. Kitani, "Deep supervised hashing with triplet labels", ACCV 2016.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import DTSH
    >>> hasher = DeepSupervisedHasher(32, loss=DTSH(alpha=5))
    """

    def __init__(self, *, alpha=None, lam=1.0):
        super().__init__()
        self.alpha = alpha
        self.lam = lam

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        theta = outputs @ outputs.T / 2
        similar = similarity(targets) > 0
        counted = labelled_pairs(targets)
        # One row for each similar pair, one column for each sample that may be dissimilar from its query.
        query, positive = (counted & similar).nonzero(as_tuple=True)
        margin = outputs.shape[1] / 2 if self.alpha is None else self.alpha
        lead = theta[query, positive][:, None] - theta[query] - margin
        triplets = mean_where(F.softplus(-lead), (counted & ~similar)[query])
        return triplets + self.lam * l2_quantization(outputs) / outputs.shape[1]
