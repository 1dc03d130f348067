"""Retrieved images beside their queries."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar

from .._optional import import_optional
from ._estimators import database_labels_of, fitted_search
from ._gallery_data import (
    UNKNOWN,
    check_labels,
    check_neighbors,
    names_of_labels,
    relevance_of_neighbors,
    rows_of_ids,
)
from ._gallery_drawing import (
    RELEVANCE_COLORS,
    RELEVANCE_MARKS,
    draw_borders,
    draw_captions,
    draw_images,
    draw_titles,
    shrinkage,
)
from ._gallery_layout import GalleryLayout, common_aspect
from ._images import list_images, read_image


class RetrievalGalleryDisplay:
    """Gallery of queries and the images retrieved for them.

    One row a query: the query on the left, its neighbours to the right by rising distance, with the number of bits
    that differ below. The border is green (and the caption ticked) where a neighbour is relevant, red (and crossed)
    where it is not, grey where that is unknown. Make it with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    query_images : list of n_queries images
        Each a uint8 array of gray levels (height, width) or (height, width, 1), or of RGB (height, width, 3), a PIL
        image, or a path of an image file. Files are read when plotting.

    neighbor_images : list of n_queries lists of n_neighbors images
        Neighbours of each query, nearest first.

    distances : array-like of shape (n_queries, n_neighbors)
        Hamming distances in bits if they are integers, otherwise the real distances of a re-ranked shortlist.

    relevance : array-like of shape (n_queries, n_neighbors), default=None
        1 where a neighbour is relevant, 0 where it is not, -1 where that is unknown; all unknown when not given.

    query_names : list of str, default=None
        What to write below the queries.

    neighbor_names : list of n_queries lists of n_neighbors str, default=None
        What to write below the neighbours, under the distance.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the gallery; its unit is the inch of a figure of its own.

    figure_ : matplotlib Figure
        Figure of the axes.

    images_ : ndarray of shape (n_queries, 1 + n_neighbors) of matplotlib AxesImage
        Images, those of the queries in column 0.

    borders_ : ndarray of shape (n_queries, 1 + n_neighbors) of matplotlib Rectangle
        Borders.

    captions_ : ndarray of shape (n_queries, 1 + n_neighbors) of matplotlib Text
        Texts below the images.

    titles_ : ndarray of shape (1 + n_neighbors,) of matplotlib Text
        Texts above the columns.

    See Also
    --------
    PrecisionRecallDisplay : The quality of all rankings in one curve.

    Examples
    --------
    >>> import numpy as np
    >>> from skhash.inspection import RetrievalGalleryDisplay
    >>> images = np.zeros((3, 8, 8), dtype=np.uint8)
    >>> display = RetrievalGalleryDisplay.from_predictions(
    ...     images[:1], images, [[0, 3]], [[2, 1]], query_labels=["cat"], database_labels=["dog", "dog", "cat"]
    ... )
    >>> display.relevance
    array([[1, 0]], dtype=int8)
    >>> [caption.get_text() for caption in display.captions_[0]]
    ['cat', '✔ 0 bits\\ncat', '✘ 3 bits\\ndog']
    """

    def __init__(
        self, query_images, neighbor_images, distances, *, relevance=None, query_names=None, neighbor_names=None
    ):
        self.query_images = query_images
        self.neighbor_images = neighbor_images
        self.distances = distances
        self.relevance = relevance
        self.query_names = query_names
        self.neighbor_names = neighbor_names

    def plot(self, ax=None):
        """Draw the gallery.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to fill; when not given, a new figure is made that suits the number of images.

        Returns
        -------
        display : RetrievalGalleryDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        TypeError
            If an image is of no known type.

        ValueError
            If an image cannot be read, is not uint8 or has a wrong shape, or the attributes do not match.
        """
        pyplot = import_optional("matplotlib.pyplot", extra="plot", feature="RetrievalGalleryDisplay.plot")
        distances, relevance = self._check_attributes()
        rows = self._read_images()
        captions = self._write_captions(distances, relevance)
        layout = GalleryLayout(
            *distances.shape,
            aspect=common_aspect([pixels for row in rows for pixels in row]),
            n_caption_lines=max(text.count("\n") + 1 for text in captions.ravel()),
        )
        if ax is None:
            # A layout engine that the user prefers would move the axes away from the edges of the figure.
            _, ax = pyplot.subplots(figsize=(layout.width, layout.height), layout="none")
            ax.set_position([0, 0, 1, 1])
        self.ax_, self.figure_ = ax, ax.figure
        ax.set_axis_off()
        ax.set(xlim=(0, layout.width), ylim=(layout.height, 0), aspect="equal", anchor="NW")
        scale = shrinkage(ax, layout)
        ax.vlines(layout.separator, layout.top(0), layout.bottom, color="#BBBBBB", linewidth=scale)
        self.titles_ = draw_titles(ax, layout, scale)
        self.images_ = draw_images(ax, layout, rows)
        self.borders_ = draw_borders(ax, layout, relevance, scale)
        self.captions_ = draw_captions(ax, layout, captions, scale)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator,
        query_images,
        database_images,
        *,
        query_labels=None,
        n_neighbors=8,
        max_queries=5,
        target_names=None,
        ax=None,
    ):
        """Search with a fitted pipeline and draw what it finds.

        Parameters
        ----------
        estimator : RetrievalPipeline
            Fitted; its first step takes images, its last step is a :class:`skhash.HammingNearestNeighbors`.

        query_images : array-like of n_queries images
            Images as the pipeline takes them, and as the class describes.

        database_images : array-like of n_database images
            Images that the pipeline was fitted on and that were added, in the order of the rows of the database.

        query_labels : array-like of shape (n_queries,) or (n_queries, n_labels), default=None
            Classes or 0/1 indicators of the queries, of the kind of the labels that `fit` got. A neighbour is relevant
            that has the same class or shares a label. Class -1 means unlabelled. Without them relevance is unknown.

        n_neighbors : int, default=8
            Number of neighbours of each query.

        max_queries : int, default=5
            Only so many queries, the first ones, are searched and drawn.

        target_names : sequence of str, default=None
            Names of the classes 0, 1 and so on, or of the columns of indicators.

        ax : matplotlib Axes, default=None
            Axes to fill; a new figure when not given.

        Returns
        -------
        display : RetrievalGalleryDisplay
            The gallery, drawn.

        Raises
        ------
        TypeError
            If the estimator does not search, or images are of no known type.

        sklearn.exceptions.NotFittedError
            If the search is not fitted.

        ValueError
            If lengths do not match the fitted database, it has no labels, or an image cannot be read.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.preprocessing import FunctionTransformer
        >>> from skhash import ITQ
        >>> from skhash.inspection import RetrievalGalleryDisplay
        >>> from skhash.neighbors import HammingNearestNeighbors
        >>> from skhash.pipeline import RetrievalPipeline
        >>> digits = load_digits()
        >>> images = (digits.images * (255 / 16)).round().astype(np.uint8)
        >>> flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1).astype(float))
        >>> pipeline = RetrievalPipeline(
        ...     [("flatten", flatten), ("hash", ITQ(32, random_state=0)), ("search", HammingNearestNeighbors())]
        ... ).fit(images[:-5], digits.target[:-5])
        >>> display = RetrievalGalleryDisplay.from_estimator(
        ...     pipeline, images[-5:], images[:-5], query_labels=digits.target[-5:], n_neighbors=3
        ... )
        >>> display.captions_.shape
        (5, 4)
        """
        caller = f"{cls.__name__}.from_estimator"
        search = fitted_search(estimator, caller=caller)
        _check_max_queries(max_queries, caller)
        list_images(query_images, name="query_images", caller=caller)
        database_images = list_images(database_images, name="database_images", caller=caller)
        if len(database_images) != len(search.ids_):
            raise ValueError(
                f"{caller}: database_images has {len(database_images)} images, the fitted database "
                f"{len(search.ids_)} codes; pass one image for each code, in the order of ids_."
            )
        database_labels = None
        if query_labels is not None:
            check_labels(query_labels, len(query_images), name="query_labels", unit="query image", caller=caller)
            database_labels = database_labels_of(search, caller=caller)
        distances, ids = estimator.kneighbors(query_images[:max_queries], n_neighbors)
        return cls.from_predictions(
            query_images[:max_queries],
            database_images,
            distances,
            ids,
            query_labels=None if query_labels is None else np.asarray(query_labels)[:max_queries],
            database_labels=database_labels,
            database_ids=search.ids_,
            max_queries=max_queries,
            target_names=target_names,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        query_images,
        database_images,
        distances,
        ids,
        *,
        query_labels=None,
        database_labels=None,
        database_ids=None,
        max_queries=5,
        target_names=None,
        ax=None,
    ):
        """Draw what a search returned.

        Parameters
        ----------
        query_images : array-like of n_queries images
            Images as the class describes.

        database_images : array-like of n_database images
            Images as the class describes; only the neighbours among them are read.

        distances : array-like of shape (n_queries, n_neighbors)
            Distances as `kneighbors` returns them: integers in bits, or real ones of a re-ranked shortlist.

        ids : array-like of int of shape (n_queries, n_neighbors)
            Names of the neighbours, as `kneighbors` returns them.

        query_labels : array-like of shape (n_queries,) or (n_queries, n_labels), default=None
            Classes or 0/1 indicators. A neighbour is relevant that has the same class or shares a label. Class -1
            means unlabelled. Pass labels of queries and database, or neither: relevance is then unknown.

        database_labels : array-like of shape (n_database,) or (n_database, n_labels), default=None
            Labels of the database, of the same kind.

        database_ids : array-like of int of shape (n_database,), default=None
            Names of the database images; their positions when not given.

        max_queries : int, default=5
            Only so many queries, the first ones, are drawn.

        target_names : sequence of str, default=None
            Names of the classes 0, 1 and so on, or of the columns of indicators.

        ax : matplotlib Axes, default=None
            Axes to fill; a new figure when not given.

        Returns
        -------
        display : RetrievalGalleryDisplay
            The gallery, drawn.

        Raises
        ------
        TypeError
            If images are of no known type.

        ValueError
            If lengths do not match, an id is not in the database, labels are given for one side only or without names,
            or an image cannot be read.
        """
        caller = f"{cls.__name__}.from_predictions"
        _check_max_queries(max_queries, caller)
        query_images = list_images(query_images, name="query_images", caller=caller)
        database_images = list_images(database_images, name="database_images", caller=caller)
        distances, ids = check_neighbors(distances, ids, len(query_images), caller=caller)
        shown = slice(max_queries)
        rows = rows_of_ids(ids[shown], database_ids, len(database_images), caller=caller)
        labels = _check_both_labels(query_labels, database_labels, query_images, database_images, caller)
        return cls(
            query_images[shown],
            [[database_images[row] for row in neighbors] for neighbors in rows],
            distances[shown],
            **_describe_neighbors(labels, shown, rows, target_names, caller),
        ).plot(ax)

    def _check_attributes(self):
        """Return distances and relevance as arrays of one shape."""
        owner = type(self).__name__
        widths = [len(images) for images in self.neighbor_images]
        if not widths or len(widths) != len(self.query_images) or len(set(widths)) > 1:
            raise ValueError(
                f"{owner}: {len(self.query_images)} query images have lists of {widths} neighbour images; "
                "pass one list for each query, all of one length."
            )
        shape = len(widths), widths[0]
        for name, expected in (("query_names", shape[:1]), ("neighbor_names", shape), ("relevance", shape)):
            if getattr(self, name) is not None:
                self._check_shape(name, expected)
        self._check_shape("distances", shape)
        relevance = np.full(shape, UNKNOWN) if self.relevance is None else np.asarray(self.relevance)
        if not np.isin(relevance, list(RELEVANCE_COLORS)).all():
            raise ValueError(f"{owner}: relevance holds other values than 1, 0 and -1 for unknown.")
        return np.asarray(self.distances), relevance

    def _check_shape(self, name, expected):
        shape = np.shape(getattr(self, name))
        if shape != expected:
            raise ValueError(
                f"{type(self).__name__}: {name} has shape {shape}; the images need one value each, shape {expected}."
            )

    def _read_images(self):
        """Return a list of rows of pixels, the query first."""
        owner = type(self).__name__
        rows = []
        for query, (query_image, neighbor_images) in enumerate(
            zip(self.query_images, self.neighbor_images, strict=True)
        ):
            row = [read_image(query_image, subject=f"{owner}: query image {query}")]
            for column, image in enumerate(neighbor_images):
                row.append(read_image(image, subject=f"{owner}: neighbour {column} of query {query}"))
            rows.append(row)
        return rows

    def _write_captions(self, distances, relevance):
        """Return the captions as an array of str of shape (n_queries, 1 + n_neighbors)."""
        n_queries, n_neighbors = distances.shape
        captions = np.full((n_queries, 1 + n_neighbors), "", dtype=object)
        if self.query_names is not None:
            captions[:, 0] = self.query_names
        for query, column in np.ndindex(n_queries, n_neighbors):
            caption = f"{RELEVANCE_MARKS[int(relevance[query, column])]}{_distance_text(distances[query, column])}"
            if self.neighbor_names is not None and self.neighbor_names[query][column]:
                caption += f"\n{self.neighbor_names[query][column]}"
            captions[query, column + 1] = caption
        return captions


def _check_max_queries(max_queries, caller):
    check_scalar(max_queries, f"{caller}: max_queries", Integral, min_val=1)


def _check_both_labels(query_labels, database_labels, query_images, database_images, caller):
    """Return the labels of queries and database, or None where neither are given."""
    if (query_labels is None) != (database_labels is None):
        missing = "query_labels" if query_labels is None else "database_labels"
        raise ValueError(f"{caller}: {missing} is missing; pass labels of queries and database, or neither.")
    if query_labels is None:
        return None
    query_labels = check_labels(query_labels, len(query_images), name="query_labels", unit="query image", caller=caller)
    database_labels = check_labels(
        database_labels, len(database_images), name="database_labels", unit="database image", caller=caller
    )
    return query_labels, database_labels


def _describe_neighbors(labels, shown, rows, target_names, caller):
    """Return relevance and names as keywords of the display."""
    if labels is None:
        if target_names is not None:
            raise ValueError(f"{caller}: target_names need labels; pass query_labels and the labels of the database.")
        return {}
    query_labels, database_labels = labels[0][shown], labels[1]
    return {
        "relevance": relevance_of_neighbors(query_labels, database_labels, rows, caller=caller),
        "query_names": names_of_labels(query_labels, target_names, caller=caller),
        "neighbor_names": [names_of_labels(database_labels[row], target_names, caller=caller) for row in rows],
    }


def _distance_text(distance):
    if distance.dtype.kind == "f":
        return f"{distance:.3g}"
    return f"{distance} {'bit' if distance == 1 else 'bits'}"
