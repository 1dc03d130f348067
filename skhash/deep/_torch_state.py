"""What torch keeps for the whole process, lent to one training at a time: its random state, its number of threads.

Imported by functions only, because it needs torch.
"""

import os
import threading
from contextlib import contextmanager

import numpy as np
import torch

from .._validation import shown

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
        reason = str(error).strip().splitlines()[0][:200]
        raise ValueError(f"{name}: device={shown(device)} cannot be used ({reason}); use 'auto' or 'cpu'.") from error
