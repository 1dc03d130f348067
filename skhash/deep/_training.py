"""The training loop: a skorch net whose batches are slices of tensors and whose epochs are judged by their codes.

Imported by functions only, because it needs torch.
"""

import copy
import math
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet

from ..codes import pack_bits
from ..metrics import mean_average_precision

_OPTIMIZERS = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"optimizer__momentum": 0.9}),
}

# Rows that pass through the network together when validation codes are made.
_BLOCK_ROWS = 1024

# Outputs that no sound training comes to, and that losses may be expected to overflow for.
_LARGE_OUTPUT = 1e6

_training_lock = threading.RLock()
_threads_lock = threading.Lock()
_n_limited = 0
_n_threads_outside = 1


def _forget_locks():
    """A child of a fork would wait for ever for a lock that some other thread held at that moment."""
    global _training_lock, _threads_lock
    _training_lock, _threads_lock = threading.RLock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


@contextmanager
def torch_threads(n_threads):
    """Hold torch to a number of CPU threads in the calling thread, because sums round by how they are divided.

    The setting that the first caller found is put back by everyone who leaves: a thread that starts meanwhile would
    take the limit of another one for its own.

    Parameters
    ----------
    n_threads : int
        Number of threads.
    """
    global _n_limited, _n_threads_outside
    with _threads_lock:
        if not _n_limited:
            _n_threads_outside = torch.get_num_threads()
        _n_limited += 1
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        with _threads_lock:
            torch.set_num_threads(_n_threads_outside)
            _n_limited -= 1


@contextmanager
def isolated_torch(n_threads, device):
    """Lend torch's only random state to one training at a time, and put it back afterwards.

    Parameters
    ----------
    n_threads : int
        Number of CPU threads.

    device : torch.device
        Where the training runs.
    """
    cuda_devices = [device] if device.type == "cuda" else []
    with _training_lock, torch.random.fork_rng(cuda_devices), torch_threads(n_threads):
        yield


def as_tensors(*arrays):
    """Turn arrays into tensors that share their memory.

    Parameters
    ----------
    *arrays : ndarray
        Writable arrays.

    Returns
    -------
    tensors : list of tensor
        On the CPU.
    """
    return [torch.from_numpy(array) for array in arrays]


def seed_torch(seed, *path):
    """Seed torch's random state, and return a generator of the same seed on the CPU.

    Parameters
    ----------
    seed : int
        Seed of the estimator.

    *path : int
        What the random numbers are for; each path has numbers of its own.

    Returns
    -------
    generator : torch.Generator
        Source of randomness.
    """
    number = int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])
    torch.manual_seed(number)
    return torch.Generator().manual_seed(number)


@dataclass(frozen=True)
class Rows:
    """Features (n, d) and targets (n, n_classes), float32 on the device of the training."""

    features: torch.Tensor
    targets: torch.Tensor

    def __len__(self):
        return len(self.features)


@dataclass(frozen=True)
class Validation:
    """Features (n, d) on the device of the training, and the labels that rankings are scored by."""

    features: torch.Tensor
    labels: NDArray


@dataclass
class Plan:
    """What a training is told: how long, how fast, what to watch and what to say."""

    name: str
    epochs: int
    lr: float
    lr_schedule: str | None
    patience: int | None
    seed: int
    verbose: bool
    validation: Validation | None


class _Batches:
    """Iterate over the batches of an epoch in random order: rows are taken by index, never one by one."""

    def __init__(self, rows, batch_size, generator):
        self.rows, self.batch_size, self.generator = rows, batch_size, generator

    def __iter__(self):
        order = torch.randperm(len(self.rows), generator=self.generator).to(self.rows.features.device)
        starts = list(range(0, len(order), self.batch_size))
        # A batch norm cannot learn from a single row, so that it joins the batch before.
        if len(starts) > 1 and len(order) - starts[-1] == 1:
            starts.pop()
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
            positions = order[start:end]
            yield self.rows.features[positions], (self.rows.targets[positions], positions)


class HashingNet(NeuralNet):
    """A skorch net of a network and a loss for hashing."""

    @property
    def _default_callbacks(self):
        """None of skorch's own, which keep every batch in the history."""
        return []

    def get_iterator(self, dataset, training=False):
        return _Batches(dataset, self.batch_size, self._generator)

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Start no record of the batch: a history of all would grow with the data."""

    def get_loss(self, y_pred, y_true, X=None, training=False):
        targets, positions = y_true
        loss = self.criterion_(y_pred, targets, positions)
        if not math.isfinite(loss.item()):
            raise ValueError(self._say_why_not_finite(loss.item(), y_pred))
        return loss

    def train(self, rows, plan):
        """Train for some epochs, and end with the weights of the best of them where there is a validation.

        Parameters
        ----------
        rows : Rows
            Training rows.

        plan : Plan
            What to do.
        """
        self._plan, self._n_steps = plan, 0
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
            self._set_training(False)
            self._plan = self._generator = None

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        plan = self._plan
        best, best_score, best_epoch = None, -math.inf, 0
        for epoch in range(plan.epochs):
            self._generator = seed_torch(plan.seed, 1, len(self.history))
            self._set_learning_rate(epoch)
            self.criterion_.start_epoch(len(self.history))
            started = time.perf_counter()
            self.notify("on_epoch_begin", dataset_train=X, dataset_valid=plan.validation)
            self.run_single_epoch(self.get_iterator(X, training=True), True, "train", self.train_step)
            self.history.record("samples_per_second", len(X) / (time.perf_counter() - started))
            self._check_weights()
            if plan.validation is not None:
                score = self._validate()
                if score > best_score:
                    best, best_score, best_epoch = self._state(with_optimizer=False), score, epoch
            self.notify("on_epoch_end", dataset_train=X, dataset_valid=plan.validation)
            if plan.verbose:
                print(self._progress_line(epoch), flush=True)
            if best is not None and plan.patience is not None and epoch - best_epoch >= plan.patience:
                break
        if best is not None:
            self._restore(best)
        return self

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run the batches of an epoch, and record their mean loss."""
        total, n_rows = 0.0, 0
        for number, batch in enumerate(iterator):
            self._batch_number = number
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            total += step["loss"].item() * len(batch[0])
            n_rows += len(batch[0])
            self._n_steps += 1
            self.notify("on_batch_end", batch=batch, training=training, **step)
        self.history.record(f"{prefix}_loss", total / n_rows)

    def project(self, features):
        """Compute what the signs are taken of, in evaluation mode.

        Parameters
        ----------
        features : tensor of shape (n, n_features), dtype float32
            Rows on any device.

        Returns
        -------
        projections : tensor of shape (n, n_bits), dtype float32
            On the CPU.
        """
        with torch.inference_mode():
            return self.criterion_.project(self.module_(features.to(self.device))).cpu()

    def _validate(self):
        """Score the validation rows, each ranked against the others."""
        self._set_training(False)
        validation = self._plan.validation
        # Of copies, because a network may begin with a layer that works in place.
        projections = [self.project(block.clone()) for block in validation.features.split(_BLOCK_ROWS)]
        bits = torch.cat(projections).numpy() >= 0
        score = mean_average_precision(pack_bits(bits), None, validation.labels, zero_relevant="skip")
        self.history.record("valid_map", score)
        self.history.record("bit_balance", float(np.mean(1 - np.abs(2 * bits.mean(axis=0) - 1))))
        return score

    def _state(self, *, with_optimizer=True):
        parts = [self.module_, self.criterion_] + [self.optimizer_] * with_optimizer
        return [copy.deepcopy(part.state_dict()) for part in parts]

    def _restore(self, state):
        for part, values in zip((self.module_, self.criterion_, self.optimizer_), state, strict=False):
            part.load_state_dict(values)

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

    def _weights_are_finite(self):
        return all(bool(torch.isfinite(parameter).all()) for _, parameter in self.get_all_learnable_params())

    def _say_why_not_finite(self, loss, outputs):
        plan = self._plan
        where = f"{plan.name}: the loss is {loss} in epoch {len(self.history)}, batch {self._batch_number + 1}"
        largest = float(outputs.detach().abs().max())
        if self._n_steps and not largest < _LARGE_OUTPUT:
            return f"{where}, because the outputs of the network grew to {largest:.3g}; lower lr={plan.lr:g}."
        if not math.isfinite(largest):
            return f"{where}, before any step, because features overflow in the network; scale them."
        return (
            f"{where}, though the outputs of the network are only up to {largest:.3g}: the loss "
            f"{type(self.criterion_).__name__} itself fails; lower lr={plan.lr:g}, or check the loss if it is your own."
        )

    def _check_weights(self):
        if not self._weights_are_finite():
            raise ValueError(
                f"{self._plan.name}: the weights overflowed at the end of epoch {len(self.history)}; lower "
                f"lr={self._plan.lr:g}."
            )


def make_net(network, loss, *, optimizer, lr, batch_size, weight_decay, device, net_params, name):
    """Build a skorch net around a network and a loss.

    Parameters
    ----------
    network : nn.Module
        Moves to the device.

    loss : HashLoss
        Prepared; moves to the device.

    optimizer : str or type
        A name, or a class of optimizers of torch.

    lr : float
        Learning rate.

    batch_size : int
        Rows a step.

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
    settings = {"optimizer": optimizer_class, "optimizer__weight_decay": weight_decay, **settings}
    settings = {
        **settings,
        "lr": lr,
        "batch_size": batch_size,
        "device": str(device),
        "train_split": None,
        "verbose": 0,
    }
    try:
        net = HashingNet(network, loss, **{**settings, **(net_params or {})}).initialize()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: the net cannot be built ({' '.join(str(error).split())}).") from error
    # The trained ones are module_ and criterion_; a pickle would hold both twice.
    net.module, net.criterion = type(network), type(loss)
    return net


def check_device(device, *, name):
    """Resolve the name of a device.

    Parameters
    ----------
    device : str
        Torch device; "auto" takes CUDA where it is available.

    name : str
        The estimator, for messages.

    Returns
    -------
    device : torch.device
        A device that works.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{name}: device={device!r} cannot be used ({reason}); use 'auto' or 'cpu'.") from error
