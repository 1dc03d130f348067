import itertools

import numpy as np
import pytest

from skhash.inspection._gallery_layout import GalleryLayout, common_aspect


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("n_queries", "n_neighbors"), [(1, 1), (3, 5), (10, 12)])
def test_gaps_are_equal_and_the_gap_beside_the_queries_is_wider(n_queries, n_neighbors, aspect):
    layout = GalleryLayout(n_queries, n_neighbors, aspect, n_caption_lines=2)
    lefts = [layout.left(column) for column in range(n_neighbors + 1)]
    gaps = [right - left - layout.cell_width for left, right in itertools.pairwise(lefts)]
    np.testing.assert_allclose(gaps[1:], gaps[1] if len(gaps) > 1 else 0)
    assert all(0 < gap < gaps[0] / 2 for gap in gaps[1:])
    assert lefts[0] + layout.cell_width < layout.separator < lefts[1]
    assert lefts[-1] + layout.cell_width < layout.width


def test_captions_end_above_the_next_row():
    one_line, two_lines = (GalleryLayout(4, 3, 1.0, n_caption_lines=n) for n in (1, 2))
    for layout in (one_line, two_lines):
        assert layout.top(0) + layout.cell_height < layout.caption_top(0) < layout.top(1)
        assert layout.caption_top(3) < layout.bottom < layout.height
    # A line of 8.5 points takes about 0.14 inches.
    assert two_lines.row_height - one_line.row_height >= 0.14


@pytest.mark.parametrize(("shape", "n_free"), [((10, 10), 0), ((10, 40), 1), ((40, 10, 3), 1)])
def test_images_fill_their_cell_centred_without_distortion(shape, n_free):
    layout = GalleryLayout(2, 2, 1.0, n_caption_lines=1)
    left, right, bottom, top = layout.image_box(1, 2, np.zeros(shape))
    assert (right - left) / (bottom - top) == pytest.approx(shape[1] / shape[0])
    assert (left + right) / 2 == pytest.approx(layout.center(2))
    assert (top + bottom) / 2 == pytest.approx(layout.top(1) + layout.cell_height / 2)
    free = [layout.cell_width - (right - left), layout.cell_height - (bottom - top)]
    assert sum(space > 1e-9 for space in free) == n_free


def test_cells_take_the_median_aspect_within_limits():
    assert common_aspect([np.zeros((2, 3)), np.zeros((2, 3, 3)), np.zeros((1, 9))]) == 1.5
    assert common_aspect([np.zeros((1, 9))]) == 2
    assert common_aspect([np.zeros((9, 1))]) == 0.5
