"""Hybrid proxy-pair loss."""

import torch
import torch.nn.functional as F

from ._base import HashLoss, similarity
from ._classes import labelled_samples
from ._pairs import mean_where


class HyP2(HashLoss):
    r"""Cosines with trained proxies of the classes, and between samples that share none of their several classes.

    For the outputs :math:`z_i` of the network and proxies :math:`p_c`,

    .. math:: L = \operatorname*{mean}_{y_{ic} = 1} (1 - \cos(z_i, p_c))
        + \operatorname*{mean}_{y_{ic} = 0} \max(\cos(z_i, p_c) - \zeta, 0)
        + \beta \operatorname*{mean}_{(i, j) \in I} \max(\cos(z_i, z_j) - \zeta, 0).

    Means over the labelled samples of a batch and the classes that they have, or do not have, and over the irrelevant
    pairs :math:`I`: both samples have at least two classes, none of them shared. A mean over nothing is 0. The
    threshold is :math:`\zeta = 1 - 2d / K`, the cosine of codes at the minimum distance :math:`d` of a linear code with
    a word for each class; of such distances, the bound of Griesmer, the largest :math:`d` with

    .. math:: \sum_{i=0}^{k-1} \lceil d / 2^i \rceil \le K, \quad k = \lceil \log_2 C \rceil.

    Parameters
    ----------
    beta : float, default=0.5
        Weight :math:`\beta` of the irrelevant pairs.

    References
    ----------
    C. Xu, Z. Chai, Z. Xu, C. Yuan, Y. Fan and J. Wang, "HyP2 loss: beyond hypersphere metric space for multi-label
    image retrieval", ACM Multimedia 2022.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import HyP2
    >>> hasher = DeepSupervisedHasher(32, loss=HyP2(beta=1))
    """

    def __init__(self, *, beta=0.5):
        super().__init__()
        self.beta = beta

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Draw the proxies, and compute the threshold."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.threshold = 1 - 2 * _griesmer_distance(n_classes, n_bits) / n_bits
        self.proxies = torch.nn.Parameter(torch.empty(n_classes, n_bits))
        torch.nn.init.kaiming_normal_(self.proxies, mode="fan_out", generator=generator)

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        directions = F.normalize(outputs)
        cosines = directions @ F.normalize(self.proxies).T
        labelled = labelled_samples(targets)[:, None]
        attraction = mean_where(1 - cosines, targets > 0)
        repulsion = mean_where((cosines - self.threshold).clamp(min=0), labelled & (targets == 0))
        several = (targets > 0).sum(dim=1) > 1
        irrelevant = several[:, None] & several & (similarity(targets) == 0)
        pairs = mean_where((directions @ directions.T - self.threshold).clamp(min=0), irrelevant)
        return attraction + repulsion + self.beta * pairs


def _griesmer_distance(n_classes, n_bits):
    """Bound the minimum distance of a linear code with `n_classes` words; 0 where there are too few words."""
    k = max((n_classes - 1).bit_length(), 1)
    # Ceilings of divisions by powers of two.
    distances = (d for d in range(n_bits, 0, -1) if sum(-(-d // 2**i) for i in range(k)) <= n_bits)
    return next(distances, 0)
