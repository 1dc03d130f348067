"""Greedy hash without labels."""

from ..quantizers import StraightThroughSign
from ..regularizers import cubic_quantization
from ._base import UnsupervisedLoss
from ._pairs import cosine_preservation


class UnsupervisedGreedyHash(UnsupervisedLoss):
    r"""Squared error of the cosines of codes as estimates of those of features, trained straight through the sign.

    For the outputs :math:`H` of the network, the codes :math:`B = \operatorname{sgn}(H)` and the reference features
    :math:`x`,

    .. math:: L = \frac{1}{n (n - 1)} \sum_{i \ne j} \big( \cos(b_i, b_j) - \cos(x_i, x_j) \big)^2
        + \alpha \frac{1}{nK} \| H - \operatorname{sgn}(H) \|_3^3, \quad
        \frac{\partial L}{\partial H} = \frac{\partial L}{\partial B} + \alpha \dots

    The first term is the mean over all pairs of different rows of a batch, which the program of the authors draws
    disjoint pairs from: the same in expectation, with less noise.

    Parameters
    ----------
    alpha : float, default=0.1
        Weight of the distance of the outputs to their codes.

    References
    ----------
    S. Su, C. Zhang, K. Han and Y. Tian, "Greedy hash: towards fast optimization for accurate hash coding in CNN",
    NeurIPS 2018.

    Examples
    --------
    >>> from skhash.deep import DeepUnsupervisedHasher
    >>> from skhash.deep.losses import UnsupervisedGreedyHash
    >>> hasher = DeepUnsupervisedHasher(32, loss=UnsupervisedGreedyHash())
    """

    def __init__(self, *, alpha=0.1):
        super().__init__()
        self.alpha = alpha
        self.quantizer = StraightThroughSign()

    def forward(self, outputs, features, rows):
        """Compute the loss of a batch."""
        (outputs,) = outputs
        quantization = cubic_quantization(outputs) / outputs.shape[1]
        return cosine_preservation(self.quantizer(outputs), features) + self.alpha * quantization
