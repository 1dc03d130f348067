"""MIHash: hashing with mutual information."""

import torch

from ._base import HashLoss, similarity
from ._pairs import labelled_pairs, mean_where

# Probabilities below this count as this inside a logarithm, whose slope at 0 is infinite.
_SMALLEST_PROBABILITY = 1e-12


class MIHash(HashLoss):
    r"""Negative mutual information of the distance to a query and whether a sample is relevant to it.

    For each labelled query of a batch, the other labelled samples have relaxed codes
    :math:`\phi = 2 \sigma(A z) - 1`, distances :math:`d = \tfrac{1}{2} (K - \phi_q' \phi)` from 0 to :math:`K`, and are
    relevant (+) if they share a class with it, else not (-). With their distances :math:`D`,

    .. math:: L = -I(D) = -\left( H(D) - p^+ H(D | +) - p^- H(D | -) \right)

    in bits, mean over queries. The probabilities are shares of a histogram with centres
    :math:`0, \Delta, 2 \Delta, \ldots, K`, where a sample adds to a centre :math:`c` the triangular pulse
    :math:`\max(0, 1 - |d - c| / \Delta)`; :math:`p^+, p^-` are the shares of relevant samples and others.

    Parameters
    ----------
    n_bins : int or None, default=None
        Number of steps :math:`\Delta` from 0 to :math:`K`; half the code length when None.

    slope : float, default=1.0
        :math:`A`, slope of the relaxed codes.

    References
    ----------
    F. Cakir, K. He, S. A. Bargal and S. Sclaroff, "MIHash: online hashing with mutual information", ICCV 2017.

    F. Cakir, K. He, S. A. Bargal and S. Sclaroff, "Hashing with mutual information", IEEE Transactions on Pattern
    Analysis and Machine Intelligence 41(10), 2019.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import MIHash
    >>> hasher = DeepSupervisedHasher(32, loss=MIHash(slope=4))
    """

    def __init__(self, *, n_bins=None, slope=1.0):
        super().__init__()
        self.n_bins = n_bins
        self.slope = slope

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        n_bits = outputs.shape[1]
        relaxed = torch.tanh(self.slope / 2 * outputs)  # = 2 sigmoid(slope * outputs) - 1
        n_bins = max(n_bits // 2, 1) if self.n_bins is None else self.n_bins
        steps = ((n_bits - relaxed @ relaxed.T) / 2 * (n_bins / n_bits)).clamp(0, n_bins)

        counted = labelled_pairs(targets)
        relevant = counted & (similarity(targets) > 0)
        near, far = _histogram(steps, relevant, n_bins), _histogram(steps, counted & ~relevant, n_bins)
        n_near, n_others = relevant.sum(dim=1), counted.sum(dim=1)
        share = n_near.to(outputs.dtype) / n_others.clamp(min=1)
        information = (
            _entropy(near + far, n_others)
            - share * _entropy(near, n_near)
            - (1 - share) * _entropy(far, n_others - n_near)
        )
        return -mean_where(information, n_others > 0)


def _histogram(steps, counted, n_bins):
    """Sum the triangular pulses of each row: a sample counts for the centres below and above it, by its nearness."""
    below = steps.detach().floor().clamp(max=n_bins - 1).long()
    above_share = steps - below
    sums = steps.new_zeros(len(steps), n_bins + 1)
    return sums.scatter_add(1, below, (1 - above_share) * counted).scatter_add(1, below + 1, above_share * counted)


def _entropy(sums, n):
    """Compute the entropy of each histogram in bits, 0 for an empty one, from its sums over n samples."""
    probabilities = sums / n.clamp(min=1)[:, None]
    return -(probabilities * probabilities.clamp(min=_SMALLEST_PROBABILITY).log2()).sum(dim=1)
