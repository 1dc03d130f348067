"""Features of a convolutional network."""

import os
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._images import (
    ImageReadError,
    UnreadableImage,
    check_images,
    finish_skipping,
    image_path,
    image_progress,
    prefetch,
    raise_unreadable,
    read_or_report,
)
from .._optional import import_optional
from .._sklearn import Interval, StrOptions, fit_context
from ._cache import FeatureCache, image_digest
from ._output import room_for_features, without_rows


class CNNFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Pooled features of a pretrained convolutional network.

    Images are decoded by worker threads while the network runs, squeezed to one size, and mapped to the output of one
    layer of the network, averaged over all positions. Nothing is learned: `fit` loads the network, `transform` applies
    it. The network runs in evaluation mode and without gradients, so the features of an image depend neither on the
    other images nor on `batch_size`, to about 1e-5 of the largest feature on a CPU.

    Parameters
    ----------
    backbone : {"efficientnet_lite0"}, nn.Module or callable, default="efficientnet_lite0"
        The network. A name loads the weights from an installed package, without any download. A module, from
        torchvision, timm or your own, is copied. Any other callable is called with a float32 tensor of shape
        (n_images, 3, image_size, image_size) and returns a tensor or array of shape (n_images, n_features) or
        (n_images, n_channels, height, width).

    image_size : int, default=160
        Height and width in pixels to which every image is resized.

    layer : str, default=None
        Name of the submodule whose output gives the features, as in `backbone.named_modules()`. None means the last
        layer before the classifier for a named backbone, and the output of the network for a module.

    preprocess : {"auto", "efficientnet_lite", "imagenet"}, tuple or callable, default="auto"
        How pixels become the input of the network: (x - 127) / 128 for "efficientnet_lite", the usual mean and standard
        deviation for "imagenet", `(x / 255 - mean) / std` for a pair `(mean, std)`; a callable maps a uint8 tensor of
        shape (n_images, 3, image_size, image_size) to a floating-point tensor. "auto" is known for named backbones.

    weights : str or os.PathLike, default=None
        File with the parameters of the network: a `.safetensors` file, or a state_dict saved by `torch.save`, which is
        loaded without running any code in it. None keeps the parameters that the backbone comes with.

    batch_size : int, default=32
        Number of images that pass through the network together.

    device : str, default="auto"
        Torch device, such as "cpu" or "cuda:1"; "auto" takes CUDA where it is available.

    n_jobs : int or None, default=None
        Number of decoding threads; None means 1 and -1 means one per processor, as in joblib.

    cache_dir : str or os.PathLike, default=None
        Folder that keeps the features of every image between calls, estimators and processes. An entry is found by the
        bytes of the image and a digest of the weights, the printed architecture, `layer`, `preprocess` and
        `image_size`. After changing the code of your own module, take another folder. None stores nothing.

    on_error : {"raise", "skip"}, default="raise"
        What to do with an image that cannot be read: raise a ValueError that names it, or leave its row out, warn
        once and report it in `skipped_`. After skipping the output has fewer rows than the input, so labels and ids
        have to be cut to match; inside a pipeline use `find_unreadable_images` before the fit instead.

    verbose : bool, default=False
        Whether to show a progress bar on stderr.

    Attributes
    ----------
    n_features_out_ : int
        Number of features: 1280 for "efficientnet_lite0".

    network_digest_ : str or None
        Identity of the network, its weights and the preprocessing, part of the key of cached features; None where a
        plain callable takes part.

    skipped_ : list of UnreadableImage
        The images that the last call of `transform` left out, each with `index`, `path` and
        `message`.

    See Also
    --------
    PixelFeatures : Pixels as features, without torch.
    find_unreadable_images : Find broken files before a fit.

    Notes
    -----
    Padding, batch norm and rectifiers are folded into the convolutions, and the batch is laid out with the channels
    last, where the network can be traced by torch.fx and the result agrees; `benchmarks/features_speed.py` measures
    the gain. On a CPU such a network runs on as many threads as torch has (`torch.set_num_threads` or the environment
    variable OMP_NUM_THREADS), each with its own part of the batch; the setting itself is left as it is. A named
    backbone with its own weights is loaded once a process. A pickle holds the parameters of the estimator, not the
    loaded network, which is loaded again on first use and has to be the same.

    References
    ----------
    .. [1] M. Tan and Q. V. Le, "EfficientNet: Rethinking model scaling for convolutional neural networks",
       International Conference on Machine Learning, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skhash.features import CNNFeatures
    >>> images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    >>> features = CNNFeatures(image_size=64).fit_transform(images)
    >>> features.shape, features.dtype
    ((2, 1280), dtype('float32'))
    """

    _parameter_constraints: dict = {
        "backbone": [StrOptions({"efficientnet_lite0"}), callable],
        "image_size": [Interval(Integral, 1, None, closed="left")],
        "layer": [str, None],
        "preprocess": [StrOptions({"auto", "efficientnet_lite", "imagenet"}), tuple, callable],
        "weights": [str, os.PathLike, None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "n_jobs": [None, Integral],
        "cache_dir": [str, os.PathLike, None],
        "on_error": [StrOptions({"raise", "skip"})],
        "verbose": ["boolean"],
    }

    def __init__(
        self,
        backbone="efficientnet_lite0",
        *,
        image_size=160,
        layer=None,
        preprocess="auto",
        weights=None,
        batch_size=32,
        device="auto",
        n_jobs=None,
        cache_dir=None,
        on_error="raise",
        verbose=False,
    ):
        self.backbone = backbone
        self.image_size = image_size
        self.layer = layer
        self.preprocess = preprocess
        self.weights = weights
        self.batch_size = batch_size
        self.device = device
        self.n_jobs = n_jobs
        self.cache_dir = cache_dir
        self.on_error = on_error
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the parameters and the container of the images, and load the network.

        No image is decoded and nothing is learned.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width) or (n_images, height, width, 1 or 3), or sequence
            uint8 images, or a sequence of file paths (str or os.PathLike), PIL images and uint8 arrays.

        y : object, default=None
            Not used, present for the scikit-learn API.

        Returns
        -------
        self : CNNFeatures
            The fitted transformer.

        Raises
        ------
        ImportError
            If torch, or the package of a named backbone, is not installed.

        TypeError
            If `X` or one of its items is of a type that holds no image.

        ValueError
            If `X` is empty or no array of images, if the backbone, weights or device cannot be used, or if `cache_dir`
            is combined with a plain callable, whose features cannot be told apart from those of another.
        """
        check_images(X, name=type(self).__name__)
        self._network = self._load_network()
        self.n_features_out_ = self._network.n_features
        self.network_digest_ = self._network.digest
        self._open_cache()
        return self

    def transform(self, X):
        """Compute the features of every image.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width) or (n_images, height, width, 1 or 3), or sequence
            uint8 images, or a sequence of file paths (str or os.PathLike), PIL images and uint8 arrays.

        Returns
        -------
        features : ndarray of shape (n_images, n_features_out_)
            float32 features; with `on_error="skip"` the rows of unreadable images are left out.

        Raises
        ------
        NotFittedError
            If the transformer has not been fitted.

        TypeError
            If `X` or one of its items is of a type that holds no image.

        ValueError
            If `X` is empty, is no array of images, or holds an unreadable image and `on_error="raise"`; if the network
            returns values that are not finite; or if a loaded estimator finds other weights than it was fitted with.
        """
        check_is_fitted(self)
        name = type(self).__name__
        images = check_images(X, name=name)
        network = self._loaded_network()
        cache = self._open_cache()
        size = (network.image_size, network.image_size)
        features = room_for_features(name, len(images), self.n_features_out_)
        skipped, batch = [], []

        def look_up_or_read(index):
            return self._look_up_or_read(images[index], index, size, cache)

        with (
            prefetch(look_up_or_read, len(images), n_jobs=self.n_jobs, ahead=2 * self.batch_size) as reading,
            image_progress(len(images), verbose=self.verbose, name=name) as advance,
        ):
            for index, (key, result) in enumerate(reading):
                if isinstance(result, UnreadableImage):
                    if self.on_error == "raise":
                        raise_unreadable(result, name=name, alternative="pass on_error='skip'")
                    skipped.append(result)
                elif result.ndim == 1:
                    features[index] = result
                else:
                    batch.append((index, key, result))
                if len(batch) == self.batch_size or index == len(images) - 1:
                    self._extract(network, batch, features, cache)
                    batch = []
                advance(1)
        self.skipped_ = skipped
        finish_skipping(skipped, len(images), name=name)
        return without_rows(features, [image.index for image in skipped]) if skipped else features

    def _look_up_or_read(self, item, index, size, cache):
        """Return the key of an image and its cached features, its pixels, or a report; runs in worker threads."""
        name = type(self).__name__
        key = None
        if cache is not None:
            try:
                key = image_digest(item, name=name)
            except ImageReadError as error:
                return key, UnreadableImage(index, image_path(item), str(error))
            stored = cache.get(key)
            if stored is not None:
                return key, stored
        return key, read_or_report(item, index, size=size, color="rgb", name=name)

    def _extract(self, network, batch, features, cache):
        """Run the network on a batch of (index, key, pixels) and fill in the rows of `features`."""
        if not batch:
            return
        indices, keys, pixels = zip(*batch, strict=True)
        rows = network(np.stack(pixels))
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{type(self).__name__}: the network returned NaN or infinity for {np.sum(~finite)} of {len(rows)} "
                f"images of a batch, first for image {indices[np.argmin(finite)]}: check weights and preprocess."
            )
        features[list(indices)] = rows
        if cache is not None:
            for key, row in zip(keys, rows, strict=True):
                cache.put(key, row)

    def _load_network(self):
        import_optional("torch", extra="deep", feature=type(self).__name__)
        from ._cnn_network import load_network

        return load_network(
            self.backbone,
            image_size=self.image_size,
            layer=self.layer,
            preprocess=self.preprocess,
            weights=self.weights,
            device=self.device,
        )

    def _loaded_network(self):
        """Return the network of the fit, loading it again after unpickling."""
        if not hasattr(self, "_network"):
            network = self._load_network()
            if (network.digest, network.n_features) != (self.network_digest_, self.n_features_out_):
                raise ValueError(
                    f"{type(self).__name__}: the network loaded now differs from the one of the fit, in its weights, "
                    "architecture or preprocessing: restore the weights file and the packages, or fit again."
                )
            self._network = network
        return self._network

    def _open_cache(self):
        if self.cache_dir is None:
            return None
        if self.network_digest_ is None:
            part = "preprocess" if callable(self.preprocess) else "backbone"
            raise ValueError(
                f"{type(self).__name__}: cache_dir={os.fspath(self.cache_dir)!r} cannot be combined with a callable "
                f"{part}, which has no identity to tell its features apart: pass "
                + ("a preset name or a pair (mean, std)" if part == "preprocess" else "an nn.Module")
                + ", or cache_dir=None."
            )
        try:
            return FeatureCache(self.cache_dir, self.network_digest_, self.n_features_out_)
        except OSError as error:
            raise ValueError(
                f"{type(self).__name__}: cache_dir={os.fspath(self.cache_dir)!r} cannot be used ({error}): pass a "
                "folder that can be written."
            ) from error

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_network", None)
        return state

    @property
    def _n_features_out(self):
        return self.n_features_out_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Images are no table of numbers, so scikit-learn's suite for 2-d input does not apply.
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags
