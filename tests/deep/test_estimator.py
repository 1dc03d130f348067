"""The estimator around the net: what it trains on, when it stops, what it keeps, and what it leaves alone."""

import copy
import pickle
import sys
import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

from skhash import HammingNearestNeighbors, RetrievalPipeline  # noqa: E402
from skhash.codes import unpack_codes  # noqa: E402
from skhash.deep import DeepSupervisedHasher  # noqa: E402
from skhash.deep._inputs import FeatureInputs  # noqa: E402
from skhash.deep._training import Batches, Rows  # noqa: E402
from skhash.deep.augmentation import ImageAugmentation  # noqa: E402
from skhash.deep.losses import LOSSES  # noqa: E402
from skhash.deep.losses._base import HashLoss  # noqa: E402
from skhash.metrics import mean_average_precision, mean_average_precision_scorer  # noqa: E402

X, Y = make_blobs(240, 10, centers=4, cluster_std=2.0, random_state=0)
X = X.astype(np.float32)
NAMES = np.array(["ant", "bee", "cat", "dog"])
SMALL = DeepSupervisedHasher(8, network="linear", max_epochs=2, batch_size=32, random_state=0)


def small(**params):
    return clone(SMALL).set_params(**params)


def assert_same_codes(hasher, other):
    np.testing.assert_array_equal(hasher.project(X), other.project(X))


class SquaredError(HashLoss):
    """Mean squared distance to the targets, as many bits as classes."""

    def forward(self, outputs, targets, rows):
        return ((outputs - targets) ** 2).mean()


class Sink(HashLoss):
    """Pushes all outputs above 0, so that all codes become one."""

    def forward(self, outputs, targets, rows):
        return -outputs.mean()


class Shift(torch.nn.Module):
    """Fixed directions, so that only offsets are learned."""

    def __init__(self, n_features, n_bits):
        super().__init__()
        self.register_buffer("directions", torch.randn(n_features, n_bits))
        self.offsets = torch.nn.Parameter(torch.zeros(n_bits))

    def forward(self, features):
        return features @ self.directions + self.offsets


class Broken(HashLoss):
    """Not a number."""

    def forward(self, outputs, targets, rows):
        return outputs.sum() * float("nan")


class Recorder(HashLoss):
    """Remembers what it was given."""

    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        super().prepare(n_bits, n_classes, n_samples=n_samples, targets=targets, generator=generator)
        self.targets, self.seen, self.epochs = targets, [], []

    def start_epoch(self, epoch):
        self.epochs.append(epoch)
        self.seen.append([])

    def forward(self, outputs, targets, rows):
        assert torch.equal(targets, self.targets[rows])
        self.seen[-1].append(rows.tolist())
        return (outputs**2).mean()

    def project(self, outputs):
        return outputs - 1


class Refusing(HashLoss):
    def prepare(self, n_bits, n_classes, *, n_samples, targets, generator):
        raise ValueError("Refusing: needs more classes.")

    def forward(self, outputs, targets, rows):
        return outputs.sum()


class NoisyNetwork(torch.nn.Module):
    """Uses torch's global random state at each step."""

    def __init__(self, n_features, n_bits):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(n_features, 16),
            torch.nn.Dropout(0.5),
            torch.nn.BatchNorm1d(16),
            torch.nn.Linear(16, n_bits),
        )

    def forward(self, features):
        return self.layers(features)


def test_codes_of_a_class_are_closer_than_those_of_others():
    rows, others = np.arange(160), np.arange(160, 240)
    hasher = small(n_bits=16, network="auto", max_epochs=10).fit(X[rows], Y[rows])
    codes = hasher.transform(X)
    assert mean_average_precision(codes[others], codes[rows], Y[others], Y[rows]) > 0.95


def test_training_is_the_textbook_loop():
    """Gradient descent on all rows at once, against the same in NumPy and float64."""
    network = torch.nn.Linear(10, 4)
    hasher = DeepSupervisedHasher(
        4,
        loss=SquaredError(),
        network=network,
        max_epochs=5,
        batch_size=len(X),
        lr=0.02,
        optimizer="sgd",
        weight_decay=0.0,
        validation_fraction=None,
        net_params={"optimizer__momentum": 0.0},
    ).fit(X, Y)
    weights, offsets = network.weight.detach().numpy().T.astype(float), network.bias.detach().numpy().astype(float)
    targets = np.eye(4)[Y]
    for _ in range(5):
        slope = 2 * (X @ weights + offsets - targets) / targets.size
        weights, offsets = weights - 0.02 * X.T @ slope, offsets - 0.02 * slope.sum(axis=0)
    np.testing.assert_allclose(hasher.project(X), X @ weights + offsets, atol=1e-3)


def test_names_of_classes_do_not_matter():
    numbers, names = small().fit(X, Y), small().fit(X, NAMES[Y])
    assert numbers.classes_.tolist() == [0, 1, 2, 3]
    assert names.classes_.tolist() == NAMES.tolist()
    assert_same_codes(numbers, names)


def test_indicators_of_one_class_a_row_train_as_classes():
    one_hot = np.eye(4, dtype=int)[Y]
    classes, indicators = (small(validation_fraction=None).fit(X, y) for y in (Y, one_hot))
    assert_same_codes(classes, indicators)


def test_several_labels_a_row():
    y = np.column_stack([Y < 2, Y % 2, Y == 3]).astype(int)
    hasher = small().fit(X, y)
    assert hasher.classes_.tolist() == [0, 1, 2]
    assert "valid_map" in hasher.net_.history[-1]


def test_unlabelled_rows_take_no_part():
    noise = np.random.default_rng(0).normal(0, 100, (300, 10)).astype(np.float32)
    rows, y = np.concatenate([noise, X]), np.concatenate([np.full(300, -1), Y])
    assert_same_codes(small().fit(rows, y), small().fit(X, Y))


def test_each_epoch_sees_each_row_once_and_counts_on():
    hasher = small(loss=Recorder(), validation_fraction=None).fit(X, Y).partial_fit(X, Y)
    loss = hasher.net_.criterion_
    assert loss.epochs == [0, 1, 2, 3]
    for batches in loss.seen:
        assert sorted(row for batch in batches for row in batch) == list(range(240))
        assert {len(batch) for batch in batches} == {32, 16}
    assert loss.seen[0] != loss.seen[1]


def test_projections_are_those_of_the_loss():
    hasher = small(loss=Recorder()).fit(X, Y)
    with torch.no_grad():
        outputs = hasher.net_.module_(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(hasher.project(X), outputs - 1, atol=1e-5)


@pytest.mark.parametrize(("n_rows", "sizes"), [(7, [3, 4]), (6, [3, 3]), (8, [3, 3, 2]), (2, [2]), (1, [1]), (4, [4])])
def test_no_batch_is_a_single_row_unless_there_is_only_one(n_rows, sizes):
    rows = Rows(FeatureInputs(torch.arange(n_rows)[:, None]), torch.zeros(n_rows, 1))
    batches = list(Batches(rows, 3, torch.Generator().manual_seed(0)))
    assert [len(features) for features, _ in batches] == sizes
    for features, (_, positions) in batches:
        assert torch.equal(features[:, 0], positions)
    assert sorted(int(row) for _, (_, positions) in batches for row in positions) == list(range(n_rows))


def test_a_class_with_one_sample_and_one_class_only():
    y = Y.copy()
    y[0] = 9
    assert small().fit(X, y).classes_.tolist() == [0, 1, 2, 3, 9]
    alone = small().fit(X, np.zeros(len(X)))
    assert alone.transform(X).shape == (240, 1)
    assert "valid_map" not in alone.net_.history[-1]


def test_same_seed_same_codes_whatever_the_threads_and_the_random_state_of_torch():
    hasher = small(network=NoisyNetwork)
    torch.manual_seed(1)
    first = clone(hasher).fit(X, Y)
    torch.manual_seed(2)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(n_threads + 1)
    try:
        second = clone(hasher).fit(X, Y)
        assert torch.get_num_threads() == n_threads + 1
    finally:
        torch.set_num_threads(n_threads)
    assert_same_codes(first, second)
    assert (clone(hasher).set_params(random_state=1).fit(X, Y).project(X) != first.project(X)).any()


def test_nothing_global_changes():
    state, n_threads = torch.get_rng_state(), torch.get_num_threads()
    small(network=NoisyNetwork).fit(X, Y).transform(X)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == n_threads


def test_fits_in_two_threads_do_not_disturb_each_other():
    expected, state = small(network=NoisyNetwork).fit(X, Y), torch.get_rng_state()
    hashers = [small(network=NoisyNetwork) for _ in range(2)]
    threads = [threading.Thread(target=hasher.fit, args=(X, Y)) for hasher in hashers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for hasher in hashers:
        assert_same_codes(hasher, expected)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_stops_without_progress():
    """With no change of the weights, the first epoch stays the best."""
    hasher = small(loss=SquaredError(), n_bits=4, lr=1e-30, max_epochs=6)
    assert len(clone(hasher).set_params(early_stopping=3).fit(X, Y).net_.history) == 4
    assert len(clone(hasher).set_params(early_stopping=None).fit(X, Y).net_.history) == 6


def test_best_weights_are_kept():
    hasher = small(loss=Sink(), network=Shift, optimizer="sgd", lr=10.0, early_stopping=None)
    long = clone(hasher).set_params(max_epochs=6).fit(X, Y)
    scores = [record["valid_map"] for record in long.net_.history]
    best = int(np.argmax(scores))
    assert scores[-1] < scores[best]
    assert_same_codes(long, clone(hasher).set_params(max_epochs=best + 1).fit(X, Y))
    last = clone(hasher).set_params(max_epochs=6, validation_fraction=None).fit(X, Y)
    assert unpack_codes(last.transform(X)).mean() > unpack_codes(long.transform(X)).mean()


def test_a_line_per_epoch(capsys):
    small(verbose=1).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[DeepSupervisedHasher] epoch 1/2  loss ")
    for part in ("validation mAP 0.", "bit balance ", " samples/s"):
        assert part in lines[1]
    small(verbose=1, validation_fraction=None).fit(X, Y)
    assert "validation" not in capsys.readouterr().out
    small().fit(X, Y)
    assert capsys.readouterr().out == ""


def test_cosine_schedule_ends_near_zero():
    def last_rate(**params):
        return small(max_epochs=4, early_stopping=None, **params).fit(X, Y).net_.optimizer_.param_groups[0]["lr"]

    assert last_rate() == 0.001
    # (1 + cos(3 pi / 4)) / 2
    assert last_rate(lr_schedule="cosine") == pytest.approx(0.001 * 0.1464466, rel=1e-5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"optimizer": "sgd", "lr": 1e38, "loss": SquaredError(), "n_bits": 4},
            r"the loss is (inf|nan) in epoch 1, batch [23], because the outputs .* grew to .*; lower lr=1e\+38",
        ),
        (
            {"optimizer": "sgd", "lr": 1e38, "loss": SquaredError(), "n_bits": 4, "network": torch.nn.Linear}
            | {"batch_size": 500, "max_epochs": 1},
            r"the weights overflowed at the end of epoch 1; lower lr=1e\+38",
        ),
        (
            {"loss": Broken()},
            r"the loss is nan in epoch 1, batch 1, though the outputs .* the loss Broken itself fails",
        ),
    ],
)
def test_numbers_that_are_not_finite_stop_the_training_in_one_line(params, message):
    rows = X * 1e6
    with pytest.raises(ValueError, match=message) as raised:
        small(validation_fraction=None, **params).fit(rows, Y)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("DeepSupervisedHasher: ")


def test_features_that_overflow_in_the_network_are_named():
    network = torch.nn.Linear(10, 8)
    torch.nn.init.constant_(network.weight, 1e5)
    with pytest.raises(ValueError, match="epoch 1, batch 1, before any step, because inputs overflow in the network"):
        small(network=network).fit(X * 1e34, Y)


def test_a_failed_partial_fit_leaves_the_hasher_as_it_was():
    hasher = small(loss=SquaredError(), n_bits=4, optimizer="sgd").fit(X, Y)
    before, n_epochs = hasher.project(X), len(hasher.net_.history)
    with pytest.raises(ValueError, match=r"outputs of the network grew to .*; lower lr"):
        hasher.set_params(lr=1e38).partial_fit(X, Y)
    np.testing.assert_array_equal(hasher.project(X), before)
    assert len(hasher.net_.history) == n_epochs
    expected = small(loss=SquaredError(), n_bits=4, optimizer="sgd").fit(X, Y).partial_fit(X, Y)
    assert_same_codes(hasher.set_params(lr=0.001).partial_fit(X, Y), expected)


@pytest.mark.parametrize("pickled", [False, True])
def test_partial_fit_and_warm_start_go_on_as_if_never_interrupted(pickled):
    hasher = small(validation_fraction=None)
    whole = clone(hasher).set_params(max_epochs=4).fit(X, Y)
    first = clone(hasher).fit(X, Y)
    if pickled:
        first = pickle.loads(pickle.dumps(first))
    warm = copy.deepcopy(first).set_params(warm_start=True).fit(X, Y)
    assert_same_codes(first.partial_fit(X, Y), whole)
    assert_same_codes(warm, whole)
    assert len(whole.net_.history) == len(warm.net_.history) == 4


def test_fit_starts_again_without_warm_start():
    hasher = small().fit(X, Y)
    before = hasher.project(X)
    np.testing.assert_array_equal(hasher.fit(X, Y).project(X), before)


def test_classes_are_fixed_by_the_first_call():
    hasher = small().partial_fit(X[Y < 2], Y[Y < 2], classes=[0, 1, 2, 3])
    assert hasher.partial_fit(X, Y).classes_.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="y holds the class 2, which is none of the 2 known so far"):
        small().fit(X[Y < 2], Y[Y < 2]).partial_fit(X, Y)
    with pytest.raises(ValueError, match="n_bits=9 differs from the 8 bits fitted so far"):
        hasher.set_params(n_bits=9).partial_fit(X, Y)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_trains_projects_and_goes_on_with_other_rows(loss):
    hasher = small(loss=loss, n_bits=16).fit(X[:160], Y[:160])
    codes = hasher.transform(X)
    assert mean_average_precision(codes[160:], codes[:160], Y[160:], Y[:160]) > 0.25
    hasher.partial_fit(X, Y)
    again = small(loss=loss, n_bits=16).fit(X[:160], Y[:160])
    np.testing.assert_array_equal(again.transform(X), codes)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(hasher)).transform(X), hasher.transform(X))


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"loss": "nonsense"}, ValueError, "loss='nonsense' is unknown; use one of .*'dch'.*, or a HashLoss"),
        ({"loss": len}, TypeError, "loss is a builtin_function_or_method; use one of"),
        ({"loss": Refusing()}, ValueError, "Refusing: needs more classes"),
        ({"network": "nonsense"}, ValueError, "network='nonsense' is unknown"),
        ({"device": "nonsense"}, ValueError, "device='nonsense' cannot be used .*; use 'auto' or 'cpu'"),
        ({"net_params": {"nonsense": 1}}, ValueError, "the net cannot be built .*nonsense"),
        ({"optimizer": "nonsense"}, ValueError, "'optimizer' parameter"),
        ({"batch_size": 1}, ValueError, "'batch_size' parameter"),
        ({"n_jobs": 0}, ValueError, "'n_jobs' parameter"),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(params, error, message):
    with pytest.raises(error, match=message) as raised:
        small(**params).fit(X, Y)
    assert "\n" not in str(raised.value)
    assert "DeepSupervisedHasher" in str(raised.value)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (Y[:100], "X has 240 rows and y 100; pass one label per row"),
        (np.full(240, -1), "all 240 rows of y are unlabelled"),
        (np.where(np.arange(240) == 3, 7, -1), "y labels 1 row; label at least 2"),
    ],
)
def test_wrong_labels_are_refused_in_one_line(y, message):
    hasher = small()
    with pytest.raises(ValueError, match=message) as raised:
        hasher.fit(X, y)
    assert "\n" not in str(raised.value)
    assert not hasattr(hasher, "net_")


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skorch", None)
    with pytest.raises(ImportError, match=r"DeepSupervisedHasher needs 'skorch'.*pip install 'skhash\[deep\]'"):
        small().fit(X, Y)


def test_loss_and_network_of_the_caller_are_left_alone():
    loss, network = SquaredError(), torch.nn.Linear(10, 4)
    weights = network.weight.detach().clone()
    hasher = DeepSupervisedHasher(4, loss=loss, network=network, max_epochs=1).fit(X, Y)
    assert torch.equal(network.weight, weights)
    assert not hasattr(loss, "n_bits")
    assert hasher.net_.criterion_.n_bits == 4
    assert clone(hasher).loss is not loss


def test_rows_of_the_caller_are_left_alone_by_a_network_that_works_in_place():
    def network(n_features, n_bits):
        return torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(n_features, n_bits))

    rows = X.copy()
    hasher = small(network=network).fit(rows, Y)
    first = hasher.project(rows)
    np.testing.assert_array_equal(rows, X)
    np.testing.assert_array_equal(hasher.project(rows), first)


def test_more_threads_differ_by_rounding_only():
    one, two = (small(network="mlp", n_jobs=n_jobs).fit(X, Y) for n_jobs in (1, 2))
    np.testing.assert_allclose(one.project(X), two.project(X), atol=1e-3)


def test_grid_search_in_two_processes():
    pipeline = RetrievalPipeline([("hash", SMALL), ("search", HammingNearestNeighbors())])
    search = GridSearchCV(
        pipeline,
        {"hash__n_bits": [2, 8]},
        scoring=mean_average_precision_scorer,
        cv=2,
        n_jobs=2,
        error_score="raise",
    ).fit(X, NAMES[Y])
    assert search.best_params_ == {"hash__n_bits": 8}
    assert search.best_estimator_.kneighbors(X[:3], n_neighbors=2)[1].shape == (3, 2)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_batches_without_a_positive_pair_are_trained_on(loss):
    """Each class has one row, so that no batch holds two of a class."""
    hasher = small(loss=loss, n_bits=16, batch_size=8).fit(X[:30], np.arange(30))
    assert np.isfinite(hasher.project(X)).all()
    assert np.isfinite(hasher.net_.history[-1]["train_loss"])


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_training_without_validation_and_in_batches_of_two(loss):
    hasher = small(loss=loss, n_bits=16, batch_size=2, validation_fraction=None, max_epochs=1).fit(X[:21], Y[:21])
    assert np.isfinite(hasher.project(X)).all()


def test_a_bar_runs_through_the_batches_where_stderr_is_a_terminal(capsys, monkeypatch):
    small(verbose=1).fit(X, Y)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    small(verbose=1).fit(X, Y)
    assert "epoch 1/2:" in capsys.readouterr().err
    small(verbose=0).fit(X, Y)
    assert capsys.readouterr().err == ""


def test_augmentation_changes_what_the_network_sees_in_training_only():
    class Zero(torch.nn.Module):
        def forward(self, rows):
            return rows * 0

    blind, seeing = (small(augment=augment, max_epochs=20).fit(X, Y) for augment in (Zero(), lambda rows: rows))
    scores = [
        mean_average_precision(hasher.transform(X), None, Y)
        for hasher in (blind, seeing, small(max_epochs=20).fit(X, Y))
    ]
    assert scores[0] < scores[1] == scores[2]


def test_mixed_precision_trains_in_float32_weights():
    exact, mixed = (small(network="mlp", mixed_precision=on, max_epochs=5).fit(X, Y) for on in (False, True))
    assert {parameter.dtype for parameter in mixed.net_.module_.parameters()} == {torch.float32}
    assert mixed.project(X).dtype == np.float32
    assert (mixed.project(X) != exact.project(X)).any()
    scores = [mean_average_precision(hasher.transform(X), None, Y) for hasher in (exact, mixed)]
    assert scores[1] == pytest.approx(scores[0], abs=0.05)


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, r"contains NaN \(first at row 3, column 7\)"), (np.inf, r"contains infinity \(inf\) \(first at row 3")],
)
def test_features_that_are_not_finite_are_named_before_any_training(value, message):
    rows = X.copy()
    rows[3, 7] = value
    with pytest.raises(ValueError, match=message) as raised:
        small().fit(rows, Y)
    assert "\n" not in str(raised.value)


class Vector(HashLoss):
    def forward(self, outputs, targets, rows):
        return outputs.mean(dim=1)


class Constant(HashLoss):
    def forward(self, outputs, targets, rows):
        return torch.tensor(1.0)


class WithoutRows(HashLoss):
    def forward(self, outputs, targets):
        return outputs.mean()


class OtherPrepare(HashLoss):
    def prepare(self, n_bits):
        self.n_bits = n_bits


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"loss": HashLoss}, TypeError, r"loss is the class HashLoss; pass an instance, loss=HashLoss\(\)"),
        ({"augment": torch.nn.Dropout}, TypeError, "augment is the class Dropout; pass an instance"),
        (
            {"augment": ImageAugmentation()},
            ValueError,
            r"augment=ImageAug.* fails on a batch of shape \(2, 10\)",
        ),
        ({"augment": lambda rows: None}, ValueError, "into <class 'NoneType'>; return a tensor of the same shape"),
        ({"augment": lambda rows: rows[:1]}, ValueError, r"into \(1, 10\) torch\.float32; return"),
        ({"loss": Vector()}, ValueError, r"the loss Vector returns a tensor of shape \(2,\); return a tensor of shape"),
        (
            {"loss": Constant()},
            ValueError,
            r"the loss Constant returns a tensor of shape \(\); .* depends on",
        ),
        ({"loss": WithoutRows()}, ValueError, r"the loss WithoutRows fails .*define forward\(outputs, targets, rows\)"),
        ({"loss": OtherPrepare()}, ValueError, "prepare.*got an unexpected keyword argument"),
        ({"network": lambda n: None}, TypeError, r"network\(n_features, n_bits\) cannot be called"),
        (
            {"net_params": {"max_epochs": 3}},
            ValueError,
            "net_params holds .max_epochs., which the estimator sets",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_parts_that_cannot_work_are_named_before_the_training(params, error, message):
    with pytest.raises(error, match=message) as raised:
        small(**params).fit(X, Y)
    assert "\n" not in str(raised.value)
    assert "DeepSupervisedHasher: " in str(raised.value)


def test_settings_of_losses_are_shown():
    assert repr(LOSSES["csq"](lam=0.5)) == "CSQ(lam=0.5)"
    assert repr(LOSSES["csq"]()) == "CSQ()"


def test_tensors_are_sent_back_as_arrays():
    with pytest.raises(TypeError, match=r"X is a torch tensor; pass X\.numpy\(force=True\)"):
        small().fit(torch.zeros(4, 8, 8, dtype=torch.uint8), Y[:4])


def test_devices_of_long_names_are_refused_in_a_short_message():
    with pytest.raises(ValueError, match=r"device='x+\.\.\. cannot be used") as raised:
        small(device="x" * 3000).fit(X, Y)
    assert len(str(raised.value)) < 500


def test_true_is_a_weight_decay_of_one():
    """torch refused to multiply by a boolean."""
    assert_same_codes(small(weight_decay=True).fit(X, Y), small(weight_decay=1.0).fit(X, Y))
