"""Semantic structure-based unsupervised deep hashing."""

import torch
import torch.nn.functional as F

from ._base import UnsupervisedLoss

# Rows whose pairs the distribution of distances is estimated from, and rows of them held at once.
_SAMPLED_ROWS = 2000
_BLOCK_ROWS = 500

# Bins over the range of the cosine distance, 0 to 2.
_N_BINS = 200


class SSDH(UnsupervisedLoss):
    r"""Squared error of the inner products of pairs of codes that features say are similar or dissimilar.

    The distribution of the cosine distances :math:`d` of reference features is taken for two halves of Gaussians that
    meet in its mode :math:`m`, with variances :math:`\sigma_l^2 = \operatorname{mean}_{d \le m} (d - m)^2` and
    :math:`\sigma_r^2 = \operatorname{mean}_{d > m} (d - m)^2`. Pairs much closer or much farther than most are
    similar or dissimilar, and others do not count:

    .. math:: s_{ij} = \begin{cases} +1 & d_{ij} < d_l = m - \alpha \sigma_l \\
        -1 & d_{ij} > d_r = m + \beta \sigma_r \\ 0 & \text{else} \end{cases}, \quad
        L = \frac{1}{n^2} \sum_{ij} |s_{ij}| \big( \tfrac{1}{K} v_i' v_j - s_{ij} \big)^2, \quad v = \tanh(z)

    for the outputs :math:`z` of the network. A row is similar to itself, which draws its relaxed code to a binary one,
    unless :math:`d_l \le 0`. The mode is the middle of the fullest of 200 bins from 0 to 2.

    Departures from the paper: distances are those of the pairs of at most 2,000 rows drawn at random instead of all
    rows. The thresholds stay as they are when the training set is exchanged, so that what is similar stays similar.

    Parameters
    ----------
    alpha : float, default=2.0
        Standard deviations :math:`\alpha` that similar pairs are closer than the mode.

    beta : float, default=2.0
        Standard deviations :math:`\beta` that dissimilar pairs are farther than the mode.

    References
    ----------
    E. Yang, C. Deng, T. Liu, W. Liu and D. Tao, "Semantic structure-based unsupervised deep hashing", IJCAI 2018.

    Examples
    --------
    >>> from skhash.deep import DeepUnsupervisedHasher
    >>> from skhash.deep.losses import SSDH
    >>> hasher = DeepUnsupervisedHasher(32, loss=SSDH())
    """

    def __init__(self, *, alpha=2.0, beta=2.0):
        super().__init__()
        self.alpha = alpha
        self.beta = beta

    def prepare(self, n_bits, features, *, generator):
        """Estimate the thresholds."""
        super().prepare(n_bits, features, generator=generator)
        drawn = torch.randperm(len(features), generator=generator)[:_SAMPLED_ROWS]
        mode, left, right = _fit_halves(F.normalize(features[drawn]))
        self.register_buffer("thresholds", torch.stack([mode - self.alpha * left, mode + self.beta * right]))

    def forward(self, outputs, features, rows):
        """Compute the loss of a batch."""
        (outputs,) = outputs
        codes, directions = torch.tanh(outputs), F.normalize(features)
        distances = 1 - directions @ directions.T
        lower, upper = self.thresholds
        signed = (distances < lower).to(codes.dtype) - (distances > upper).to(codes.dtype)
        return (signed.abs() * (codes @ codes.T / outputs.shape[1] - signed).square()).mean()


def _fit_halves(directions):
    """Find the mode of the cosine distances of pairs, and the standard deviations on both sides of it."""

    def distances():
        """Go over the pairs, each once, block by block."""
        for start in range(0, len(directions), _BLOCK_ROWS):
            # Rounding takes the distances of equal rows below 0, where no bin is.
            block = (1 - directions[start : start + _BLOCK_ROWS] @ directions[start:].T).clamp(0, 2)
            yield block[torch.ones_like(block, dtype=torch.bool).triu(1)]

    counts = sum(torch.histc(part, _N_BINS, 0, 2) for part in distances())
    mode = directions.new_tensor((counts.argmax().item() + 0.5) * 2 / _N_BINS)
    sums, numbers = directions.new_zeros(2), directions.new_zeros(2)
    for part in distances():
        for side, of_side in enumerate((part <= mode, part > mode)):
            sums[side] += (part[of_side] - mode).square().sum()
            numbers[side] += of_side.sum()
    left, right = (sums / numbers.clamp(min=1)).sqrt()
    return mode, left, right
