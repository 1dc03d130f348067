"""Asymmetric deep supervised hashing."""

import torch

from ._base import similarity
from ._code_bank import CodeBankLoss, descend_bits
from ._pairs import mean_where

# Pairs whose similarity is held at once while the codes of the database are solved for.
_PAIRS_IN_MEMORY = 2**24


class ADSH(CodeBankLoss):
    r"""Squared error of the inner products of queries, which the network hashes, and codes learned for the database.

    With :math:`u = \tanh(z)` for the outputs :math:`z` of the network, a code :math:`v` of its own for each sample of
    the database, and :math:`S_{ij} = +1` if two samples share a class, else :math:`-r`,

    .. math:: \min_{u, V} \sum_{i \in \Omega} \sum_{j = 1}^{n} (u_i' v_j - K S_{ij})^2
        + \gamma \sum_{i \in \Omega} \|v_i - u_i\|_2^2, \quad v_j \in \{-1, +1\}^K.

    The database is the training set and every sample of it a query, :math:`\Omega = \{1, \ldots, n\}`. The network
    minimises the sum divided by :math:`|\Omega| n`: the mean over the pairs of a query of the batch and a sample of the
    database, plus :math:`\gamma / n` times the mean squared distance of the queries to their codes. Before each epoch,
    all codes are solved for one bit :math:`k` after the other, for the last known :math:`U`,
    :math:`V_{*k} = \operatorname{sign} \left( K S' U_{*k} + \gamma U_{*k} - \hat{V} \hat{U}' U_{*k} \right)`, where
    :math:`\hat{U}, \hat{V}` lack bit :math:`k`.

    :math:`r` is the number of similar pairs of the database divided by that of dissimilar ones, so that :math:`S` has
    mean 0. In the paper :math:`r = 1`, which more than two classes cannot meet, as no three codes are all opposites.

    The code of a sample begins as the sign of its first output; before that, the sample does not count, and samples
    without a label never do. In evaluation mode, codes of the batch are signs of the outputs and nothing is remembered.

    The learned codes know the labels of the database. Rankings by them are not comparable with those of methods that
    hash the database as they hash queries.

    Parameters
    ----------
    gamma : float, default=200.0
        Weight of the distance of the queries to their codes.

    balanced : bool, default=True
        Whether :math:`r` balances similar and dissimilar pairs; else it is 1.

    References
    ----------
    Q.-Y. Jiang and W.-J. Li, "Asymmetric deep supervised hashing", AAAI 2018.

    Examples
    --------
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import ADSH
    >>> hasher = DeepSupervisedHasher(32, loss=ADSH(gamma=20))
    """

    def __init__(self, *, gamma=200.0, balanced=True):
        super().__init__()
        self.gamma = gamma
        self.balanced = balanced

    def set_rows(self, targets):
        """Start anew for another training set: count its similar pairs, forget codes and outputs."""
        super().set_rows(targets)
        self.ratio = 1.0
        database = targets[self.labelled]
        if not self.balanced or not len(database):
            return
        n_similar = sum(int(similarity(block, database).sum()) for block in database.split(_block_size(database)))
        n_dissimilar = len(database) ** 2 - n_similar
        if n_dissimilar:
            self.ratio = n_similar / n_dissimilar

    def _signed_similarity(self, targets, other_targets):
        """Compute S, with +1 for pairs that share a class."""
        similar = similarity(targets, other_targets)
        return similar - (1 - similar) * self.ratio

    def start_epoch(self, epoch):
        """Solve for the codes of the samples seen so far."""
        known = self.known & self.labelled
        if not known.any():
            return
        codes, outputs, targets = self.codes[known], self.all_outputs[known], self.all_targets[known]
        wanted = self.gamma * outputs
        # S is symmetric, and its rows are made block by block.
        for block in torch.arange(len(codes), device=codes.device).split(_block_size(codes)):
            wanted[block] += self.n_bits * (self._signed_similarity(targets[block], targets) @ outputs)
        descend_bits(codes, wanted, outputs.T @ outputs)
        self.codes[known] = codes

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch, and remember its outputs."""
        queries = torch.tanh(outputs)
        own = self.codes_of(queries, targets, rows)
        labelled = (targets > 0).any(dim=1)
        database = self.known & self.labelled
        # Copies: the next batch changes the bank, perhaps before gradients are taken.
        signed = self._signed_similarity(targets, self.all_targets[database])
        errors = (queries @ self.codes[database].T - self.n_bits * signed).square()
        distances = (own - queries).square().sum(dim=1)
        pairs = mean_where(errors, labelled[:, None].expand_as(errors))
        return pairs + self.gamma / len(self.codes) * mean_where(distances, labelled)


def _block_size(database):
    """Compute the number of rows of S to hold at once."""
    return max(1, _PAIRS_IN_MEMORY // len(database))
