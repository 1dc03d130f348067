"""Deep supervised hashing."""

import torch

from ..regularizers import l1_quantization
from ._base import HashLoss, similarity
from ._pairs import labelled_pairs, mean_where


class DSH(HashLoss):
    r"""Contrastive loss on squared Euclidean distances, with outputs pulled to -1 and +1.

    For two outputs :math:`b_1, b_2` of the network, with :math:`y = 0` if they share a class and 1 if not,

    .. math:: L = \tfrac{1}{2} (1 - y) \|b_1 - b_2\|_2^2 + \tfrac{1}{2} y \max(m - \|b_1 - b_2\|_2^2, 0), \quad m = 2K,

    mean over the pairs of different labelled samples of a batch, plus :math:`2 \alpha \| |b| - 1 \|_1`, mean over all
    samples: the paper adds :math:`\alpha \| |b| - 1 \|_1` for both samples of each pair.

    Parameters
    ----------
    alpha : float, default=0.01
        Weight of the distance of the outputs to -1 and +1.

    References
    ----------
    H. Liu, R. Wang, S. Shan and X. Chen, "Deep supervised hashing for fast image retrieval", CVPR 2016.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import DSH
    >>> hasher = DeepSupervisedHasher(32, loss=DSH(alpha=0.1))
    """

    def __init__(self, *, alpha=0.01):
        super().__init__()
        self.alpha = alpha

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        similar = similarity(targets)
        # Differences, not inner products: those cancel where two outputs are close.
        distances = (outputs[:, None] - outputs).square().sum(dim=2)
        margin = 2 * outputs.shape[1]
        pairs = torch.where(similar > 0, distances, (margin - distances).clamp(min=0)) / 2
        return mean_where(pairs, labelled_pairs(targets)) + 2 * self.alpha * l1_quantization(outputs)
