"""Deep hashing network."""

import torch
import torch.nn.functional as F

from ..regularizers import log_cosh_quantization
from ._base import HashLoss, similarity
from ._pairs import labelled_pairs, mean_where


class DHN(HashLoss):
    r"""Pairwise cross-entropy loss with a smooth quantization loss.

    With :math:`h = \tanh(z)` for the outputs :math:`z` of the network,

    .. math:: L + \lambda Q = \sum_{ij} \left( \log(1 + e^{\langle h_i, h_j \rangle})
        - s_{ij} \langle h_i, h_j \rangle \right) + \lambda \sum_i \sum_k \log \cosh(|h_{ik}| - 1).

    The first sum is a mean over the pairs of different labelled samples of a batch, the second a mean over all samples.

    Parameters
    ----------
    lam : float, default=0.1
        :math:`\lambda`, weight of the quantization loss.

    References
    ----------
    H. Zhu, M. Long, J. Wang and Y. Cao, "Deep hashing network for efficient similarity retrieval", AAAI 2016.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import DHN
    >>> hasher = DeepSupervisedHasher(32, loss=DHN(lam=0.01))
    """

    def __init__(self, *, lam=0.1):
        super().__init__()
        self.lam = lam

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        relaxed = torch.tanh(outputs)
        products = relaxed @ relaxed.T
        pairs = F.softplus(products) - similarity(targets) * products
        return mean_where(pairs, labelled_pairs(targets)) + self.lam * log_cosh_quantization(relaxed)
