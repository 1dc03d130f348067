"""What killed writers leave beside their file, and what must not be taken for it."""

import errno
import os
import signal
import threading
import warnings

import numpy as np
import pytest

from skhash import HammingNearestNeighbors, load, save
from skhash.persistence import SavedIndex, _temporary
from skhash.persistence._files import atomic_writer

pytestmark = pytest.mark.skipif(not _temporary.HAS_LOCKS, reason="the system has no locks that end with their holder")

SEARCH = HammingNearestNeighbors().fit(np.arange(12, dtype=np.uint8).reshape(4, 3))


class Writer:
    """Another process that has written a part of a file."""

    def __init__(self, path):
        (begun, report), (order, self._order) = os.pipe(), os.pipe()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
            self._process = os.fork()
        if not self._process:
            status = 1
            try:
                os.close(self._order)
                with atomic_writer(path) as file:
                    file.write(b"half")
                    file.flush()
                    os.write(report, b"x")
                    os.read(order, 1)
                    file.write(b" and half")
                status = 0
            finally:
                os._exit(status)
        os.close(report)
        os.close(order)
        assert os.read(begun, 1) == b"x"
        os.close(begun)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process:
            self.kill()

    def stop(self):
        os.kill(self._process, signal.SIGSTOP)

    def kill(self):
        os.kill(self._process, signal.SIGKILL)
        self._wait()

    def finish(self):
        os.write(self._order, b"x")
        assert self._wait() == 0

    def _wait(self):
        os.close(self._order)
        _, status = os.waitpid(self._process, 0)
        self._process = None
        return status


def leave(path):
    """Let a writer be killed; return the name of what it leaves."""
    before = set(os.listdir(path.parent))
    with Writer(path):
        pass
    (name,) = set(os.listdir(path.parent)) - before
    assert (path.parent / name).read_bytes() == b"half"
    return name


def test_what_a_killed_save_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "a.skhash"
    first, second = leave(path), None
    assert first.startswith(".a.skhash.")
    assert first.endswith(".tmp")
    # A killed writer removes that of the one before.
    with Writer(path):
        (second,) = os.listdir(tmp_path)
    assert second != first
    save(SEARCH, path)
    assert os.listdir(tmp_path) == ["a.skhash"]
    assert load(path).n_samples_fit_ == 4


def test_a_folder_with_a_strange_name_is_cleaned_through_a_link(tmp_path):
    folder = tmp_path / "[0-9] *?"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder / "a.skhash")
    leave(folder / "a.skhash")
    save(SEARCH, tmp_path / "link")
    assert os.listdir(folder) == ["a.skhash"]


def test_a_read_only_file_can_be_cleaned_up_after(tmp_path):
    path = tmp_path / "a.skhash"
    path.write_bytes(b"old")
    path.chmod(0o444)
    name = leave(path)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o644
    save(SEARCH, path)
    assert os.listdir(tmp_path) == ["a.skhash"]
    assert path.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("how", ["runs", "is stopped"])
def test_the_file_of_a_live_process_is_not_taken_away(tmp_path, how):
    path = tmp_path / "a.skhash"
    with Writer(path) as other:
        if how == "is stopped":
            other.stop()
        (name,) = os.listdir(tmp_path)
        save(SEARCH, path)
        save(SEARCH, path)
        assert sorted(os.listdir(tmp_path)) == sorted([name, "a.skhash"])
        if how == "runs":
            other.finish()
            assert path.read_bytes() == b"half and half"
            assert os.listdir(tmp_path) == ["a.skhash"]


def test_the_file_of_another_writer_in_this_process_is_not_taken_away(tmp_path):
    path = tmp_path / "a"
    with atomic_writer(path) as first:
        first.write(b"first")
        with atomic_writer(path) as second:
            second.write(b"second")
            assert len(os.listdir(tmp_path)) == 2
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a"]


def test_files_that_are_none_of_ours_are_not_touched(tmp_path):
    path = tmp_path / "a.skhash"
    left = leave(path)
    others = {leave(tmp_path / name) for name in ("b.skhash", "a.skhash.log", "A.skhash", ".a.skhash", "a")}
    start, digits = ".a.skhash.skhash-", "0123456789abcdef"
    assert left == f"{start}{left[len(start) : -4]}.tmp"
    for name in (
        f"{start}{digits[1:]}.tmp",
        f"{start}{digits}0.tmp",
        f"{start}{digits.upper()}.tmp",
        f"{start}{digits}.tmp.old",
        f"{start}{digits}.tmp\n",
        f"{start}{digits}_tmp",
        f"x{start}{digits}.tmp",
        f"{start[1:]}{digits}.tmp",
        f".axskhash.skhash-{digits}.tmp",
        f".a.skhash.{digits}.tmp",
        f".skhash-{digits}.tmp",
        "a.skhash.lock",
    ):
        (tmp_path / name).write_bytes(b"foreign")
        others.add(name)
    (tmp_path / f"{start}{'0' * 16}.tmp").mkdir()
    (tmp_path / f"{start}{'1' * 16}.tmp").symlink_to(tmp_path / "a.skhash.lock")
    os.mkfifo(tmp_path / f"{start}{'2' * 16}.tmp")
    others |= {f"{start}{digit * 16}.tmp" for digit in "012"}
    save(SEARCH, path)
    assert set(os.listdir(tmp_path)) == others | {"a.skhash"}


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "a" + "ä" * 127, "€" * 85, "a" * 101, "\udcff" * 150], ids=len)
def test_names_near_the_limit_can_be_saved_and_cleaned_up_after(tmp_path, name):
    path = tmp_path / name
    left = leave(path)
    assert len(os.fsencode(left)) <= 143
    # Alike up to what is cut off.
    other = tmp_path / f"{name[:-1]}b"
    other_left = leave(other)
    save(SEARCH, path)
    assert sorted(os.listdir(tmp_path)) == sorted([name, other_left])
    save(SEARCH, other)
    assert sorted(os.listdir(tmp_path)) == sorted([name, other.name])


def test_a_log_and_a_compaction_that_were_killed_are_cleaned_up_after(tmp_path):
    path = tmp_path / "index.skhash"
    save(SEARCH, path)
    leave(path)
    leave(tmp_path / "index.skhash.log")
    with SavedIndex(path) as index:
        index.add(np.ones((1, 3), dtype=np.uint8))
        assert len(os.listdir(tmp_path)) == 4
        index.compact()
    assert sorted(os.listdir(tmp_path)) == ["index.skhash", "index.skhash.lock"]


# What comes in between


def call_before_lock(monkeypatch, n_calls, function):
    """Call a function just before one of the next locks is tried."""
    really, number = _temporary.try_lock, iter(range(1000))

    def try_lock(descriptor, *, is_shared):
        if next(number) == n_calls:
            function()
        return really(descriptor, is_shared=is_shared)

    monkeypatch.setattr(_temporary, "try_lock", try_lock)


def test_a_file_that_is_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    path, found = tmp_path / "a.skhash", []

    def clean_up():
        found.extend(os.listdir(tmp_path))
        _temporary.remove_left(os.fspath(path))
        assert not os.listdir(tmp_path)

    call_before_lock(monkeypatch, 0, clean_up)
    save(SEARCH, path)
    assert len(found) == 1
    assert os.listdir(tmp_path) == ["a.skhash"]
    assert load(path).n_samples_fit_ == 4


def test_a_file_that_somebody_is_about_to_remove_is_made_again(tmp_path, monkeypatch):
    import fcntl

    path, held = tmp_path / "a.skhash", []

    def lock():
        (name,) = os.listdir(tmp_path)
        held.append(os.open(tmp_path / name, os.O_RDONLY))
        fcntl.flock(held[0], fcntl.LOCK_EX)

    call_before_lock(monkeypatch, 0, lock)
    try:
        save(SEARCH, path)
    finally:
        os.close(held[0])
    assert os.listdir(tmp_path) == ["a.skhash"]
    assert load(path).n_samples_fit_ == 4


def test_a_file_that_gets_its_name_while_it_is_looked_at_stays(tmp_path, monkeypatch):
    path = tmp_path / "a"
    with Writer(path) as other:
        call_before_lock(monkeypatch, 0, other.finish)
        _temporary.remove_left(os.fspath(path))
    assert path.read_bytes() == b"half and half"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_is_saved_although_others_always_take_it_away(tmp_path, monkeypatch):
    path = tmp_path / "a.skhash"

    def remove(*_, **__):
        (name,) = os.listdir(tmp_path)
        os.unlink(tmp_path / name)
        return True

    monkeypatch.setattr(_temporary, "try_lock", remove)
    save(SEARCH, path)
    assert os.listdir(tmp_path) == ["a.skhash"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, None])
def test_without_locks_no_file_is_removed_and_none_can_be_taken_for_a_left_one(tmp_path, monkeypatch, code):
    path = tmp_path / "a.skhash"
    left = leave(path)

    def fail(*_, **__):
        raise OSError(code, "no locks")

    with monkeypatch.context() as patch:
        if code is None:
            # As where fcntl is missing.
            patch.setattr(_temporary, "HAS_LOCKS", False)
        else:
            patch.setattr(_temporary, "try_lock", fail)
        with atomic_writer(path) as file:
            file.write(b"new")
            (unlocked,) = set(os.listdir(tmp_path)) - {left}
            patch.undo()
            _temporary.remove_left(os.fspath(path))
            assert os.listdir(tmp_path) == [unlocked]
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.skhash"]


@pytest.mark.parametrize("function", ["scandir", "unlink"])
def test_what_cannot_be_removed_does_not_keep_a_file_from_being_saved(tmp_path, monkeypatch, function):
    path = tmp_path / "a.skhash"
    left = leave(path)

    def fail(*_):
        raise PermissionError(errno.EACCES, "not allowed")

    monkeypatch.setattr(os, function, fail)
    save(SEARCH, path)
    assert sorted(os.listdir(tmp_path)) == sorted([left, "a.skhash"])


def test_folders_of_many_files_are_not_searched_to_their_end(tmp_path, monkeypatch):
    path = tmp_path / "a.skhash"
    leave(path)
    monkeypatch.setattr(_temporary, "_MOST_FILES_SEARCHED", 0)
    save(SEARCH, path)
    assert len(os.listdir(tmp_path)) == 2
    monkeypatch.setattr(_temporary, "_MOST_FILES_SEARCHED", 2)
    save(SEARCH, path)
    assert os.listdir(tmp_path) == ["a.skhash"]


def test_an_interrupt_before_the_lock_leaves_nothing(tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    call_before_lock(monkeypatch, 0, interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(SEARCH, tmp_path / "a.skhash")
    assert not os.listdir(tmp_path)


def test_many_threads_save_to_one_path(tmp_path):
    path, errors = tmp_path / "a", []

    def write(number):
        try:
            for _ in range(40):
                with atomic_writer(path) as file:
                    file.write(bytes([number]) * 1000)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert os.listdir(tmp_path) == ["a"]
    assert len(set(path.read_bytes())) == 1
    assert path.stat().st_size == 1000
