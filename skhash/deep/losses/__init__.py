"""Losses for learning to hash, by name."""

import copy

from ._adsh import ADSH
from ._base import HashLoss
from ._bihalf import BiHalf
from ._ce import CrossEntropy
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
from ._orthohash import OrthoHash

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
    "BiHalf",
    "CrossEntropy",
    "GreedyHash",
    "HashLoss",
    "HashNet",
    "HyP2",
    "MIHash",
    "OrthoHash",
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
    "orthohash": OrthoHash,
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
    names = ", ".join(map(repr, sorted(LOSSES)))
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"{name}: loss={loss!r} is unknown; use one of {names}, or a HashLoss.")
        return LOSSES[loss]()
    if not isinstance(loss, HashLoss):
        raise TypeError(f"{name}: loss is a {type(loss).__name__}; use one of {names}, or an instance of a HashLoss.")
    return copy.deepcopy(loss)
