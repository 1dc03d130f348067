"""Reading many images: worker threads that run ahead, reports about unreadable images, progress."""

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
from joblib import effective_n_jobs

from .._optional import import_optional
from .._validation import shown
from ._containers import UnreadableImage, check_images
from ._decoding import ImageReadError, decode_image, image_path
from ._resizing import read_image


@contextmanager
def prefetch(
    function: Callable[[int], Any], n_items: int, *, n_jobs: int | None, ahead: int
) -> Iterator[Iterator[Any]]:
    """Compute `function(0), function(1), ...` ahead by worker threads, which end with the context.

    A context rather than a generator: where its consumer fails, a generator would keep its threads until the traceback
    is forgotten.

    Parameters
    ----------
    function : callable
        Called with an index, from several threads.

    n_items : int
        Number of indices.

    n_jobs : int or None
        Number of threads, counted as joblib does.

    ahead : int
        Largest number of results that are computed but not yet consumed, which bounds the memory.

    Yields
    ------
    results : iterator
        The results, in the order of the indices.
    """
    executor = ThreadPoolExecutor(max_workers=effective_n_jobs(n_jobs), thread_name_prefix="skhash-images")

    def in_order():
        running = deque(executor.submit(function, index) for index in range(min(ahead, n_items)))
        next_index = len(running)
        while running:
            result = running.popleft().result()
            if next_index < n_items:
                running.append(executor.submit(function, next_index))
                next_index += 1
            yield result

    try:
        yield in_order()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def read_or_report(item: Any, index: int, **options) -> np.ndarray | UnreadableImage:
    """Decode one image, or say why this is not possible.

    Parameters
    ----------
    item : str, os.PathLike, PIL image or ndarray
        One image that passed `check_images`.

    index : int
        Its position, for the report.

    **options : dict
        Passed on to `read_image`.

    Returns
    -------
    result : ndarray or UnreadableImage
        The pixels as `read_image` returns them, or the report.
    """
    try:
        return read_image(item, **options)
    except ImageReadError as error:
        return UnreadableImage(index, image_path(item), str(error))


def raise_unreadable(report: UnreadableImage, *, name: str, alternative: str | None = None) -> None:
    """Raise the error for one unreadable image.

    Parameters
    ----------
    report : UnreadableImage
        The image and the cause.

    name : str
        Who asks, for the message.

    alternative : str, default=None
        What else the caller may do than remove such images, such as "pass on_error='skip'".

    Raises
    ------
    ValueError
        Always, in one line that names the image, the cause and the way out.
    """
    which = f"image {report.index}" + (f" ({report.path!r})" if report.path is not None else "")
    advice = "" if alternative is None else f", or {alternative}"
    raise ValueError(
        f"{name} cannot read {which}: {report.message}. Remove such images and their labels first, with "
        f"skhash.features.find_unreadable_images(X){advice}."
    )


def finish_skipping(skipped: list[UnreadableImage], n_images: int, *, name: str) -> None:
    """Warn about skipped images, or refuse when no image is left.

    Parameters
    ----------
    skipped : list of UnreadableImage
        The images that were left out.

    n_images : int
        Number of images in the input.

    name : str
        Who asks, for the messages.

    Raises
    ------
    ValueError
        If every image was skipped.
    """
    if not skipped:
        return
    first = f"the first is image {skipped[0].index} ({skipped[0].message})"
    if len(skipped) == n_images:
        raise ValueError(f"{name} could read none of the {n_images} images: {first}; check the paths and the files.")
    warnings.warn(
        f"{name} skipped {len(skipped)} of {n_images} images, {first}: the output has {n_images - len(skipped)} "
        "rows, so leave out the same labels and ids, with numpy.delete(y, [image.index for image in skipped_]).",
        UserWarning,
        stacklevel=4,
    )


@contextmanager
def image_progress(n_images: int, *, verbose: bool, name: str):
    """Show a progress bar with images per second on stderr.

    Parameters
    ----------
    n_images : int
        Number of images in total.

    verbose : bool
        Whether anything is shown.

    name : str
        Text in front of the bar.

    Yields
    ------
    advance : callable
        To be called with the number of images done since the last call.
    """
    if not verbose:
        yield lambda n_done: None
        return
    tqdm = import_optional("tqdm", extra="images", feature=f"{name}(verbose=True)").tqdm
    with tqdm(total=n_images, desc=name, unit="image") as bar:
        yield bar.update


def find_unreadable_images(X, *, n_jobs: int | None = None, verbose: bool = False) -> list[UnreadableImage]:
    """Find the images that cannot be read, so that they and their labels can be removed before any fit.

    Every image is opened and decoded as the feature extractors of this package would do.

    Parameters
    ----------
    X : ndarray or sequence
        Images as `CNNFeatures` takes them: file paths, PIL images, uint8 arrays, or one uint8 array of images.

    n_jobs : int or None, default=None
        Number of reading threads; None means 1 and -1 means one per processor, as in joblib.

    verbose : bool, default=False
        Whether to show a progress bar on stderr.

    Returns
    -------
    unreadable : list of UnreadableImage
        One report with `index`, `path` and `message` for each unreadable image, in the order of the input; empty
        when every image can be read.

    Raises
    ------
    TypeError
        If `X` or one of its items is of a type that holds no image.

    ValueError
        If `X` is empty, or an array has another dtype than uint8 or a shape that is no image.

    See Also
    --------
    CNNFeatures : Features of a convolutional network.
    PixelFeatures : Pixels as features.

    Examples
    --------
    >>> import numpy as np
    >>> from skhash.features import find_unreadable_images
    >>> paths = ["no_such_photo.jpg"]
    >>> labels = np.array(["cat"])
    >>> unreadable = find_unreadable_images(paths)
    >>> unreadable[0].message
    'the file does not exist'
    >>> np.delete(labels, [image.index for image in unreadable])
    array([], dtype='<U3')
    """
    name = "find_unreadable_images"
    images = check_images(X, name=name)
    if n_jobs is not None and (isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral)):
        raise TypeError(f"{name}: n_jobs={shown(n_jobs)} must be an integer or None.")

    def report(index):
        item = images[index]
        if not isinstance(item, np.ndarray):
            try:
                decode_image(item, color="rgb", name=name, size=(1, 1))
            except ImageReadError as error:
                return UnreadableImage(index, image_path(item), str(error))
        return None

    unreadable = []
    with (
        prefetch(report, len(images), n_jobs=n_jobs, ahead=64) as reports,
        image_progress(len(images), verbose=verbose, name=name) as advance,
    ):
        for found in reports:
            advance(1)
            if found is not None:
                unreadable.append(found)
    return unreadable
