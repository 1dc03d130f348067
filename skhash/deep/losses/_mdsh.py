"""Deep hashing with minimal-distance-separated centres."""

import math

import torch
import torch.nn.functional as F

from ...centers import maximal_distance_centers
from ..regularizers import l2_quantization
from ._base import HashLoss, similarity
from ._classes import check_codes_suffice, draw_seed, labelled_samples
from ._pairs import mean_where


class MDSH(HashLoss):
    r"""Cross-entropy of the cosines with far-apart centres, and attraction of samples that share a class.

    For the outputs :math:`z_i` of the network, :math:`h_i = \tanh(z_i)`, centres :math:`c_j` with a minimum distance of
    at least the Gilbert-Varshamov bound (see `maximal_distance_centers`) and
    :math:`P_{ij} = \exp(\sqrt{K} \cos(h_i, c_j)) / \sum_m \exp(\sqrt{K} \cos(h_i, c_m))`,
    :math:`L = L_C + \beta L_P + \lambda L_Q` with

    .. math:: L_C = -\frac{1}{nC} \sum_{ij} \left( y_{ij} \log P_{ij} + (1 - y_{ij}) \log(1 - P_{ij}) \right), \quad
        L_P = \operatorname*{mean}_{s_{ij} = 1} \log\left( 1 + e^{(1 - \cos(h_i, u_j)) / 2} \right), \quad
        L_Q = \frac{1}{nK} \sum_{ik} (|h_{ik}| - 1)^2.

    :math:`L_C` is the mean over the labelled samples of a batch and over classes, :math:`L_P` that over the pairs of a
    sample of the batch and a different training sample that share a class, :math:`L_Q` that over all samples of the
    batch and bits. :math:`u_j` is the last relaxed code of a training sample, kept as a constant, and
    :math:`L_P` costs time and memory in proportion to the training set. It starts after some epochs.

    Parameters
    ----------
    beta : float, default=1.0
        Weight :math:`\beta` of the pairs.

    lam : float, default=0.0001
        Weight :math:`\lambda` of the distance of the relaxed codes to codes.

    pairs_from : int, default=9
        First epoch with pairs, counted from 0.

    References
    ----------
    L. Wang, Y. Pan, C. Liu, H. Lai, J. Yin and Y. Liu, "Deep hashing with minimal-distance-separated hash centers",
    CVPR 2023.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import MDSH
    >>> hasher = DeepSupervisedHasher(32, loss=MDSH(pairs_from=3))
    """

    def __init__(self, *, beta=1.0, lam=0.0001, pairs_from=9):
        super().__init__()
        self.beta = beta
        self.lam = lam
        self.pairs_from = pairs_from

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Search the centres, and make room for the relaxed codes."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        check_codes_suffice(n_classes, n_bits, name=type(self).__name__)
        centers = maximal_distance_centers(n_classes, n_bits, random_state=draw_seed(generator))
        self.register_buffer("centers", torch.from_numpy(centers).float())
        self.set_rows(targets)
        self.with_pairs = self.pairs_from <= 0

    def set_rows(self, targets):
        """Start anew for another training set, of which nothing has been seen.

        Parameters
        ----------
        targets : tensor of shape (n_samples, n_classes), dtype float
            1 for the classes of a sample, else 0; rows of zeros are unlabelled.
        """
        # Rows of zeros in the targets have not been seen yet, or have no label.
        self.register_buffer("bank", self.centers.new_zeros(len(targets), self.n_bits))
        self.register_buffer("bank_targets", self.centers.new_zeros(targets.shape))

    def start_epoch(self, epoch):
        """Start with the pairs when it is time."""
        self.with_pairs = epoch >= self.pairs_from

    def class_centers(self):
        """Tell the fixed centres of the classes."""
        return self.centers

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch."""
        codes = torch.tanh(outputs)
        directions = F.normalize(codes)
        self.bank[rows] = directions.detach().to(self.bank.dtype)
        self.bank_targets[rows] = targets.to(self.bank_targets.dtype)
        loss = self._central(directions, targets) + self.lam * l2_quantization(codes) / codes.shape[1]
        return loss + self.beta * self._pairs(directions, targets, rows) if self.with_pairs else loss

    def _central(self, directions, targets):
        logits = directions @ self.centers.to(directions.dtype).T
        terms = targets * F.log_softmax(logits, dim=1) + (1 - targets) * _log_rest(logits)
        counted = labelled_samples(targets)[:, None].expand_as(terms)
        return -mean_where(terms, counted)

    def _pairs(self, directions, targets, rows):
        cosines = directions @ self.bank.to(directions.dtype).T
        similar = similarity(targets, self.bank_targets.to(targets.dtype)) > 0
        similar[torch.arange(len(rows), device=rows.device), rows] = False
        return mean_where(F.softplus((1 - cosines) / 2), similar)


def _log_rest(logits):
    """Compute the logarithm of 1 - softmax, with 0 where there is one class and hence nothing else."""
    if logits.shape[1] == 1:
        return torch.zeros_like(logits)
    total = logits.logsumexp(dim=1, keepdim=True)
    top = F.one_hot(logits.argmax(dim=1), logits.shape[1]).bool()
    # 1 - p cancels only where p is near 1, which is so for the largest at most: there, the others are added up.
    others = logits.masked_fill(top, -math.inf).logsumexp(dim=1, keepdim=True) - total
    small = torch.log1p(-(logits - total).masked_fill(top, -math.inf).exp())
    return torch.where(top, others, small)
