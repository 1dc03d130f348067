import io
import subprocess
import sys

import numpy as np
import pytest

import skhash
from skhash.__main__ import main
from skhash.persistence import CorruptFileError, FileFormatError, inspect, model_card
from skhash.persistence._container import write_container


@pytest.fixture
def path(tmp_path):
    search = skhash.HammingNearestNeighbors().fit(np.zeros((7, 4), dtype=np.uint8), ids=range(7))
    skhash.save(search, tmp_path / "a.skhash", card={"Data": "Zeros."})
    return tmp_path / "a.skhash"


def test_what_a_file_holds(path):
    lines = inspect(path).splitlines()
    assert lines[0] == f"{path}: format 1 (readers from 1), {path.stat().st_size} bytes"
    assert "estimator: HammingNearestNeighbors" in lines
    assert "  n_neighbors: 5" in lines
    assert "  _database: Database" in lines
    assert "model card: yes" in lines
    assert "2 tensors, 84 bytes" in lines
    assert "  _database.engine.codes  uint8  7x4  28 bytes" in lines
    assert "  _database.ids  int64  7  56 bytes" in lines


def test_no_tensor_is_read_unless_it_is_asked_for(path):
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(7).tobytes())] = 9
    path.write_bytes(data)
    assert "tensors not read" in inspect(path)
    with pytest.raises(CorruptFileError, match="ids"):
        inspect(path, verify=True)


def test_files_that_could_not_be_loaded_are_described():
    file = io.BytesIO()
    write_container(
        file,
        {
            "estimator": {"kind": "object", "class": "os.system\x1b[2J\n", "state": {"a\nb": ["\x1b"] * 1000}, "x": {}},
            "versions": {"a\n": 5},
            "skhash_version": ["\n"],
            "card": 5,
        },
        {"a\nb": np.zeros((2, 3))},
    )
    file.seek(0)
    text = inspect(file)
    assert text.replace("\n", "").isprintable()
    assert "more" in text
    assert len(text.splitlines()) < 250
    assert "'os.system\\x1b[2J\\n'" in text
    file.seek(0)
    with pytest.raises(FileFormatError, match="no text"):
        model_card(file)


@pytest.mark.parametrize(
    "node", [None, 5, [], {}, {"kind": 5}, {"kind": "object", "state": 5}, {"kind": "tuple", "items": 1}]
)
def test_estimators_that_are_none(node):
    file = io.BytesIO()
    write_container(file, {"estimator": node}, {})
    file.seek(0)
    assert "estimator: " in inspect(file)


def test_deep_values_are_cut_off():
    node = 1
    for _ in range(200):
        node = [node]
    file = io.BytesIO()
    write_container(file, {"estimator": node}, {})
    file.seek(0)
    assert inspect(file).count("list of 1") == 31


def test_command(path, capsys, tmp_path):
    assert main(["inspect", str(path)]) == 0
    assert capsys.readouterr().out == f"{inspect(path)}\n"
    assert main(["inspect", "--verify", str(path)]) == 0
    assert "all tensors are sound" in capsys.readouterr().out
    assert main(["inspect", "--card", str(path)]) == 0
    assert capsys.readouterr().out == f"{model_card(path)}\n"
    (tmp_path / "b").write_bytes(b"nothing")
    for name in ("b", "missing"):
        assert main(["inspect", str(tmp_path / name)]) == 1
        found = capsys.readouterr()
        assert not found.out
        assert str(tmp_path / name) in found.err
        assert found.err.count("\n") == 1
    skhash.save(skhash.ITQ(), path)
    assert main(["inspect", "--card", str(path)]) == 0
    assert capsys.readouterr().out == "no model card\n"


def test_command_in_a_process(path):
    done = subprocess.run(
        [sys.executable, "-m", "skhash", "inspect", str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{inspect(path)}\n"
