"""The training loop: a skorch net whose batches are slices of tensors and whose epochs are judged by their codes.

Imported by functions only, because it needs torch.
"""

import copy
import io
import math
import pickle
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet

from .._optional import import_optional
from ..codes import pack_bits
from ..metrics import mean_average_precision
from ._inputs import Inputs
from ._torch_state import seed_torch

_OPTIMIZERS = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"optimizer__momentum": 0.9}),
}

# The part of a network that was trained before, and its share of the learning rate.
_BACKBONE, _BACKBONE_RATE = "backbone.*", 0.1

# Rows of features, and images, that pass through the network together when validation codes are made.
_BLOCK_ROWS, _BLOCK_IMAGES = 1024, 128

# Outputs that no sound training comes to, and that losses may be expected to overflow for.
_LARGE_OUTPUT = 1e6

# Batches whose losses are looked at together on a GPU, which would have to wait for each look.
_BATCHES_A_LOOK = 100


@dataclass(frozen=True)
class Rows:
    """Inputs of a training, and what the loss is told of each: a tensor of as many rows on the same device."""

    inputs: Inputs
    told: torch.Tensor

    def __len__(self):
        return len(self.inputs)


@dataclass(frozen=True)
class Validation:
    """Inputs, and the labels that rankings are scored by."""

    inputs: Inputs
    labels: NDArray


@dataclass
class Plan:
    """What a training is told: how long, how fast, what to watch, what to say and what to keep."""

    name: str
    epochs: int
    batch_size: int
    lr: float
    seed: int
    lr_schedule: str | None = None
    patience: int | None = None
    verbose: bool = False
    validation: Validation | None = None
    augment: Callable | None = None
    mixed_precision: bool = False
    terms: list = field(default_factory=list)
    n_passes: int = 1
    checkpoint: Path | None = None
    fingerprint: str = ""
    has_warned: bool = False


class Batches:
    """Iterate over the batches of an epoch in random order: rows are taken by index, never one by one.

    Parameters
    ----------
    rows : Rows
        Rows of the training.

    batch_size : int
        Rows of a batch.

    generator : torch.Generator
        Source of the order, on the CPU.

    n_passes : int, default=1
        How many times each row is seen in the epoch.
    """

    def __init__(self, rows, batch_size, generator, *, n_passes=1):
        self.rows, self.generator, self.n_passes = rows, generator, n_passes
        n_rows = len(rows)
        self.sizes = [batch_size] * (n_rows // batch_size)
        rest = n_rows % batch_size
        # A batch norm cannot learn from a single row, so that it joins the batch before.
        if rest == 1 and self.sizes:
            self.sizes[-1] += 1
        elif rest:
            self.sizes.append(rest)
        self.sizes *= n_passes

    def __len__(self):
        return len(self.sizes)

    def __iter__(self):
        passes = [torch.randperm(len(self.rows), generator=self.generator) for _ in range(self.n_passes)]
        order = passes[0] if self.n_passes == 1 else torch.cat(passes)
        for inputs, positions in self.rows.inputs.batches(order, self.sizes):
            yield inputs, (self.rows.told[positions], positions)


class HashingNet(NeuralNet):
    """A skorch net of a network and a loss for hashing."""

    @property
    def _default_callbacks(self):
        """None of skorch's own, which keep every batch in the history."""
        return []

    def get_iterator(self, dataset, training=False):
        return Batches(dataset, self._plan.batch_size, self._generator, n_passes=self._plan.n_passes)

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Start no record of the batch: a history of all would grow with the data."""

    def train(self, rows, plan):
        """Train for some epochs, and end with the weights of the best of them where there is a validation.

        Parameters
        ----------
        rows : Rows
            Training rows.

        plan : Plan
            What to do.
        """
        self._plan, self._n_steps, self._unseen = plan, 0, []
        before, n_epochs_before = self._state(), len(self.history)
        try:
            self.notify("on_train_begin", X=rows, y=None)
            self.fit_loop(rows)
            self.notify("on_train_end", X=rows, y=None)
        except BaseException:
            # What was fitted before stays as it was.
            self._restore(before)
            del self.history[n_epochs_before:]
            raise
        finally:
            for term in plan.terms:
                term.end()
            self._set_training(False)
            self._plan = self._generator = self._unseen = None

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        plan = self._plan
        progress = self._resume() or _Progress()
        while progress.epoch < plan.epochs and not progress.is_over(plan.patience):
            self._generator = seed_torch(plan.seed, 1, len(self.history))
            self._set_learning_rate(progress.epoch)
            self.criterion_.start_epoch(len(self.history))
            started = time.perf_counter()
            self.notify("on_epoch_begin", dataset_train=X, dataset_valid=plan.validation)
            self._set_training(True)
            batches = self.get_iterator(X, training=True)
            for term in plan.terms:
                term.start_epoch(progress.epoch, batches.sizes, self._generator)
            # Threads that read ahead end with the iterator, also where a batch fails.
            with closing(iter(batches)) as running, _batch_bar(running, len(batches), plan, progress.epoch) as shown:
                self.run_single_epoch(shown, True, "train", self.train_step)
            self.history.record("samples_per_second", sum(batches.sizes) / (time.perf_counter() - started))
            self._check_weights()
            if plan.validation is not None:
                score = self._validate()
                if score > progress.best_score:
                    progress.best, progress.best_score = self._state(with_optimizer=False), score
                    progress.best_epoch = progress.epoch
            self.notify("on_epoch_end", dataset_train=X, dataset_valid=plan.validation)
            if plan.verbose:
                print(self._progress_line(progress.epoch), flush=True)
            progress.epoch += 1
            self._save(progress)
        if progress.best is not None:
            self._restore(progress.best)
        return self

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run the batches of an epoch, and record their mean loss."""
        total, n_rows = 0.0, 0
        for number, batch in enumerate(iterator):
            self._batch_number = number
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            for term in self._plan.terms:
                term.end_step(self)
            total += step["loss"].detach() * len(batch[0])
            n_rows += len(batch[0])
            self._n_steps += 1
            self.notify("on_batch_end", batch=batch, training=training, **step)
        self._look()
        self.history.record(f"{prefix}_loss", float(total) / n_rows)

    def train_step_single(self, batch, **fit_params):
        """Compute the loss of a batch and its gradients."""
        inputs, (told, positions) = batch
        n_views = getattr(self.criterion_, "n_views", None)
        outputs = tuple(self.outputs(self.augmented(inputs)) for _ in range(n_views or 1))
        loss = self.criterion_(outputs[0] if n_views is None else outputs, told, positions)
        for term in self._plan.terms:
            loss = loss + term(self, inputs, told)
        self._watch(loss, outputs[0])
        loss.backward()
        return {"loss": loss, "y_pred": outputs[0]}

    def augmented(self, inputs):
        """Make a view of a batch.

        Parameters
        ----------
        inputs : tensor of shape (n, ...), dtype float32
            Rows.

        Returns
        -------
        view : tensor of shape (n, ...), dtype float32
            Changed at random, where the training augments.
        """
        return inputs if self._plan.augment is None else self._plan.augment(inputs)

    def outputs(self, inputs):
        """Compute the outputs of a batch in the precision of the training.

        Parameters
        ----------
        inputs : tensor of shape (n, ...), dtype float32
            Rows.

        Returns
        -------
        outputs : tensor of shape (n, n_bits), dtype float32
            One real number a bit.
        """
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self._plan.mixed_precision):
            outputs = self.module_(inputs)
        return outputs.float()

    def project(self, inputs):
        """Compute what the signs are taken of, in evaluation mode.

        Parameters
        ----------
        inputs : tensor of shape (n, ...), dtype float32
            Rows as the network takes them, on any device.

        Returns
        -------
        projections : tensor of shape (n, n_bits), dtype float32
            On the CPU.
        """
        with torch.inference_mode():
            return self.criterion_.project(self.module_(inputs.to(self.device))).cpu()

    def __getstate__(self):
        """Pickle tensors of any device as tensors on the CPU, so that a pickle can be loaded anywhere."""
        state = {**self.__dict__, "device": "cpu"}
        prefixes = tuple(self.cuda_dependent_attributes_)
        trained = {name: state.pop(name) for name in self.__dict__ if name.startswith(prefixes)}
        with io.BytesIO() as file:
            _PicklerToCPU(file).dump(trained)
            return {**state, "_trained": file.getvalue()}

    def __setstate__(self, state):
        trained = pickle.loads(state.pop("_trained"))
        self.__dict__.update(state, **trained)

    def _validate(self):
        """Score the validation rows, each ranked against the others."""
        self._set_training(False)
        inputs, labels = self._plan.validation.inputs, self._plan.validation.labels
        with closing(in_order(inputs)) as blocks:
            bits = np.concatenate([self.project(block).numpy() >= 0 for block in blocks])
        score = mean_average_precision(pack_bits(bits), None, labels, zero_relevant="skip")
        self.history.record("valid_map", score)
        self.history.record("bit_balance", float(np.mean(1 - np.abs(2 * bits.mean(axis=0) - 1))))
        return score

    def _parts(self, *, with_optimizer=True):
        terms = self._plan.terms if with_optimizer else []
        return [self.module_, self.criterion_] + [self.optimizer_] * with_optimizer + terms

    def _state(self, *, with_optimizer=True):
        return [copy.deepcopy(part.state_dict()) for part in self._parts(with_optimizer=with_optimizer)]

    def _restore(self, state):
        for part, values in zip(self._parts(), state, strict=False):
            part.load_state_dict(values)

    def _resume(self):
        """Go on from a checkpoint of the same training, if there is one."""
        from ._checkpoints import read_checkpoint

        plan = self._plan
        if plan.checkpoint is None:
            return None
        kept = read_checkpoint(plan.checkpoint, fingerprint=plan.fingerprint, device=self.device)
        if kept is None:
            return None
        self._restore(kept["parts"])
        self.history.clear()
        self.history.extend(kept["history"])
        progress = _Progress(**kept["progress"])
        # "before any step" would be a wrong cause of a loss that is not finite.
        self._n_steps = 1
        if plan.verbose:
            print(f"[{plan.name}] goes on after epoch {progress.epoch}/{plan.epochs} of {plan.checkpoint}", flush=True)
        return progress

    def _save(self, progress):
        from ._checkpoints import write_checkpoint

        plan = self._plan
        if plan.checkpoint is None:
            return
        kept = {"parts": self._state(), "history": list(self.history), "progress": vars(progress)}
        try:
            write_checkpoint(plan.checkpoint, kept, fingerprint=plan.fingerprint)
        except OSError as error:
            # Hours of training are worth more than the file; the one of an earlier epoch is still whole.
            if not plan.has_warned:
                warnings.warn(
                    f"{plan.name}: the checkpoint {str(plan.checkpoint)!r} could not be written after epoch "
                    f"{progress.epoch} ({error.strerror or error}); the training goes on, and every later epoch tries "
                    "again: free the disk.",
                    UserWarning,
                    stacklevel=2,
                )
            plan.has_warned = True

    def _set_learning_rate(self, epoch):
        plan = self._plan
        factor = (1 + math.cos(math.pi * epoch / plan.epochs)) / 2 if plan.lr_schedule == "cosine" else 1.0
        for group in self.optimizer_.param_groups:
            # Groups that `net_params` gave a rate of their own keep the ratio.
            ratio = group.setdefault("lr_ratio", group["lr"] / self.lr)
            group["lr"] = plan.lr * ratio * factor

    def _progress_line(self, epoch):
        plan, record = self._plan, self.history[-1]
        line = f"[{plan.name}] epoch {epoch + 1}/{plan.epochs}  loss {record['train_loss']:.4g}"
        if plan.validation is not None:
            line += f"  validation mAP {record['valid_map']:.4f}  bit balance {record['bit_balance']:.2f}"
        return line + f"  {record['samples_per_second']:.0f} samples/s"

    def _watch(self, loss, outputs):
        """Stop at a loss that is not finite: at once on a CPU, on a GPU after some batches."""
        self._unseen.append((self._batch_number, loss.detach(), outputs.detach()))
        if loss.device.type == "cpu" or len(self._unseen) == _BATCHES_A_LOOK:
            self._look()

    def _look(self):
        unseen, self._unseen = self._unseen, []
        if not unseen or bool(torch.stack([loss for _, loss, _ in unseen]).isfinite().all()):
            return
        number, loss, outputs = next(entry for entry in unseen if not math.isfinite(entry[1].item()))
        raise ValueError(self._say_why_not_finite(number, loss.item(), float(outputs.abs().max())))

    def _say_why_not_finite(self, number, loss, largest):
        plan = self._plan
        where = f"{plan.name}: the loss is {loss} in epoch {len(self.history)}, batch {number + 1}"
        if (self._n_steps or number) and not largest < _LARGE_OUTPUT:
            return f"{where}, because the outputs of the network grew to {largest:.3g}; lower lr={plan.lr:g}."
        if not math.isfinite(largest):
            return f"{where}, before any step, because inputs overflow in the network; scale them."
        return (
            f"{where}, though the outputs of the network are only up to {largest:.3g}: the loss "
            f"{type(self.criterion_).__name__} itself fails; lower lr={plan.lr:g}, or check the loss if it is your own."
        )

    def _check_weights(self):
        if not all(bool(torch.isfinite(parameter).all()) for _, parameter in self.get_all_learnable_params()):
            raise ValueError(
                f"{self._plan.name}: the weights overflowed at the end of epoch {len(self.history)}; lower "
                f"lr={self._plan.lr:g}."
            )


class _PicklerToCPU(pickle.Pickler):
    def reducer_override(self, obj):
        # The data of a parameter comes by here, too.
        if type(obj) is torch.Tensor and obj.device.type != "cpu":
            return obj.detach().cpu().requires_grad_(obj.requires_grad).__reduce_ex__(pickle.DEFAULT_PROTOCOL)
        return NotImplemented


@dataclass
class _Progress:
    """How far a training has come."""

    epoch: int = 0
    best: list | None = None
    best_score: float = -math.inf
    best_epoch: int = 0

    def is_over(self, patience):
        return self.best is not None and patience is not None and self.epoch - 1 - self.best_epoch >= patience


def _batch_bar(batches, n_batches, plan, epoch):
    """Show a bar that vanishes with the epoch, where stderr is a terminal."""
    tqdm = import_optional("tqdm", extra="deep", feature=plan.name).tqdm
    return tqdm(
        batches,
        total=n_batches,
        desc=f"epoch {epoch + 1}/{plan.epochs}",
        unit="batch",
        leave=False,
        # None means: where it is a terminal.
        disable=None if plan.verbose else True,
    )


def in_order(inputs):
    """Cut inputs into batches in their order.

    Parameters
    ----------
    inputs : Inputs
        Any rows.

    Yields
    ------
    batch : tensor of shape (n, ...), dtype float32
        As the network takes them.
    """
    n_rows, block = len(inputs), _BLOCK_ROWS if len(inputs.row_shape) == 1 else _BLOCK_IMAGES
    sizes = [min(block, n_rows - start) for start in range(0, n_rows, block)]
    for batch, _ in inputs.batches(torch.arange(n_rows), sizes):
        yield batch


def make_net(network, loss, *, optimizer, lr, weight_decay, device, net_params, name):
    """Build a skorch net around a network and a loss.

    Parameters
    ----------
    network : nn.Module
        Moves to the device.

    loss : HashLoss or UnsupervisedLoss
        Prepared; moves to the device.

    optimizer : str or type
        A name, or a class of optimizers of torch.

    lr : float
        Learning rate; that of a submodule named ``backbone`` is a tenth of it.

    weight_decay : float
        Passed to the optimizer.

    device : torch.device
        Where to train.

    net_params : dict or None
        More parameters of the skorch net.

    name : str
        The estimator, for messages.

    Returns
    -------
    net : HashingNet
        Initialized.

    Raises
    ------
    ValueError
        If skorch or the optimizer refuses a parameter.
    """
    optimizer_class, settings = _OPTIMIZERS[optimizer] if isinstance(optimizer, str) else (optimizer, {})
    settings = {"optimizer": optimizer_class, "optimizer__weight_decay": float(weight_decay), **settings}
    if hasattr(network, "backbone"):
        settings["optimizer__param_groups"] = [(_BACKBONE, {"lr": _BACKBONE_RATE * lr})]
    settings |= {"lr": lr, "device": str(device), "train_split": None, "verbose": 0}
    try:
        net = HashingNet(network, loss, **{**settings, **(net_params or {})}).initialize()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: the net cannot be built ({' '.join(str(error).split())}).") from error
    # The trained ones are module_ and criterion_; a pickle would hold both twice.
    net.module, net.criterion = type(network), type(loss)
    return net
