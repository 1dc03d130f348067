"""Hashing with a single cosine similarity."""

import math

import torch
import torch.nn.functional as F

from ._base import HashLoss
from ._classes import draw_centers, labelled_samples

# Keeps the derivative of the arc cosine finite at -1 and +1.
_COSINE_LIMIT = 1 - 1e-6


class OrthoHash(HashLoss):
    r"""Cross-entropy of the cosines with the codes of the classes, with a margin.

    For the outputs :math:`v_i` of the network after a batch normalisation, which balances the bits, the codes
    :math:`o_c` of the classes and :math:`\cos \theta_{ic} = v_i' o_c / (\|v_i\| \|o_c\|)`,

    .. math:: L = -\frac{1}{n} \sum_i \sum_c \frac{y_{ic}}{\sum_d y_{id}}
        \log \frac{\exp(s \, g_{ic})}{\sum_d \exp(s \, g_{id})}, \quad
        g_{ic} = \begin{cases}
        \cos \theta_{ic} - m \, y_{ic} & \text{cosine margin} \\
        \cos(\min(\theta_{ic} + m \, y_{ic}, \pi)) & \text{arc margin}. \end{cases}

    Mean over the labelled samples of a batch. A sample with several classes shares its label among them. The codes are
    rows of a Hadamard matrix, which are orthogonal, where the code length is a power of two and has enough, else
    random. A batch of one sample is normalised by the running statistics, as outputs are for codes.

    Parameters
    ----------
    margin : float, default=0.2
        Margin :math:`m`.

    margin_type : {"cosine", "arc"}, default="cosine"
        Whether the margin is taken off the cosine or added to the angle, in radians.

    scale : float or None, default=None
        Scale :math:`s`; the square root of the code length when None.

    References
    ----------
    J. T. Hoe, K. W. Ng, T. Zhang, C. S. Chan, Y.-Z. Song and T. Xiang, "One loss for all: deep hashing with a single
    cosine similarity based learning objective", NeurIPS 2021.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import OrthoHash
    >>> hasher = DeepSupervisedHasher(32, loss=OrthoHash(margin=0.3))
    """

    def __init__(self, *, margin=0.2, margin_type="cosine", scale=None):
        super().__init__()
        self.margin = margin
        self.margin_type = margin_type
        self.scale = scale

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Draw the codes of the classes, and make the batch normalisation."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        if self.margin_type not in ("cosine", "arc"):
            raise ValueError(f"OrthoHash: margin_type={self.margin_type!r} is unknown; use 'cosine' or 'arc'.")
        self.register_buffer("centers", draw_centers(n_classes, n_bits, generator, name=type(self).__name__))
        self.batch_norm = torch.nn.BatchNorm1d(n_bits)

    def class_centers(self):
        """Tell the fixed centres of the classes."""
        return self.centers

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        # A single sample has no variance.
        normalized = self.batch_norm(outputs) if len(outputs) > 1 else self.project(outputs)
        labelled = labelled_samples(targets)
        if not labelled.any():
            return normalized.sum() * 0
        normalized, targets = normalized[labelled], targets[labelled]
        n_bits = outputs.shape[1]
        cosines = F.normalize(normalized) @ self.centers.T / math.sqrt(n_bits)
        if self.margin_type == "cosine":
            margined = cosines - self.margin * targets
        else:
            angles = cosines.clamp(-_COSINE_LIMIT, _COSINE_LIMIT).acos()
            margined = (angles + self.margin * targets).clamp(max=math.pi).cos()
        scale = math.sqrt(n_bits) if self.scale is None else self.scale
        return F.cross_entropy(scale * margined, targets / targets.sum(dim=1, keepdim=True))

    def project(self, outputs):
        """Compute what the sign is taken of when codes are made: the outputs normalised by the running statistics."""
        norm = self.batch_norm
        return F.batch_norm(outputs, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
