"""Just-maximizing-likelihood hashing."""

import math

import torch
import torch.nn.functional as F

from ..quantizers import BernoulliSign
from ._base import HashLoss
from ._classes import classification_loss, is_multi_label, linear_classifier


class JMLH(HashLoss):
    r"""Likelihood of the classes given random codes, and the distance of the codes' distribution to fair coins.

    For the outputs :math:`z_i` of the network, independent bits with
    :math:`q(b_{ik} = 1 | x_i) = \sigma(z_{ik})`, a linear classifier for :math:`q(y | b)` and the prior
    :math:`p(b_k = 1) = 1/2`,

    .. math:: L = \frac{1}{n} \sum_i \left( -\log q(y_i | b_i)
        + \lambda \operatorname{KL}\left( q(b | x_i) \,\|\, p(b) \right) \right), \quad b_i \sim q(b | x_i).

    Mean over the labelled samples of a batch; the second term, mean over all samples. Gradients pass through the mean
    of the bits. The classifier reads bits as -1 and +1, which differs from 0 and 1 by its weights only. Where samples
    have several classes, binary cross-entropy of each class, mean over classes.

    Parameters
    ----------
    lam : float, default=0.1
        Weight :math:`\lambda` of the divergence from the prior.

    References
    ----------
    Y. Shen, J. Qin, J. Chen, L. Liu, F. Zhu and Z. Shen, "Embarrassingly simple binary representation learning", ICCV
    Workshops 2019.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import JMLH
    >>> hasher = DeepSupervisedHasher(32, loss=JMLH(lam=0.01))
    """

    def __init__(self, *, lam=0.1):
        super().__init__()
        self.lam = lam
        # Draws from the global generator, which training seeds anew for each epoch: a generator of its own would have
        # to be saved with the weights.
        self.quantizer = BernoulliSign()

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Make the classifier."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.multi_label = is_multi_label(targets)
        self.classifier = linear_classifier(n_bits, n_classes, generator)

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        logits = self.classifier(self.quantizer(outputs))
        p = torch.sigmoid(outputs)
        # log p and log(1 - p) stay finite where p rounds to 0 or 1.
        divergences = math.log(2) + p * F.logsigmoid(outputs) + (1 - p) * F.logsigmoid(-outputs)
        return classification_loss(logits, targets, self.multi_label) + self.lam * divergences.sum(dim=1).mean()
