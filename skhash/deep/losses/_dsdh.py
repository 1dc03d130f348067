"""Deep supervised discrete hashing."""

import torch
import torch.nn.functional as F

from ._base import similarity
from ._code_bank import CodeBankLoss, descend_bits, signs
from ._pairs import labelled_pairs, mean_where


class DSDH(CodeBankLoss):
    r"""Negative log likelihood of pairwise labels, with outputs pulled to codes that a linear classifier reads.

    With :math:`\theta_{ij} = \tfrac{1}{2} u_i' u_j` for the outputs :math:`u` of the network, the codes :math:`b` of
    the training samples, their label vectors :math:`y` and a classifier :math:`W`,

    .. math:: \min_{u, B, W} -\sum_{ij} \left( s_{ij} \theta_{ij} - \log(1 + e^{\theta_{ij}}) \right)
        + \mu \sum_i \|y_i - W' b_i\|_2^2 + \nu \|W\|_F^2 + \eta \sum_i \|b_i - u_i\|_2^2, \quad b_i \in \{-1, +1\}^K.

    The network minimises the first and the last sum, divided by :math:`n^2` for :math:`n` training samples: the mean
    over the pairs of different labelled samples of a batch, plus :math:`\eta / n` times the mean squared distance of
    the samples to their codes. Before each epoch, the classifier and the codes minimise the rest for the last known
    outputs by turns: :math:`W = (B'B + \tfrac{\nu}{\mu} I)^{-1} B'Y`, and each bit :math:`k` of all codes at once,
    :math:`B_{*k} = \operatorname{sign} ( Y w_k + \tfrac{\eta}{\mu} U_{*k} - \tilde{B} \tilde{W} w_k )`, where
    :math:`w_k` is row :math:`k` of :math:`W`, and :math:`\tilde{B}, \tilde{W}` lack bit :math:`k`.

    The code of a sample begins as the sign of its first output. That of a sample without a label is the sign of its
    last output before the epoch. In evaluation mode, codes are signs of the outputs and nothing is remembered.

    Parameters
    ----------
    eta : float, default=55.0
        Weight of the distance of the outputs to the codes.

    mu : float, default=1.0
        Weight of the classification error.

    nu : float, default=0.1
        Weight of the size of the classifier.

    max_iter : int, default=10
        Number of turns before each epoch.

    References
    ----------
    Q. Li, Z. Sun, R. He and T. Tan, "Deep supervised discrete hashing", NeurIPS 2017.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import DSDH
    >>> hasher = DeepSupervisedHasher(32, loss=DSDH(eta=5))
    """

    def __init__(self, *, eta=55.0, mu=1.0, nu=0.1, max_iter=10):
        super().__init__()
        self.eta = eta
        self.mu = mu
        self.nu = nu
        self.max_iter = max_iter

    def start_epoch(self, epoch):
        """Solve for the classifier and the codes of the samples seen so far."""
        solved, free = self.known & self.labelled, self.known & ~self.labelled
        self.codes[free] = signs(self.all_outputs[free])
        if solved.any():
            self.codes[solved] = self._solve(self.codes[solved], self.all_outputs[solved], self.all_targets[solved])

    def _solve(self, codes, outputs, targets):
        """Turn between ridge regression and discrete coordinate descent."""
        ridge = self.nu / self.mu * torch.eye(self.n_bits, dtype=codes.dtype, device=codes.device)
        for _ in range(self.max_iter):
            classifier = torch.linalg.solve(codes.T @ codes + ridge, codes.T @ targets)
            wanted = targets @ classifier.T + self.eta / self.mu * outputs
            descend_bits(codes, wanted, classifier @ classifier.T)
        return codes

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch, and remember its outputs."""
        codes = self.codes_of(outputs, targets, rows)
        theta = outputs @ outputs.T / 2
        pairs = mean_where(F.softplus(theta) - similarity(targets) * theta, labelled_pairs(targets))
        distance = (codes - outputs).square().sum(dim=1).mean()
        return pairs + self.eta / len(self.codes) * distance
