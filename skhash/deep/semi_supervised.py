"""Learning from rows without labels beside those with labels, by consistency with an averaged teacher."""

import copy
import math
from numbers import Integral, Real

import torch
from sklearn.base import BaseEstimator
from torch import nn

from .._sklearn import Interval

__all__ = ["AveragedTeacher", "MeanTeacher"]


class MeanTeacher(BaseEstimator):
    r"""Ask a network to agree, on rows without labels, with an average of its own earlier weights.

    To the loss of the labelled rows, each step adds :math:`w(t) J` with

    .. math:: J = \frac{1}{nK} \sum_{ik} \Big( \frac{z_{ik}}{r(z_i)} - \frac{z'_{ik}}{r(z'_i)} \Big)^2, \quad
        r(z) = \sqrt{\tfrac{1}{K} \sum_k z_k^2}, \quad
        w(t) = w \exp\!\big( -5 (1 - \min(t / T, 1))^2 \big).

    :math:`z` are the projections of the network and :math:`z'`, which count as constants, those of the teacher, each of
    a view of its own of the same :math:`n` rows. :math:`t` is the epoch, counted from 0.

    Parameters
    ----------
    weight : float, default=0.3
        Weight :math:`w` of the consistency.

    decay : float, default=0.99
        Share of the teacher's weights that stays in a step, once enough steps are done.

    ramp_epochs : int, default=5
        Number :math:`T` of epochs in which the weight grows; 0 starts with all of it.

    batch_ratio : float, default=1.0
        Unlabelled rows in a step for each labelled one.

    See Also
    --------
    AveragedTeacher : The average itself.

    Notes
    -----
    The paper compares class probabilities, which have a scale. Plain projections have none in losses of cosines, where
    a network can lower their differences by shrinking them; divided by their own root mean square, as here, only their
    directions count, and :math:`J` is the mean of :math:`2 - 2 \cos(z, z')`.

    Whether it helps depends on the loss: on frozen CNN features of CIFAR-10 with 10 labels a class, it added about two
    points of mAP to OrthoHash and nothing to CSQ and DPSH. Compare on validation rows. The student had the better codes
    there, not the teacher.

    References
    ----------
    A. Tarvainen and H. Valpola, "Mean teachers are better role models: weight-averaged consistency targets improve
    semi-supervised deep learning results", NeurIPS 2017.

    Examples
    --------
    >>> from skhash.deep.semi_supervised import MeanTeacher
    >>> [round(MeanTeacher(weight=1.0, ramp_epochs=2).weight_at(epoch), 4) for epoch in range(3)]
    [0.0067, 0.2865, 1.0]
    """

    _parameter_constraints: dict = {
        "weight": [Interval(Real, 0, None, closed="left")],
        "decay": [Interval(Real, 0, 1, closed="left")],
        "ramp_epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_ratio": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, *, weight=0.3, decay=0.99, ramp_epochs=5, batch_ratio=1.0):
        self.weight = weight
        self.decay = decay
        self.ramp_epochs = ramp_epochs
        self.batch_ratio = batch_ratio

    def start(self, network):
        """Make a teacher of the weights that a network has now.

        Parameters
        ----------
        network : nn.Module
            The student.

        Returns
        -------
        teacher : AveragedTeacher
            On the device of the network.

        Raises
        ------
        ValueError
            If a parameter is out of its range.
        """
        self._validate_params()
        return AveragedTeacher(network, decay=self.decay)

    def weight_at(self, epoch):
        """Compute the weight of the consistency in an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, counted from 0.

        Returns
        -------
        weight : float
            From ``weight * exp(-5)`` up to `weight`.
        """
        if epoch >= self.ramp_epochs:
            return self.weight
        return self.weight * math.exp(-5 * (1 - epoch / self.ramp_epochs) ** 2)

    def n_unlabelled(self, n_labelled):
        """Say how many unlabelled rows go with the labelled rows of a step.

        Parameters
        ----------
        n_labelled : int
            Labelled rows of the step.

        Returns
        -------
        n_unlabelled : int
            At least 1.
        """
        return max(1, round(self.batch_ratio * n_labelled))

    def consistency(self, student_projections, teacher_projections):
        """Compute how far two sets of projections are apart in direction.

        Parameters
        ----------
        student_projections : tensor of shape (n, n_bits), dtype float
            Of one view of the rows.

        teacher_projections : tensor of shape (n, n_bits), dtype float
            Of another view; no gradient reaches them.

        Returns
        -------
        loss : tensor of shape (), dtype float
            Mean over rows and bits, from 0 to 4, without the weight.
        """
        return (_unit_scale(student_projections) - _unit_scale(teacher_projections.detach())).square().mean()


class AveragedTeacher(nn.Module):
    r"""Exponential average of the weights of a network.

    After step :math:`t` of the student with parameters :math:`\theta`,
    :math:`\theta' \leftarrow d_t \theta' + (1 - d_t) \theta` with :math:`d_t = \min(d, 1 - 1 / (t + 1))`: at first the
    plain mean of all weights so far, so that the random ones of the start are soon forgotten. Buffers of real numbers
    are averaged alike, as the statistics of a batch norm belong to the weights that they were seen with; others are
    copied. The teacher stays in evaluation mode, and its parameters take no gradient. All of its state, the number of
    steps too, is in its ``state_dict``.

    Parameters
    ----------
    network : nn.Module
        The student, which is copied.

    decay : float, default=0.99
        Largest share :math:`d` of the average that stays in a step.

    See Also
    --------
    MeanTeacher : The settings of a training with a teacher.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.semi_supervised import AveragedTeacher
    >>> student = torch.nn.Linear(3, 2)
    >>> teacher = AveragedTeacher(student)
    >>> teacher.update(student)
    >>> teacher.n_updates.item()
    1
    """

    def __init__(self, network, *, decay=0.99):
        super().__init__()
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.int64))
        self.eval()

    def train(self, mode=True):
        """Stay in evaluation mode, whatever is asked for.

        Parameters
        ----------
        mode : bool, default=True
            Ignored.

        Returns
        -------
        self : AveragedTeacher
            The teacher.
        """
        return super().train(False)

    @torch.no_grad()
    def update(self, network):
        """Take the weights of the student into the average, after a step.

        Parameters
        ----------
        network : nn.Module
            The student.
        """
        self.n_updates += 1
        decay = min(self.decay, 1 - 1 / (self.n_updates.item() + 1))
        pairs = [
            *zip(self.network.parameters(), network.parameters(), strict=True),
            *zip(self.network.buffers(), network.buffers(), strict=True),
        ]
        for average, value in pairs:
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    @torch.no_grad()
    def forward(self, inputs):
        """Compute the outputs of the averaged network, without a gradient.

        Parameters
        ----------
        inputs : tensor of shape (n, ...), dtype float
            Rows.

        Returns
        -------
        outputs : tensor of shape (n, n_bits), dtype float
            One real number a bit.
        """
        return self.network(inputs)


def _unit_scale(projections):
    """Divide rows by their root mean square; rows of zeros stay."""
    # Inside of the root, because its derivative at 0 is infinite.
    power = projections.square().mean(dim=1, keepdim=True)
    return projections * power.clamp(min=torch.finfo(power.dtype).tiny).rsqrt()
