import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skhash.hashers import LSH
from skhash.inspection import PrecisionRecallDisplay
from skhash.metrics import mean_average_precision
from skhash.neighbors import HammingNearestNeighbors
from skhash.pipeline import RetrievalPipeline

pyplot = pytest.importorskip("matplotlib.pyplot", reason="the displays draw with matplotlib")

# Distances 0, 1, 2 and 4 from the query; relevant, not, relevant, not.
DATABASE_CODES, DATABASE_LABELS = [[0b0000], [0b0001], [0b0011], [0b1111]], ["cat", "dog", "cat", "dog"]
TOY = ([[0b0000]], DATABASE_CODES, ["cat"], DATABASE_LABELS)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    return rng.normal(size=(60, 8)) + 2 * np.eye(3, 8)[y], y


def fitted_pipeline(X, y, n_bits=12):
    steps = [("hash", LSH(n_bits, random_state=0)), ("search", HammingNearestNeighbors())]
    return RetrievalPipeline(steps).fit(X, y)


def test_curve_of_a_query_computed_by_hand():
    display = PrecisionRecallDisplay.from_predictions(*TOY)
    recall, precision = display.line_.get_data()
    np.testing.assert_allclose(recall, [1 / 2, 1 / 2, 1, 1, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3, 2 / 3, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 1 / 2])
    np.testing.assert_array_equal(display.radii, np.arange(9))
    assert display.mean_average_precision == pytest.approx((1 + 2 / 3) / 2)


def test_legend_names_the_curve_its_map_and_the_dot():
    display = PrecisionRecallDisplay.from_predictions(*TOY, name="toy")
    legend = display.ax_.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["toy (mAP = 0.83)"]
    assert legend.get_title().get_text() == "dot: radius 2"
    assert display.line_.get_markevery() == [2]
    assert PrecisionRecallDisplay.from_predictions(*TOY).line_.get_label() == "8-bit codes (mAP = 0.83)"
    assert display.plot(name="renamed").line_.get_label() == "renamed (mAP = 0.83)"
    assert display.line_.axes.get_xlabel() == "Recall"
    assert display.line_.axes.get_ylabel() == "Precision"


def test_no_dot_without_a_marked_radius():
    display = PrecisionRecallDisplay.from_predictions(*TOY, marked_radius=None)
    assert display.line_.get_marker() == "None"
    assert display.ax_.get_legend().get_title().get_text() == ""


def test_display_without_map_or_name():
    display = PrecisionRecallDisplay([1, 0.5], [0.5, 1], [0, 1]).plot(marked_radius=1, curve_kwargs={"color": "red"})
    assert display.line_.get_label() == "1-bit codes"
    assert display.line_.get_color() == "red"
    assert display.figure_ is display.ax_.figure


def test_several_curves_share_axes(data):
    X, y = data
    first = PrecisionRecallDisplay.from_estimator(fitted_pipeline(X, y, 12), X[:9] + 0.1, y[:9])
    second = PrecisionRecallDisplay.from_estimator(fitted_pipeline(X, y, 20), X[:9] + 0.1, y[:9], ax=first.ax_)
    assert second.ax_ is first.ax_
    assert len(pyplot.get_fignums()) == 1
    texts = [text.get_text() for text in second.ax_.get_legend().get_texts()]
    assert [text.partition(" (")[0] for text in texts] == ["LSH, 12 bits", "LSH, 20 bits"]


def test_estimator_gives_the_same_as_its_predictions(data):
    X, y = data
    queries, query_labels = X[:9] + 0.1, y[:9]
    pipeline = fitted_pipeline(X, y)
    display = PrecisionRecallDisplay.from_estimator(pipeline, queries, query_labels)
    codes = pipeline[:-1].transform(queries), pipeline[:-1].transform(X)
    expected = PrecisionRecallDisplay.from_predictions(*codes, query_labels, y, n_bits=12)
    np.testing.assert_array_equal(display.line_.get_xydata(), expected.line_.get_xydata())
    assert len(display.radii) == 13
    assert display.mean_average_precision == mean_average_precision(*codes, query_labels, y)


def test_a_search_alone_takes_codes():
    search = HammingNearestNeighbors().fit(DATABASE_CODES, DATABASE_LABELS)
    display = PrecisionRecallDisplay.from_estimator(search, [[0]], ["cat"])
    assert display.line_.get_label() == "8-bit codes (mAP = 0.83)"


def test_queries_among_themselves():
    display = PrecisionRecallDisplay.from_predictions(DATABASE_CODES, None, DATABASE_LABELS)
    assert display.recall[-1] == 1
    assert display.precision[-1] == pytest.approx(1 / 3)


def test_zero_relevant_reaches_curve_and_map():
    queries = ([[0], [0]], DATABASE_CODES, ["cat", "cow"], DATABASE_LABELS)
    skipped = PrecisionRecallDisplay.from_predictions(*queries, zero_relevant="skip")
    with pytest.warns(UserWarning, match=r"1 of 2 queries \(first: 1\) have no relevant item"):
        counted = PrecisionRecallDisplay.from_predictions(*queries, zero_relevant="zero")
    assert skipped.mean_average_precision == pytest.approx(2 * counted.mean_average_precision)
    np.testing.assert_allclose(skipped.recall, 2 * counted.recall)


def test_what_cannot_be_drawn_is_refused(data):
    X, y = data
    with pytest.raises(ValueError, match=r"^PrecisionRecallDisplay: marked_radius=9 is not among the radii 0 to 8"):
        PrecisionRecallDisplay.from_predictions(*TOY, marked_radius=9)
    with pytest.raises(ValueError, match=r"^PrecisionRecallDisplay: precision, recall and radii have lengths \[2, 1"):
        PrecisionRecallDisplay([1, 1], [1], [0, 1]).plot()
    with pytest.raises(TypeError, match=r"^PrecisionRecallDisplay.from_estimator: LSH has no kneighbors"):
        PrecisionRecallDisplay.from_estimator(LSH(8).fit(X), X, y)
    with pytest.raises(NotFittedError, match="HammingNearestNeighbors instance is not fitted"):
        PrecisionRecallDisplay.from_estimator(RetrievalPipeline([("search", HammingNearestNeighbors())]), X, y)
    with pytest.raises(ValueError, match="was fitted without labels; pass y to fit"):
        PrecisionRecallDisplay.from_estimator(fitted_pipeline(X, None), X, y)
    assert not pyplot.get_fignums()
