"""Deep Cauchy hashing."""

import torch
import torch.nn.functional as F

from ._base import HashLoss, similarity
from ._pairs import balanced_mean, labelled_pairs

# Largest cosine of a dissimilar pair: their term is infinite at 1.
_LARGEST_COSINE = 0.999

# Outputs shorter than this count as this long, so that the gradient of a zero output is bounded.
_SHORTEST_OUTPUT = 1e-4


class DCH(HashLoss):
    r"""Cauchy cross-entropy loss, for similar codes within a small Hamming radius, with a Cauchy quantization loss.

    For the outputs :math:`z` of the network, with :math:`d(z_i, z_j) = \tfrac{K}{2} (1 - \cos(z_i, z_j))`, which is the
    Hamming distance for codes,

    .. math:: L + \lambda Q = \sum_{ij} w_{ij} \left( s_{ij} \log \frac{d(z_i, z_j)}{\gamma}
        + \log \left( 1 + \frac{\gamma}{d(z_i, z_j)} \right) \right)
        + \lambda \sum_i \log \left( 1 + \frac{d(|z_i|, \mathbf{1})}{\gamma} \right).

    The first sum is a mean over the set :math:`S` of the pairs of different labelled samples of a batch, in which
    :math:`w_{ij}` is :math:`|S| / |S_1|` for the similar pairs :math:`S_1` and :math:`|S| / |S_0|` for the others; the
    second is a mean over all samples. Cosines of dissimilar pairs above 0.999 count as 0.999.

    Parameters
    ----------
    gamma : float, default=20.0
        Scale of the Cauchy distribution, in bits.

    lam : float, default=0.1
        :math:`\lambda`, weight of the quantization loss.

    References
    ----------
    Y. Cao, M. Long, B. Liu and J. Wang, "Deep Cauchy hashing for Hamming space retrieval", CVPR 2018.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import DCH
    >>> hasher = DeepSupervisedHasher(32, loss=DCH(gamma=5))
    """

    def __init__(self, *, gamma=20.0, lam=0.1):
        super().__init__()
        self.gamma = gamma
        self.lam = lam

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        half = outputs.shape[1] / 2
        directions = F.normalize(outputs, dim=1, eps=_SHORTEST_OUTPUT)
        cosines = directions @ directions.T
        similar = similarity(targets)
        # The two terms of a similar pair make log(1 + d / gamma), which has no pole.
        near = torch.log1p(half * (1 - cosines).clamp(min=0) / self.gamma)
        far = torch.log1p(self.gamma / (half * (1 - cosines.clamp(max=_LARGEST_COSINE))))
        pairs = balanced_mean(torch.where(similar > 0, near, far), similar, labelled_pairs(targets))
        to_ones = half * (1 - directions.abs().sum(dim=1) / outputs.shape[1] ** 0.5).clamp(min=0)
        return pairs + self.lam * torch.log1p(to_ones / self.gamma).mean()
