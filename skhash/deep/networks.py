"""Networks that map features or images to as many outputs as a code has bits."""

import copy
from itertools import pairwise

import torch
from torch import nn

from .._backbones import BACKBONES, PRESETS, one_line
from .._memory import check_allocation
from .._validation import shown
from ._moments import mean_and_scale

__all__ = ["BackboneNetwork", "LinearHead", "MLPHead", "SmallCNN"]

# Longer side in pixels up to which images are left to a small network of their own.
_SMALL_IMAGE = 64
# Inputs that the last layer of each named network has at least, but the linear one.
_FEWEST_LAST_INPUTS = 128


class _Standardizer(nn.Module):
    """Subtract the mean of each feature or channel and divide by its standard deviation, both of the training rows."""

    def __init__(self, *shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def learn(self, inputs):
        mean, scale = mean_and_scale(inputs)
        self.mean.copy_(mean.reshape(self.mean.shape))
        self.scale.copy_(scale.reshape(self.scale.shape))

    def forward(self, inputs):
        return (inputs - self.mean) / self.scale


class _Head(nn.Module):
    """Layers behind a standardisation of the features."""

    def __init__(self, n_features, *layers):
        super().__init__()
        self.standardizer = _Standardizer(n_features)
        self.layers = nn.Sequential(*layers)

    def learn_inputs(self, features):
        """Take the mean and the standard deviation of each feature from training rows.

        A feature that is constant in them is only centred.

        Parameters
        ----------
        features : tensor of shape (n_samples, n_features), dtype float32
            Training rows.
        """
        self.standardizer.learn(features)

    def forward(self, features):
        """Compute the outputs of rows.

        Parameters
        ----------
        features : tensor of shape (n_samples, n_features), dtype float32
            Rows.

        Returns
        -------
        outputs : tensor of shape (n_samples, n_bits), dtype float32
            One real number a bit.
        """
        return self.layers(self.standardizer(features))


class LinearHead(_Head):
    """Linear map of standardised features to one output a bit.

    Parameters
    ----------
    n_features : int
        Number of features.

    n_bits : int
        Number of outputs.

    See Also
    --------
    MLPHead : The same with a hidden layer.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.networks import LinearHead
    >>> LinearHead(512, 32)(torch.zeros(3, 512)).shape
    torch.Size([3, 32])
    """

    def __init__(self, n_features, n_bits):
        super().__init__(n_features, nn.Linear(n_features, n_bits))


class MLPHead(_Head):
    r"""Map standardised features to one output a bit through one hidden layer.

    :math:`z = W_2 \max(0, W_1 (x - \mu) / \sigma + b_1) + b_2`, where the mean :math:`\mu` and the standard deviation
    :math:`\sigma` of each feature come from the training rows and are no parameters.

    Parameters
    ----------
    n_features : int
        Number of features.

    n_bits : int
        Number of outputs.

    n_hidden : int, default=512
        Width of the hidden layer.

    See Also
    --------
    LinearHead : The same without a hidden layer.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.networks import MLPHead
    >>> MLPHead(512, 32, n_hidden=64)(torch.zeros(3, 512)).shape
    torch.Size([3, 32])
    """

    def __init__(self, n_features, n_bits, *, n_hidden=512):
        super().__init__(n_features, nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_bits))


class SmallCNN(nn.Module):
    """Small convolutional network for small images, such as the 32 x 32 pixels of CIFAR-10.

    Three stages of two 3 x 3 convolutions, each with batch norm and a rectifier, of `n_filters`, twice and four times
    as many filters. Between the stages the largest of 2 x 2 positions is kept; the mean over the positions of the last
    goes through a linear layer. Channels are standardized by the training images.

    Parameters
    ----------
    n_channels : int
        Number of channels: 1 for gray images, 3 for RGB.

    n_bits : int
        Number of outputs.

    n_filters : int, default=32
        Filters of the first stage.

    See Also
    --------
    BackboneNetwork : A pretrained network, for larger images.

    Notes
    -----
    Images of any size from 4 x 4 pixels pass through the same network. It runs fastest on tensors whose memory format
    is ``torch.channels_last``, as that of its filters.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.networks import SmallCNN
    >>> SmallCNN(3, 16, n_filters=8)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 16])
    """

    def __init__(self, n_channels, n_bits, *, n_filters=32):
        super().__init__()
        self.standardizer = _Standardizer(n_channels, 1, 1)
        widths = [n_channels, n_filters, 2 * n_filters, 4 * n_filters]
        stages = [_stage(n_inputs, n_outputs) for n_inputs, n_outputs in pairwise(widths)]
        self.stages = nn.Sequential(stages[0], nn.MaxPool2d(2), stages[1], nn.MaxPool2d(2), stages[2])
        self.head = nn.Linear(widths[-1], n_bits)
        self.to(memory_format=torch.channels_last)

    def learn_inputs(self, inputs):
        """Take the mean and the standard deviation of each channel from training images.

        A channel that is constant in them is only centred.

        Parameters
        ----------
        inputs : tensor of shape (n_samples, n_channels, height, width), dtype float32
            Training images in [0, 1].
        """
        self.standardizer.learn(inputs)

    def forward(self, inputs):
        """Compute the outputs of images.

        Parameters
        ----------
        inputs : tensor of shape (n_samples, n_channels, height, width), dtype float32
            Images in [0, 1].

        Returns
        -------
        outputs : tensor of shape (n_samples, n_bits), dtype float32
            One real number a bit.
        """
        return self.head(self.stages(self.standardizer(inputs)).mean((2, 3)))


def _stage(n_inputs, n_outputs):
    """Two convolutions of the same number of filters; what follows makes a bias of theirs void."""
    return nn.Sequential(
        nn.Conv2d(n_inputs, n_outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_outputs),
        nn.ReLU(inplace=True),
    )


class _PretrainedFeatures(nn.Module):
    """Pooled features of RGB images in [0, 1] by a pretrained network without its classifier."""

    def __init__(self, network, preprocess):
        super().__init__()
        # What would follow the features must be no parameter of the training.
        del network._fc, network._dropout
        self.network = _with_own_padding(network)
        mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in PRESETS[preprocess])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images):
        return self.network.extract_features((images - self.mean) / self.std).mean((2, 3))


def _with_own_padding(network):
    """Let convolutions of stride 1 pad by themselves, which saves a copy of their input; the others pad unevenly."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Conv2d) and tuple(layer.stride) == (1, 1) and layer.kernel_size != (1, 1):
                # Without storage nothing is drawn at random.
                own = nn.Conv2d(
                    layer.in_channels,
                    layer.out_channels,
                    layer.kernel_size,
                    padding=layer.kernel_size[0] // 2,
                    groups=layer.groups,
                    bias=False,
                    device="meta",
                )
                own.weight = layer.weight
                setattr(parent, name, own)
    return network


class BackboneNetwork(nn.Module):
    """Pretrained network with a linear layer for the bits in place of its classifier.

    All layers learn. The pretrained part is the submodule ``backbone``, whose parameters an estimator trains at a tenth
    of its learning rate.

    Parameters
    ----------
    n_channels : {1, 3}
        Number of channels; gray images are repeated to three.

    n_bits : int
        Number of outputs.

    backbone : {"efficientnet_lite0"}, default="efficientnet_lite0"
        Name of the pretrained network. Its weights come with an installed package, without any download.

    weights : str or os.PathLike, default=None
        File with other parameters of that network, classifier included: a `.safetensors` file, or a state_dict saved by
        `torch.save`, which is loaded without running any code in it.

    dropout : float, default=0.2
        Share of the pooled features that are set to zero before the last layer in training.

    Raises
    ------
    ImportError
        If the package of the backbone is not installed.

    ValueError
        If the backbone is unknown, the images have another number of channels, or the weights cannot be used.

    See Also
    --------
    SmallCNN : A network without pretraining, for small images.
    skhash.features.CNNFeatures : The same features once and for all, which train far faster.

    Notes
    -----
    Batch norm keeps the mean and the variance of the pretraining while its scale and shift learn: a fine-tune has
    batches of a few dozen images, whose statistics are too noisy to replace those of a million. The whole backbone is
    left in evaluation mode for this, which turns off its stochastic depth as well.

    Images of any size pass through the same network, photographs best at 128 to 224 pixels. Building draws random
    numbers for the last layer alone.

    References
    ----------
    .. [1] M. Tan and Q. V. Le, "EfficientNet: Rethinking model scaling for convolutional neural networks",
       International Conference on Machine Learning, 2019.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.networks import BackboneNetwork
    >>> network = BackboneNetwork(3, 16)
    >>> images = torch.zeros(2, 3, 64, 64)
    >>> network(images).shape, network.features(images).shape
    (torch.Size([2, 16]), torch.Size([2, 1280]))
    """

    def __init__(self, n_channels, n_bits, *, backbone="efficientnet_lite0", weights=None, dropout=0.2):
        super().__init__()
        if backbone not in BACKBONES:
            names = ", ".join(map(repr, sorted(BACKBONES)))
            raise ValueError(f"BackboneNetwork: backbone={shown(backbone)} is unknown; use {names}.")
        if n_channels not in (1, 3):
            raise ValueError(f"BackboneNetwork: images have {n_channels} channels; use gray images or RGB.")
        named = BACKBONES[backbone]
        self.backbone = _PretrainedFeatures(named.load(None, weights, name="BackboneNetwork"), named.preprocess)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(named.n_features, n_bits)
        self.to(memory_format=torch.channels_last)
        self.train()

    def train(self, mode=True):
        """Set the training mode of all but the backbone, which stays in evaluation mode.

        Parameters
        ----------
        mode : bool, default=True
            Whether to train.

        Returns
        -------
        self : BackboneNetwork
            The network.
        """
        super().train(mode)
        self.backbone.eval()
        return self

    def features(self, inputs):
        """Compute what the backbone says of images, averaged over all positions.

        Parameters
        ----------
        inputs : tensor of shape (n_samples, n_channels, height, width), dtype float32
            Images in [0, 1].

        Returns
        -------
        features : tensor of shape (n_samples, n_features), dtype float32
            Pooled features, 1280 for "efficientnet_lite0": those of the pretraining until the network is trained.
        """
        return self.backbone(inputs.expand(-1, 3, -1, -1))

    def forward(self, inputs):
        """Compute the outputs of images.

        Parameters
        ----------
        inputs : tensor of shape (n_samples, n_channels, height, width), dtype float32
            Images in [0, 1].

        Returns
        -------
        outputs : tensor of shape (n_samples, n_bits), dtype float32
            One real number a bit.
        """
        return self.head(self.dropout(self.features(inputs)))


_FEATURE_NETWORKS = {"linear": LinearHead, "mlp": MLPHead}
_IMAGE_NETWORKS = {"cnn": SmallCNN, "efficientnet_lite0": BackboneNetwork}


def make_network(network, input_shape, n_bits, *, name):
    """Build the network that an estimator is told to train.

    Parameters
    ----------
    network : str, nn.Module or callable
        A name; a module, which is copied; or a callable that takes the number of features or channels and `n_bits`, and
        returns a module. "auto" is "mlp" for features, "cnn" for images up to 64 pixels, "efficientnet_lite0" for
        larger ones.

    input_shape : tuple of int
        Shape of one input: (n_features,) or (n_channels, height, width).

    n_bits : int
        Number of outputs.

    name : str
        The estimator, for messages.

    Returns
    -------
    network : nn.Module
        In training mode, on the CPU.

    Raises
    ------
    ImportError
        If the package of a named network is not installed.

    TypeError, ValueError
        If the name is unknown or of a network for other inputs, the callable returns no module, or the module does not
        map inputs of `input_shape` to rows of `n_bits`.
    """
    if isinstance(network, str):
        module = _build_named(network, input_shape, n_bits, name)
    elif isinstance(network, nn.Module):
        module = copy.deepcopy(network).cpu()
    else:
        try:
            module = network(input_shape[0], n_bits)
        except TypeError as error:
            reason = " ".join(str(error).split())
            raise TypeError(
                f"{name}: network({_size_name(input_shape)}, n_bits) cannot be called ({reason}); pass a callable of "
                "these two numbers."
            ) from error
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"{name}: network({_size_name(input_shape)}, n_bits) returned a {type(module).__name__}, no nn.Module."
            )
    _check_outputs(module, input_shape, n_bits, name)
    return module.train()


def _build_named(network, input_shape, n_bits, name):
    is_image = len(input_shape) == 3
    own, other = (_IMAGE_NETWORKS, _FEATURE_NETWORKS) if is_image else (_FEATURE_NETWORKS, _IMAGE_NETWORKS)
    names = ", ".join(map(repr, ["auto", *own]))
    if network in other:
        found = f"X holds {_describe(input_shape)}"
        if is_image:
            fix = "or turn the images into features with skhash.features.CNNFeatures"
        else:
            fix = "or pass images: uint8 arrays or paths of files"
        raise ValueError(f"{name}: network={network!r} cannot be used, because {found}; use one of {names}, {fix}.")
    if network != "auto" and network not in own:
        raise ValueError(
            f"{name}: network={shown(network)} is unknown; use one of {names}, an nn.Module, or a callable "
            f"({_size_name(input_shape)}, n_bits) -> nn.Module."
        )
    if network == "auto":
        if is_image:
            network = "cnn" if max(input_shape[1:]) <= _SMALL_IMAGE else "efficientnet_lite0"
        else:
            network = "mlp"
    n_inputs = input_shape[0] if network == "linear" else _FEWEST_LAST_INPUTS
    what = f"the last layer of the network with n_bits={n_bits:,} and its gradients"
    check_allocation(name, 2 * 4 * n_inputs * n_bits, what, "use fewer bits")
    try:
        return own[network](input_shape[0], n_bits)
    except (ImportError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def _size_name(input_shape):
    return "n_channels" if len(input_shape) == 3 else "n_features"


def _describe(input_shape):
    if len(input_shape) == 3:
        return f"images of shape {tuple(input_shape)}, channels first"
    return f"rows of {input_shape[0]} features"


def _check_outputs(module, input_shape, n_bits, name):
    fix = f"pass a callable ({_size_name(input_shape)}, n_bits) -> nn.Module, which can fit both"
    try:
        with torch.no_grad():
            outputs = module.eval()(torch.zeros(2, *input_shape))
    except RuntimeError as error:
        raise ValueError(f"{name}: network cannot take {_describe(input_shape)} ({one_line(error)}); {fix}.") from error
    if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != (2, n_bits):
        found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        inputs = "images" if len(input_shape) == 3 else "rows"
        raise ValueError(
            f"{name}: network maps 2 {inputs} to {found} instead of (2, {n_bits}), one output a bit; {fix}."
        )
