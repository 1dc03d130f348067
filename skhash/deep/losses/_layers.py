"""Layers that losses own."""

import torch


def linear_layer(n_inputs, n_outputs, generator):
    """Make a linear layer whose weights come from a generator of its own.

    Parameters
    ----------
    n_inputs : int
        Number of inputs.

    n_outputs : int
        Number of outputs.

    generator : torch.Generator
        Source of the weights, which are uniform within 1 / sqrt(`n_inputs`) of 0 as those of any linear layer in torch.

    Returns
    -------
    layer : torch.nn.Linear
        On the CPU.
    """
    # Skips the layer's own draw, which would come from the global generator.
    layer = torch.nn.utils.skip_init(torch.nn.Linear, n_inputs, n_outputs)
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, -(n_inputs**-0.5), n_inputs**-0.5, generator=generator)
    return layer


def zero_layer(n_inputs, n_outputs):
    """Make a linear layer that begins with weights of 0.

    Parameters
    ----------
    n_inputs : int
        Number of inputs.

    n_outputs : int
        Number of outputs.

    Returns
    -------
    layer : torch.nn.Linear
        On the CPU.
    """
    layer = torch.nn.utils.skip_init(torch.nn.Linear, n_inputs, n_outputs)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    return layer


class UnitVariance(torch.nn.Module):
    """Centre features, and divide all of them by one number, so that the mean of their variances is 1.

    Distances keep their ratios. Features that are all constant are only centred.

    Parameters
    ----------
    features : tensor of shape (n_samples, n_features), dtype float
        Where mean and scale come from.
    """

    def __init__(self, features):
        super().__init__()
        variances, mean = torch.var_mean(features, dim=0, correction=0)
        scale = variances.mean().sqrt()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", torch.where(scale > 0, scale, 1.0))

    def forward(self, features):
        """Centre and scale features."""
        return (features - self.mean) / self.scale
