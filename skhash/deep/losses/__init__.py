"""Losses for learning to hash, by name."""

import copy

import torch

from ..._validation import shown
from ._adsh import ADSH
from ._base import HashLoss, UnsupervisedLoss
from ._bihalf import BiHalf
from ._ce import CrossEntropy
from ._cibhash import CIBHash
from ._csq import CSQ
from ._dch import DCH
from ._dfh import DFH
from ._dhn import DHN
from ._dpn import DPN
from ._dpsh import DPSH
from ._dsdh import DSDH
from ._dsh import DSH
from ._dtsh import DTSH
from ._greedyhash import GreedyHash
from ._hashnet import HashNet
from ._hyp2 import HyP2
from ._jmlh import JMLH
from ._mdsh import MDSH
from ._mihash import MIHash
from ._nested import Nested
from ._orthohash import OrthoHash
from ._ssdh import SSDH
from ._tbh import TBH
from ._uhbdnn import UHBDNN
from ._unsupervised_bihalf import UnsupervisedBiHalf
from ._unsupervised_greedyhash import UnsupervisedGreedyHash

__all__ = [
    "ADSH",
    "CSQ",
    "DCH",
    "DFH",
    "DHN",
    "DPN",
    "DPSH",
    "DSDH",
    "DSH",
    "DTSH",
    "JMLH",
    "LOSSES",
    "MDSH",
    "SSDH",
    "TBH",
    "UHBDNN",
    "UNSUPERVISED_LOSSES",
    "BiHalf",
    "CIBHash",
    "CrossEntropy",
    "GreedyHash",
    "HashLoss",
    "HashNet",
    "HyP2",
    "MIHash",
    "Nested",
    "OrthoHash",
    "UnsupervisedBiHalf",
    "UnsupervisedGreedyHash",
    "UnsupervisedLoss",
]

LOSSES: dict[str, type[HashLoss]] = {
    "adsh": ADSH,
    "bihalf": BiHalf,
    "ce": CrossEntropy,
    "csq": CSQ,
    "dch": DCH,
    "dfh": DFH,
    "dhn": DHN,
    "dpn": DPN,
    "dpsh": DPSH,
    "dsdh": DSDH,
    "dsh": DSH,
    "dtsh": DTSH,
    "greedyhash": GreedyHash,
    "hashnet": HashNet,
    "hyp2": HyP2,
    "jmlh": JMLH,
    "mdsh": MDSH,
    "mihash": MIHash,
    "nested": Nested,
    "orthohash": OrthoHash,
}


UNSUPERVISED_LOSSES: dict[str, type[UnsupervisedLoss]] = {
    "bihalf": UnsupervisedBiHalf,
    "cibhash": CIBHash,
    "greedyhash": UnsupervisedGreedyHash,
    "ssdh": SSDH,
    "tbh": TBH,
    "uhbdnn": UHBDNN,
}


def make_loss(loss, *, name):
    """Make a loss of its own for one training.

    Parameters
    ----------
    loss : str or HashLoss
        A name in `LOSSES`, which gives the settings of the paper, or a loss with settings of its own, which is copied.

    name : str
        The estimator, for messages.

    Returns
    -------
    loss : HashLoss
        Not prepared yet.

    Raises
    ------
    TypeError, ValueError
        If there is no such loss.
    """
    return _make(loss, LOSSES, HashLoss, "a HashLoss", name)


def make_unsupervised_loss(loss, *, name):
    """Make a loss without labels of its own for one training.

    Parameters
    ----------
    loss : str or UnsupervisedLoss
        A name in `UNSUPERVISED_LOSSES`, which gives the settings of the paper, or a loss with settings of its own,
        which is copied.

    name : str
        The estimator, for messages.

    Returns
    -------
    loss : UnsupervisedLoss
        Not prepared yet.

    Raises
    ------
    TypeError, ValueError
        If there is no such loss.
    """
    return _make(loss, UNSUPERVISED_LOSSES, UnsupervisedLoss, "an UnsupervisedLoss", name)


def _make(loss, table, base, kind, name):
    """Make a loss from a table, or copy one of a base class."""
    names = ", ".join(map(repr, sorted(table)))
    if isinstance(loss, str):
        if loss not in table:
            raise ValueError(f"{name}: loss={shown(loss)} is unknown; use one of {names}, or {kind}.")
        return table[loss]()
    if not isinstance(loss, base):
        raise TypeError(f"{name}: loss is a {type(loss).__name__}; use one of {names}, or an instance of {kind}.")
    return copy.deepcopy(loss)


def check_loss(loss, n_bits, told, *, name):
    """Compute a loss of somebody's own for two rows, so that what cannot work is said before the training.

    Parameters
    ----------
    loss : HashLoss or UnsupervisedLoss
        Prepared; it is not changed.

    n_bits : int
        Code length.

    told : tensor of shape (n_samples, ...)
        What the loss is told of each row.

    name : str
        The estimator, for messages.

    Raises
    ------
    ValueError
        If the loss raises an error, or returns anything but a number that depends on the outputs.
    """
    trial, told = copy.deepcopy(loss), told[:2]
    outputs = [torch.linspace(-1, 1, len(told) * n_bits).reshape(-1, n_bits).requires_grad_() for _ in range(2)]
    given = tuple(outputs[: loss.n_views]) if isinstance(loss, UnsupervisedLoss) else outputs[0]
    what = f"{name}: the loss {type(loss).__name__}"
    try:
        trial.start_epoch(0)
        value = trial(given, told, torch.arange(len(told)))
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(
            f"{what} fails on the outputs of {len(told)} rows ({reason}); define forward(outputs, "
            f"{'features' if isinstance(loss, UnsupervisedLoss) else 'targets'}, rows)."
        ) from error
    if not isinstance(value, torch.Tensor) or value.ndim or not value.requires_grad:
        kind = f"tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"{what} returns a {kind}; return a tensor of shape () that depends on the outputs.")
