"""Deep pairwise-supervised hashing."""

import torch.nn.functional as F

from ..regularizers import l2_quantization
from ._base import HashLoss, similarity
from ._pairs import labelled_pairs, mean_where


class DPSH(HashLoss):
    r"""Negative log likelihood of pairwise labels, with outputs pulled to their codes.

    With :math:`\theta_{ij} = \tfrac{1}{2} u_i' u_j` for the outputs :math:`u` of the network and
    :math:`b_i = \operatorname{sign}(u_i)`,

    .. math:: L = -\sum_{ij} \left( s_{ij} \theta_{ij} - \log(1 + e^{\theta_{ij}}) \right)
        + \eta \sum_i \|b_i - u_i\|_2^2.

    Both sums are divided by :math:`n^2` for :math:`n` training samples: the mean over the pairs of different labelled
    samples of a batch, plus :math:`\eta / n` times the mean squared distance of the samples to their codes. Pairs are
    those inside the batch; the paper pairs the batch with the whole training set.

    Parameters
    ----------
    eta : float, default=10.0
        Weight of the distance of the outputs to their codes.

    References
    ----------
    W.-J. Li, S. Wang and W.-C. Kang, "Feature learning based deep supervised hashing with pairwise labels", IJCAI 2016.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import DPSH
    >>> hasher = DeepSupervisedHasher(32, loss=DPSH(eta=100))
    """

    def __init__(self, *, eta=10.0):
        super().__init__()
        self.eta = eta

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Take the number of training samples."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.n_samples = n_samples

    def set_rows(self, targets):
        """Take the number of training samples anew.

        Parameters
        ----------
        targets : tensor of shape (n_samples, n_classes), dtype float
            1 for the classes of a sample, else 0; rows of zeros are unlabelled.
        """
        self.n_samples = len(targets)

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        theta = outputs @ outputs.T / 2
        pairs = F.softplus(theta) - similarity(targets) * theta
        return mean_where(pairs, labelled_pairs(targets)) + self.eta / self.n_samples * l2_quantization(outputs)
