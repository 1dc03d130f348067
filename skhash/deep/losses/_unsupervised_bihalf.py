"""Bi-half coding without labels."""

from ..quantizers import BiHalfSign
from ._base import UnsupervisedLoss
from ._pairs import cosine_preservation


class UnsupervisedBiHalf(UnsupervisedLoss):
    r"""Squared error of the cosines of codes as estimates of those of features, where bits split each batch in half.

    For the outputs :math:`U` of the network, the nearest codes :math:`B` with balanced bits (+1 for the upper half of
    the batch in each bit, -1 for the lower) and the reference features :math:`x`,

    .. math:: L = \frac{1}{n (n - 1)} \sum_{i \ne j} \big( \cos(b_i, b_j) - \cos(x_i, x_j) \big)^2, \quad
        \frac{\partial L}{\partial U} = \frac{\partial L}{\partial B} + \frac{\gamma}{nK} (U - B).

    The mean over all pairs of different rows of a batch, which the program of the authors draws disjoint pairs from:
    the same in expectation, with less noise. In evaluation mode codes are signs.

    Parameters
    ----------
    gamma : float, default=6.0
        Strength :math:`\gamma` of the pull of the outputs to their codes.

    References
    ----------
    Y. Li and J. van Gemert, "Deep unsupervised image hashing by maximizing bit entropy", AAAI 2021.

    Examples
    --------
    >>> from skhash.deep import DeepUnsupervisedHasher
    >>> from skhash.deep.losses import UnsupervisedBiHalf
    >>> hasher = DeepUnsupervisedHasher(32, loss=UnsupervisedBiHalf(gamma=3.0))
    """

    def __init__(self, *, gamma=6.0):
        super().__init__()
        self.quantizer = BiHalfSign(gamma=gamma)

    def forward(self, outputs, features, rows):
        """Compute the loss of a batch."""
        (outputs,) = outputs
        return cosine_preservation(self.quantizer(outputs), features)
