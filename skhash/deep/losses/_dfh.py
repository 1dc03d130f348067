"""Deep Fisher hashing."""

import torch
import torch.nn.functional as F

from ._base import HashLoss, similarity
from ._code_bank import signs
from ._pairs import labelled_pairs, mean_where


class DFH(HashLoss):
    r"""Pairwise loss with a margin, with outputs pulled to codes that a Fisher criterion makes compact within classes.

    With :math:`\theta_{ij} = \tfrac{1}{2} u_i' u_j` for the outputs :math:`u` of the network,

    .. math:: L = \sum_{ij} \left( s_{ij} \log(1 + e^{m - \theta_{ij}})
        + (1 - s_{ij}) \log(1 + e^{m + \theta_{ij}}) \right) + \eta \sum_i \|b_i - u_i\|_2^2.

    The first sum is a mean over the pairs of different labelled samples of a batch, the second a mean over all samples
    and bits. The codes are pulled to the binary centres :math:`c` of their classes,
    :math:`b_i = \operatorname{sign}(u_i + \mu \sum_k y_{ik} c_k)`, and the centres follow the codes of each batch and
    flee each other,

    .. math:: \min_{c_1, \ldots, c_C \in \{-1, +1\}^K} \sum_i \left\| b_i - \sum_k y_{ik} c_k \right\|_2^2
        + \nu \sum_{k \ne l} c_k' c_l,

    by one turn of discrete coordinate descent over the classes of the batch, which sets :math:`c_k` to the sign of
    :math:`\sum_i y_{ik} b_i - \sum_{l \ne k} (\sum_i y_{ik} y_{il} + \nu) c_l`. A class that no batch has had
    yet has the centre 0. In evaluation mode the centres stay as they are.

    Parameters
    ----------
    margin : float, default=3.0
        :math:`m`, by which :math:`\theta` has to pass 0.

    eta : float, default=0.5
        Weight of the distance of the outputs to their codes.

    mu : float, default=0.1
        Weight of the centres in the codes.

    nu : float, default=1.0
        Weight of the distances between centres.

    References
    ----------
    Y. Li, W. Pei, Y. Zha and J. van Gemert, "Push for quantization: deep Fisher hashing", BMVC 2019.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import DFH
    >>> hasher = DeepSupervisedHasher(32, loss=DFH(margin=1))
    """

    def __init__(self, *, margin=3.0, eta=0.5, mu=0.1, nu=1.0):
        super().__init__()
        self.margin = margin
        self.eta = eta
        self.mu = mu
        self.nu = nu

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Create a centre for each class, 0 until a batch has the class."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.register_buffer("centers", torch.zeros(n_classes, n_bits))

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch, and move the centres."""
        codes = signs(outputs.detach() + self.mu * targets @ self.centers)
        if self.training:
            self._move_centers(codes, targets)
        theta = outputs @ outputs.T / 2
        signed = torch.where(similarity(targets) > 0, -theta, theta)
        pairs = mean_where(F.softplus(self.margin + signed), labelled_pairs(targets))
        return pairs + self.eta * (codes - outputs).square().mean()

    def _move_centers(self, codes, targets):
        """Solve for the centre of one class of the batch after the other."""
        sums = targets.T @ codes
        repulsion = targets.T @ targets + self.nu
        for k in (targets > 0).any(dim=0).nonzero().ravel().tolist():
            others = repulsion[k] @ self.centers - repulsion[k, k] * self.centers[k]
            self.centers[k] = signs(sums[k] - others)
