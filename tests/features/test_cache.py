"""The on-disk cache of features."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skhash.features._cache import FeatureCache, image_digest, text_digest, write_atomically

KEY = "ab" + "0" * 38
FEATURES = np.array([1.5, -2.25, 3e-20], dtype=np.float32)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache", "network", 3)


def entry_of(cache):
    (path,) = [path for path in cache._folder.rglob("*") if path.is_file()]
    return path


def test_what_is_put_comes_back(cache):
    assert cache.get(KEY) is None
    cache.put(KEY, FEATURES)
    found = cache.get(KEY)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, FEATURES)


def test_layout_of_the_folder_and_the_file_is_the_documented_one(cache, tmp_path):
    cache.put(KEY, FEATURES)
    path = tmp_path / "cache" / "network" / "ab" / ("0" * 38)
    data = path.read_bytes()
    assert data[:8] == b"SKHFEAT1"
    assert data[8:12] == (3).to_bytes(4, "little")
    assert data[12:24] == FEATURES.astype("<f4").tobytes()
    assert len(data) == 40
    assert list(path.parent.iterdir()) == [path]


def test_every_flipped_bit_and_every_truncation_counts_as_absent(cache):
    cache.put(KEY, FEATURES)
    path = entry_of(cache)
    data = path.read_bytes()
    damaged = [data[:length] for length in range(len(data))] + [data + b"\0", data * 100]
    for position in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        assert cache.get(KEY) is None
    path.write_bytes(data)
    assert cache.get(KEY) is not None


def test_entry_moved_to_the_name_of_another_image_counts_as_absent(cache):
    cache.put(KEY, FEATURES)
    other = "ab" + "1" * 38
    os.rename(entry_of(cache), cache._path(other))
    assert cache.get(other) is None


def test_damaged_entry_is_replaced(cache):
    cache.put(KEY, FEATURES)
    entry_of(cache).write_bytes(b"damage")
    cache.put(KEY, FEATURES)
    np.testing.assert_array_equal(cache.get(KEY), FEATURES)


def test_failed_write_leaves_no_file_behind(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_atomically(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_costs_one_warning_not_the_features(cache, monkeypatch):
    def fail(*args):
        raise OSError("disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(UserWarning, match=r"cannot be written .*disk is full"):
        cache.put(KEY, FEATURES)
    cache.put(KEY, FEATURES)
    assert cache.get(KEY) is None


def _write_and_read(folder, worker):
    cache = FeatureCache(folder, "network", 64)
    wrong = 0
    for step in range(150):
        number = (step * 7 + worker) % 20
        key = f"{number:02x}" + "0" * 38
        found = cache.get(key)
        wrong += found is not None and not (found == number).all()
        cache.put(key, np.full(64, number, dtype=np.float32))
    return wrong


def test_threads_and_processes_read_and_write_the_same_entries(tmp_path):
    context = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(4) as threads, context.Pool(2) as processes:
        remote = processes.starmap_async(_write_and_read, [(tmp_path, 0), (tmp_path, 5)])
        local = threads.map(_write_and_read, [tmp_path] * 4, range(4))
        assert sum(local) + sum(remote.get(timeout=50)) == 0
    cache = FeatureCache(tmp_path, "network", 64)
    assert all((cache.get(f"{number:02x}" + "0" * 38) == number).all() for number in range(20))
    assert not list(tmp_path.rglob(".writing-*"))


def test_digest_tells_files_by_content_and_arrays_by_shape_and_pixels(png_paths, photos, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(png_paths[0].read_bytes())
    flat = np.arange(24, dtype=np.uint8)
    digests = {
        "file": image_digest(png_paths[0], name="Name"),
        "another file": image_digest(png_paths[1], name="Name"),
        "array": image_digest(photos[0], name="Name"),
        "another array": image_digest(photos[1], name="Name"),
        "4 x 6": image_digest(flat.reshape(4, 6), name="Name"),
        "6 x 4": image_digest(flat.reshape(6, 4), name="Name"),
    }
    assert len(set(digests.values())) == len(digests)
    assert image_digest(copy, name="Name") == digests["file"]
    assert image_digest(photos[0].copy(order="F"), name="Name") == digests["array"]


def test_digest_of_a_pil_image_sees_palette_and_transparency():
    image = pytest.importorskip("PIL.Image", reason="makes PIL images")
    plain = image.new("P", (6, 4))
    plain.putpalette([10, 20, 30, 200, 100, 50])
    other_palette, transparent = plain.copy(), plain.copy()
    other_palette.putpalette([11, 20, 30, 200, 100, 50])
    transparent.info["transparency"] = 0
    assert len({image_digest(item, name="Name") for item in (plain, other_palette, transparent)}) == 3


def test_digest_of_texts_keeps_them_apart():
    assert text_digest("ab", "c") != text_digest("a", "bc")
    assert text_digest("ab") == text_digest("ab")
