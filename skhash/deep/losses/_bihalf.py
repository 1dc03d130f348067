"""Bi-half coding."""

from ..quantizers import BiHalfSign
from ._base import HashLoss
from ._classes import classification_loss, is_multi_label, linear_classifier


class BiHalf(HashLoss):
    r"""Cross-entropy of a linear classifier on codes whose bits split each batch in half.

    For the outputs :math:`U` of the network, the nearest codes :math:`B` with balanced bits (+1 for the upper half of
    the batch in each bit, -1 for the lower) and the cross-entropy :math:`L` of the classes given the codes,

    .. math:: \frac{\partial L}{\partial U} = \frac{\partial L}{\partial B} + \frac{\gamma}{nK} (U - B).

    Mean over the labelled samples of a batch. Where samples have several classes, binary cross-entropy of each class,
    mean over classes.

    Parameters
    ----------
    gamma : float, default=6.0
        Strength :math:`\gamma` of the pull of the outputs to their codes.

    References
    ----------
    Y. Li and J. van Gemert, "Deep unsupervised image hashing by maximizing bit entropy", AAAI 2021.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import BiHalf
    >>> hasher = DeepSupervisedHasher(32, loss=BiHalf(gamma=1))
    """

    def __init__(self, *, gamma=6.0):
        super().__init__()
        self.quantizer = BiHalfSign(gamma=gamma)

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Make the classifier."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.multi_label = is_multi_label(targets)
        self.classifier = linear_classifier(n_bits, n_classes, generator)

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        return classification_loss(self.classifier(self.quantizer(outputs)), targets, self.multi_label)
