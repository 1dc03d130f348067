"""The table of losses by name."""

import importlib
import inspect
import pkgutil

import pytest

torch = pytest.importorskip("torch", reason="deep hashing needs torch")

from skhash.deep import losses  # noqa: E402
from skhash.deep.losses import LOSSES, UNSUPERVISED_LOSSES, make_loss, make_unsupervised_loss  # noqa: E402
from skhash.deep.losses._base import HashLoss, UnsupervisedLoss  # noqa: E402


def losses_with_a_file():
    """The loss of each file that is named after one."""
    for module in pkgutil.iter_modules(losses.__path__):
        members = vars(importlib.import_module(f"{losses.__name__}.{module.name}"))
        name = module.name.lstrip("_")
        for value in members.values():
            if inspect.isclass(value) and issubclass(value, HashLoss) and value.__module__.endswith(f"._{name}"):
                yield name, value


def test_every_loss_is_found_under_the_name_of_its_file():
    shared = {"base", "code_bank"}
    assert {name: cls for name, cls in losses_with_a_file() if name not in shared} == LOSSES
    assert len(set(LOSSES.values())) == len(LOSSES) > 10


def test_names_give_new_objects_and_objects_are_copied():
    made = make_loss("dsh", name="Name")
    assert type(made) is LOSSES["dsh"]
    copied = make_loss(made, name="Name")
    assert copied is not made
    assert type(copied) is type(made)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (
            "nonsense",
            ValueError,
            r"^Name: loss='nonsense' is unknown; use one of 'adsh', .*'orthohash', or a HashLoss\.$",
        ),
        (LOSSES["dsh"], TypeError, r"^Name: loss is a type; use one of 'adsh', .* or an instance of a HashLoss\.$"),
    ],
)
def test_unknown_losses_are_refused_with_the_list(loss, error, message):
    with pytest.raises(error, match=message):
        make_loss(loss, name="Name")


def test_every_loss_without_labels_is_found_under_a_name():
    assert set(UNSUPERVISED_LOSSES) == {"bihalf", "cibhash", "greedyhash", "ssdh", "tbh", "uhbdnn"}
    assert set(UNSUPERVISED_LOSSES.values()) == set(UnsupervisedLoss.__subclasses__())
    made = make_unsupervised_loss("bihalf", name="Name")
    assert type(made) is UNSUPERVISED_LOSSES["bihalf"]
    copied = make_unsupervised_loss(made, name="Name")
    assert copied is not made
    assert type(copied) is type(made)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (
            "dsh",
            ValueError,
            r"^Name: loss='dsh' is unknown; use one of 'bihalf', .*'uhbdnn', or an UnsupervisedLoss\.$",
        ),
        (LOSSES["bihalf"](), TypeError, r"^Name: loss is a BiHalf; .* or an instance of an UnsupervisedLoss\.$"),
    ],
)
def test_losses_with_labels_are_none_without(loss, error, message):
    with pytest.raises(error, match=message):
        make_unsupervised_loss(loss, name="Name")
