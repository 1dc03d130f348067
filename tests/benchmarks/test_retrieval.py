"""The logic of benchmarks/retrieval.py: what is drawn, held out, tried, written and compared."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import skhash
from skhash import CCAITQ
from skhash.codes import truncate_codes
from skhash.metrics import mean_average_precision

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are only in the repository", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

import _retrieval_report as report  # noqa: E402
import _retrieval_splits as splits  # noqa: E402
import _runs  # noqa: E402


@pytest.fixture
def protocols():
    for name in ("torch", "skorch", "tqdm"):
        pytest.importorskip(name)
    import _retrieval_protocols

    return _retrieval_protocols


def make_arguments(folder, **changes):
    values = {"run": str(folder / "run.jsonl"), "bits": [8, 16], "budget": 2, "train_per_class": 10, "seeds": 1}
    return SimpleNamespace(**{**values, **changes})


@pytest.fixture
def dataset():
    """Six clusters; the first feature is the number of the row."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 130)
    X = rng.standard_normal((6, 20))[y] + rng.standard_normal((len(y), 20))
    X[:, 0] = np.arange(len(y))
    return X, y


def as_datasets(protocols, dataset, *names):
    return {name: protocols.Dataset(name, *dataset) for name in names or ("a",)}


def test_interval_of_constant_seeds_is_that_of_drawing_seeds():
    # The mean of two draws is .1, .2 or .3 with probabilities 1/4, 1/2, 1/4.
    mean, low, high = report.paired_interval([np.full(5, 0.1), np.full(9, 0.3)])
    assert (mean, low, high) == pytest.approx((0.2, 0.1, 0.3))


def test_interval_of_one_seed_is_that_of_drawing_queries():
    # The standard error of the mean of 400 values of -1 and 1 is 1/20.
    mean, low, high = report.paired_interval([np.tile([-1.0, 1.0], 200)])
    assert mean == 0
    assert (low, high) == pytest.approx((-1.96 / 20, 1.96 / 20), abs=0.012)


def test_interval_draws_queries_of_a_seed_anew_each_time():
    # Two queries, 0 and 1: the mean of a seed is 0, 1/2 or 1, the mean of two seeds reaches 0 with probability 1/16.
    _, low, high = report.paired_interval([np.array([0.0, 1.0])] * 2)
    assert (low, high) == (0, 1)


@pytest.mark.parametrize(
    ("smallest", "expected"),
    [
        (6000, (100, 500, 1000)),
        (1101, (100, 500, 1000)),
        # One row fewer is left for the database after twice the training rows.
        (1100, (100, 500, 500)),
        (601, (100, 500, 500)),
        # 600 // 7 = 85, (600 - 85) // 2 = 257
        (600, (85, 257, 514)),
        # 140 // 7 = 20, (140 - 20) // 2 = 60
        (140, (20, 60, 60)),
        (9, (1, 4, 4)),
    ],
)
def test_counts_shrink_with_the_smallest_class(smallest, expected):
    y = np.repeat([0, 1], [smallest, 7000])
    counts = splits.counts_per_class(y, 500)
    if smallest == 600:
        # 85 + 514 rows leave one for the database.
        assert smallest - counts.queries - counts.pool == 1
    assert counts == expected


def test_counts_refuse_classes_of_a_few_rows():
    with pytest.raises(ValueError, match="smallest class has 8 rows"):
        splits.counts_per_class(np.repeat([0, 1], [8, 100]), 500)


def test_masked_labels_keep_as_many_of_each_class():
    y = np.repeat([3, 5, 9], [7, 4, 6])
    masked = splits.mask_labels(y, 4, 0)
    kept = masked != -1
    assert np.unique(masked[kept], return_counts=True)[1].tolist() == [4, 4, 4]
    np.testing.assert_array_equal(masked[kept], y[kept])
    with pytest.raises(ValueError, match="class 5 has 4 training rows, 5 labels"):
        splits.mask_labels(y, 5, 0)


def test_held_out_rows_are_a_fifth_of_each_class_and_at_least_two():
    y = np.append(np.repeat([0, 1, 2], [10, 20, 5]), [-1] * 8)
    fitted, held_out = splits.hold_out(y, "rows", 0)
    assert np.unique(y[held_out], return_counts=True)[1].tolist() == [2, 4, 2]
    assert -1 not in y[held_out]
    np.testing.assert_array_equal(np.sort(np.append(fitted, held_out)), np.arange(len(y)))


def test_held_out_classes_are_whole():
    y = np.repeat(np.arange(10), 4)
    fitted, held_out = splits.hold_out(y, "classes", 0)
    assert len(np.unique(y[held_out])) == 3
    assert not set(y[held_out]) & set(y[fitted])
    assert len(fitted) + len(held_out) == len(y)
    with pytest.raises(ValueError, match="3 training classes"):
        splits.hold_out(np.repeat([0, 1, 2], 4), "classes", 0)


def test_of_many_rows_some_are_tuned_on():
    y = np.repeat(np.arange(10), 2_000)
    fitted, held_out = splits.hold_out(y, "rows", 0)
    assert (len(fitted), len(held_out)) == (10_000, 3_000)
    assert not set(fitted) & set(held_out)
    fitted, held_out = splits.hold_out(y, "classes", 0)
    assert (len(fitted), len(held_out)) == (10_000, 3_000)
    assert not set(y[fitted]) & set(y[held_out])


def test_chunks_hold_each_row_once_and_every_class():
    y = np.repeat([0, 1, 2], 10)
    chunks = splits.chunks_of(y, 5, 0)
    assert sorted(np.concatenate(chunks).tolist()) == list(range(30))
    assert [len(set(y[chunk])) for chunk in chunks] == [3] * 5


@pytest.mark.parametrize("protocol", ["seen", "unseen", "few-labels", "stream", "robust"])
def test_settings_are_judged_without_queries_and_database(protocols, dataset, tmp_path, monkeypatch, protocol):
    shown = []

    def validate(method, model, setting, X, y, X_held_out, y_held_out):
        shown.append((X[:, 0], X_held_out[:, 0], y, y_held_out))
        return 0.5, setting

    monkeypatch.setattr(protocols, "validate", validate)
    condition = "5 labels" if protocol == "few-labels" else ""
    cell = protocols.Cell("a", protocol, "DiscriminantITQ", 0, condition)
    worker = protocols.Worker(cell, as_datasets(protocols, dataset), make_arguments(tmp_path))
    worker.work()
    parts = worker.parts
    searched = set(parts.queries[:, 0]) | set(parts.database[:, 0])
    assert len(searched) == len(parts.queries) + len(parts.database)
    assert shown
    for fitted, held_out, y, y_held_out in shown:
        assert not searched & set(fitted)
        assert not searched & set(held_out)
        assert not set(fitted) & set(held_out)
        if protocol == "unseen":
            assert not set(y) & set(y_held_out)
            assert not set(parts.query_labels) & (set(y) | set(y_held_out))


def test_rows_without_labels_are_left_out_or_kept(protocols, dataset, tmp_path):
    datasets, arguments = as_datasets(protocols, dataset), make_arguments(tmp_path)

    def labels_of(method, variant=""):
        return protocols.Parts(protocols.Cell("a", "few-labels", method, 0, "5 labels", variant), datasets, arguments).y

    assert len(labels_of("CCAITQ")) == 5 * 6
    assert len(labels_of("KernelSupervisedHash")) == 5 * 6
    kept = labels_of("KernelSupervisedHash", "unlabelled")
    assert (len(kept), np.count_nonzero(kept == -1)) == (20 * 6, 15 * 6)
    assert len(labels_of("ITQ")) == 20 * 6


def test_cross_dataset_searches_the_other(protocols, dataset, tmp_path):
    X, y = dataset
    datasets = as_datasets(protocols, dataset)
    datasets["b"] = protocols.Dataset("b", X + 10_000, y)
    parts = protocols.Parts(protocols.Cell("a", "cross-dataset", "ITQ", 0, "to b"), datasets, make_arguments(tmp_path))
    assert parts.X[:, 0].max() < 10_000 <= min(parts.queries[:, 0].min(), parts.database[:, 0].min())
    assert parts.held_out == "classes"


def test_stages_start_from_the_best_so_far_and_end_with_the_budget(protocols, dataset, tmp_path, monkeypatch):
    stages = (({}, {"a": 1}, {"a": 2}), ({"b": 1}, {"b": 2}), ({"c": 1},))
    scores = {(): 0.1, (("a", 1),): 0.3, (("a", 2),): 0.2, (("a", 1), ("b", 1)): 0.2, (("a", 1), ("b", 2)): 0.4}

    def validate(method, model, setting, *rows):
        return scores[tuple(sorted(setting.items()))], {**setting, "epochs": 7}

    monkeypatch.setattr(protocols, "validate", validate)
    arguments = make_arguments(tmp_path, budget=5)
    worker = protocols.Worker(protocols.Cell("a", "seen", "ITQ", 0), as_datasets(protocols, dataset), arguments)
    worker.method = SimpleNamespace(stages=stages, is_deep=False, make=lambda *given: None)
    chosen = worker._choose(8)
    assert chosen["setting"] == {"a": 1, "b": 2, "epochs": 7}
    assert [score for _, score in chosen["tried"]] == [0.1, 0.3, 0.2, 0.2, 0.4]


def test_settings_that_a_hasher_refuses_are_not_taken(protocols, dataset, tmp_path, monkeypatch):
    def validate(method, model, setting, *rows):
        if setting:
            raise ValueError("too many anchors")
        return 0.1, setting

    monkeypatch.setattr(protocols, "validate", validate)
    datasets, arguments = as_datasets(protocols, dataset), make_arguments(tmp_path)
    worker = protocols.Worker(protocols.Cell("a", "seen", "ITQ", 0), datasets, arguments)
    worker.method = SimpleNamespace(stages=(({}, {"a": 1}),), is_deep=False, make=lambda *given: None)
    assert worker._choose(8)["tried"] == [[{}, 0.1], [{"a": 1}, None]]
    worker.method.stages = (({"a": 1}, {"a": 2}),)
    with pytest.raises(ValueError, match="too many anchors"):
        worker._choose(8)


def test_a_file_that_was_cut_off_goes_on(protocols, dataset, tmp_path):
    datasets, arguments = as_datasets(protocols, dataset), make_arguments(tmp_path)
    cell = protocols.Cell("a", "seen", "DiscriminantITQ", 0)
    protocols.work(cell, datasets, arguments)
    path = Path(arguments.run)
    lines = path.read_text().splitlines()
    # Two settings and a result at each of two lengths.
    assert len(lines) == 6
    path.write_text("\n".join(lines[:5]) + "\n" + lines[5][:40])
    _runs.drop_incomplete_line(arguments.run)
    protocols.work(cell, datasets, arguments)
    again = path.read_text().splitlines()
    assert again[:5] == lines[:5]
    first, second = json.loads(lines[5]), json.loads(again[5])
    assert (first["task"], first["map"], first["setting"]) == (second["task"], second["map"], second["setting"])
    protocols.work(cell, datasets, arguments)
    assert path.read_text().splitlines() == again


def test_lines_hold_what_the_queries_have(protocols, dataset, tmp_path):
    arguments = make_arguments(tmp_path, bits=[8])
    protocols.work(protocols.Cell("a", "seen", "ITQ", 0), as_datasets(protocols, dataset), arguments)
    results = report.Results(arguments.run, _runs.Run(arguments.run).rows.values(), [8])
    (row,) = results.rows
    values = results.queries(row)
    assert len(values) == 6 * 100
    assert values.mean() == pytest.approx(row["map"], abs=1e-3)
    assert row["versions"]["skhash"] == skhash.__version__


class _Nested(CCAITQ):
    """Codes whose first bits are codes: a stand-in with the signature of such hashers."""

    def __init__(self, n_bits=64, *, prefixes=(16, 32, 64), random_state=None):
        super().__init__(n_bits, random_state=random_state)
        self.prefixes = prefixes

    def prefix(self, n_bits):
        whole = self

        class Prefix:
            def transform(self, X):
                return truncate_codes(whole.transform(X), n_bits)

        return Prefix()


def test_one_nested_model_serves_all_lengths(protocols, dataset, tmp_path, monkeypatch):
    fits = []

    class Nested(_Nested):
        def fit(self, X, y=None):
            fits.append((self.n_bits, self.prefixes))
            return super().fit(X, y)

    monkeypatch.setattr(skhash, "NestedHash", Nested, raising=False)
    datasets, arguments = as_datasets(protocols, dataset), make_arguments(tmp_path)
    for name in ("NestedHash", "NestedHash-separate"):
        protocols.work(protocols.Cell("a", "seen", name, 0), datasets, arguments)
    assert fits == [(16, (8, 16)), (8, (8,)), (16, (16,))]
    rows = [row["task"] for row in _runs.Run(arguments.run).rows.values()]
    assert [(row["method"], row["n_bits"]) for row in rows] == [
        ("NestedHash", 8),
        ("NestedHash", 16),
        ("NestedHash-separate", 8),
        ("NestedHash-separate", 16),
    ]


def fitted_networks(monkeypatch):
    """Collect the networks that are fitted."""
    fitted, fit = [], skhash.DeepSupervisedHasher.fit
    monkeypatch.setattr(skhash.DeepSupervisedHasher, "fit", lambda self, X, y: fitted.append(self) or fit(self, X, y))
    return fitted


def test_one_nested_network_serves_all_lengths(protocols, dataset, tmp_path, monkeypatch):
    fitted = fitted_networks(monkeypatch)
    arguments = make_arguments(tmp_path)
    worker = protocols.Worker(protocols.Cell("a", "seen", "deep:nested", 0), as_datasets(protocols, dataset), arguments)
    worker.method = replace(worker.method, stages=(({}, {"weight": {"lam": 3.0}}),))
    worker.work()
    assert [hasher.n_bits for hasher in fitted] == [16, 16, 16]
    assert [hasher.loss.lam for hasher in fitted[:2]] == [1.0, 3.0]
    assert {hasher.loss.prefixes for hasher in fitted} == {(8, 16)}
    parts = worker.parts
    queries, database = (fitted[-1].transform(X) for X in (parts.queries, parts.database))
    rows = [row for row in _runs.Run(arguments.run).rows.values() if row["task"]["kind"] == "result"]
    assert [row["task"]["n_bits"] for row in rows] == [8, 16]
    for row in rows:
        cut = (truncate_codes(codes, row["task"]["n_bits"]) for codes in (queries, database))
        assert row["map"] == pytest.approx(
            mean_average_precision(*cut, parts.query_labels, parts.database_labels), abs=1e-6
        )


@pytest.mark.parametrize("protocol", ["robust", "stream"])
def test_prefixes_of_a_nested_network_are_attacked_and_go_on(protocols, dataset, tmp_path, monkeypatch, protocol):
    fitted = fitted_networks(monkeypatch)
    arguments = make_arguments(tmp_path, budget=1, train_per_class=50)
    protocols.work(protocols.Cell("a", protocol, "deep:nested", 0), as_datasets(protocols, dataset), arguments)
    scores = {
        (row["task"]["n_bits"], row["task"]["condition"]): row["map"]
        for row in _runs.Run(arguments.run).rows.values()
        if row["task"]["kind"] == "result"
    }
    assert {hasher.n_bits for hasher in fitted} == {16}
    for n_bits in (8, 16):
        if protocol == "robust":
            assert scores[n_bits, "attacked"] < scores[n_bits, "clean"]
        else:
            assert {condition for length, condition in scores if length == n_bits} == {f"{n}/5" for n in range(1, 6)}


def test_bits_that_are_cut_off_take_no_part_in_an_attack(protocols, dataset):
    from _retrieval_methods import at_length, find_method

    from skhash.deep.adversarial import attack_queries

    X, y = dataset
    method = find_method("deep:nested", [8, 16])
    whole = method.make(16, 0, {"epochs": 1}, len(X)).fit(X, y)
    prefix = at_length(method, whole, 8)
    np.testing.assert_array_equal(prefix.transform(X), truncate_codes(whole.transform(X), 8))

    def attack():
        return attack_queries(prefix, X[:5], scale=X.std(axis=0), random_state=0)

    before = attack()
    weight = prefix.net_.module_.layers[-1].weight.detach()
    weight[8:] = weight[8:].flip(1)
    np.testing.assert_array_equal(attack(), before)
    weight[:8] = weight[:8].flip(1)
    assert (attack() != before).any()


def result(method, n_bits, seed, value, split="s"):
    task = {
        "kind": "result",
        "dataset": "a",
        "train_per_class": 10,
        "protocol": "seen",
        "condition": "",
        "method": method,
        "variant": "",
        "n_bits": n_bits,
        "seed": seed,
        "split": split,
    }
    return {
        "task": task,
        "map": value,
        "queries": f"{method}{n_bits}{seed}",
        "fit_seconds": 1.0,
        "tune_seconds": 2.0,
        "shared_by": 1,
    }


def test_columns_are_in_the_order_of_their_numbers():
    conditions = ["clean", "noise 0.5", "noise 1", "noise 10", "attacked"]
    columns = [("robust", condition, 8) for condition in conditions]
    columns = [("few-labels", "50 labels", 8), ("few-labels", "500 labels", 8), *columns]
    assert report.columns_of({"A": dict.fromkeys(reversed(columns))}) == columns


def test_tables_are_of_means_and_paired_differences(tmp_path):
    rows = [
        result("A", 8, 0, 0.5),
        result("A", 8, 1, 0.7),
        result("B", 8, 0, 0.4),
        result("B", 8, 1, 0.3, split="another"),
        result("C", None, 0, 0.65),
    ]
    (tmp_path / "run.queries").mkdir()
    for row in rows:
        np.save(tmp_path / "run.queries" / f"{row['queries']}.npy", np.full(4, row["map"], dtype=np.float16))
    results = report.Results(str(tmp_path / "run.jsonl"), rows, [8, 16])
    ((_, _, _, cells),) = results.groups()
    columns = report.columns_of(cells)
    means = report.table_of_means(cells, columns)
    # A code with a length of its own is in all columns; the standard deviation of .5 and .7 is .1414.
    assert means[1] == ["C", "65.0", "65.0", "1.0", "2.0"]
    assert means[2] == ["A", "60.0 ± 14.1", "", "1.0", "2.0"]
    differences = report.table_of_differences(results, cells, columns, "A")
    # Of B only the seed on the same split counts.
    assert differences[2][:2] == ["B", "+10.0 [+10.0, +10.0]"]
    assert results.seconds() == 5.0
