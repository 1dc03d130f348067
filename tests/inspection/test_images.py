import os

import numpy as np
import pytest

from skhash.inspection._images import list_images, read_image

Image = pytest.importorskip("PIL.Image", reason="image files are read with pillow")

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)
RGB = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (GRAY, GRAY),
        (GRAY[:, :, None], GRAY),
        (RGB, RGB),
        (Image.fromarray(GRAY), GRAY),
        (Image.fromarray(RGB), RGB),
    ],
)
def test_arrays_and_pil_images_keep_their_pixels(item, expected):
    pixels = read_image(item, subject="image")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("kind", [str, lambda path: path, np.str_])
def test_files_are_read_by_any_kind_of_path(tmp_path, kind):
    path = tmp_path / "image.png"
    Image.fromarray(RGB).save(path)
    np.testing.assert_array_equal(read_image(kind(path), subject="image"), RGB)


def test_transparent_pixels_are_white(tmp_path):
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    pixels[0, 0, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    read = read_image(tmp_path / "image.png", subject="image")
    np.testing.assert_array_equal(read[:, :, 0], [[0, 255], [255, 255]])


@pytest.mark.parametrize(
    ("orientation", "expected"), [(1, GRAY), (3, GRAY[::-1, ::-1]), (6, np.rot90(GRAY, -1)), (8, np.rot90(GRAY))]
)
def test_exif_orientation_is_applied(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GRAY).save(tmp_path / "image.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png", subject="image"), expected)


def test_sixteen_bit_gray_levels_are_scaled_to_eight(tmp_path):
    Image.fromarray(np.array([[0, 128, 129, 32896, 65535]], dtype=np.uint16)).save(tmp_path / "image.png")
    np.testing.assert_array_equal(read_image(tmp_path / "image.png", subject="image"), [[0, 0, 1, 128, 255]])


def test_large_images_become_thumbnails_and_inputs_stay_as_they_are():
    image = Image.new("L", (2000, 1000), 7)
    pixels = read_image(image, subject="image")
    assert pixels.shape == (256, 512)
    assert image.size == (2000, 1000)


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (np.zeros((4, 4)), ValueError, r"has dtype float64; pass uint8 pixels 0-255: multiply by a fixed number"),
        (np.zeros((4, 4, 4), dtype=np.uint8), ValueError, r"image 7 has shape \(4, 4, 4\)"),
        (np.zeros((0, 4), dtype=np.uint8), ValueError, r"image 7 has shape \(0, 4\)"),
        (3.5, TypeError, "image 7 is of type float; pass a uint8 array"),
        (Image.new("F", (2, 2)), ValueError, "image 7 cannot be read: pixels of mode 'F' have no fixed range"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(item, error, message):
    with pytest.raises(error, match=message) as caught:
        read_image(item, subject="image 7")
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"image 7 \(.*broken.jpg\) cannot be read: not an image .*; replace it"):
        read_image(tmp_path / "broken.jpg", subject="image 7")
    with pytest.raises(ValueError, match=r"image 7 \(.*missing.jpg\) cannot be read: the file does not exist;"):
        read_image(str(tmp_path / "missing.jpg"), subject="image 7")


def test_postscript_named_like_a_photo_starts_no_interpreter(tmp_path, monkeypatch):
    """Pillow hands EPS to Ghostscript, whatever the file is called."""
    started = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **kwargs: started.append(args))
    path = tmp_path / "x.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(ValueError, match=r"image 7 \(.*x\.jpg\) cannot be read: not an image"):
        read_image(path, subject="image 7")
    assert started == []


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_that_pillow_only_warns_of_is_not_drawn(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("L", (30, 20)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(
        ValueError, match=r"image 7 \(.*bomb\.png\) cannot be read: a possible decompression bomb \(30 x 20 pixels\)"
    ):
        read_image(path, subject="image 7")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    assert read_image(path, subject="image 7").shape == (20, 30)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_refused_instead_of_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"image 7 \(.*pipe\.png\) cannot be read: not a regular file"):
        read_image(tmp_path / "pipe.png", subject="image 7")


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [("a.jpg", TypeError, "query_images is a single str"), ([], ValueError, "query_images is empty")],
)
def test_containers_without_images_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        list_images(images, name="query_images", caller="caller")
