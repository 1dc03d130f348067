"""Downloads: cached, continued, checked, and with one line for everything that goes wrong."""

import gzip
import hashlib
import socket
import sys

import numpy as np
import pytest

from skhash.datasets._fetch import RemoteFile, data_folder, fetch_file

pytest.importorskip("pooch", reason="downloads need pooch, of the extra 'datasets'")

CONTENT = np.random.RandomState(0).bytes(300_000)


def fetch(remote, folder, **params):
    params = {"caller": "fetch_it", "download_if_missing": True, "verbose": False, **params}
    return fetch_file(remote, folder, **params)


def one_line_error(remote, folder, **params):
    with pytest.raises(OSError, match=r"^fetch_it: ") as info:
        fetch(remote, folder, **params)
    message = str(info.value)
    assert "\n" not in message
    return message


def test_download_is_cached(server, tmp_path):
    remote = server.remote("data.bin", CONTENT)
    path = fetch(remote, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert fetch(remote, tmp_path / "new" / "folder") == path
    assert server.requests == [None]
    assert [file.name for file in path.parent.iterdir()] == ["data.bin"]


def test_interrupted_download_keeps_its_part_and_continues_with_it(server, tmp_path):
    remote = server.remote("data.bin", CONTENT)
    server.bytes_before_hangup = 100_000
    message = one_line_error(remote, tmp_path)
    assert "call again to continue" in message
    assert str(tmp_path / "data.bin") in message
    part = tmp_path / "data.bin.part"
    assert part.read_bytes() == CONTENT[: part.stat().st_size]
    n_received = part.stat().st_size
    assert 0 < n_received <= 100_000

    server.bytes_before_hangup = None
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={n_received}-"]
    assert [file.name for file in tmp_path.iterdir()] == ["data.bin"]


def test_server_that_ignores_range_sends_everything_again(server, tmp_path):
    remote = server.remote("data.bin", CONTENT)
    server.supports_range = False
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(remote, tmp_path).read_bytes() == CONTENT


def test_server_that_continues_elsewhere_is_asked_for_everything(server, tmp_path):
    remote = server.remote("data.bin", CONTENT)
    server.range_shift = 7
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-", None]


@pytest.mark.parametrize("n_extra", [0, 5])
def test_part_as_long_as_the_file_or_longer_is_downloaded_anew(server, tmp_path, n_extra):
    remote = server.remote("data.bin", CONTENT)
    (tmp_path / "data.bin.part").write_bytes(CONTENT + b"x" * n_extra)
    assert fetch(remote, tmp_path).read_bytes() == CONTENT


def test_part_of_another_file_is_removed_and_the_next_call_succeeds(server, tmp_path):
    remote = server.remote("data.bin", CONTENT)
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    assert "was removed" in one_line_error(remote, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(remote, tmp_path).read_bytes() == CONTENT


def test_gz_file_labeled_as_compressed_in_transfer_is_not_unpacked(server, tmp_path):
    content = gzip.compress(b"a" * 1000)
    remote = server.remote("data.gz", content)
    server.extra_headers = {"Content-Encoding": "gzip"}
    assert fetch(remote, tmp_path).read_bytes() == content


def test_wrong_checksum_removes_what_was_downloaded(server, tmp_path):
    remote = server.remote("data.bin", CONTENT)
    server.files["/data.bin"] = b"another content"
    message = one_line_error(remote, tmp_path)
    assert remote.sha256 in message
    assert list(tmp_path.iterdir()) == []


def test_file_in_the_cache_with_wrong_checksum_is_named_and_left_alone(server, tmp_path):
    remote = server.remote("data.bin", CONTENT)
    (tmp_path / "data.bin").write_bytes(b"put there by hand")
    message = one_line_error(remote, tmp_path)
    assert "delete the file" in message
    assert hashlib.sha256(b"put there by hand").hexdigest() in message
    assert (tmp_path / "data.bin").read_bytes() == b"put there by hand"
    assert server.requests == []


def test_file_put_there_by_hand_needs_no_network(tmp_path):
    (tmp_path / "data.bin").write_bytes(CONTENT)
    remote = RemoteFile("data.bin", "http://127.0.0.1:1/data.bin", hashlib.sha256(CONTENT).hexdigest())
    assert fetch(remote, tmp_path, download_if_missing=False) == tmp_path / "data.bin"


def test_missing_file_that_may_not_be_downloaded(server, tmp_path):
    remote = server.remote("data.bin", CONTENT)
    message = one_line_error(remote, tmp_path, download_if_missing=False)
    assert "download_if_missing=False" in message
    assert str(tmp_path / "data.bin") in message
    assert server.requests == []


def test_404_says_where_to_put_the_file(server, tmp_path):
    remote = server.remote("data.bin", CONTENT)
    server.files.clear()
    message = one_line_error(remote, tmp_path)
    assert "404 Client Error" in message
    assert remote.url in message
    assert str(tmp_path / "data.bin") in message
    assert list(tmp_path.iterdir()) == []


def test_refused_connection_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as bound_but_not_listening:
        bound_but_not_listening.bind(("127.0.0.1", 0))
        port = bound_but_not_listening.getsockname()[1]
        message = one_line_error(RemoteFile("data.bin", f"http://127.0.0.1:{port}/data.bin", "0" * 64), tmp_path)
    assert "NewConnectionError" in message
    assert str(tmp_path / "data.bin") in message


def test_missing_pooch_names_the_extra(server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"^fetch_it needs 'pooch'.*skhash\[datasets\]"):
        fetch(server.remote("data.bin", CONTENT), tmp_path)


@pytest.mark.parametrize("verbose", [False, True])
def test_progress_bar_counts_what_was_received_before(server, tmp_path, capsys, verbose):
    remote = server.remote("data.bin", CONTENT)
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:150_000])
    fetch(remote, tmp_path, verbose=verbose)
    bar = capsys.readouterr().err
    assert ("300k/300k" in bar) == verbose
    assert ("50%" in bar) == verbose


def test_data_folder_is_the_argument_then_the_variable_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("SKHASH_DATA", str(tmp_path / "variable"))
    assert data_folder(str(tmp_path / "argument"), "mnist") == tmp_path / "argument" / "mnist"
    assert data_folder(None, "mnist") == tmp_path / "variable" / "mnist"
    assert data_folder("~/mine", "mnist") == tmp_path / "home" / "mine" / "mnist"
    monkeypatch.delenv("SKHASH_DATA")
    assert data_folder(None, "mnist") == tmp_path / "home" / ".cache" / "skhash" / "mnist"
