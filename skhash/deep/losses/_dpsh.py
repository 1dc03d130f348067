"""Deep pairwise-supervised hashing."""

import torch.nn.functional as F

from ..regularizers import l2_quantization
from ._base import HashLoss, similarity
from ._pairs import labelled_pairs, mean_where


class DPSH(HashLoss):
    r"""Negative log likelihood of pairwise labels, with outputs pulled to their codes.

    With :math:`\theta_{ij} = \tfrac{1}{2} u_i' u_j` for the outputs :math:`u` of the network and
    :math:`b_i = \operatorname{sign}(u_i)`,

    .. math:: L = -\sum_{ij} \big( s_{ij} \theta_{ij} - \log(1 + e^{\theta_{ij}}) \big) + \eta \sum_i \|b_i - u_i\|_2^2.

    The first sum is a mean over the pairs of different labelled samples of a batch, the second a mean over all samples.
    Pairs are those inside the batch; the paper pairs the batch with the whole training set.

    Parameters
    ----------
    eta : float, default=0.1
        Weight of the distance of the outputs to their codes.

    References
    ----------
    W.-J. Li, S. Wang and W.-C. Kang, "Feature learning based deep supervised hashing with pairwise labels", IJCAI 2016.
    """

    def __init__(self, *, eta=0.1):
        super().__init__()
        self.eta = eta

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        theta = outputs @ outputs.T / 2
        pairs = F.softplus(theta) - similarity(targets) * theta
        return mean_where(pairs, labelled_pairs(targets)) + self.eta * l2_quantization(outputs)
