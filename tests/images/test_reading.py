"""Reading ahead in threads, reports, the search for broken files, progress."""

import time
import warnings

import numpy as np
import pytest

from skhash._images import prefetch, raise_unreadable
from skhash.features import PixelFeatures, UnreadableImage, find_unreadable_images

pytest.importorskip("PIL.Image", reason="reads files with Pillow")


@pytest.mark.parametrize(("n_items", "ahead", "n_jobs"), [(0, 3, 1), (1, 3, 1), (3, 3, 2), (50, 4, 3), (50, 1, 2)])
def test_prefetch_keeps_the_order(n_items, ahead, n_jobs):
    def slow_for_even(index):
        time.sleep(0.002 * (index % 2 == 0))
        return index * index

    with prefetch(slow_for_even, n_items, n_jobs=n_jobs, ahead=ahead) as results:
        assert list(results) == [index * index for index in range(n_items)]


def test_prefetch_never_runs_further_ahead_than_asked():
    started = []
    with prefetch(started.append, 100, n_jobs=4, ahead=5) as results:
        for n_consumed in range(1, 101):
            next(results)
            time.sleep(0.0005)
            assert len(started) <= n_consumed + 5


def test_prefetch_stops_its_threads_when_the_consumer_stops(reading_threads):
    with prefetch(lambda index: index, 10_000, n_jobs=3, ahead=8) as results:
        next(results)
        assert reading_threads()
    assert not reading_threads()


def test_prefetch_stops_its_threads_when_the_consumer_fails(reading_threads):
    """The traceback, which the test keeps, holds every frame of the consumer."""
    with (
        pytest.raises(ZeroDivisionError) as raised,
        prefetch(lambda index: index, 10_000, n_jobs=3, ahead=8) as results,
    ):
        1 / next(results)
    assert not reading_threads()
    assert raised.tb is not None


def test_prefetch_raises_the_error_of_the_item():
    def fail_at_three(index):
        if index == 3:
            raise KeyError(index)
        return index

    with prefetch(fail_at_three, 10, n_jobs=2, ahead=8) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KeyError):
            next(results)


@pytest.fixture
def paths_with_two_broken(png_paths):
    png_paths[3].write_bytes(b"no image")
    png_paths[7].unlink()
    return png_paths


EXPECTED = [(3, "not an image in a format that Pillow reads"), (7, "the file does not exist")]


def test_find_unreadable_images_lists_position_path_and_cause(paths_with_two_broken):
    unreadable = find_unreadable_images(paths_with_two_broken, n_jobs=2)
    assert unreadable == [
        UnreadableImage(index, str(paths_with_two_broken[index]), message) for index, message in EXPECTED
    ]


def test_find_unreadable_images_is_empty_for_arrays(photos):
    assert find_unreadable_images(photos) == []


def test_find_unreadable_images_finds_a_file_truncated_at_its_end(png_paths):
    png_paths[0].write_bytes(png_paths[0].read_bytes()[:-30])
    assert [image.index for image in find_unreadable_images(png_paths)] == [0]


def test_filtering_before_a_fit_keeps_images_and_labels_together(paths_with_two_broken):
    labels = np.arange(12)
    broken = [image.index for image in find_unreadable_images(paths_with_two_broken)]
    kept = np.delete(np.array(paths_with_two_broken, dtype=object), broken)
    features = PixelFeatures(8).fit_transform(kept)
    assert len(features) == len(np.delete(labels, broken)) == 10


@pytest.mark.parametrize(
    ("path", "alternative", "expected"),
    [
        (
            "cats/3.jpg",
            None,
            "Name cannot read image 3 ('cats/3.jpg'): the cause. Remove such images and their labels first, with "
            "skhash.features.find_unreadable_images(X).",
        ),
        (
            None,
            "pass on_error='skip'",
            "Name cannot read image 3: the cause. Remove such images and their labels first, with "
            "skhash.features.find_unreadable_images(X), or pass on_error='skip'.",
        ),
    ],
)
def test_error_for_an_unreadable_image_advises_what_the_caller_offers(path, alternative, expected):
    with pytest.raises(ValueError, match="cannot read") as caught:
        raise_unreadable(UnreadableImage(3, path, "the cause"), name="Name", alternative=alternative)
    assert str(caught.value) == expected


def test_skipping_drops_rows_reports_them_and_warns_once(paths_with_two_broken, photos):
    estimator = PixelFeatures(8, color="rgb", on_error="skip").fit(paths_with_two_broken)
    with pytest.warns(UserWarning, match=r"PixelFeatures skipped 2 of 12 images, the first is image 3 ") as record:
        features = estimator.transform(paths_with_two_broken)
    assert len(record) == 1
    assert "\n" not in str(record[0].message)
    assert record[0].filename == __file__
    assert [(image.index, image.message) for image in estimator.skipped_] == EXPECTED
    kept = np.delete(photos, [3, 7], axis=0)
    np.testing.assert_array_equal(features, PixelFeatures(8, color="rgb").fit_transform(kept))


def test_report_is_of_the_last_transform(paths_with_two_broken, photos):
    estimator = PixelFeatures(8, on_error="skip").fit(photos)
    with pytest.warns(UserWarning, match="skipped 2"):
        estimator.transform(paths_with_two_broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.transform(photos)
    assert estimator.skipped_ == []


def test_skipping_every_image_is_an_error(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(ValueError, match="could read none of the 2 images: the first is image 0"):
        PixelFeatures(8, on_error="skip").fit_transform(paths)


def test_progress_goes_to_stderr_only_when_verbose(photos, capsys):
    pytest.importorskip("tqdm", reason="draws the bar")
    PixelFeatures(8).fit_transform(photos)
    assert capsys.readouterr().err == ""
    PixelFeatures(8, verbose=True).fit_transform(photos)
    output = capsys.readouterr()
    assert "PixelFeatures: 100%" in output.err
    assert "12/12" in output.err
    assert "image/s" in output.err
    assert output.out == ""


@pytest.mark.parametrize("n_jobs", [float("nan"), 0.5, "1", True])
def test_numbers_of_threads_that_are_no_integers_do_not_hang(n_jobs):
    """With NaN no thread was ever started, and all waited for ever."""
    with pytest.raises(TypeError, match=r"^find_unreadable_images: n_jobs="):
        find_unreadable_images(["no_such_file.png"], n_jobs=n_jobs)


def test_images_larger_than_memory_are_refused_before_they_are_allocated():
    images = np.zeros((2, 4, 4), dtype=np.uint8)
    with pytest.raises(MemoryError, match="1,099,511,627,776 features of 100 images"):
        PixelFeatures(image_size=2**20).fit(images).transform(np.repeat(images, 50, axis=0))


def test_sizes_in_small_integers_of_numpy_do_not_overflow():
    """32 times 32 is 0 in 8 bits."""
    assert PixelFeatures(image_size=np.uint8(32)).fit_transform(np.zeros((2, 4, 4), dtype=np.uint8)).shape == (2, 1024)
