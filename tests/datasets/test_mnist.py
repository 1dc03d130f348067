"""fetch_mnist and fetch_fashion_mnist on small files in the published format."""

import gzip
from dataclasses import replace

import numpy as np
import pytest

from skhash.datasets import _mnist, fetch_fashion_mnist, fetch_mnist

pytest.importorskip("pooch", reason="downloads need pooch, of the extra 'datasets'")

N_IMAGES = {"train": 4, "test": 2}
FETCHERS = pytest.mark.parametrize(
    ("fetch", "constant"), [(fetch_mnist, "_MNIST"), (fetch_fashion_mnist, "_FASHION_MNIST")]
)


def make_files():
    """Write the header of the format by hand: 0, 0, type 8 (byte), axes, then each length in four bytes."""
    rng = np.random.RandomState(0)
    images = {part: rng.bytes(n * 784) for part, n in N_IMAGES.items()}
    labels = {"train": bytes([5, 0, 9, 1]), "test": bytes([7, 2])}
    files = {}
    for part, n in N_IMAGES.items():
        size = bytes([0, 0, 0, n])
        side = bytes([0, 0, 0, 28])
        files["images", part] = b"\x00\x00\x08\x03" + size + side + side + images[part]
        files["labels", part] = b"\x00\x00\x08\x01" + size + labels[part]
    return files


@pytest.fixture
def publish(server, monkeypatch, tmp_path):
    """Let a fetcher download the given files, packed unless they are broken already."""
    monkeypatch.setattr(_mnist, "_IMAGES_PER_PART", N_IMAGES)
    monkeypatch.setenv("SKHASH_DATA", str(tmp_path))

    def publish(files, constant="_MNIST", pack=gzip.compress):
        dataset = getattr(_mnist, constant)
        remotes = {kind: {} for kind in ("images", "labels")}
        for (kind, part), content in files.items():
            remotes[kind][part] = server.remote(getattr(dataset, kind)[part].name, pack(content))
        monkeypatch.setattr(_mnist, constant, replace(dataset, **remotes))

    return publish


@FETCHERS
def test_every_pixel_and_label_is_where_the_format_puts_it(publish, fetch, constant):
    files = make_files()
    publish(files, constant)
    dataset = fetch(verbose=False)
    assert dataset.images.shape == (6, 28, 28)
    assert dataset.images.dtype == np.uint8
    assert dataset.target.tolist() == [5, 0, 9, 1, 7, 2]
    assert dataset.target.dtype == np.int64
    for i in range(6):
        part, row = ("train", i) if i < 4 else ("test", i - 4)
        for y, x in [(0, 0), (0, 27), (27, 0), (13, 5)]:
            assert dataset.images[i, y, x] == files["images", part][16 + 784 * row + 28 * y + x]
    assert len(dataset.target_names) == 10
    assert "70000" in dataset.DESCR
    assert dataset.images.flags.writeable


@FETCHERS
def test_test_subset_downloads_its_two_files_only(publish, fetch, constant, server):
    publish(make_files(), constant)
    images, target = fetch(subset="test", return_X_y=True, verbose=False)
    assert len(images) == 2
    assert target.tolist() == [7, 2]
    assert len(server.requests) == 2


def test_the_two_datasets_do_not_share_files(publish, tmp_path):
    """Their files bear the same names."""
    files = make_files()
    publish(files, "_MNIST")
    files["labels", "test"] = files["labels", "test"][:-2] + bytes([3, 3])
    publish(files, "_FASHION_MNIST")
    assert fetch_fashion_mnist(subset="test", verbose=False).target.tolist() == [3, 3]
    assert {path.name for path in tmp_path.iterdir()} == {"fashion_mnist"}


def one_line_error(match):
    with pytest.raises(ValueError, match=match) as info:
        fetch_mnist(verbose=False)
    assert "\n" not in str(info.value)
    assert str(info.value).startswith("fetch_mnist: ")


@pytest.mark.parametrize("n_bytes", [1, 15, -4, -20])
def test_truncated_gzip(publish, n_bytes):
    publish(make_files(), pack=lambda content: gzip.compress(content)[:n_bytes])
    one_line_error("truncated or no gzip file")


def test_file_that_is_not_gzip(publish):
    publish(make_files(), pack=lambda content: content)
    one_line_error("truncated or no gzip file")


@pytest.mark.parametrize(("position", "value"), [(0, 1), (2, 0x0D), (3, 1), (4, 255), (7, 5), (11, 27)], ids=str)
def test_header_of_another_type_or_shape(publish, position, value):
    files = make_files()
    content = bytearray(files["images", "train"])
    content[position] = value
    publish({**files, ("images", "train"): bytes(content)})
    one_line_error(r"no IDX file of bytes of shape \(4, 28, 28\)")


@pytest.mark.parametrize(("n_bytes", "relation"), [(-1, "fewer"), (1, "more")])
def test_values_that_do_not_fit_the_header(publish, n_bytes, relation):
    files = make_files()
    content = files["labels", "train"]
    files["labels", "train"] = content[:-1] if n_bytes < 0 else content + b"\x00"
    publish(files)
    one_line_error(f"holds {relation} than 4 values")


def test_label_above_nine(publish):
    files = make_files()
    files["labels", "test"] = files["labels", "test"][:-1] + b"\x0b"
    publish(files)
    one_line_error("holds 11, the highest label is 9")
