"""One network on several CPU threads: each takes a part of the batch and runs all layers on it alone.

Torch itself splits every layer among its threads, which wait for each other up to a hundred times a batch. Where
another process keeps one core busy, every one of these waits lasts until the system hands that core back. Parts of a
batch wait for each other once.

Imported by functions only, because it needs torch.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from threadpoolctl import ThreadpoolController


def map_parts(function: Callable[[torch.Tensor], np.ndarray], batch: torch.Tensor) -> np.ndarray:
    """Apply a function to a batch in as many parts as torch has threads, at the same time.

    Parameters
    ----------
    function : callable
        Maps a tensor of shape (n, ...) to an array with n rows, each of which depends on its own input only; called
        from several threads.

    batch : Tensor of shape (n_images, ...)
        A tensor on the CPU.

    Returns
    -------
    rows : ndarray of shape (n_images, ...)
        The same as `function(batch)`.
    """
    n_threads = torch.get_num_threads()
    if n_threads == 1 or len(batch) < n_threads:
        return function(batch)
    # Threads are started anew for each batch, which costs little, so that none is left to be missing after a fork.
    with ThreadPoolExecutor(n_threads, "skhash-network", _use_one_thread) as executor:
        return np.concatenate(list(executor.map(function, batch.tensor_split(n_threads))))


def run_on_one_thread(function: Callable[[], np.ndarray]) -> np.ndarray:
    """Call a function on one CPU thread, for work too small to be split.

    Parameters
    ----------
    function : callable
        Called without arguments, from another thread.

    Returns
    -------
    result : ndarray
        What it returns.
    """
    with ThreadPoolExecutor(1, "skhash-network", _use_one_thread) as executor:
        return executor.submit(function).result()


def _use_one_thread():
    # Torch sets the number of OpenMP threads of a new thread on first use, which would undo the limit.
    torch.get_num_threads()
    # OpenMP keeps this number for each calling thread, so the threads of the caller are left as they are, unlike by
    # torch.set_num_threads, which holds for the whole process.
    _controller().limit(limits=1, user_api="openmp")


@cache
def _controller():
    return ThreadpoolController()
