"""HashNet: learning to hash by continuation."""

import torch
import torch.nn.functional as F

from ..quantizers import TanhContinuation
from ._base import HashLoss, similarity
from ._pairs import balanced_mean, labelled_pairs


class HashNet(HashLoss):
    r"""Weighted maximum likelihood of pairwise labels on outputs that a sharpening tanh brings ever closer to codes.

    For the outputs :math:`z` of the network, :math:`g_i = \tanh(\beta z_i)` and the set :math:`S` of the pairs of
    different labelled samples of a batch, :math:`S_1` of them similar and :math:`S_0` not,

    .. math:: L = \frac{1}{|S|} \sum_{ij \in S} w_{ij} \left( \log(1 + e^{\alpha \langle g_i, g_j \rangle})
        - \alpha s_{ij} \langle g_i, g_j \rangle \right), \quad w_{ij} = c_{ij} \begin{cases}
        |S| / |S_1| & s_{ij} = 1 \\ |S| / |S_0| & s_{ij} = 0. \end{cases}

    With label sets :math:`Y`, :math:`c_{ij} = |Y_i \cap Y_j| / |Y_i \cup Y_j|` for similar pairs and 1 for others.
    :math:`\beta` starts at 1 and is :math:`\sqrt{1 + t}` after :math:`t` times `epochs_per_step` epochs.

    Parameters
    ----------
    alpha : float or None, default=None
        Slope of the sigmoid that turns inner products into probabilities of similarity; 10 / :math:`K` for codes of
        :math:`K` bits when None, so that inner products run from -10 to +10.

    epochs_per_step : int, default=20
        Number of epochs before :math:`\beta` grows.

    References
    ----------
    Z. Cao, M. Long, J. Wang and P. S. Yu, "HashNet: deep learning to hash by continuation", ICCV 2017.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import HashNet
    >>> hasher = DeepSupervisedHasher(32, loss=HashNet(epochs_per_step=5))
    """

    def __init__(self, *, alpha=None, epochs_per_step=20):
        super().__init__()
        self.alpha = alpha
        self.epochs_per_step = epochs_per_step

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Create the tanh, with slope 1."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.continuation = TanhContinuation(epochs_per_step=self.epochs_per_step)

    def start_epoch(self, epoch):
        """Set the slope of the tanh."""
        self.continuation.start_epoch(epoch)

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        relaxed = self.continuation(outputs)
        alpha = 10 / outputs.shape[1] if self.alpha is None else self.alpha
        products = alpha * (relaxed @ relaxed.T)
        similar = similarity(targets)
        pairs = F.softplus(products) - similar * products
        shared = targets @ targets.T
        n_labels = targets.sum(dim=1)
        united = n_labels[:, None] + n_labels - shared
        overlap = torch.where(similar > 0, shared / united.clamp(min=1), 1.0)
        return balanced_mean(overlap * pairs, similar, labelled_pairs(targets))
