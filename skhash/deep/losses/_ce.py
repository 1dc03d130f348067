"""Plain classification."""

from ._base import HashLoss
from ._classes import classification_loss, is_multi_label, linear_classifier


class CrossEntropy(HashLoss):
    r"""Cross-entropy of a linear classifier on the outputs.

    For the outputs :math:`z_i` of the network, a trained classifier :math:`W, a` and the class :math:`y_i`,

    .. math:: L = -\frac{1}{n} \sum_i \log \frac{\exp(w_{y_i}' z_i + a_{y_i})}{\sum_c \exp(w_c' z_i + a_c)}.

    Mean over the labelled samples of a batch. Where samples have several classes, binary cross-entropy of each class,
    mean over classes. Nothing asks for binary outputs: the baseline that every other loss has to beat.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import CrossEntropy
    >>> hasher = DeepSupervisedHasher(32, loss=CrossEntropy())
    """

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Make the classifier."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.multi_label = is_multi_label(targets)
        self.classifier = linear_classifier(n_bits, n_classes, generator)

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        return classification_loss(self.classifier(outputs), targets, self.multi_label)
