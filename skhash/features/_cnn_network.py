"""The torch side of `CNNFeatures`: from a backbone to a function that maps pixels to features.

Imported by functions only, because it needs torch.
"""

import contextlib
import copy
import hashlib
import threading
from functools import lru_cache, partial

import numpy as np
import torch
from torch import fx, nn

from .._backbones import BACKBONES, PRESETS, load_weights, one_line
from ._cache import text_digest
from ._cnn_speed import fold_network, trace_network
from ._cnn_threads import map_parts, run_on_one_thread

# Part of the identity of cached features: to be raised with any change of what is computed.
_VERSION = "1"


def load_network(backbone, **options) -> "FeatureNetwork":
    """Return the network of a backbone; for a named one with its own weights the same one again.

    Searches over parameters fit many copies of an estimator, each of which would load the same network.

    Parameters
    ----------
    backbone : str, nn.Module or callable
        As in `CNNFeatures`.

    **options : dict
        The other parameters of `FeatureNetwork`.

    Returns
    -------
    network : FeatureNetwork
        The network.

    Raises
    ------
    ValueError
        If the backbone, its weights or the device cannot be used.
    """
    # A module or a file may hold other weights than at the last call.
    if isinstance(backbone, str) and isinstance(options["preprocess"], str) and options["weights"] is None:
        return _load_named_network(backbone, **options)
    return FeatureNetwork(backbone, **options)


class FeatureNetwork:
    """A function that maps pixels to pooled features.

    The network runs once when it is loaded, which finds what is wrong with it and the number of features. It is
    rewritten to run faster on the first call, because images that are all cached need no call.

    Parameters
    ----------
    backbone : str, nn.Module or callable
        As in `CNNFeatures`, and so are the other parameters.

    image_size : int
        Height and width of the images.

    layer : str or None
        Submodule whose output is wanted.

    preprocess : str, tuple or callable
        How pixels become the input of the network.

    weights : str, os.PathLike or None
        File with the parameters.

    device : str
        "auto" or the name of a torch device.

    Attributes
    ----------
    image_size : int
        Height and width of the images.

    n_features : int
        Number of features.

    digest : str or None
        Identity of everything that decides the features besides the image; None where code takes part that cannot
        be hashed.

    Raises
    ------
    ValueError
        If the backbone, its weights or the device cannot be used.
    """

    def __init__(self, backbone, *, image_size, layer, preprocess, weights, device):
        self.image_size = image_size
        self._device = _resolve_device(device)
        if isinstance(backbone, str):
            named = BACKBONES[backbone]
            network = named.load(image_size, weights, name="CNNFeatures")
            layer = named.layer if layer is None else layer
            preprocess = named.preprocess if preprocess == "auto" else preprocess
        elif isinstance(backbone, nn.Module):
            network = copy.deepcopy(backbone).eval()
            if weights is not None:
                load_weights(network, weights, name="CNNFeatures")
        else:
            network = _check_callable(backbone, layer=layer, weights=weights)
        self._preprocess = _resolve_preprocess(preprocess, self._device)
        self._network = network
        self._traceable = None
        self.digest = None
        if isinstance(network, nn.Module):
            if not callable(preprocess):
                identity = (_VERSION, _hash_module(network), str(layer), str(preprocess), str(image_size))
                self.digest = text_digest(*identity)
            network = network.to(self._device, memory_format=torch.channels_last)
            self._network = _cut_at_layer(network, layer)
            self._traceable = network, layer
        self._lock = threading.Lock()
        forward = partial(self._forward, self._network, self._probe())
        is_module_on_cpu = isinstance(network, nn.Module) and self._device.type == "cpu"
        self._expected = run_on_one_thread(forward) if is_module_on_cpu else forward()
        self.n_features = self._expected.shape[1]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute the features of a batch.

        Parameters
        ----------
        pixels : ndarray of shape (n_images, height, width, 3)
            uint8 images.

        Returns
        -------
        features : ndarray of shape (n_images, n_features)
            float32 features.
        """
        network = self._fast_network()
        batch = self._prepare(pixels)
        forward = partial(self._forward, network)
        # Code of the caller may not be meant for several threads; what could be traced is torch's own.
        on_threads = isinstance(network, fx.GraphModule) and batch.device.type == "cpu"
        return map_parts(forward, batch) if on_threads else forward(batch)

    def _fast_network(self):
        """Return the network, on the first call after an attempt to rewrite it."""
        with self._lock:
            if self._traceable is not None:
                fast = _speed_up(*self._traceable, self._probe(), self._expected)
                self._network = self._network if fast is None else fast
                self._traceable = None
            return self._network

    def _probe(self):
        shape = (2, self.image_size, self.image_size, 3)
        return self._prepare(np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8))

    def _prepare(self, pixels):
        images = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)
        batch = self._preprocess(images)
        if not (isinstance(batch, torch.Tensor) and batch.ndim == 4 and batch.is_floating_point()):
            raise ValueError(
                "CNNFeatures: preprocess must map a uint8 tensor of shape (n, 3, height, width) to a floating-point "
                f"tensor of 4 dimensions, but it returned {_describe(batch)}."
            )
        # Convolutions on a CPU run fastest on this layout.
        return batch.contiguous(memory_format=torch.channels_last)

    def _forward(self, network, batch):
        with torch.inference_mode():
            return _pool(_run(network, batch), len(batch)).to(torch.float32).cpu().numpy()


# Room for the few image sizes that a search compares; a network takes about 15 MB.
_load_named_network = lru_cache(maxsize=4)(FeatureNetwork)


def _run(network, batch):
    try:
        return network(batch)
    except Exception as error:
        raise ValueError(
            f"CNNFeatures: the backbone fails on a batch of shape {tuple(batch.shape)} ({one_line(error)}): "
            "check backbone, layer, image_size and preprocess."
        ) from error


def _pool(output, n_images):
    if isinstance(output, np.ndarray):
        output = torch.from_numpy(output)
    if isinstance(output, torch.Tensor) and output.ndim in (2, 4) and len(output) == n_images:
        return output.mean(dim=(2, 3)) if output.ndim == 4 else output
    raise ValueError(
        f"CNNFeatures: the backbone returned {_describe(output)} for {n_images} images, but a tensor of shape (n, "
        "n_features) or (n, n_channels, height, width) is needed: name another layer, or pass a callable that "
        "selects or pools the output."
    )


def _cut_at_layer(network, layer):
    if layer is not None and layer not in dict(network.named_modules()):
        known = [name for name, _ in network.named_modules() if name]
        raise ValueError(
            f"CNNFeatures: the backbone has no layer {layer!r}; its last layers are {known[-8:]}, and "
            "backbone.named_modules() lists all of them."
        )
    return network if layer is None else _LayerOutput(network, layer)


def _speed_up(network, layer, probe, expected):
    """Return a faster form of a network that maps `probe` to `expected`, too, or None where there is none."""
    # Tracing follows most networks; those with control flow that depends on the data raise errors of many kinds, and
    # any network whose traced form differs is used as it is.
    with contextlib.suppress(Exception), torch.no_grad():
        folded = fold_network(trace_network(network, layer))
        features = _pool(folded(probe), len(probe)).cpu().numpy()
        if np.allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()):
            return folded
    return None


class _LayerOutput(nn.Module):
    """The output of one submodule, for networks that cannot be traced."""

    def __init__(self, network, layer):
        super().__init__()
        self._network = network
        self._layer = layer
        self._lock = threading.Lock()

    def forward(self, batch):
        outputs = []
        layer = self._network.get_submodule(self._layer)
        # The hook would catch the outputs of other threads, too.
        with self._lock:
            handle = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
            try:
                self._network(batch)
            finally:
                handle.remove()
        if not outputs:
            raise ValueError(f"the forward pass does not use layer {self._layer!r}")
        return outputs[-1]


def _resolve_device(device):
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(1, device=resolved)
    # A build without CUDA raises AssertionError, an unknown name RuntimeError, a missing backend NotImplementedError.
    except Exception as error:
        raise ValueError(
            f"CNNFeatures: device={device!r} cannot be used ({one_line(error)}): pass 'auto' or 'cpu', or install "
            "the build of torch for this device."
        ) from error
    return resolved


def _resolve_preprocess(preprocess, device):
    if preprocess == "auto":
        raise ValueError(
            "CNNFeatures: preprocess='auto' is known for named backbones only: pass 'imagenet' (most torchvision and "
            "timm models), a pair (mean, std) of pixels in [0, 1], or a callable."
        )
    if callable(preprocess):
        return preprocess
    mean, std = PRESETS[preprocess] if isinstance(preprocess, str) else _check_mean_std(preprocess)
    mean = torch.tensor([255 * value for value in mean], dtype=torch.float32, device=device).reshape(3, 1, 1)
    std = torch.tensor([255 * value for value in std], dtype=torch.float32, device=device).reshape(3, 1, 1)
    return lambda images: (images - mean).div_(std)


def _check_mean_std(pair):
    try:
        mean, std = np.broadcast_to(np.asarray(pair[0], float), 3), np.broadcast_to(np.asarray(pair[1], float), 3)
        valid = len(pair) == 2 and np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()
    except (TypeError, ValueError, IndexError):
        valid = False
    if not valid:
        raise ValueError(
            f"CNNFeatures: preprocess={pair!r} must be a pair (mean, std) with 1 or 3 finite numbers each and std > 0, "
            "for pixels scaled to [0, 1]."
        )
    return mean.tolist(), std.tolist()


def _check_callable(function, *, layer, weights):
    for parameter, value in (("layer", layer), ("weights", weights)):
        if value is not None:
            raise ValueError(
                f"CNNFeatures: {parameter}={value!r} needs a named backbone or an nn.Module, but the backbone is a "
                f"plain callable: pass the nn.Module itself, or leave {parameter} out."
            )
    return function


def _hash_module(network):
    digest = hashlib.blake2b(digest_size=20)
    digest.update(f"{type(network).__module__}.{type(network).__qualname__}\n{network!r}".encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _describe(value):
    if isinstance(value, torch.Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
