"""fetch_cifar10 on a small archive in the published format."""

import io
import tarfile

import numpy as np
import pytest

from skhash.datasets import _cifar10, fetch_cifar10

pytest.importorskip("pooch", reason="downloads need pooch, of the extra 'datasets'")

N_PER_BATCH = 3
NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def make_batches():
    rng = np.random.RandomState(0)
    return {name: rng.randint(10, size=N_PER_BATCH * 3073).astype(np.uint8).tobytes() for name in NAMES}


def pack(batches, folder="cifar-10-batches-bin"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def publish(server, monkeypatch, tmp_path):
    """Let fetch_cifar10 download the given bytes."""
    monkeypatch.setattr(_cifar10, "_IMAGES_PER_BATCH", N_PER_BATCH)
    monkeypatch.setenv("SKHASH_DATA", str(tmp_path))

    def publish(content):
        monkeypatch.setattr(_cifar10, "_ARCHIVE", server.remote("cifar-10-binary.tar.gz", content))

    return publish


def test_every_pixel_and_label_is_where_the_format_puts_it(publish):
    batches = make_batches()
    # Neither the order in the archive nor other files in it matter.
    publish(pack({"readme.html": b"text", **dict(reversed(batches.items()))}))
    cifar10 = fetch_cifar10(verbose=False)
    assert cifar10.images.shape == (18, 32, 32, 3)
    assert cifar10.images.dtype == np.uint8
    assert cifar10.target.dtype == np.int64
    for i in range(18):
        record = batches[NAMES[i // N_PER_BATCH]][i % N_PER_BATCH * 3073 :][:3073]
        assert cifar10.target[i] == record[0]
        for row, column, channel in [(0, 0, 0), (0, 31, 1), (31, 0, 2), (17, 5, 0), (30, 31, 2)]:
            assert cifar10.images[i, row, column, channel] == record[1 + 1024 * channel + 32 * row + column]
    assert cifar10.target_names[:2] == ["airplane", "automobile"]
    assert len(cifar10.target_names) == 10
    assert "60000" in cifar10.DESCR


@pytest.mark.parametrize(("subset", "rows"), [("train", slice(0, 15)), ("test", slice(15, 18))])
def test_subsets_are_parts_of_all(publish, subset, rows):
    publish(pack(make_batches()))
    images, target = fetch_cifar10(return_X_y=True, verbose=False)
    part = fetch_cifar10(subset=subset, download_if_missing=False)
    np.testing.assert_array_equal(part.images, images[rows])
    np.testing.assert_array_equal(part.target, target[rows])


def test_archive_is_kept_in_a_folder_of_its_own(publish, tmp_path):
    publish(pack(make_batches()))
    fetch_cifar10(data_home=tmp_path / "home", verbose=False)
    assert (tmp_path / "home" / "cifar10" / "cifar-10-binary.tar.gz").exists()


def one_line_error(match):
    with pytest.raises(ValueError, match=match) as info:
        fetch_cifar10(verbose=False)
    assert "\n" not in str(info.value)
    assert str(info.value).startswith("fetch_cifar10: ")


@pytest.mark.parametrize("n_bytes", [0, 1, 20, 5000, -1000])
def test_truncated_archive(publish, n_bytes):
    publish(pack(make_batches())[:n_bytes])
    one_line_error("truncated or no tar.gz archive")


def test_archive_with_flipped_bytes_inside(publish):
    content = bytearray(pack(make_batches()))
    content[2000:2100] = bytes(100)
    publish(bytes(content))
    one_line_error("truncated or no tar.gz archive")


def test_archive_without_one_of_the_batches(publish):
    batches = make_batches()
    del batches["data_batch_4.bin"]
    publish(pack(batches))
    one_line_error("lacks 'cifar-10-batches-bin/data_batch_4.bin'")


@pytest.mark.parametrize("change", [-1, 1, -3073, 3073])
def test_batch_of_another_size(publish, change):
    batches = make_batches()
    batches["test_batch.bin"] = (batches["test_batch.bin"] + bytes(3073))[: N_PER_BATCH * 3073 + change]
    publish(pack(batches))
    one_line_error(f"test_batch.bin.* has {9219 + change} bytes, expected a file of 9219")


def test_folder_in_place_of_a_batch(publish):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.type = tarfile.DIRTYPE
        member.size = N_PER_BATCH * 3073
        archive.addfile(member)
    publish(buffer.getvalue())
    one_line_error("expected a file")


def test_label_above_nine(publish):
    batches = make_batches()
    batches["data_batch_1.bin"] = b"\x0a" + batches["data_batch_1.bin"][1:]
    publish(pack(batches))
    one_line_error("holds 10, the highest label is 9")


def test_unknown_subset():
    with pytest.raises(ValueError, match="'subset' parameter of fetch_cifar10"):
        fetch_cifar10(subset="validation")
