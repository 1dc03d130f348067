import threading

import numpy as np
import pytest


@pytest.fixture
def reading_threads():
    """A function that lists the threads reading images which the test has started."""
    before = set(threading.enumerate())
    return lambda: [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("skhash-images")]


@pytest.fixture
def photos():
    """Twelve smooth random color images of 24 x 32 pixels."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(256, size=(12, 6, 8, 3))
    return np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2).astype(np.uint8)


@pytest.fixture
def png_paths(photos, tmp_path):
    """The photos as PNG files, which keep every pixel."""
    image = pytest.importorskip("PIL.Image", reason="writes files with Pillow")
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{index:02d}.png" for index in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        image.fromarray(photo).save(path)
    return paths
