"""load_image_folder: order, what is left out, errors."""

import os
import sys
import warnings

import numpy as np
import pytest

from skhash.datasets import load_image_folder


@pytest.fixture
def make_folder(tmp_path):
    def make_folder(*names):
        for name in names:
            path = tmp_path / name
            if name.endswith("/"):
                path.mkdir(parents=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        return tmp_path

    return make_folder


def test_classes_and_files_are_sorted_whatever_order_the_disk_has(make_folder, monkeypatch):
    folder = make_folder("dog/b.png", "cat/2.jpg", "cat/10.JPEG", "dog/a.png", "Bird/x.webp")
    walk = os.walk

    def walk_backwards(*args, **params):
        for path, folders, files in reversed(list(walk(*args, **params))):
            yield path, folders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", walk_backwards)
    dataset = load_image_folder(folder)
    assert dataset.target_names == ["Bird", "cat", "dog"]
    assert dataset.filenames.tolist() == ["Bird/x.webp", "cat/10.JPEG", "cat/2.jpg", "dog/a.png", "dog/b.png"]
    assert dataset.target.tolist() == [0, 1, 1, 2, 2]
    assert dataset.target.dtype == np.int64
    assert dataset.images.tolist() == [str(folder / name) for name in dataset.filenames]
    assert dataset.ignored == []


def test_images_can_be_selected_by_a_split(make_folder):
    images, target = load_image_folder(str(make_folder("a/1.jpg", "a/2.jpg", "b/1.jpg")), return_X_y=True)
    assert images[np.array([2, 0])].tolist() == [images[2], images[0]]
    assert images[target == 0].shape == (2,)


def test_nested_folders_belong_to_the_class_above(make_folder):
    dataset = load_image_folder(make_folder("cat/1.jpg", "cat/indoor/night/2.jpg", "cat/.hidden/3.jpg", "dog/a.gif"))
    assert dataset.filenames.tolist() == ["cat/1.jpg", "cat/indoor/night/2.jpg", "dog/a.gif"]


def test_files_left_out_are_listed_and_warned_of_at_the_caller(make_folder):
    folder = make_folder("cat/1.jpg", "cat/IMG_2.heic", "dog/a.png", "dog/deep/notes.txt", "labels.csv", "photo.jpg")
    with pytest.warns(UserWarning, match=r"left out 4 of 6 files .* first 'cat/IMG_2.heic'") as record:
        dataset = load_image_folder(folder)
    assert record[0].filename == __file__
    assert "\n" not in str(record[0].message)
    assert dataset.ignored == ["cat/IMG_2.heic", "dog/deep/notes.txt", "labels.csv", "photo.jpg"]
    assert len(dataset.images) == 2


def test_files_that_a_file_manager_leaves_behind_do_not_count(make_folder):
    folder = make_folder("cat/1.jpg", "cat/.DS_Store", "cat/._1.jpg", "cat/Thumbs.db", "desktop.ini", ".git/x.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = load_image_folder(folder)
    assert dataset.target_names == ["cat"]
    assert dataset.ignored == []


def test_extensions_decide_what_an_image_is(make_folder):
    folder = make_folder("cat/1.jpg", "cat/2.NEF")
    with pytest.warns(UserWarning, match="first 'cat/1.jpg'"):
        dataset = load_image_folder(folder, extensions=[".nef"])
    assert dataset.filenames.tolist() == ["cat/2.NEF"]


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege on Windows")
def test_link_to_a_folder_is_a_class_but_is_not_followed_inside_one(make_folder):
    """Following links inside a class would not end where one points to a folder above it."""
    folder = make_folder("sets/cat/1.jpg", "elsewhere/2.jpg")
    (folder / "sets" / "dog").symlink_to(folder / "elsewhere")
    (folder / "sets" / "cat" / "loop.jpg").symlink_to(folder / "sets")
    with pytest.warns(UserWarning, match=r"first 'cat/loop\.jpg'"):
        dataset = load_image_folder(folder / "sets")
    assert dataset.filenames.tolist() == ["cat/1.jpg", "dog/2.jpg"]
    assert dataset.ignored == ["cat/loop.jpg"]


def one_line_error(error, match, *args, **params):
    with pytest.raises(error, match=match) as info:
        load_image_folder(*args, **params)
    assert "\n" not in str(info.value)


def test_no_such_folder(tmp_path):
    one_line_error(FileNotFoundError, "load_image_folder: there is no folder .*nowhere", tmp_path / "nowhere")


def test_file_in_place_of_the_folder(make_folder):
    one_line_error(NotADirectoryError, "is a file", make_folder("photo.jpg") / "photo.jpg")


def test_photographs_without_classes(make_folder):
    one_line_error(ValueError, r"has no subfolders; .*rglob\('\*\.jpg'\)", make_folder("1.jpg", "2.jpg"))


def test_empty_class_folder(make_folder):
    one_line_error(ValueError, "class folder '.*dog' is empty", make_folder("cat/1.jpg", "dog/"))


def test_class_folder_without_images_names_a_file_found_there(make_folder):
    folder = make_folder("cat/1.jpg", "dog/1.heic")
    one_line_error(ValueError, "'.*dog' holds only files like 'dog/1.heic'", folder)


@pytest.mark.parametrize("extensions", [[], ["jpg"], ["."], [".jpg", 1]])
def test_extensions_that_could_never_match(make_folder, extensions):
    one_line_error(ValueError, "must hold strings like '.jpg'", make_folder("a/1.jpg"), extensions=extensions)


def test_string_in_place_of_the_sequence_of_extensions(make_folder):
    one_line_error(ValueError, "'extensions' parameter", make_folder("a/1.jpg"), extensions=".jpg")


def test_class_folder_that_may_not_be_read(make_folder, monkeypatch):
    """os.walk passes over such folders without a word by default."""
    folder = make_folder("cat/1.jpg", "cat/locked/2.jpg")
    scandir = os.scandir

    def scandir_but_not_locked(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir_but_not_locked)
    one_line_error(PermissionError, "locked", folder)
