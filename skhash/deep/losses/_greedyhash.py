"""Greedy hash."""

from ..quantizers import StraightThroughSign
from ..regularizers import cubic_quantization
from ._base import HashLoss
from ._classes import classification_loss, is_multi_label, linear_classifier


class GreedyHash(HashLoss):
    r"""Cross-entropy of a linear classifier on the codes, trained straight through the sign.

    For the outputs :math:`H` of the network, the codes :math:`B = \operatorname{sgn}(H)` and the cross-entropy
    :math:`L` of the classes given the codes,

    .. math:: L(B) + \alpha \frac{1}{nK} \| H - \operatorname{sgn}(H) \|_3^3, \quad
        \frac{\partial L}{\partial H} = \frac{\partial L}{\partial B}.

    Mean over the labelled samples of a batch; the second term, mean over all samples and over bits. Where samples have
    several classes, binary cross-entropy of each class, mean over classes.

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
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import GreedyHash
    >>> hasher = DeepSupervisedHasher(32, loss=GreedyHash(alpha=1))
    """

    def __init__(self, *, alpha=0.1):
        super().__init__()
        self.alpha = alpha
        self.quantizer = StraightThroughSign()

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Make the classifier."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.multi_label = is_multi_label(targets)
        self.classifier = linear_classifier(n_bits, n_classes, generator)

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        logits = self.classifier(self.quantizer(outputs))
        quantization = cubic_quantization(outputs) / outputs.shape[1]
        return classification_loss(logits, targets, self.multi_label) + self.alpha * quantization
