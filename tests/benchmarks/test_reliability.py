import importlib
import io
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import skhash
from skhash.persistence import FileFormatError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="processes are forked")


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    yield importlib.import_module
    for path in (Path(__file__).parents[2] / "benchmarks").glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_every_outcome_of_a_try_is_counted(module):
    files = module("_reliability_files")
    sound = bytes(range(40))

    def open_file(path):
        data = path.read_bytes()
        if data == sound:
            return b"answer"
        (changed,) = [place for place in range(40) if data[place] != sound[place]]
        if changed < 8:
            raise ValueError("refused")
        if changed < 16:
            raise KeyError("unexpected")
        if changed < 24:
            os.kill(os.getpid(), signal.SIGSEGV)
        return b"answer" if changed < 32 else b"another"

    kind = files.Kind("test", (sound, sound), {"read": open_file}, n_header=8, hostile=None, refusals=(ValueError,))
    changed = [kind.damaged("bit flipped", np.random.default_rng([0, 1, number])) for number in range(60)]
    places = [next(place for place in range(40) if data[place] != sound[place]) for data in changed]
    counts = files.try_files(kind, "bit flipped", 60)["read"]
    found = [counts.refused, counts.unexpected, counts.crashed, counts.same, counts.wrong]
    assert found == np.bincount(np.array(places) // 8, minlength=5).tolist()
    assert min(found) > 0
    assert counts.tried == 60


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_try_that_hangs_is_counted(module, monkeypatch):
    files = module("_reliability_files")
    monkeypatch.setattr(files, "SECONDS_A_TRY", 0.2)

    def open_file(path):
        while path.read_bytes() != b"sound":
            pass
        return b""

    kind = files.Kind("test", (b"sound", b"sound"), {"read": open_file}, n_header=1, hostile=None)
    assert files.try_files(kind, "truncated", 1)["read"].hung == 1


def test_files_put_together_again_are_sound(module):
    files = module("_reliability_files")
    file = io.BytesIO()
    hasher = skhash.LSH(8, random_state=0).fit(np.eye(5))
    skhash.save(hasher, file)
    manifest, entries, payload, n_table = files.unpacked(file.getvalue())
    loaded = skhash.load(io.BytesIO(files.packed(manifest, entries, payload, n_table)))
    np.testing.assert_array_equal(loaded.transform(np.eye(5)), hasher.transform(np.eye(5)))
    with pytest.raises(FileFormatError):
        skhash.load(io.BytesIO(files.packed(manifest, entries, payload, n_table, lengths={"manifest": 2**40})))


def test_changed_files_get_past_the_checksums(module):
    hostile = module("_hostile_files")
    file = io.BytesIO()
    skhash.save(skhash.LSH(8, random_state=0).fit(np.eye(5)), file)
    mutator, rng = hostile.Mutator([file.getvalue()]), np.random.default_rng(0)
    n_loaded, messages = 0, []
    for _ in range(100):
        try:
            skhash.load(io.BytesIO(mutator.mutate(file.getvalue(), rng)))
            n_loaded += 1
        except FileFormatError as error:
            messages.append(str(error))
    assert n_loaded > 10
    assert sum("is damaged" in message or "no file of skhash" in message for message in messages) < 20


def test_checks_are_counted_by_how_they_ended(module, tmp_path):
    # What pytest writes: an expected failure is a test that was skipped, of another type.
    (tmp_path / "report.xml").write_text(
        """<testsuites><testsuite>
        <testcase name="test_checks[ITQ(n_bits=2)-check_a]" />
        <testcase name="test_checks[nan-PCAH(n_bits=2)]"><failure message="wrong" /></testcase>
        <testcase name="test_checks[LSH-check_a]"><error message="no fixture" /></testcase>
        <testcase name="test_checks[RetrievalPipeline(steps=[('hash',SpectralHash())])-check_b]">
            <skipped type="pytest.xfail" message="in place" /></testcase>
        <testcase name="test_checks[KMeansHash(2)]"><skipped type="pytest.skip" message="not sparse" /></testcase>
        <testcase name="test_discovery_is_not_empty" />
        </testsuite></testsuites>"""
    )
    checks = module("_reliability_suites").read_checks(tmp_path / "report.xml")
    assert (checks.run, checks.passed) == (5, 2)
    assert checks.failed == ["test_checks[nan-PCAH(n_bits=2)]", "test_checks[LSH-check_a]"]
    assert checks.expected_to_fail == {"in place": 1}
    assert checks.skipped == {"not sparse": 1}
    # An estimator all of whose checks were skipped was not checked.
    assert checks.estimators == {"ITQ", "PCAH", "LSH", "RetrievalPipeline"}


def test_seconds_are_divided_among_the_parts_that_were_chosen(module):
    reliability = module("reliability")
    reliability.SECONDS = {"files": (10, 200), "inputs": (20, 1000), "checks": (300, 0)}
    assert reliability.share_of_full("small", ["files"], 2) == 0.05
    assert reliability.share_of_full(110.0, ["files"], 2) == 0.5
    assert reliability.share_of_full(10 + 20 + 300 + 350.0, ["files", "inputs", "checks"], 2) == 0.5
    assert reliability.share_of_full(5.0, ["files", "checks"], 2) == 0
    assert reliability.share_of_full(5.0, ["checks"], 2) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the memory of a process")
def test_ceilings_that_are_exceeded_are_told(module):
    memory = module("_reliability_memory")
    kept = {"beside": 10, "ceiling": 10, "result": 5, "held": "yes"}
    assert memory.what_broke(kept) is None
    assert "more than its ceiling" in memory.what_broke({**kept, "beside": 11})
    assert "MemoryError" in memory.what_broke({**kept, "held": "MemoryError: no room"})
    assert memory.what_broke({"error": "ImportError: torch"}) == "ImportError: torch"


def test_room_for_the_files_is_looked_for_first(module):
    memory = module("_reliability_memory")
    assert memory.missing_room(10**6, 0.05) == 0
    # Codes of 64 bits.
    assert memory.missing_room(10**15, 0.05) > 7 * 10**15
