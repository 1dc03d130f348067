"""Random changes of training inputs, for whole batches at once."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from ._moments import mean_and_scale

__all__ = ["FeatureNoise", "ImageAugmentation"]


class ImageAugmentation(nn.Module):
    """Flip, shift, zoom and recolour each image of a batch at random.

    Every image draws its own changes, from the global generator of torch on the device of the batch. They are applied
    in the order of the parameters. In evaluation mode images pass unchanged, as through dropout.

    Parameters
    ----------
    flip : bool, default=True
        Whether half of the images, on average, are mirrored left to right.

    shift : float, default=0.125
        Largest shift, as a share of the height and of the width: 4 pixels of 32. Shifts are uniform. What comes into
        view is the reflection of the image at its border.

    scale : tuple of float, default=(1.0, 1.0)
        Smallest and largest share of the area that is kept and enlarged to the whole size. The share and the place of
        this window are uniform; it has the shape of the image. With (1, 1) shifts are by whole pixels, which is
        exact and faster; otherwise images are interpolated bilinearly.

    brightness : float, default=0.0
        Pixels are multiplied by a number between ``1 - brightness``, at least 0, and ``1 + brightness``.

    contrast : float, default=0.0
        The difference from the mean luma of the image is multiplied by a number between ``1 - contrast``, at least 0,
        and ``1 + contrast``.

    saturation : float, default=0.0
        The difference of each pixel from its luma is multiplied by a number between ``1 - saturation``, at least 0, and
        ``1 + saturation``. Gray images stay as they are.

    grayscale : float, default=0.0
        Probability that an image loses its colours.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    See Also
    --------
    FeatureNoise : The same for features.

    Notes
    -----
    Luma is :math:`0.299 R + 0.587 G + 0.114 B`, and the only channel of gray images. Values are cut to [0, 1] after
    each change of colour.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.augmentation import ImageAugmentation
    >>> _ = torch.manual_seed(0)
    >>> images = torch.arange(4.0).reshape(1, 1, 1, 4).repeat(3, 1, 1, 1) / 3
    >>> ImageAugmentation(shift=0)(images)[:, 0, 0, 0]
    tensor([1., 0., 1.])
    """

    def __init__(
        self,
        *,
        flip=True,
        shift=0.125,
        scale=(1.0, 1.0),
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
        grayscale=0.0,
    ):
        super().__init__()
        _check_number("ImageAugmentation", "shift", shift, high=0.5)
        _check_number("ImageAugmentation", "grayscale", grayscale, high=1)
        for parameter, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            _check_number("ImageAugmentation", parameter, value)
        if not (isinstance(scale, tuple | list) and len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
            raise ValueError(
                f"ImageAugmentation: scale={scale!r} must be a pair (smallest, largest) of shares of the area, above 0 "
                "and up to 1."
            )
        self.flip = flip
        self.shift = shift
        self.scale = tuple(scale)
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.grayscale = grayscale

    @classmethod
    def contrastive(cls):
        """Return the strong changes by which contrastive losses such as CIBHash make two views of an image.

        Windows of half the area or more, flips, jitter of 0.4 and one image of five in gray. Of the published setting
        the changes of hue and of the shape of the window, and the blur, are left out.

        Returns
        -------
        augmentation : ImageAugmentation
            With ``shift=0``, because the window moves already.

        Examples
        --------
        >>> from skhash.deep.augmentation import ImageAugmentation
        >>> ImageAugmentation.contrastive().scale
        (0.5, 1.0)
        """
        return cls(shift=0.0, scale=(0.5, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, grayscale=0.2)

    def extra_repr(self):
        """Say the settings.

        Returns
        -------
        settings : str
            The parameters and their values.
        """
        names = ("flip", "shift", "scale", "brightness", "contrast", "saturation", "grayscale")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def forward(self, images):
        """Change a batch of images.

        Parameters
        ----------
        images : tensor of shape (n_samples, n_channels, height, width), floating point
            Images in [0, 1], which are left as they are.

        Returns
        -------
        changed : tensor of shape (n_samples, n_channels, height, width)
            Changed images in [0, 1], in the same memory format; in evaluation mode `images` itself.
        """
        if not self.training:
            return images
        is_last = images.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_last else torch.contiguous_format
        images = self._move(images) if self.scale == (1, 1) else self._zoom(images)
        if self.brightness > 0 or self.contrast > 0 or self.saturation > 0 or self.grayscale > 0:
            # What combines channels with their luma is several times faster on separate channels.
            images = self._recolour(images.contiguous())
        return images.contiguous(memory_format=layout)

    def _move(self, images):
        """Flip and shift by whole pixels: every pixel is a copy of one."""
        n_samples, _, height, width = images.shape
        rows = _shifted(n_samples, height, self.shift, images.device)
        columns = _shifted(n_samples, width, self.shift, images.device)
        if self.flip:
            columns = torch.where(_coin(images, 0.5), width - 1 - columns, columns)
        pixels = images.permute(0, 2, 3, 1)
        samples = torch.arange(n_samples, device=images.device)[:, None, None]
        # Pixel by pixel, all channels of which are copied together, whatever the memory format was.
        flat = (samples * height + rows[:, :, None]) * width + columns[:, None, :]
        moved = pixels.reshape(n_samples * height * width, -1).index_select(0, flat.reshape(-1))
        return moved.reshape(pixels.shape).permute(0, 3, 1, 2)

    def _zoom(self, images):
        """Flip, shift and zoom by one affine map, in coordinates from -1 to 1."""
        n_samples = len(images)
        side = _uniform(images, *self.scale).sqrt()
        place = [(1 - side + 2 * self.shift) * _uniform(images, -1, 1) for _ in range(2)]
        mirror = 1 - 2 * _coin(images, 0.5).to(side.dtype) if self.flip else torch.ones_like(side)
        zero = torch.zeros_like(side)
        maps = torch.cat([side * mirror, zero, place[0], zero, side, place[1]], dim=1).reshape(n_samples, 2, 3)
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        zoomed = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        # The weights of a mean of four pixels may sum to a bit more than 1.
        return zoomed.clamp_(0, 1)

    def _recolour(self, images):
        if self.brightness > 0:
            images = images.mul(_factor(images, self.brightness)).clamp_(0, 1)
        if self.contrast > 0:
            images = _away_from(_luma(images).mean((2, 3), keepdim=True), images, _factor(images, self.contrast))
        if self.saturation > 0 and images.shape[1] > 1:
            images = _away_from(_luma(images), images, _factor(images, self.saturation))
        if self.grayscale > 0 and images.shape[1] > 1:
            images = torch.where(_coin(images, self.grayscale)[:, :, None, None], _luma(images), images)
        return images


class FeatureNoise(nn.Module):
    """Add Gaussian noise to features, and set some to zero.

    In evaluation mode features pass unchanged.

    Parameters
    ----------
    noise : float, default=0.1
        Standard deviation of the noise, in units of the standard deviation of each feature. It comes from the training
        rows if `learn_inputs` has been called, else from each batch, whose rows then are not independent.

    dropout : float, default=0.1
        Probability that a feature of a row is set to zero; the others are divided by the probability to stay, as usual.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    See Also
    --------
    ImageAugmentation : The same for images.

    Examples
    --------
    >>> import torch
    >>> from skhash.deep.augmentation import FeatureNoise
    >>> features = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    >>> FeatureNoise(noise=0.1, dropout=0.0)(features)[:, 1]
    tensor([5., 5.])
    """

    def __init__(self, noise=0.1, dropout=0.1):
        super().__init__()
        _check_number("FeatureNoise", "noise", noise)
        _check_number("FeatureNoise", "dropout", dropout, high=1)
        self.noise = noise
        self.dropout = dropout
        self.register_buffer("scale", None)

    def learn_inputs(self, inputs):
        """Take the standard deviation of each feature from training rows.

        Parameters
        ----------
        inputs : tensor of shape (n_samples, n_features), dtype float32
            Training rows. A feature that is constant in them gets no noise.
        """
        self.scale = _deviation(inputs)

    def extra_repr(self):
        """Say the settings.

        Returns
        -------
        settings : str
            The parameters and their values.
        """
        return f"noise={self.noise!r}, dropout={self.dropout!r}"

    def forward(self, features):
        """Change a batch of rows.

        Parameters
        ----------
        features : tensor of shape (n_samples, n_features), floating point
            Rows, which are left as they are.

        Returns
        -------
        changed : tensor of shape (n_samples, n_features)
            Changed rows; in evaluation mode `features` itself.
        """
        if not self.training:
            return features
        if self.noise > 0:
            scale = _deviation(features) if self.scale is None else self.scale
            features = features + self.noise * scale * torch.randn_like(features)
        return F.dropout(features, self.dropout)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        # The number of features is known from what is loaded only.
        loaded = state_dict.get(f"{prefix}scale")
        if loaded is not None and self.scale is None:
            self.scale = torch.empty_like(loaded)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _deviation(features):
    _, scale = mean_and_scale(features)
    return torch.where(features.amin(0) == features.amax(0), 0.0, scale).to(features.dtype)


def _check_number(owner, parameter, value, *, high=math.inf):
    if not (isinstance(value, int | float) and 0 <= value <= high and value < math.inf):
        limit = "at least 0" if high == math.inf else f"between 0 and {high}"
        raise ValueError(f"{owner}: {parameter}={value!r} must be a finite number {limit}.")


def _uniform(images, low, high):
    """Return a number for each image, of shape (n, 1)."""
    return low + (high - low) * torch.rand(len(images), 1, device=images.device, dtype=images.dtype)


def _coin(images, probability):
    """Return for each image whether something happens, of shape (n, 1)."""
    return torch.rand(len(images), 1, device=images.device) < probability


def _factor(images, strength):
    """Return what each image is multiplied by, of shape (n, 1, 1, 1)."""
    return _uniform(images, max(0.0, 1 - strength), 1 + strength)[:, :, None, None]


def _shifted(n_samples, length, share, device):
    """Return for each image the positions along one side that its pixels are taken from, reflected at both ends."""
    positions = torch.arange(length, device=device).expand(n_samples, length)
    largest = min(round(share * length), length - 1)
    if largest == 0:
        return positions
    positions = positions + torch.randint(-largest, largest + 1, (n_samples, 1), device=device)
    return length - 1 - (length - 1 - positions.abs()).abs()


def _luma(images):
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _away_from(center, images, factor):
    """Multiply the difference from a center."""
    return torch.lerp(center, images, factor).clamp_(0, 1)
