"""Rows on their way to a network: features, images in memory, and images that are read when they are needed.

Imported by functions only, because it needs torch.
"""

import math
import os
from abc import ABCMeta, abstractmethod
from pathlib import Path

import numpy as np
import torch
from sklearn.utils import gen_batches

from .._images import CHANNELS, UnreadableImage, image_path, prefetch, raise_unreadable, read_or_report
from ._checkpoints import fingerprint_of

# Images that may be decoded before the network wants them.
_IMAGES_AHEAD = 512

# Pixels of decoded images that are kept for the epochs to come.
_BYTES_KEPT = 512 * 2**20

# Images in memory are kept on the device where they take no more than this share of what is free there.
_SHARE_OF_DEVICE = 0.5


class Inputs(metaclass=ABCMeta):
    """Rows of a training set.

    Attributes
    ----------
    device : torch.device
        Where batches are made for.

    row_shape : tuple of int
        What the network is given of each row: (n_features,) or (n_channels, height, width).
    """

    @abstractmethod
    def __len__(self):
        """Number of rows."""

    @abstractmethod
    def select(self, rows):
        """Return the inputs of some rows, given as an array of positions, in that order."""

    @abstractmethod
    def to(self, device):
        """Return the same inputs, whose batches are made on a device."""

    @abstractmethod
    def batches(self, order, sizes):
        """Yield batches of rows.

        Parameters
        ----------
        order : tensor of shape (n,), dtype int64
            Positions, on the CPU.

        sizes : list of int
            Rows of each batch; they sum to n.

        Yields
        ------
        batch : tensor of shape (size, *row_shape), dtype float32
            Of its own memory, on the device: pixels run from 0 to 1, with the channels last in memory.

        positions : tensor of shape (size,), dtype int64
            On the device.
        """

    @abstractmethod
    def identity(self):
        """List what tells these rows from others: arrays, names and numbers."""


class FeatureInputs(Inputs):
    """Rows of features.

    Parameters
    ----------
    features : tensor of shape (n, n_features), dtype float32
        On any device.
    """

    def __init__(self, features):
        self.features = features
        self.device, self.row_shape = features.device, tuple(features.shape[1:])

    def __len__(self):
        return len(self.features)

    def select(self, rows):
        return FeatureInputs(self.features[torch.from_numpy(rows).to(self.device)])

    def to(self, device):
        return FeatureInputs(self.features.to(device))

    def batches(self, order, sizes):
        for positions in order.to(self.device).split(sizes):
            # Rows picked by position are copies, so that a network may work in place.
            yield self.features[positions], positions

    def identity(self):
        return [self.features.cpu().numpy()]


class ImageArray(Inputs):
    """Images of one size in an array, none of which is copied on a CPU.

    Parameters
    ----------
    pixels : ndarray of shape (n_images, height, width, n_channels), dtype uint8
        Images, of which some are the rows.

    rows : ndarray of shape (n,), dtype int64
        Positions in `pixels`.

    device : torch.device
        Where batches are made for.
    """

    def __init__(self, pixels, rows, device):
        self.pixels, self.rows, self.device = pixels, rows, device
        self.row_shape = (pixels.shape[3], *pixels.shape[1:3])
        self._stored = self._store()

    def __len__(self):
        return len(self.rows)

    def select(self, rows):
        return ImageArray(self.pixels, self.rows[rows], self.device)

    def to(self, device):
        return ImageArray(self.pixels, self.rows, device)

    def batches(self, order, sizes):
        for part in order.split(sizes):
            positions = part.to(self.device)
            if self._stored is None:
                images = torch.from_numpy(self.pixels[self.rows[part.numpy()]]).to(self.device)
            else:
                images = self._stored[positions]
            yield to_network(images), positions

    def identity(self):
        return [fingerprint_of(self.pixels[self.rows[part]]) for part in gen_batches(len(self.rows), _IMAGES_AHEAD)]

    def _store(self):
        """Move the rows to a GPU once, if they leave it room for the network."""
        if self.device.type != "cuda":
            return None
        n_bytes = len(self.rows) * self.pixels[:1].nbytes
        free, _ = torch.cuda.mem_get_info(self.device)
        fits = n_bytes <= _SHARE_OF_DEVICE * free
        return torch.from_numpy(self.pixels[self.rows]).to(self.device) if fits else None


class ImageReader:
    """Decode and resize images when they are needed, and keep the first of them, as many as a limit of memory allows.

    Epochs go round all images, so a cache of the latest would have lost each of them before its turn comes.

    Parameters
    ----------
    items : list or ndarray
        Paths, PIL images and arrays that passed `check_images`.

    shape : tuple of int
        Height, width and number of channels that the network takes.

    name : str
        The estimator, for messages.
    """

    def __init__(self, items, shape, *, name):
        self.items, self.shape, self.name = items, shape, name
        self._color = next(color for color, n_channels in CHANNELS.items() if n_channels == shape[2])
        self._kept, self._n_kept = {}, _BYTES_KEPT // math.prod(shape)

    def read(self, index):
        """Return the pixels of an image, or the report that it cannot be read; from any thread."""
        pixels = self._kept.get(index)
        if pixels is None:
            pixels = read_or_report(self.items[index], index, size=self.shape[:2], color=self._color, name=self.name)
            if len(self._kept) < self._n_kept:
                self._kept[index] = pixels
        return pixels

    def checked(self, result):
        """Return pixels that `read` returned, or raise the error for an image that cannot be read."""
        if isinstance(result, UnreadableImage):
            raise_unreadable(result, name=self.name)
        return result


class ImageList(Inputs):
    """Images that threads read ahead of the network.

    Parameters
    ----------
    reader : ImageReader
        The images, of which some are the rows.

    rows : ndarray of shape (n,), dtype int64
        Positions in the images of the reader.

    device : torch.device
        Where batches are made for.

    n_jobs : int or None
        Number of reading threads.
    """

    def __init__(self, reader, rows, device, *, n_jobs):
        self.reader, self.rows, self.device, self.n_jobs = reader, rows, device, n_jobs
        self.row_shape = (reader.shape[2], *reader.shape[:2])

    def __len__(self):
        return len(self.rows)

    def select(self, rows):
        return ImageList(self.reader, self.rows[rows], self.device, n_jobs=self.n_jobs)

    def to(self, device):
        return ImageList(self.reader, self.rows, device, n_jobs=self.n_jobs)

    def batches(self, order, sizes):
        wanted = self.rows[order.numpy()].tolist()
        with prefetch(
            lambda number: self.reader.read(wanted[number]), len(wanted), n_jobs=self.n_jobs, ahead=_IMAGES_AHEAD
        ) as images:
            for part in order.split(sizes):
                pixels = np.stack([self.reader.checked(next(images)) for _ in range(len(part))])
                yield to_network(torch.from_numpy(pixels).to(self.device)), part.to(self.device)

    def identity(self):
        # Files are told apart by name, size and date, without reading them.
        return [
            self.reader.checked(self.reader.read(row)) if path is None or not os.path.exists(path) else Path(path)
            for row, path in ((row, image_path(self.reader.items[row])) for row in self.rows.tolist())
        ]


def to_network(images):
    """Turn pixels into what a network is given.

    Parameters
    ----------
    images : tensor of shape (n, height, width, n_channels), dtype uint8
        Images.

    Returns
    -------
    batch : tensor of shape (n, n_channels, height, width), dtype float32
        Pixels from 0 to 1, with the channels last in memory, where convolutions run fastest.
    """
    return images.permute(0, 3, 1, 2).to(torch.float32).div_(255)
