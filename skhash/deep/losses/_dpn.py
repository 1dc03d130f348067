"""Deep polarised network."""

from ._base import HashLoss
from ._classes import draw_centers, draw_tie_breaker, labelled_samples, majority_centers


class DPN(HashLoss):
    r"""Hinge loss that pushes each output beyond a margin, to the side of the code of its class.

    For the outputs :math:`v_i` of the network and the code :math:`t_i \in \{-1, +1\}^K` of a sample,

    .. math:: L = \frac{1}{nK} \sum_{ik} \max(m - v_{ik} t_{ik}, 0).

    Mean over the labelled samples of a batch and over bits. The codes of the classes are rows of a Hadamard matrix
    where the code length is a power of two and has enough, else random. A sample with several classes has the
    majority of their codes in each bit; ties go to a random code that is drawn once.

    Parameters
    ----------
    margin : float, default=1.0
        Distance :math:`m` from 0 beyond which an output costs nothing.

    References
    ----------
    L. Fan, K. W. Ng, C. Ju, T. Zhang and C. S. Chan, "Deep polarized network for supervised learning of accurate binary
    hashing codes", IJCAI 2020.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import DPN
    >>> hasher = DeepSupervisedHasher(32, loss=DPN(margin=2))
    """

    def __init__(self, *, margin=1.0):
        super().__init__()
        self.margin = margin

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Draw the codes of the classes."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.register_buffer("centers", draw_centers(n_classes, n_bits, generator, name=type(self).__name__))
        self.register_buffer("tie_breaker", draw_tie_breaker(n_bits, generator))

    def class_centers(self):
        """Tell the fixed centres of the classes."""
        return self.centers

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        labelled = labelled_samples(targets)
        if not labelled.any():
            return outputs.sum() * 0
        centers = majority_centers(targets[labelled], self.centers, self.tie_breaker)
        return (self.margin - outputs[labelled] * centers).clamp(min=0).mean()
