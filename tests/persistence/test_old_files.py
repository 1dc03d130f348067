"""Files of earlier versions load forever. They are never written again; new ones are added beside them."""

import pathlib

import numpy as np
import pytest

import skhash
from skhash.persistence import inspect, model_card

FOLDERS = sorted(pathlib.Path(__file__).parent.joinpath("files").glob("format_*"))

pytestmark = pytest.mark.filterwarnings("ignore:.* of scikit-learn .*:UserWarning")


def test_there_are_files_of_all_formats():
    assert [folder.name for folder in FOLDERS] == ["format_1"]
    for folder in FOLDERS:
        assert {path.name for path in folder.iterdir()} == {
            *("itq.skhash", "index.skhash", "nested.skhash", "pipeline.skhash", "answers.npz"),
        }


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request):
    return request.param


@pytest.fixture
def answers(folder):
    with np.load(folder / "answers.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", ["itq", "nested"])
def test_hashers(folder, answers, name):
    np.testing.assert_array_equal(skhash.load(folder / f"{name}.skhash").transform(answers["queries"]), answers[name])


@pytest.mark.parametrize("mmap", [False, True])
def test_index(folder, answers, mmap):
    search = skhash.load(folder / "index.skhash", mmap=mmap)
    np.testing.assert_array_equal(search.kneighbors(answers["query_codes"])[1], answers["index"])
    assert search.n_neighbors == 3
    assert set(search.labels_) == {"cat", "dog", "owl"}
    assert 14 not in search.ids_


def test_pipeline(folder, answers):
    pipeline = skhash.load(folder / "pipeline.skhash")
    np.testing.assert_array_equal(pipeline.kneighbors(answers["queries"])[1], answers["pipeline"])


def test_learning_goes_on(folder, answers):
    nested = skhash.load(folder / "nested.skhash")
    nested.partial_fit(answers["queries"][:3], nested.classes_)
    assert nested.transform(answers["queries"]).shape == answers["nested"].shape


def test_cards_and_trees(folder):
    assert "Sixty random rows." in model_card(folder / "itq.skhash")
    assert "estimator: NestedHash" in inspect(folder / "nested.skhash", verify=True)
