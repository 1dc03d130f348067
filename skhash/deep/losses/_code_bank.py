"""What losses that learn a code of its own for each training sample share."""

import torch

from ._base import HashLoss


class CodeBankLoss(HashLoss):
    """A loss that remembers the last output of each training sample and keeps a code for it.

    The code of a sample begins as the sign of its first output in training. Until then it is a row of zeros, and
    `known` is False. Subclasses improve the codes in ``start_epoch``.
    """

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Create room for the outputs and codes of all training samples."""
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.set_rows(targets)

    def set_rows(self, targets):
        """Start anew for another training set, of which nothing is known but the labels.

        Parameters
        ----------
        targets : tensor of shape (n_samples, n_classes), dtype float
            1 for the classes of a sample, else 0; rows of zeros are unlabelled.
        """
        self.register_buffer("all_targets", targets.clone())
        self.register_buffer("all_outputs", targets.new_zeros(len(targets), self.n_bits))
        self.register_buffer("codes", targets.new_zeros(len(targets), self.n_bits))

    @property
    def known(self):
        """Which training samples have a code: tensor of shape (n_samples,), dtype bool."""
        return (self.codes != 0).any(dim=1)

    @property
    def labelled(self):
        """Which training samples have a label: tensor of shape (n_samples,), dtype bool."""
        return (self.all_targets > 0).any(dim=1)

    def codes_of(self, outputs, targets, rows):
        """Remember the outputs of a batch in training, and look up its codes.

        In evaluation mode the codes are the signs of the outputs, and nothing is remembered.

        Parameters
        ----------
        outputs : tensor of shape (n, n_bits), dtype float
            What to remember.

        targets : tensor of shape (n, n_classes), dtype float
            Labels of the batch.

        rows : tensor of shape (n,), dtype int64
            Positions of the samples in the training set.

        Returns
        -------
        codes : tensor of shape (n, n_bits), dtype of `outputs`
            -1 and +1.

        Raises
        ------
        ValueError
            If the labels are not those of these rows of the training set.
        """
        outputs = outputs.detach()
        if not self.training:
            return signs(outputs)
        if int(rows.max()) >= len(self.codes) or not torch.equal(targets, self.all_targets[rows]):
            raise ValueError(
                f"{type(self).__name__} keeps a code for each of {len(self.codes)} training samples, and the batch is "
                "of others; train from the start."
            )
        self.all_outputs[rows] = outputs
        self.codes[rows] = torch.where(self.codes[rows] == 0, signs(outputs), self.codes[rows])
        return self.codes[rows]


def signs(values):
    """Compute signs, +1 for 0."""
    return torch.where(values >= 0, 1.0, -1.0).to(values.dtype)


def descend_bits(codes, wanted, gram):
    r"""Improve codes by one turn of discrete coordinate descent.

    .. math:: \min_B \operatorname{tr}(B G B') - 2 \operatorname{tr}(B Q')

    is solved for one bit :math:`k` of all codes after the other, while the rest stays as it is:
    :math:`B_{*k} = \operatorname{sign} \big( Q_{*k} - \sum_{l \ne k} B_{*l} G_{lk} \big)`.

    Parameters
    ----------
    codes : tensor of shape (n, n_bits), dtype float
        :math:`B` of -1 and +1; changed in place.

    wanted : tensor of shape (n, n_bits), dtype float
        :math:`Q`.

    gram : tensor of shape (n_bits, n_bits), dtype float
        Symmetric :math:`G`; its diagonal plays no part.
    """
    gram = gram - torch.diag(torch.diagonal(gram))
    for k in range(codes.shape[1]):
        codes[:, k] = signs(wanted[:, k] - codes @ gram[k])
