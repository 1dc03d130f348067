"""What every loss for learning to hash offers."""

import inspect

import torch


class _Loss(torch.nn.Module):
    """What losses with and without labels share."""

    def extra_repr(self):
        """Name the settings that differ from the defaults, as scikit-learn does.

        Returns
        -------
        settings : str
            What stands in parentheses in the printed loss.
        """
        parameters = inspect.signature(type(self).__init__).parameters
        return ", ".join(
            f"{name}={getattr(self, name)!r}"
            for name, parameter in parameters.items()
            if hasattr(self, name) and getattr(self, name) != parameter.default
        )

    def start_epoch(self, epoch):
        """Advance what depends on the epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch that begins, counted from 0.
        """

    def project(self, outputs):
        """Compute what the sign is taken of when codes are made.

        Parameters
        ----------
        outputs : tensor of shape (n_batch, n_bits), dtype float
            Outputs of the network.

        Returns
        -------
        projections : tensor of shape (n_batch, n_bits), dtype float
            The outputs themselves unless a loss says otherwise.
        """
        return outputs


class HashLoss(_Loss):
    """A loss on the real outputs of a hashing network.

    A loss may own parameters (a classifier, proxies) that are trained with the network, and buffers (centres, a bank of
    earlier outputs). Subclasses take the settings of their paper in ``__init__``, create the rest in `prepare`, and
    compute the loss in ``forward``. State that changes in training belongs in parameters and buffers.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep import DeepSupervisedHasher
    >>> from skhash.deep.losses import HashLoss
    >>> class Correlation(HashLoss):
    ...     def forward(self, outputs, targets, rows):
    ...         codes = torch.tanh(outputs)
    ...         similar = 2.0 * (targets @ targets.T > 0) - 1
    ...         return -(similar * (codes @ codes.T)).mean()
    >>> hasher = DeepSupervisedHasher(32, loss=Correlation())
    """

    def __init__(self):
        super().__init__()

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        """Create parameters and buffers, once before training.

        Parameters
        ----------
        n_bits : int
            Code length.

        n_classes : int
            Number of classes.

        n_samples : int
            Number of training samples.

        targets : tensor of shape (n_samples, n_classes), dtype float
            1 for the classes of a sample, else 0; rows of zeros are unlabelled.

        generator : torch.Generator
            Source of randomness, on the CPU.
        """
        self.n_bits, self.n_classes = n_bits, n_classes

    def set_rows(self, targets):
        """Exchange the training set for another, as training goes on with new samples of the same classes.

        Losses that keep something for each row forget it here.

        Parameters
        ----------
        targets : tensor of shape (n_samples, n_classes), dtype float
            1 for the classes of a sample, else 0; on the device of the loss.
        """

    def class_centers(self):
        """Tell the fixed centres of the classes.

        Returns
        -------
        centers : tensor of shape (n_classes, n_bits), dtype float32, or None
            Codes of -1 and +1, once prepared; None where a loss has no centres that stay.
        """

    def forward(self, outputs, targets, rows):
        """Compute the loss of a batch.

        Parameters
        ----------
        outputs : tensor of shape (n_batch, n_bits), dtype float
            Outputs of the network, before the sign.

        targets : tensor of shape (n_batch, n_classes), dtype float
            1 for the classes of a sample, else 0.

        rows : tensor of shape (n_batch,), dtype int64
            Positions of the samples in the training set.

        Returns
        -------
        loss : tensor of shape (), dtype float
            Differentiable with respect to `outputs` and the parameters of the loss.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define forward.")


class UnsupervisedLoss(_Loss):
    """A loss on the real outputs of a hashing network that reads similarity from features instead of labels.

    A loss may own parameters (a decoder) that are trained with the network, and buffers (thresholds, a code for each
    row). Subclasses take the settings of their paper in ``__init__``, create the rest in `prepare`, and compute the
    loss in ``forward``.

    Attributes
    ----------
    n_views : int
        1 or 2: how many views of each row, changed at random and independently, the loss compares. An attribute of the
        class.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep import DeepUnsupervisedHasher
    >>> from skhash.deep.losses import UnsupervisedLoss
    >>> class TwoViews(UnsupervisedLoss):
    ...     n_views = 2
    ...     def forward(self, outputs, features, rows):
    ...         one, other = map(torch.tanh, outputs)
    ...         return (one - other).square().mean() + one.mean(dim=0).square().mean()
    >>> hasher = DeepUnsupervisedHasher(32, loss=TwoViews())
    """

    n_views = 1

    def __init__(self):
        super().__init__()

    def prepare(self, n_bits, features, *, generator):
        """Create parameters and buffers, once before training.

        Parameters
        ----------
        n_bits : int
            Code length.

        features : tensor of shape (n_samples, n_features), dtype float
            Reference features of all training rows, on the CPU: where the loss reads which rows are similar. They need
            not be what the network sees.

        generator : torch.Generator
            Source of randomness, on the CPU.
        """
        self.n_bits = n_bits

    def set_rows(self, features):
        """Exchange the training set for another, as training goes on with new rows.

        Losses that keep something for each row forget it here.

        Parameters
        ----------
        features : tensor of shape (n_samples, n_features), dtype float
            Reference features of the new training rows.
        """

    def forward(self, outputs, features, rows):
        """Compute the loss of a batch.

        Parameters
        ----------
        outputs : tuple of `n_views` tensors of shape (n_batch, n_bits), dtype float
            Outputs of the network for each view of the rows, before the sign.

        features : tensor of shape (n_batch, n_features), dtype float
            Reference features of the rows.

        rows : tensor of shape (n_batch,), dtype int64
            Positions of the rows in the training set.

        Returns
        -------
        loss : tensor of shape (), dtype float
            Differentiable with respect to `outputs` and the parameters of the loss; finite for a single row.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define forward.")


def similarity(targets, other_targets=None):
    """Say which pairs share a class.

    Parameters
    ----------
    targets : tensor of shape (n, n_classes), dtype float
        1 for the classes of a sample, else 0.

    other_targets : tensor of shape (m, n_classes), dtype float, default=None
        Those of other samples; the same by default.

    Returns
    -------
    similar : tensor of shape (n, m), dtype of `targets`
        1 where two samples share a class, else 0.
    """
    shared = targets @ (targets if other_targets is None else other_targets).T
    return (shared > 0).to(targets.dtype)
