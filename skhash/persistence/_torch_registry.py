"""The modules of torch that a file may name. Imported by functions only, because it needs torch."""

import functools
import inspect

import torch

from ..deep import augmentation, losses, networks, quantizers
from ..deep.adversarial import ProjectedGradient
from ..deep.losses._layers import UnitVariance
from ..deep.semi_supervised import MeanTeacher

# Layers without hooks or code of their own, whose attributes are all there is to them.
_LAYERS = (
    torch.nn.BatchNorm1d,
    torch.nn.BatchNorm2d,
    torch.nn.Conv2d,
    torch.nn.Dropout,
    torch.nn.Flatten,
    torch.nn.Identity,
    torch.nn.LayerNorm,
    torch.nn.LeakyReLU,
    torch.nn.Linear,
    torch.nn.MaxPool2d,
    torch.nn.ReLU,
    torch.nn.Sequential,
    torch.nn.Sigmoid,
    torch.nn.Tanh,
)


@functools.cache
def classes():
    """Classes by the names that files know them by."""
    found = {f"torch.nn.{layer.__name__}": layer for layer in _LAYERS}
    for name in torch.optim.__all__:
        value = getattr(torch.optim, name)
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer):
            found[f"torch.optim.{name}"] = value
    for module in (augmentation, losses, networks, quantizers):
        short = module.__name__.removeprefix("skhash.")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) and issubclass(value, torch.nn.Module):
                found[f"{short}.{name}"] = value
    return found | {
        "deep.adversarial.ProjectedGradient": ProjectedGradient,
        "deep.losses.UnitVariance": UnitVariance,
        "deep.networks.Standardizer": networks._Standardizer,
        "deep.semi_supervised.MeanTeacher": MeanTeacher,
    }
