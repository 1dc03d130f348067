"""Mean and standard deviation of training inputs, in bounded memory.

Imported by functions only, because it needs torch.
"""

import torch

# Numbers that are turned to float64 together.
_BLOCK_SIZE = 2**22


def mean_and_scale(inputs):
    """Compute the mean and the standard deviation of each feature, or of each channel of images.

    Parameters
    ----------
    inputs : tensor of shape (n_samples, n_features) or (n_samples, n_channels, height, width), dtype float32
        Training rows or images.

    Returns
    -------
    mean : tensor of shape (n_features,) or (n_channels,), dtype float64
        Means.

    scale : tensor of shape (n_features,) or (n_channels,), dtype float64
        Standard deviations, with 1 for what is constant.
    """
    dims = [dim for dim in range(inputs.ndim) if dim != 1]
    shape = (-1,) + (1,) * (inputs.ndim - 2)
    n_values = inputs.numel() / inputs.shape[1]
    blocks = inputs.split(max(1, _BLOCK_SIZE // inputs[0].numel()))
    mean = sum(block.double().sum(dims) for block in blocks) / n_values
    centre = mean.reshape(shape)
    variance = sum((block.double() - centre).square_().sum(dims) for block in blocks) / n_values
    # The mean of equal numbers is rounded, so that they do not all deviate from it by exactly 0.
    is_constant = inputs.amin(dims) == inputs.amax(dims)
    return mean, torch.where(is_constant, 1.0, variance.sqrt())
