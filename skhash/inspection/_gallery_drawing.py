"""The artists of a gallery."""

import numpy as np

from .._optional import import_optional
from ._gallery_data import UNKNOWN

# A bluish green and an orange red, which colour-blind readers tell apart; the marks do not rely on colour at all.
RELEVANCE_COLORS = {1: "#009E73", 0: "#CC3311", UNKNOWN: "#999999"}
RELEVANCE_MARKS = {1: "✔ ", 0: "✘ ", UNKNOWN: ""}
_QUERY_COLOR = "#333333"
_BACKGROUND = "#EEEEEE"
_BORDER_POINTS = 2.5
_QUERY_BORDER_POINTS = 1
_FONT_POINTS = 8.5
# The width of a letter, on average, in units of the font size.
_LETTER_WIDTH = 0.58
# Larger images are photographs, which look better smoothed.
_LARGEST_PIXELATED = 128


def shrinkage(ax, layout):
    """Return by how much text and lines shrink where the axes are smaller than the gallery wants to be.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes whose unit is that of the layout.

    layout : GalleryLayout
        Where everything lies.

    Returns
    -------
    scale : float
        At most 1.
    """
    box = ax.get_window_extent()
    return min(1, box.width / ax.figure.dpi / layout.width, box.height / ax.figure.dpi / layout.height)


def draw_titles(ax, layout, scale):
    """Write the titles of the columns.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes whose unit is that of the layout.

    layout : GalleryLayout
        Where everything lies.

    scale : float
        From `shrinkage`.

    Returns
    -------
    titles : ndarray of shape (1 + n_neighbors,) of matplotlib Text
        What was drawn.
    """
    texts = ["query", *(_ordinal(rank + 1) for rank in range(layout.n_neighbors))]
    return np.array(
        [
            ax.text(
                layout.center(column),
                layout.title_bottom,
                text,
                ha="center",
                va="baseline",
                fontsize=_FONT_POINTS * scale,
                fontweight="bold" if column == 0 else "normal",
                color=_QUERY_COLOR,
            )
            for column, text in enumerate(texts)
        ]
    )


def draw_images(ax, layout, rows):
    """Draw the images.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes whose unit is that of the layout.

    layout : GalleryLayout
        Where everything lies.

    rows : list of lists of ndarray
        Pixels, the query of each row first.

    Returns
    -------
    images : ndarray of shape (n_queries, 1 + n_neighbors) of matplotlib AxesImage
        What was drawn.
    """
    images = np.empty((layout.n_queries, 1 + layout.n_neighbors), dtype=object)
    for row, column in np.ndindex(images.shape):
        pixels = rows[row][column]
        images[row, column] = ax.imshow(
            pixels,
            cmap="gray",
            vmin=0,
            vmax=255,
            aspect="equal",
            extent=layout.image_box(row, column, pixels),
            interpolation="nearest" if max(pixels.shape[:2]) <= _LARGEST_PIXELATED else None,
            zorder=1,
        )
    return images


def draw_borders(ax, layout, relevance, scale):
    """Draw a border around each cell.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes whose unit is that of the layout.

    layout : GalleryLayout
        Where everything lies.

    relevance : ndarray of int of shape (n_queries, n_neighbors)
        1, 0, or -1 for unknown.

    scale : float
        From `shrinkage`.

    Returns
    -------
    borders : ndarray of shape (n_queries, 1 + n_neighbors) of matplotlib Rectangle
        What was drawn.
    """
    patches = import_optional("matplotlib.patches", extra="plot", feature="RetrievalGalleryDisplay.plot")
    borders = np.empty((layout.n_queries, 1 + layout.n_neighbors), dtype=object)
    for row, column in np.ndindex(borders.shape):
        if column == 0:
            width, color = _QUERY_BORDER_POINTS, _QUERY_COLOR
        else:
            width, color = _BORDER_POINTS, RELEVANCE_COLORS[int(relevance[row, column - 1])]
        # The inner half of the line would otherwise lie on the image.
        outset = width / 72 / 2
        borders[row, column] = patches.Rectangle(
            (layout.left(column) - outset, layout.top(row) - outset),
            layout.cell_width + 2 * outset,
            layout.cell_height + 2 * outset,
            facecolor=_BACKGROUND,
            edgecolor=color,
            linewidth=width * scale,
            joinstyle="round",
            zorder=0.5,
        )
        ax.add_patch(borders[row, column])
    return borders


def draw_captions(ax, layout, captions, scale):
    """Write below the images; lines that are wider than an image end in an ellipsis.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes whose unit is that of the layout.

    layout : GalleryLayout
        Where everything lies.

    captions : ndarray of str of shape (n_queries, 1 + n_neighbors)
        Texts, of one line or more.

    scale : float
        From `shrinkage`.

    Returns
    -------
    texts : ndarray of shape (n_queries, 1 + n_neighbors) of matplotlib Text
        What was drawn.
    """
    matplotlib = import_optional("matplotlib", extra="plot", feature="RetrievalGalleryDisplay.plot")
    n_letters = int(layout.cell_width * 72 / (_FONT_POINTS * _LETTER_WIDTH))
    texts = np.empty(captions.shape, dtype=object)
    for row, column in np.ndindex(captions.shape):
        texts[row, column] = ax.text(
            layout.center(column),
            layout.caption_top(row),
            "\n".join(_shorten(line, n_letters) for line in captions[row, column].split("\n")),
            ha="center",
            va="top",
            fontsize=_FONT_POINTS * scale,
            # DejaVu Sans comes with matplotlib and has the tick and the cross, whatever font the user prefers.
            fontfamily=[*matplotlib.rcParams["font.family"], "DejaVu Sans"],
            color=_QUERY_COLOR,
            # A class may have a dollar sign in its name.
            parse_math=False,
        )
    return texts


def _shorten(text, n_letters):
    return text if len(text) <= n_letters else f"{text[: n_letters - 1]}…"


def _ordinal(number):
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    suffixes = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{suffixes.get(number % 10, 'th')}"
