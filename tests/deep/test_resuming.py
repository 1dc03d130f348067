"""Trainings that are interrupted: killed, out of disk, out of luck; and weights that travel."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

import skhash  # noqa: E402
from skhash.deep import DeepSupervisedHasher, DeepUnsupervisedHasher, _training  # noqa: E402
from skhash.deep.adversarial import ProjectedGradient  # noqa: E402
from skhash.deep.losses import LOSSES, UNSUPERVISED_LOSSES, Nested, make_loss  # noqa: E402
from skhash.deep.networks import make_network  # noqa: E402
from skhash.deep.semi_supervised import MeanTeacher  # noqa: E402

X, Y = make_blobs(240, 10, centers=4, cluster_std=2.0, random_state=0)
X = X.astype(np.float32)
SOME_LABELS = np.where(np.arange(240) % 3, Y, -1)
SMALL = DeepSupervisedHasher(16, max_epochs=4, batch_size=32, random_state=0)


def small(**params):
    return clone(SMALL).set_params(**params)


class Interrupted(BaseException):
    """Stands for a kill: no code of the training goes on after it."""


def interrupt_after(n_epochs, monkeypatch):
    """Let the training die once so many checkpoints are written."""
    write, n_written = _training.HashingNet._save, []

    def save(net, progress):
        write(net, progress)
        n_written.append(progress.epoch)
        if len(n_written) == n_epochs:
            raise Interrupted

    monkeypatch.setattr(_training.HashingNet, "_save", save)
    return n_written


def assert_resumes(hasher, y, folder, monkeypatch, *, rows=X):
    whole = clone(hasher).fit(rows, y)
    hasher = clone(hasher).set_params(checkpoint_dir=folder)
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(Interrupted):
            clone(hasher).fit(rows, y)
    with monkeypatch.context() as patch:
        epochs = interrupt_after(-1, patch)
        resumed = clone(hasher).fit(rows, y)
    assert epochs == list(range(3, len(whole.net_.history) + 1))
    np.testing.assert_array_equal(resumed.project(rows), whole.project(rows))
    losses = [[record["train_loss"] for record in fitted.net_.history] for fitted in (whole, resumed)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_killed_training_of_any_loss_goes_on_to_the_same_codes(loss, tmp_path, monkeypatch):
    assert_resumes(small(loss=loss), Y, tmp_path, monkeypatch)


@pytest.mark.parametrize("loss", sorted(UNSUPERVISED_LOSSES))
def test_a_killed_training_without_labels_goes_on_to_the_same_codes(loss, tmp_path, monkeypatch):
    hasher = DeepUnsupervisedHasher(16, loss=loss, max_epochs=4, batch_size=32, random_state=0)
    assert_resumes(hasher, None, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "sgd", "lr_schedule": "cosine"},
        {"consistency": MeanTeacher()},
        {"adversarial": ProjectedGradient(n_steps=2)},
        {"validation_fraction": None},
        {"early_stopping": 1, "max_epochs": 30},
    ],
    ids=["sgd-cosine", "consistency", "adversarial", "no-validation", "early-stopping"],
)
def test_a_killed_training_of_any_kind_goes_on_to_the_same_codes(params, tmp_path, monkeypatch):
    y = SOME_LABELS if "consistency" in params else Y
    assert_resumes(small(**params), y, tmp_path, monkeypatch)


def test_a_killed_training_on_images_goes_on_to_the_same_codes(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    assert_resumes(small(network="cnn", max_epochs=3), Y[:40], tmp_path, monkeypatch, rows=images)


def test_a_finished_training_is_not_repeated(tmp_path, monkeypatch, capsys):
    hasher = small(checkpoint_dir=tmp_path).fit(X, Y)
    epochs = interrupt_after(-1, monkeypatch)
    again = small(checkpoint_dir=tmp_path, verbose=1).fit(X, Y)
    assert epochs == []
    assert "goes on after epoch 4/4 of " in capsys.readouterr().out
    np.testing.assert_array_equal(again.project(X), hasher.project(X))


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.002},
        {"n_bits": 15},
        {"random_state": 1},
        {"loss": "csq"},
        {"batch_size": 33},
        {"network": "linear"},
        {"max_epochs": 5},
        {"weight_decay": 0.0},
        {"early_stopping": 5},
        {"adversarial": ProjectedGradient(n_steps=1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_training_in_the_same_folder_starts_for_itself(change, tmp_path):
    small(checkpoint_dir=tmp_path).fit(X, Y)
    expected = small(**change).fit(X, Y).project(X)
    np.testing.assert_array_equal(small(checkpoint_dir=tmp_path, **change).fit(X, Y).project(X), expected)
    assert len(list(tmp_path.iterdir())) == 2


def test_other_rows_and_labels_start_for_themselves(tmp_path):
    hasher = small(checkpoint_dir=tmp_path)
    clone(hasher).fit(X, Y)
    clone(hasher).fit(X + np.float32(1e-3), Y)
    clone(hasher).fit(X, Y[::-1])
    assert len(list(tmp_path.iterdir())) == 3


def test_settings_of_a_loss_object_are_told_apart(tmp_path):
    for alpha in (0.1, 0.2, 0.1):
        small(loss=make_loss("greedyhash", name="test").__class__(alpha=alpha), checkpoint_dir=tmp_path).fit(X, Y)
    assert len(list(tmp_path.iterdir())) == 2


def test_settings_that_are_no_single_number_are_told_apart(tmp_path):
    """Words of the two trainings with other prefixes are the same, and so are all weights to begin with."""
    losses = [Nested(prefixes=(4,)), Nested(prefixes=(8,)), Nested(prefixes=[4, 8]), Nested(lam=np.float32(2.0))]
    expected = [small(loss=loss).fit(X, Y).project(X) for loss in losses]
    for loss, projections in zip(losses, expected, strict=True):
        hasher = small(loss=loss, checkpoint_dir=tmp_path).fit(X, Y)
        np.testing.assert_array_equal(hasher.project(X), projections)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_full_disk_at_a_checkpoint_warns_and_the_training_goes_on(tmp_path, monkeypatch):
    expected = small().fit(X, Y).project(X)

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.warns(
            UserWarning, match=r"could not be written after epoch 1 \(No space left on device\)"
        ) as caught:
            hasher = small(checkpoint_dir=tmp_path).fit(X, Y)
    (warning,) = caught
    assert "\n" not in str(warning.message)
    np.testing.assert_array_equal(hasher.project(X), expected)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path):
    small(checkpoint_dir=tmp_path).fit(X, Y)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"safetensors.*delete it") as raised:
        small(checkpoint_dir=tmp_path).fit(X, Y)
    assert "\n" not in str(raised.value)


def test_a_training_that_cannot_be_repeated_has_no_checkpoints(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint_dir needs .* set random_state to an integer"):
        small(checkpoint_dir=tmp_path, random_state=None).fit(X, Y)


def test_partial_fit_goes_on_from_its_own_checkpoint(tmp_path, monkeypatch):
    expected = small().fit(X, Y).partial_fit(X[:200], Y[:200]).project(X)
    hasher = small(checkpoint_dir=tmp_path).fit(X, Y)
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(Interrupted):
            pickle.loads(pickle.dumps(hasher)).partial_fit(X[:200], Y[:200])
    np.testing.assert_array_equal(hasher.partial_fit(X[:200], Y[:200]).project(X), expected)


SCRIPT = """
    import sys
    import numpy as np
    from sklearn.datasets import make_blobs
    from skhash.deep import DeepSupervisedHasher
    X, y = make_blobs(240, 10, centers=4, cluster_std=2.0, random_state=0)
    folder, n_epochs, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    hasher = DeepSupervisedHasher(16, max_epochs=n_epochs, early_stopping=None, random_state=0, verbose=1,
                                  checkpoint_dir=folder or None)
    np.save(target, hasher.fit(X.astype(np.float32), y).project(X.astype(np.float32)))
"""


def test_a_process_killed_in_the_middle_of_training_goes_on_when_started_again(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(skhash.__file__).parents[1])}

    def start(folder, target):
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), folder, "12", str(tmp_path / target)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    whole = start("", "whole.npy")
    whole.communicate()
    killed = start(str(tmp_path / "checkpoints"), "killed.npy")
    for line in killed.stdout:
        if "epoch 5/12" in line:
            killed.send_signal(signal.SIGKILL)
            break
    killed.wait()
    killed.stdout.close()
    assert not (tmp_path / "killed.npy").exists()
    again = start(str(tmp_path / "checkpoints"), "again.npy")
    output, _ = again.communicate()
    assert "goes on after epoch" in output
    assert "epoch 1/12 " not in output
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), np.load(tmp_path / "whole.npy"))


def test_weights_are_plain_safetensors(tmp_path):
    from safetensors.torch import load_file

    hasher = small().fit(X, Y)
    hasher.save_weights(tmp_path / "weights.safetensors")
    weights = load_file(tmp_path / "weights.safetensors")
    for name, value in hasher.net_.module_.state_dict().items():
        assert torch.equal(weights[f"network.{name}"], value)
    other = small(random_state=1, max_epochs=1).fit(X, Y)
    assert other.load_weights(tmp_path / "weights.safetensors") is other
    np.testing.assert_array_equal(other.project(X), hasher.project(X))
    longer = small(n_bits=17, max_epochs=1).fit(X, Y)
    before = longer.project(X)
    with pytest.raises(ValueError, match=r"DeepSupervisedHasher: .*shape") as raised:
        longer.load_weights(tmp_path / "weights.safetensors")
    assert "\n" not in str(raised.value)
    np.testing.assert_array_equal(longer.project(X), before)
    with pytest.raises(ValueError, match="not fitted"):
        small().save_weights(tmp_path / "nothing.safetensors")


def test_a_net_trained_on_another_device_is_pickled_on_the_cpu(monkeypatch):
    """The device "meta" stands for CUDA: its tensors have no values, but each must pass through ``Tensor.cpu``."""
    loss = make_loss("orthohash", name="Test")
    indicators = torch.eye(3)
    loss.prepare(8, 3, n_samples=3, targets=indicators, generator=torch.Generator())
    network = make_network("mlp", (5,), 8, name="Test")
    net = _training.make_net(
        network,
        loss,
        optimizer="adam",
        lr=0.1,
        weight_decay=0.0,
        device=torch.device("meta"),
        net_params=None,
        name="Test",
    )
    for _, parameter in net.get_all_learnable_params():
        parameter.grad = torch.zeros_like(parameter)
    net.optimizer_.step()
    # Neither a parameter nor a buffer.
    net.module_.remembered = torch.zeros(3, device="meta")
    net.device = "cuda"
    to_cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda t: torch.ones(t.shape, dtype=t.dtype) if t.is_meta else to_cpu(t))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = pickle.loads(pickle.dumps(net))
    assert loaded.device == "cpu"
    parameters = [parameter for _, parameter in loaded.get_all_learnable_params()]
    states = list(loaded.optimizer_.state.values())
    assert len(states) == len(parameters) > 0
    tensors = [*loaded.module_.state_dict().values(), *loaded.criterion_.state_dict().values()]
    tensors += [loaded.module_.remembered, *(value for state in states for value in state.values())]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    # The optimizer steps the parameters of the network itself, and those learn.
    stepped = [parameter for group in loaded.optimizer_.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in stepped} == {id(parameter) for parameter in parameters}
    assert {id(parameter) for parameter in loaded.optimizer_.state} == {id(parameter) for parameter in parameters}
    assert all(parameter.requires_grad for parameter in parameters)
    # What was pickled stays where it is.
    assert net.device == "cuda"
    assert all(parameter.is_meta for _, parameter in net.get_all_learnable_params())
