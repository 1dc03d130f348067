"""Central similarity quantisation."""

import torch
import torch.nn.functional as F

from ..regularizers import log_cosh_quantization
from ._base import HashLoss
from ._classes import draw_centers, draw_tie_breaker, labelled_samples, majority_centers


class CSQ(HashLoss):
    r"""Binary cross-entropy of relaxed codes and the centre of their class.

    For the outputs :math:`z_i` of the network, relaxed bits :math:`h_i = (\tanh(z_i) + 1) / 2` and the centre
    :math:`c'_i \in \{0, 1\}^K` of a sample, :math:`L = L_C + \lambda L_Q` with

    .. math:: L_C = -\frac{1}{nK} \sum_{ik} \left( c'_{ik} \log h_{ik} + (1 - c'_{ik}) \log(1 - h_{ik}) \right), \quad
        L_Q = \frac{1}{nK} \sum_{ik} \log \cosh(|2 h_{ik} - 1| - 1).

    Mean over the labelled samples of a batch and over bits; the second term, over all samples. The centres are rows of
    a Hadamard matrix where the code length is a power of two and has enough, else random. A sample with several classes
    has the majority of their centres in each bit; ties go to a random code that is drawn once.

    Parameters
    ----------
    lam : float, default=0.0001
        Weight :math:`\lambda` of the distance of the relaxed bits to codes.

    References
    ----------
    L. Yuan, T. Wang, X. Zhang, F. E. H. Tay, Z. Jie, W. Liu and J. Feng, "Central similarity quantization for efficient
    image and video retrieval", CVPR 2020.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import CSQ
    >>> hasher = DeepSupervisedHasher(32, loss=CSQ(lam=0.01))
    """

    def __init__(self, *, lam=0.0001):
        super().__init__()
        self.lam = lam

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Draw the centres."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.register_buffer("centers", draw_centers(n_classes, n_bits, generator, name=type(self).__name__))
        self.register_buffer("tie_breaker", draw_tie_breaker(n_bits, generator))

    def class_centers(self):
        """Tell the fixed centres of the classes."""
        return self.centers

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        quantization = log_cosh_quantization(torch.tanh(outputs)) / outputs.shape[1]
        labelled = labelled_samples(targets)
        if not labelled.any():
            return outputs.sum() * 0 + self.lam * quantization
        centers = majority_centers(targets[labelled], self.centers, self.tie_breaker)
        # (tanh z + 1) / 2 is the logistic function of 2z, whose logarithm stays finite.
        central = F.binary_cross_entropy_with_logits(2 * outputs[labelled], (centers + 1) / 2)
        return central + self.lam * quantization
