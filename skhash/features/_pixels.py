"""Pixels as features."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._images import (
    CHANNELS,
    UnreadableImage,
    check_images,
    finish_skipping,
    image_progress,
    prefetch,
    raise_unreadable,
    read_or_report,
)
from .._sklearn import Interval, StrOptions, fit_context
from ._output import room_for_features, without_rows

# Images decoded ahead of the copy into the output, for each thread; enough that no thread waits.
_AHEAD = 64


class PixelFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Resized pixels, flattened and scaled to [0, 1].

    The baseline that needs no network and no torch. Every image is squeezed to one size, without keeping its aspect
    ratio, and its pixels become the features in the order row, column, channel.

    Parameters
    ----------
    image_size : int, default=32
        Height and width in pixels to which every image is resized.

    color : {"gray", "rgb"}, default="gray"
        Whether an image gives one luma value a pixel, or three values.

    n_jobs : int or None, default=None
        Number of reading threads; None means 1 and -1 means one per processor, as in joblib.

    on_error : {"raise", "skip"}, default="raise"
        What to do with an image that cannot be read: raise a ValueError that names it, or leave its row out, warn
        once and report it in `skipped_`. After skipping the output has fewer rows than the input, so labels and ids
        have to be cut to match; inside a pipeline use `find_unreadable_images` before the fit instead.

    verbose : bool, default=False
        Whether to show a progress bar on stderr.

    Attributes
    ----------
    n_features_out_ : int
        Number of features: `image_size ** 2` times 1 or 3.

    skipped_ : list of UnreadableImage
        The images that the last call of `transform` left out, each with `index`, `path` and
        `message`.

    See Also
    --------
    CNNFeatures : Features of a convolutional network, far better for photographs.
    find_unreadable_images : Find broken files before a fit.

    Examples
    --------
    >>> import numpy as np
    >>> from skhash.features import PixelFeatures
    >>> images = np.zeros((2, 8, 8), dtype=np.uint8)
    >>> images[0] = 255
    >>> features = PixelFeatures(image_size=8).fit_transform(images)
    >>> features.shape, features.dtype, features[0, 0], features[1, 0]
    ((2, 64), dtype('float32'), np.float32(1.0), np.float32(0.0))
    """

    _parameter_constraints: dict = {
        "image_size": [Interval(Integral, 1, None, closed="left")],
        "color": [StrOptions({"gray", "rgb"})],
        "n_jobs": [None, Integral],
        "on_error": [StrOptions({"raise", "skip"})],
        "verbose": ["boolean"],
    }

    def __init__(self, image_size=32, *, color="gray", n_jobs=None, on_error="raise", verbose=False):
        self.image_size = image_size
        self.color = color
        self.n_jobs = n_jobs
        self.on_error = on_error
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the parameters and the container of the images.

        No image is decoded and nothing is learned.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width) or (n_images, height, width, 1 or 3), or sequence
            uint8 images, or a sequence of file paths (str or os.PathLike), PIL images and uint8 arrays.

        y : object, default=None
            Not used, present for the scikit-learn API.

        Returns
        -------
        self : PixelFeatures
            The fitted transformer.

        Raises
        ------
        TypeError
            If `X` or one of its items is of a type that holds no image.

        ValueError
            If `X` is empty, or an array has another dtype than uint8 or a shape that is no image.
        """
        check_images(X, name=type(self).__name__)
        self.n_features_out_ = int(self.image_size) ** 2 * CHANNELS[self.color]
        return self

    def transform(self, X):
        """Return the pixels of every image.

        Parameters
        ----------
        X : ndarray of shape (n_images, height, width) or (n_images, height, width, 1 or 3), or sequence
            uint8 images, or a sequence of file paths (str or os.PathLike), PIL images and uint8 arrays.

        Returns
        -------
        features : ndarray of shape (n_images, n_features_out_)
            float32 values in [0, 1]; with `on_error="skip"` the rows of unreadable images are left out.

        Raises
        ------
        NotFittedError
            If the transformer has not been fitted.

        TypeError
            If `X` or one of its items is of a type that holds no image.

        ValueError
            If `X` is empty, is no array of images, or holds an unreadable image and `on_error="raise"`.
        """
        check_is_fitted(self)
        name = type(self).__name__
        images = check_images(X, name=name)
        features = room_for_features(name, len(images), self.n_features_out_)
        size = (self.image_size, self.image_size)

        def read(index):
            return read_or_report(images[index], index, size=size, color=self.color, name=name)

        skipped = []
        with (
            prefetch(read, len(images), n_jobs=self.n_jobs, ahead=_AHEAD) as reading,
            image_progress(len(images), verbose=self.verbose, name=name) as advance,
        ):
            for index, result in enumerate(reading):
                advance(1)
                if not isinstance(result, UnreadableImage):
                    features[index] = result.ravel() / np.float32(255)
                elif self.on_error == "raise":
                    raise_unreadable(result, name=name, alternative="pass on_error='skip'")
                else:
                    skipped.append(result)
        self.skipped_ = skipped
        finish_skipping(skipped, len(images), name=name)
        return without_rows(features, [image.index for image in skipped]) if skipped else features

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
