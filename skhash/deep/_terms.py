"""What a training adds to the loss of a batch: the defence against attacks, the agreement with a teacher.

Imported by functions only, because it needs torch.
"""

import torch


class Term:
    """Something that is added to the loss of a batch. Its state goes into checkpoints."""

    def start_epoch(self, epoch, sizes, generator):
        """Get ready for an epoch of this training, counted from 0, whose batches have the sizes given."""

    def __call__(self, net, inputs, targets):
        """Compute what is added, given the net, the batch as it was before any augmentation, and its targets."""
        raise NotImplementedError

    def end_step(self, net):
        """See the weights after a step."""

    def end(self):
        """Give back what the training needed, also where it failed."""

    def state_dict(self):
        """Return what a checkpoint has to keep."""
        return {}

    def load_state_dict(self, state):
        """Take back what `state_dict` returned."""

    def identity(self):
        """List what tells this term from others: settings, tensors and arrays."""
        return []


class AdversarialTerm(Term):
    """The loss of rows that an attack moves away from their centres.

    Parameters
    ----------
    attack : ProjectedGradient
        The attack.

    scale : tensor or float
        Unit of the attack in each input.

    bounds : tuple of float or None
        Range of the inputs.
    """

    def __init__(self, attack, scale, bounds):
        self.attack, self.scale, self.bounds = attack, scale, bounds

    def __call__(self, net, inputs, targets):
        return self.attack.training_term(
            net.module_, net.criterion_, inputs, targets, scale=self.scale, bounds=self.bounds
        )

    def identity(self):
        return [self.attack.get_params(), self.scale]


class ConsistencyTerm(Term):
    """The disagreement of a network with its average over the steps, on two views of rows without a label.

    Parameters
    ----------
    settings : MeanTeacher
        The settings.

    teacher : AveragedTeacher
        The average.

    inputs : Inputs
        Rows without a label.

    """

    def __init__(self, settings, teacher, inputs):
        self.settings, self.teacher, self.inputs, self._batches = settings, teacher, inputs, None

    def start_epoch(self, epoch, sizes, generator):
        self._weight = self.settings.weight_at(epoch)
        wanted = [self.settings.n_unlabelled(size) for size in sizes]
        n_passes = -(-sum(wanted) // len(self.inputs))
        passes = [torch.randperm(len(self.inputs), generator=generator) for _ in range(n_passes)]
        self.end()
        self._batches = self.inputs.batches(torch.cat(passes)[: sum(wanted)], wanted)

    def __call__(self, net, inputs, targets):
        rows, _ = next(self._batches)
        with torch.no_grad():
            goal = net.criterion_.project(self.teacher(net.augmented(rows)))
        return self._weight * self.settings.consistency(net.criterion_.project(net.outputs(net.augmented(rows))), goal)

    def end_step(self, net):
        self.teacher.update(net.module_)

    def end(self):
        if self._batches is not None:
            self._batches.close()

    def state_dict(self):
        return self.teacher.state_dict()

    def load_state_dict(self, state):
        self.teacher.load_state_dict(state)

    def identity(self):
        return [self.settings.get_params(), *self.inputs.identity()]
