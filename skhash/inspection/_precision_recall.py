"""Precision against recall of Hamming balls."""

import numpy as np

from .._optional import import_optional
from ..metrics import mean_average_precision as compute_mean_average_precision
from ..metrics import precision_recall_by_radius
from ._estimators import database_labels_of, encode, fitted_search, hasher_of


class PrecisionRecallDisplay:
    """Curve of precision against recall, one point for each Hamming radius.

    Several curves share axes by ``ax=``. Make it with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    precision : array-like of shape (n_radii,)
        Mean precision within each radius.

    recall : array-like of shape (n_radii,)
        Mean recall within each radius.

    radii : array-like of int of shape (n_radii,)
        Radii in bits, ascending.

    mean_average_precision : float, default=None
        Shown in the legend.

    name : str, default=None
        Name of the curve in the legend; "64-bit codes", after the largest radius, when not given.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.

    ax_ : matplotlib Axes
        Axes with the curve.

    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    skhash.metrics.precision_recall_by_radius : Computes the points.
    RetrievalGalleryDisplay : The retrieved images themselves.

    Notes
    -----
    Precision and recall are means over the queries, and an empty ball counts as precision 0. Long codes have many
    empty balls at small radii, so their curves start low and rise at first.

    Examples
    --------
    >>> from skhash.inspection import PrecisionRecallDisplay
    >>> display = PrecisionRecallDisplay.from_predictions(
    ...     [[0b00]], [[0b00], [0b01], [0b11]], ["cat"], ["cat", "dog", "cat"], name="toy"
    ... )
    >>> display.line_.get_label()
    'toy (mAP = 0.83)'
    """

    def __init__(self, precision, recall, radii, *, mean_average_precision=None, name=None):
        self.precision = precision
        self.recall = recall
        self.radii = radii
        self.mean_average_precision = mean_average_precision
        self.name = name

    def plot(self, ax=None, *, name=None, marked_radius=2, curve_kwargs=None):
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, such as ``ax_`` of another display; a new figure when not given.

        name : str, default=None
            Name of the curve in the legend; that of the display when not given.

        marked_radius : int, default=2
            Radius in bits that a dot marks, None for no dot; the same for all curves on the axes. The default is what
            the literature looks up in a hash table.

        curve_kwargs : dict, default=None
            Keywords of :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : PrecisionRecallDisplay
            This object.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        ValueError
            If `precision`, `recall` and `radii` differ in length, or `marked_radius` is not among the radii.
        """
        pyplot = import_optional("matplotlib.pyplot", extra="plot", feature="PrecisionRecallDisplay.plot")
        marked = self._positions_of(marked_radius)
        if ax is None:
            _, ax = pyplot.subplots()
        keywords = {"label": self._label(name)}
        if marked:
            keywords |= {"marker": "o", "markevery": marked}
        (self.line_,) = ax.plot(self.recall, self.precision, **keywords | (curve_kwargs or {}))
        ax.set(xlabel="Recall", ylabel="Precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        ax.legend(
            loc="best",
            fontsize="small",
            title_fontsize="small",
            title=f"dot: radius {marked_radius}" if marked else None,
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, zero_relevant="zero", name=None, ax=None, marked_radius=2, curve_kwargs=None
    ):
        """Rank the database of a fitted pipeline for queries and draw the curve.

        Parameters
        ----------
        estimator : RetrievalPipeline
            Fitted with labels; its last step is a :class:`skhash.HammingNearestNeighbors`.

        X : array-like
            Queries, as the first step takes them.

        y : array-like of shape (n_queries,) or (n_queries, n_labels)
            Classes or 0/1 indicators of the queries.

        zero_relevant : {"zero", "skip", "error"}, default="zero"
            What to do with queries without any relevant item, see :func:`skhash.metrics.precision_recall_by_radius`.

        name : str, default=None
            Name of the curve; class and code length of the hasher, "ITQ, 64 bits", when not given.

        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when not given.

        marked_radius : int, default=2
            Radius in bits that a dot marks, None for no dot.

        curve_kwargs : dict, default=None
            Keywords of :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : PrecisionRecallDisplay
            The curve, drawn.

        Raises
        ------
        TypeError
            If the estimator does not search among codes.

        sklearn.exceptions.NotFittedError
            If the search is not fitted.

        ValueError
            If the search was fitted without labels, or labels do not match.

        Warns
        -----
        UserWarning
            If queries have no relevant item in the database and count as 0, or the database seems to hold the queries,
            see :func:`skhash.metrics.mean_average_precision`.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skhash import ITQ, LSH
        >>> from skhash.inspection import PrecisionRecallDisplay
        >>> from skhash.neighbors import HammingNearestNeighbors
        >>> from skhash.pipeline import RetrievalPipeline
        >>> X, y = load_digits(return_X_y=True)
        >>> ax = None
        >>> for hasher in (LSH(32, random_state=0), ITQ(32, random_state=0)):
        ...     pipeline = RetrievalPipeline([("hash", hasher), ("search", HammingNearestNeighbors())])
        ...     pipeline.fit(X[:-200], y[:-200])
        ...     ax = PrecisionRecallDisplay.from_estimator(pipeline, X[-200:], y[-200:], ax=ax).ax_
        RetrievalPipeline(...)
        RetrievalPipeline(...)
        >>> [line.get_label() for line in ax.lines]
        ['LSH, 32 bits (mAP = ...)', 'ITQ, 32 bits (mAP = ...)']
        """
        caller = f"{cls.__name__}.from_estimator"
        search = fitted_search(estimator, caller=caller)
        database_labels = database_labels_of(search, caller=caller)
        hasher = hasher_of(estimator)
        n_bits = getattr(hasher, "n_bits_", None)
        if name is None and hasher is not None:
            name = type(hasher).__name__ + ("" if n_bits is None else f", {n_bits} bits")
        return cls.from_predictions(
            encode(estimator, X),
            search.codes_,
            y,
            database_labels,
            n_bits=n_bits,
            zero_relevant=zero_relevant,
            name=name,
            ax=ax,
            marked_radius=marked_radius,
            curve_kwargs=curve_kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        query_codes,
        database_codes,
        query_labels,
        database_labels=None,
        *,
        n_bits=None,
        zero_relevant="zero",
        name=None,
        ax=None,
        marked_radius=2,
        curve_kwargs=None,
    ):
        """Rank codes and draw the curve.

        Parameters
        ----------
        query_codes : array-like of shape (n_queries, n_bytes)
            Packed codes of the queries.

        database_codes : array-like of shape (n_database, n_bytes) or None
            Packed codes of the database. None ranks the queries among themselves, each left out of its own ranking.

        query_labels : array-like of shape (n_queries,) or (n_queries, n_labels)
            Classes, or indicators of zeros and ones: items are relevant that have the same class or share a label.

        database_labels : array-like of shape (n_database,) or (n_database, n_labels), default=None
            Labels of the database, of the same kind. None exactly where `database_codes` is None.

        n_bits : int, default=None
            Code length, the largest radius; ``8 * n_bytes`` when not given.

        zero_relevant : {"zero", "skip", "error"}, default="zero"
            What to do with queries without any relevant item, see :func:`skhash.metrics.precision_recall_by_radius`.

        name : str, default=None
            Name of the curve in the legend; the code length when not given.

        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure when not given.

        marked_radius : int, default=2
            Radius in bits that a dot marks, None for no dot.

        curve_kwargs : dict, default=None
            Keywords of :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : PrecisionRecallDisplay
            The curve, drawn.

        Raises
        ------
        ValueError
            If codes or labels are malformed or do not match, `zero_relevant` refuses, or `marked_radius` is larger
            than the codes are long.

        Warns
        -----
        UserWarning
            If queries have no relevant item in the database and count as 0, or the database seems to hold the queries,
            see :func:`skhash.metrics.mean_average_precision`.
        """
        data = (query_codes, database_codes, query_labels, database_labels)
        precision, recall, radii = precision_recall_by_radius(*data, n_bits=n_bits, zero_relevant=zero_relevant)
        score = compute_mean_average_precision(*data, zero_relevant=zero_relevant)
        display = cls(precision, recall, radii, mean_average_precision=score, name=name)
        return display.plot(ax, marked_radius=marked_radius, curve_kwargs=curve_kwargs)

    def _positions_of(self, marked_radius):
        """Return the positions of the points to mark."""
        owner = type(self).__name__
        lengths = [len(values) for values in (self.precision, self.recall, self.radii)]
        if len(set(lengths)) > 1:
            raise ValueError(f"{owner}: precision, recall and radii have lengths {lengths}; pass as many of each.")
        if marked_radius is None:
            return []
        positions = np.flatnonzero(np.asarray(self.radii) == marked_radius)
        if len(positions) == 0:
            raise ValueError(
                f"{owner}: marked_radius={marked_radius} is not among the radii {self.radii[0]} to {self.radii[-1]}; "
                "pass one of them, or None."
            )
        return positions.tolist()

    def _label(self, name):
        name = name or self.name or f"{self.radii[-1]}-bit codes"
        return name if self.mean_average_precision is None else f"{name} (mAP = {self.mean_average_precision:.2f})"
