import errno
import io
import os
import stat

import numpy as np
import pytest

from skhash.persistence._container import open_container, write_container
from skhash.persistence._files import atomic_writer, file_name


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with atomic_writer(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt(), ValueError("x")])
@pytest.mark.parametrize("existed", [True, False])
def test_nothing_changes_when_writing_fails(tmp_path, error, existed):
    path = tmp_path / "a"
    if existed:
        path.write_bytes(b"old")

    def fail():
        with atomic_writer(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert os.listdir(tmp_path) == ["a"] * existed
    assert not existed or path.read_bytes() == b"old"


@pytest.mark.parametrize("function", ["fsync", "replace", "chmod"])
def test_nothing_changes_when_the_system_fails(tmp_path, monkeypatch, function):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="broken"):
        write_container(path, {}, {"a": np.zeros(3)})
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_bytes() == b"old"


def test_a_full_disk_is_no_loss(tmp_path, monkeypatch):
    full = "/dev/full"
    if not os.path.exists(full):
        pytest.skip("the system has no /dev/full")
    path = tmp_path / "a"
    write_container(path, {"n": 1}, {"a": np.zeros(3)})
    before = path.read_bytes()
    really_open = os.open
    monkeypatch.setattr(
        os,
        "open",
        lambda name, flags, *mode: really_open(full if "tmp" in name[-4:] else name, flags & ~os.O_EXCL, *mode),
    )
    with pytest.raises(OSError, match="No space left"):
        write_container(path, {"n": 2}, {"a": np.zeros(3_000_000)})
    monkeypatch.undo()
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_modes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"")
    path.chmod(0o640)
    mask = os.umask(0o077)
    try:
        write_container(path, {}, {})
        write_container(tmp_path / "b", {}, {})
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_and_other_things_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder" / "file")
    write_container(link, {"a": 1}, {})
    assert link.is_symlink()
    with open_container(tmp_path / "folder" / "file") as container:
        assert container.manifest == {"a": 1}
    with pytest.raises(OSError, match="no regular file"):
        write_container(tmp_path / "folder", {}, {})


def test_a_folder_that_is_missing_is_said_of_the_file_that_was_asked_for(tmp_path):
    """The name of the temporary file stood there."""
    path = tmp_path / "none" / "file"
    with pytest.raises(FileNotFoundError) as raised, atomic_writer(path):
        pass
    assert raised.value.filename == os.path.realpath(path)


def test_order_of_what_the_system_is_asked_for(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        really = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, really=really: (calls.append(name), really(*args)))
    write_container(tmp_path / "a", {}, {})
    assert calls == ["fsync", "replace", "fsync"]


def test_addresses(monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    write_container("memory://bucket/a.skhash", {"a": 1}, {"b": np.arange(3)})
    with open_container("memory://bucket/a.skhash") as container:
        assert container.manifest == {"a": 1}
        assert container.read("b").tolist() == [0, 1, 2]
    fsspec.filesystem("memory").rm("bucket", recursive=True)


def test_names_have_one_line(tmp_path):
    assert file_name(tmp_path / "ä b") == f"{tmp_path}/ä b"
    assert "\n" not in file_name("a\nb")
    with open(tmp_path / "c", "wb") as file:
        assert file_name(file) == str(tmp_path / "c")
    assert file_name(io.BytesIO()) == "<BytesIO>"
