"""Contrastive hashing with an information bottleneck."""

import math

import torch
import torch.nn.functional as F

from ..quantizers import StraightThroughSign
from ._base import UnsupervisedLoss


class CIBHash(UnsupervisedLoss):
    r"""Contrast of the codes of two views of each row, and the distance of the distributions that they come from.

    For the outputs :math:`z` of the network for both views of :math:`n` rows, :math:`2n` in all, the probabilities
    :math:`p = \sigma(z)` of bits 1, the codes :math:`b = \operatorname{sign}(2 p - 1)` and the other view
    :math:`v(i)` of the row of :math:`i`,

    .. math:: L = -\frac{1}{2n} \sum_{i = 1}^{2n}
        \log \frac{e^{\cos(b_i, b_{v(i)}) / \tau}}{\sum_{j \ne i} e^{\cos(b_i, b_j) / \tau}}
        + \frac{\beta}{2n} \sum_{i = 1}^{2n} \operatorname{KL}\big( p_i \,\|\, p_{v(i)} \big), \quad
        \frac{\partial L}{\partial p} = 2 \frac{\partial L}{\partial b} + \beta \dots

    The divergence is that of independent bits, added up over bits; no gradient passes through its second argument.
    Codes are the more probable bits, as in the program of the authors, where the paper draws them. Reference features
    play no part.

    Parameters
    ----------
    temperature : float, default=0.3
        Temperature :math:`\tau`.

    beta : float, default=0.001
        Weight :math:`\beta` of the divergence.

    References
    ----------
    Z. Qiu, Q. Su, Z. Ou, J. Yu and C. Chen, "Unsupervised hashing with contrastive information bottleneck", IJCAI 2021.

    Examples
    --------
    >>> from skhash.deep import DeepUnsupervisedHasher
    >>> from skhash.deep.losses import CIBHash
    >>> hasher = DeepUnsupervisedHasher(32, loss=CIBHash())
    """

    n_views = 2

    def __init__(self, *, temperature=0.3, beta=0.001):
        super().__init__()
        self.temperature = temperature
        self.beta = beta
        self.quantizer = StraightThroughSign()

    def forward(self, outputs, features, rows):
        """Compute the loss of a batch."""
        one, other = outputs
        divergence = (_divergence(one, other.detach()) + _divergence(other, one.detach())) / 2
        return self._contrast(torch.cat([one, other])) + self.beta * divergence

    def _contrast(self, outputs):
        # tanh(z / 2) is 2 p - 1, with the sign of z where p rounds to 1 / 2.
        directions = F.normalize(self.quantizer(torch.tanh(outputs / 2)))
        logits = directions @ directions.T / self.temperature
        logits = logits.fill_diagonal_(-math.inf)
        return F.cross_entropy(logits, torch.arange(len(outputs), device=outputs.device).roll(len(outputs) // 2))


def _divergence(outputs, others):
    """Compute the Kullback-Leibler divergence of bits, given log odds; sum over bits, mean over rows."""
    p = torch.sigmoid(outputs)
    # log p and log(1 - p) stay finite where p rounds to 0 or 1.
    ones = p * (F.logsigmoid(outputs) - F.logsigmoid(others))
    zeros = (1 - p) * (F.logsigmoid(-outputs) - F.logsigmoid(-others))
    return (ones + zeros).sum(dim=1).mean()
