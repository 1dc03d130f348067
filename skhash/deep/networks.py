"""Networks that map features to as many outputs as a code has bits."""

import copy

import torch
from torch import nn

__all__ = ["LinearHead", "MLPHead"]

# Columns whose statistics are computed together, in float64.
_BLOCK_COLUMNS = 64


class _Standardizer(nn.Module):
    """Subtract the mean of each feature and divide by its standard deviation, both of the training rows."""

    def __init__(self, n_features):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def learn(self, features):
        parts = [torch.var_mean(part.double(), dim=0, correction=0) for part in features.split(_BLOCK_COLUMNS, dim=1)]
        scale = torch.cat([variance for variance, _ in parts]).sqrt()
        self.mean.copy_(torch.cat([mean for _, mean in parts]))
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))

    def forward(self, features):
        return (features - self.mean) / self.scale


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


_NETWORKS = {"auto": MLPHead, "linear": LinearHead, "mlp": MLPHead}


def make_network(network, n_features, n_bits, *, name):
    """Build the network that an estimator is told to train.

    Parameters
    ----------
    network : str, nn.Module or callable
        A name; a module, which is copied; or a callable that takes `n_features` and `n_bits` and returns a module.

    n_features : int
        Number of features.

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
    TypeError, ValueError
        If the name is unknown, the callable returns no module, or the module does not map rows of `n_features` to rows
        of `n_bits`.
    """
    if isinstance(network, str):
        if network not in _NETWORKS:
            raise ValueError(
                f"{name}: network={network!r} is unknown; use one of {', '.join(map(repr, sorted(_NETWORKS)))}, an "
                "nn.Module, or a callable (n_features, n_bits) -> nn.Module."
            )
        module = _NETWORKS[network](n_features, n_bits)
    elif isinstance(network, nn.Module):
        module = copy.deepcopy(network).cpu()
    else:
        module = network(n_features, n_bits)
        if not isinstance(module, nn.Module):
            raise TypeError(f"{name}: network(n_features, n_bits) returned a {type(module).__name__}, no nn.Module.")
    _check_outputs(module, n_features, n_bits, name)
    return module.train()


def _check_outputs(module, n_features, n_bits, name):
    fix = "pass a callable (n_features, n_bits) -> nn.Module, which can fit both"
    try:
        with torch.no_grad():
            outputs = module.eval()(torch.zeros(2, n_features))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name}: network cannot take rows of {n_features} features ({reason}); {fix}.") from error
    if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != (2, n_bits):
        found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise ValueError(f"{name}: network maps 2 rows to {found} instead of (2, {n_bits}), one output a bit; {fix}.")
