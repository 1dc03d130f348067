import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skhash.hashers import LSH
from skhash.inspection import RetrievalGalleryDisplay
from skhash.neighbors import HammingNearestNeighbors
from skhash.pipeline import RetrievalPipeline

pyplot = pytest.importorskip("matplotlib.pyplot", reason="the displays draw with matplotlib")
matplotlib_colors = pytest.importorskip("matplotlib.colors", reason="the displays draw with matplotlib")
Image = pytest.importorskip("PIL.Image", reason="image files are read with pillow")

GREEN, RED, GREY = "#009e73", "#cc3311", "#999999"
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
LABELS = np.arange(12) % 3
DISTANCES, IDS = np.array([[0, 1, 4], [2, 2, 3]]), np.array([[3, 1, 6], [4, 5, 7]])


def flatten(images):
    return np.reshape(images, (len(images), -1)).astype(float)


def fitted_pipeline(y=LABELS, **params):
    steps = [
        ("flatten", FunctionTransformer(flatten)),
        ("hash", LSH(16, random_state=0)),
        ("search", HammingNearestNeighbors()),
    ]
    return RetrievalPipeline(steps).fit(IMAGES, y, **params)


def colors(display):
    return [[matplotlib_colors.to_hex(border.get_edgecolor()) for border in row[1:]] for row in display.borders_]


def texts(display):
    return [[caption.get_text() for caption in row] for row in display.captions_]


def test_borders_and_captions_show_relevance_and_distance():
    display = RetrievalGalleryDisplay.from_predictions(
        IMAGES[:2],
        IMAGES,
        DISTANCES,
        IDS,
        query_labels=[0, 1],
        database_labels=LABELS,
        target_names=["cat", "dog", "elk"],
    )
    # LABELS[IDS] is [[0, 1, 0], [1, 2, 1]].
    assert colors(display) == [[GREEN, RED, GREEN], [GREEN, RED, GREEN]]
    assert texts(display) == [
        ["cat", "✔ 0 bits\ncat", "✘ 1 bit\ndog", "✔ 4 bits\ncat"],
        ["dog", "✔ 2 bits\ndog", "✘ 2 bits\nelk", "✔ 3 bits\ndog"],
    ]
    assert [title.get_text() for title in display.titles_] == ["query", "1st", "2nd", "3rd"]


def test_without_labels_borders_are_grey_and_captions_have_no_mark():
    display = RetrievalGalleryDisplay.from_predictions(IMAGES[:2], IMAGES, DISTANCES, IDS)
    assert colors(display) == [[GREY] * 3] * 2
    assert texts(display) == [["", "0 bits", "1 bit", "4 bits"], ["", "2 bits", "2 bits", "3 bits"]]


def test_unlabelled_neighbours_are_grey_among_labelled_ones():
    labels = LABELS.copy()
    labels[[1, 4]] = -1
    display = RetrievalGalleryDisplay.from_predictions(
        IMAGES[:2], IMAGES, DISTANCES, IDS, query_labels=[0, 1], database_labels=labels
    )
    assert colors(display) == [[GREEN, GREY, GREEN], [GREY, RED, GREEN]]
    assert texts(display)[0][2] == "1 bit"


def test_a_shared_label_is_enough():
    database_labels = np.zeros((12, 3), dtype=int)
    database_labels[[3, 4]] = [1, 0, 1]
    display = RetrievalGalleryDisplay.from_predictions(
        IMAGES[:2], IMAGES, DISTANCES, IDS, query_labels=[[1, 1, 0], [0, 1, 0]], database_labels=database_labels
    )
    assert colors(display) == [[GREEN, RED, RED], [RED, RED, RED]]


def test_images_are_those_the_ids_name_pixel_by_pixel():
    display = RetrievalGalleryDisplay.from_predictions(IMAGES[:2], IMAGES, DISTANCES, IDS)
    for query in range(2):
        shown = [np.asarray(image.get_array()) for image in display.images_[query]]
        np.testing.assert_array_equal(shown, IMAGES[[query, *IDS[query]]])
        assert {image.get_interpolation() for image in display.images_[query]} == {"nearest"}


def test_one_figure_with_one_axes_without_ticks():
    display = RetrievalGalleryDisplay.from_predictions(IMAGES[:2], IMAGES, DISTANCES, IDS)
    assert pyplot.get_fignums() == [display.figure_.number]
    assert display.figure_.axes == [display.ax_]
    assert not display.ax_.axison
    assert display.ax_.get_aspect() == 1
    assert display.images_.shape == display.borders_.shape == display.captions_.shape == (2, 4)


def test_given_axes_are_filled_and_no_figure_is_made():
    figure, axes = pyplot.subplots(1, 2)
    display = RetrievalGalleryDisplay.from_predictions(IMAGES[:2], IMAGES, DISTANCES, IDS, ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert len(pyplot.get_fignums()) == 1
    assert axes[1].images
    assert not axes[0].images


@pytest.mark.parametrize("setting", [{}, {"figure.constrained_layout.use": True}, {"figure.autolayout": True}])
@pytest.mark.parametrize(("n_queries", "n_neighbors"), [(1, 1), (2, 12), (10, 3)])
def test_captions_overlap_neither_each_other_nor_images_and_lie_inside(setting, n_queries, n_neighbors):
    ids = np.resize(np.arange(12), (n_queries, n_neighbors))
    with pyplot.rc_context(setting):
        display = RetrievalGalleryDisplay.from_predictions(
            np.resize(IMAGES, (n_queries, 8, 8)),
            IMAGES,
            ids + 20,
            ids,
            query_labels=np.zeros(n_queries, dtype=int),
            database_labels=LABELS,
            target_names=["automobile", "a class with a long name that needs room", "$x$"],
            max_queries=10,
        )
        display.figure_.draw_without_rendering()
    boxes = [artist.get_window_extent() for artist in [*display.captions_.ravel(), *display.titles_]]
    boxes += [border.get_window_extent() for border in display.borders_.ravel()]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
        assert display.figure_.bbox.x0 <= box.x0 < box.x1 <= display.figure_.bbox.x1
        assert display.figure_.bbox.y0 <= box.y0 < box.y1 <= display.figure_.bbox.y1


def test_images_of_several_kinds_and_sizes_in_one_gallery(tmp_path):
    Image.new("RGB", (40, 20), "red").save(tmp_path / "red.png")
    database = [IMAGES[0], Image.new("L", (5, 9)), tmp_path / "red.png", np.zeros((200, 200, 3), dtype=np.uint8)]
    display = RetrievalGalleryDisplay.from_predictions(
        [str(tmp_path / "red.png")], database, [[1, 2, 3, 4]], [[3, 2, 1, 0]]
    )
    shapes = [image.get_array().shape for image in display.images_[0]]
    assert shapes == [(20, 40, 3), (200, 200, 3), (20, 40, 3), (9, 5), (8, 8)]
    assert display.images_[0, 1].get_interpolation() != "nearest"


def test_real_distances_of_a_reranked_shortlist_are_not_called_bits():
    display = RetrievalGalleryDisplay.from_predictions(
        IMAGES[:1], IMAGES, [[0.0, 1.2345]], [[3, 4]], query_labels=LABELS[:1], database_labels=LABELS
    )
    assert [text[1:].split()[0] for text in texts(display)[0][1:]] == ["0", "1.23"]


def test_only_images_that_are_shown_are_read(tmp_path):
    database = [tmp_path / "missing.png"] * 12
    database[5] = IMAGES[5]
    queries = [IMAGES[0], tmp_path / "missing.png"]
    display = RetrievalGalleryDisplay.from_predictions(queries, database, [[1], [1]], [[5], [4]], max_queries=1)
    assert display.images_.shape == (1, 2)
    with pytest.raises(ValueError, match=r"neighbour 0 of query 0 \(.*missing.png\) cannot be read: the file does"):
        RetrievalGalleryDisplay.from_predictions(queries[:1], database, [[1]], [[4]])


def test_estimator_gives_the_same_as_its_predictions():
    ids = np.arange(12)[::-1] * 10
    pipeline = fitted_pipeline(search__ids=ids).remove([50, 110])
    kept = ~np.isin(ids, [50, 110])
    found = RetrievalGalleryDisplay.from_estimator(
        pipeline, IMAGES[:4], IMAGES[kept], query_labels=LABELS[:4], n_neighbors=3, max_queries=2
    )
    distances, neighbors = pipeline.kneighbors(IMAGES[:2], 3)
    expected = RetrievalGalleryDisplay.from_predictions(
        IMAGES[:2],
        IMAGES[kept],
        distances,
        neighbors,
        query_labels=LABELS[:2],
        database_labels=LABELS[kept],
        database_ids=ids[kept],
    )
    assert colors(found) == colors(expected)
    assert texts(found) == texts(expected)
    for one, other in zip(found.images_.ravel(), expected.images_.ravel(), strict=True):
        np.testing.assert_array_equal(one.get_array(), other.get_array())
    # The first query is itself in the database under the id 110, which was removed.
    assert not (found.images_[0, 1].get_array() == IMAGES[0]).all()
    assert (found.images_[1, 1].get_array() == IMAGES[1]).all()


def test_a_database_without_labels_is_shown_in_grey():
    display = RetrievalGalleryDisplay.from_estimator(fitted_pipeline(y=None), IMAGES[:1], IMAGES, n_neighbors=2)
    assert colors(display) == [[GREY] * 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distances": DISTANCES[:, :2]}, r"distances has shape \(2, 2\) and ids \(2, 3\)"),
        ({"distances": DISTANCES.astype(str)}, "distances must be numbers .* got dtype <U"),
        ({"query_images": IMAGES[:3]}, "ids has 2 rows for 3; pass one for each query image"),
        ({"database_images": IMAGES[:7]}, "id 7 is not among the 7 database images"),
        ({"database_ids": np.arange(100, 112)}, "id 3 is not among the 12 database images"),
        ({"query_labels": [0, 1]}, "database_labels is missing"),
        ({"database_labels": LABELS}, "query_labels is missing"),
        ({"query_labels": [0], "database_labels": LABELS}, "query_labels has 1 rows for 2"),
        ({"query_labels": [0, 1], "database_labels": LABELS[:5]}, "database_labels has 5 rows for 12"),
        ({"query_labels": [[[0]], [[1]]], "database_labels": LABELS}, r"query_labels has shape \(2, 1, 1\)"),
        ({"target_names": ["cat"]}, "target_names need labels"),
        ({"max_queries": 0}, "max_queries == 0, must be >= 1"),
        ({"query_images": []}, "query_images is empty"),
    ],
)
def test_predictions_that_do_not_match_are_refused_in_one_line(changes, message):
    arguments = {"query_images": IMAGES[:2], "database_images": IMAGES, "distances": DISTANCES, "ids": IDS} | changes
    with pytest.raises(ValueError, match=f"^RetrievalGalleryDisplay.from_predictions: {message}") as caught:
        RetrievalGalleryDisplay.from_predictions(**arguments)
    assert "\n" not in str(caught.value)
    assert not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LSH(16), "LSH has no kneighbors; pass a fitted RetrievalPipeline"),
        (Pipeline([("search", HammingNearestNeighbors())]), "Pipeline of search has no kneighbors"),
        (RetrievalPipeline([("hash", LSH(16))]), "RetrievalPipeline of hash has no kneighbors"),
        (NearestNeighbors().fit(flatten(IMAGES)), "NearestNeighbors searches no Hamming codes"),
    ],
)
def test_estimators_that_do_not_search_codes_are_named(estimator, message):
    with pytest.raises(TypeError, match=f"^RetrievalGalleryDisplay.from_estimator: {message}"):
        RetrievalGalleryDisplay.from_estimator(estimator, IMAGES[:1], IMAGES)


def test_an_unfitted_pipeline_is_refused():
    pipeline = RetrievalPipeline([("hash", LSH(16)), ("search", HammingNearestNeighbors())])
    with pytest.raises(NotFittedError, match="HammingNearestNeighbors instance is not fitted"):
        RetrievalGalleryDisplay.from_estimator(pipeline, IMAGES[:1], IMAGES)


def test_an_estimator_of_other_images_or_without_labels_is_refused():
    with pytest.raises(ValueError, match="database_images has 5 images, the fitted database 12 codes"):
        RetrievalGalleryDisplay.from_estimator(fitted_pipeline(), IMAGES[:1], IMAGES[:5])
    with pytest.raises(ValueError, match="HammingNearestNeighbors was fitted without labels; pass y to fit"):
        RetrievalGalleryDisplay.from_estimator(fitted_pipeline(y=None), IMAGES[:1], IMAGES, query_labels=[0])
    with pytest.raises(ValueError, match="query_labels has 2 rows for 1"):
        RetrievalGalleryDisplay.from_estimator(fitted_pipeline(), IMAGES[:1], IMAGES, query_labels=[0, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distances": [[1]]}, r"distances has shape \(1, 1\)"),
        ({"relevance": [[1, 0, 1]]}, r"relevance has shape \(1, 3\)"),
        ({"relevance": [[1, 2]]}, "relevance holds other values"),
        ({"query_names": ["a", "b"]}, r"query_names has shape \(2,\)"),
        ({"neighbor_names": [["a"]]}, r"neighbor_names has shape \(1, 1\)"),
        ({"neighbor_images": []}, "1 query images have lists of"),
    ],
)
def test_a_display_of_unequal_parts_is_refused(changes, message):
    parts = {"query_images": [IMAGES[0]], "neighbor_images": [[IMAGES[1], IMAGES[2]]], "distances": [[1, 2]]} | changes
    with pytest.raises(ValueError, match=f"^RetrievalGalleryDisplay: {message}"):
        RetrievalGalleryDisplay(**parts).plot()


def test_dollar_signs_in_class_names_are_no_formulas():
    display = RetrievalGalleryDisplay.from_predictions(
        IMAGES[:1], IMAGES, [[1]], [[0]], query_labels=["$x$"], database_labels=["$x$"] * 12
    )
    assert texts(display) == [["$x$", "✔ 1 bit\n$x$"]]
    assert not any(caption.get_parse_math() for caption in display.captions_[0])


def test_titles_count_in_english():
    ids = np.arange(23)[None]
    images = np.resize(IMAGES, (23, 8, 8))
    display = RetrievalGalleryDisplay.from_predictions(images[:1], images, ids, ids)
    titles = [title.get_text() for title in display.titles_]
    assert titles[9:15] == ["9th", "10th", "11th", "12th", "13th", "14th"]
    assert titles[21:] == ["21st", "22nd", "23rd"]
