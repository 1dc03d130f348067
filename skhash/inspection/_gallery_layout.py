"""Where the cells of a gallery lie, in inches from its upper left corner."""

from dataclasses import dataclass

import numpy as np

_CELL_SIDE = 1.1
_MARGIN = 0.12
_GAP = 0.14
_QUERY_GAP = 0.5
_TITLE_HEIGHT = 0.26
_TITLE_PAD = 0.08
_CAPTION_PAD = 0.05
_LINE_HEIGHT = 0.15


@dataclass(frozen=True)
class GalleryLayout:
    """A column of queries, a wider gap, and columns of neighbours; captions stand below the images.

    Parameters
    ----------
    n_queries : int
        Number of rows.

    n_neighbors : int
        Number of columns beside that of the queries.

    aspect : float
        Width of an image divided by its height; cells of all aspects have the same area.

    n_caption_lines : int
        Lines of text to leave room for below each image.
    """

    n_queries: int
    n_neighbors: int
    aspect: float
    n_caption_lines: int

    @property
    def cell_width(self) -> float:
        """Width of an image."""
        return _CELL_SIDE * np.sqrt(self.aspect)

    @property
    def cell_height(self) -> float:
        """Height of an image."""
        return _CELL_SIDE / np.sqrt(self.aspect)

    @property
    def row_height(self) -> float:
        """Distance between the upper edges of two rows."""
        return self.cell_height + _CAPTION_PAD + self.n_caption_lines * _LINE_HEIGHT + _GAP

    @property
    def width(self) -> float:
        """Width of the whole gallery."""
        return self.left(self.n_neighbors) + self.cell_width + _MARGIN

    @property
    def height(self) -> float:
        """Height of the whole gallery."""
        return self.top(self.n_queries) - _GAP + _MARGIN

    @property
    def title_bottom(self) -> float:
        """Baseline of the titles of the columns."""
        return self.top(0) - _TITLE_PAD

    @property
    def bottom(self) -> float:
        """Lower edge of the last captions."""
        return self.height - _MARGIN

    @property
    def separator(self) -> float:
        """Horizontal position halfway between queries and neighbours."""
        return self.left(0) + self.cell_width + _QUERY_GAP / 2

    def left(self, column):
        """Return the left edge of a column; column 0 holds the queries."""
        gaps = 0 if column == 0 else _QUERY_GAP + (column - 1) * _GAP
        return _MARGIN + column * self.cell_width + gaps

    def top(self, row):
        """Return the upper edge of the images of a row."""
        return _MARGIN + _TITLE_HEIGHT + row * self.row_height

    def caption_top(self, row):
        """Return the upper edge of the captions of a row."""
        return self.top(row) + self.cell_height + _CAPTION_PAD

    def center(self, column):
        """Return the horizontal middle of a column."""
        return self.left(column) + self.cell_width / 2

    def image_box(self, row, column, pixels):
        """Return left, right, bottom and top of an image that fills its cell as far as its own aspect allows."""
        height, width = pixels.shape[:2]
        scale = min(self.cell_width / width, self.cell_height / height)
        left = self.left(column) + (self.cell_width - scale * width) / 2
        top = self.top(row) + (self.cell_height - scale * height) / 2
        return left, left + scale * width, top + scale * height, top


def common_aspect(images):
    """Return the aspect of the cells for images of several shapes.

    Parameters
    ----------
    images : list of ndarray of shape (height, width, ...)
        All images of the gallery.

    Returns
    -------
    aspect : float
        Median of width divided by height, from 1/2 to 2.
    """
    aspects = [pixels.shape[1] / pixels.shape[0] for pixels in images]
    return float(np.clip(np.median(aspects), 0.5, 2))
