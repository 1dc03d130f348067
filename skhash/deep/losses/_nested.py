"""Cosine-margin cross-entropy on every prefix of a code, and a pull to balanced bits."""

import math

import torch
import torch.nn.functional as F

from ...centers import NestedCodebook, check_prefixes, minimum_distance
from ..regularizers import sliced_wasserstein_quantization
from ._base import HashLoss
from ._classes import check_codes_suffice, draw_seed, labelled_samples

# Classes of the smallest scale by formula: with two or three, the logarithm leaves no or hardly any.
_FEWEST_CLASSES_OF_SCALE = 4


class Nested(HashLoss):
    r"""Cross-entropy of the cosines with nested codewords on every prefix of the code, and a pull to balanced bits.

    For the outputs :math:`v_i` of the network after a batch normalisation, the codewords :math:`o_c` of the classes
    (`NestedCodebook`), prefixes :math:`v^{(k)}` of the first k entries and :math:`\cos \theta_{ic}^{(k)} = \langle
    v_i^{(k)}, o_c^{(k)} \rangle / (\|v_i^{(k)}\| \|o_c^{(k)}\|)`, the loss is the mean over the prefix lengths k in P
    of :math:`L_C^{(k)} + \lambda L_Q^{(k)}` with

    .. math:: L_C^{(k)} = -\frac{1}{n} \sum_i \sum_c \frac{y_{ic}}{\sum_d y_{id}}
        \log \frac{\exp(s \, g_{ic}^{(k)})}{\sum_d \exp(s \, g_{id}^{(k)})}, \quad
        g_{ic}^{(k)} = \cos \theta_{ic}^{(k)} - m \, y_{ic}, \quad
        L_Q^{(k)} = \frac{1}{nk} \sum_{j \le k} \sum_{i=1}^{n} \left( v_{(i)j} - t_i \right)^2.

    So each prefix has the loss of a code of its length, and a code cut by `skhash.codes.truncate_codes` to one of them
    is a code in its own right. :math:`L_C`, over the labelled samples of a batch, is `OrthoHash`; a sample with several
    classes shares its label among them. :math:`L_Q`, over all samples of a batch, pulls the lower half of a bit, sorted
    over the batch, to :math:`t_i = -1` and the upper half to +1 (`sliced_wasserstein_quantization`). A batch of one
    sample is normalised by the running statistics, as outputs are for codes.

    Parameters
    ----------
    prefixes : tuple of int, default=(16, 32, 64)
        Lengths in P, ascending; those from the code length on are left out, and the code length is added.

    margin : float, default=0.2
        Margin :math:`m`.

    lam : float, default=1.0
        Weight :math:`\lambda` of the pull to balanced bits, which is what helps with classes that are not in training.
        A network that starts from random weights may not learn against 3 or more.

    scale : float or None, default=None
        Scale :math:`s`; :math:`\sqrt 2 \ln(C - 1)` for C classes when None, and that of four classes for fewer.

    Attributes
    ----------
    minimum_distances : dict of int to int
        Smallest Hamming distance between the codewords of two classes, by length of the prefix; 0 where two share it,
        as they must where there are more classes than codes of that length. Once prepared.

    centers : tensor of shape (n_classes, n_bits), dtype float32
        The codewords, of -1 and +1. Once prepared.

    See Also
    --------
    skhash.NestedHash : Codes whose prefixes are codes, from features and in closed form.

    References
    ----------
    J. T. Hoe, K. W. Ng, T. Zhang, C. S. Chan, Y.-Z. Song and T. Xiang, "One loss for all: deep hashing with a single
    cosine similarity based learning objective", NeurIPS 2021.

    K. D. Doan, P. Yang and P. Li, "One loss for quantization: deep hashing with discrete Wasserstein distributional
    matching", CVPR 2022.

    X. Zhang, R. Zhao, Y. Qiao, X. Wang and H. Li, "AdaCos: adaptively scaling cosine logits for effectively learning
    deep face representations", CVPR 2019: the scale.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash.codes import truncate_codes
    >>> from skhash.deep import DeepSupervisedHasher
    >>> X, y = load_digits(return_X_y=True)
    >>> hasher = DeepSupervisedHasher(64, loss="nested", max_epochs=2, random_state=0).fit(X, y)
    >>> truncate_codes(hasher.transform(X[:1]), 16).shape
    (1, 2)
    >>> hasher.net_.criterion_.minimum_distances
    {16: 7, 32: 17, 64: 34}
    """

    def __init__(self, *, prefixes=(16, 32, 64), margin=0.2, lam=1.0, scale=None):
        super().__init__()
        self.prefixes = prefixes
        self.margin = margin
        self.lam = lam
        self.scale = scale

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Search the codewords, and make the batch normalisation."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        name = type(self).__name__
        check_prefixes(name, self.prefixes)
        check_codes_suffice(n_classes, n_bits, name=name)
        codebook = NestedCodebook(n_classes, n_bits, prefixes=self.prefixes, random_state=draw_seed(generator))
        self._lengths = codebook.prefixes
        self.register_buffer("centers", torch.from_numpy(codebook.words).float())
        self.batch_norm = torch.nn.BatchNorm1d(n_bits)

    @property
    def minimum_distances(self):
        """Smallest Hamming distance between the codewords of two classes, by length of the prefix."""
        # Of the codewords that there are, which may come from a file of weights.
        words = self.centers.numpy(force=True)
        return {length: minimum_distance(words[:, :length]) for length in self._lengths}

    def class_centers(self):
        """Tell the fixed centres of the classes."""
        return self.centers

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        # A single sample has no variance.
        normalized = self.batch_norm(outputs) if len(outputs) > 1 else self.project(outputs)
        labelled = labelled_samples(targets)
        losses = []
        for length in self._lengths:
            prefix = normalized[:, :length]
            loss = self.lam * sliced_wasserstein_quantization(prefix)
            if labelled.any():
                loss = loss + self._central(prefix[labelled], targets[labelled])
            losses.append(loss)
        return torch.stack(losses).mean()

    def _central(self, prefix, targets):
        """Compute the cross-entropy of labelled samples."""
        length = prefix.shape[1]
        cosines = F.normalize(prefix) @ self.centers[:, :length].T / math.sqrt(length)
        logits = self._scale() * (cosines - self.margin * targets)
        return F.cross_entropy(logits, targets / targets.sum(dim=1, keepdim=True))

    def _scale(self):
        if self.scale is not None:
            return self.scale
        return math.sqrt(2) * math.log(max(self.n_classes, _FEWEST_CLASSES_OF_SCALE) - 1)

    def project(self, outputs):
        """Compute what the sign is taken of when codes are made: the outputs normalised by the running statistics."""
        norm = self.batch_norm
        return F.batch_norm(outputs, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
