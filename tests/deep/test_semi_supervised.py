"""The averaged teacher against NumPy, and its consistency by hand."""

import math

import numpy as np
import pytest
from sklearn.base import clone

torch = pytest.importorskip("torch", reason="teachers are torch modules")

from skhash.deep.semi_supervised import AveragedTeacher, MeanTeacher  # noqa: E402


def student():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(), torch.nn.Linear(4, 3)
    )


def test_settings_are_cloned_and_checked():
    settings = MeanTeacher(weight=2.0, decay=0.5, ramp_epochs=3, batch_ratio=0.5)
    assert clone(settings).get_params() == {"weight": 2.0, "decay": 0.5, "ramp_epochs": 3, "batch_ratio": 0.5}
    for wrong in ({"weight": -1.0}, {"decay": 1.0}, {"ramp_epochs": -1}, {"batch_ratio": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MeanTeacher(**wrong).start(student())


def test_ramp_by_hand():
    settings = MeanTeacher(weight=2.0, ramp_epochs=4)
    expected = [2 * math.exp(-5), 2 * math.exp(-2.8125), 2 * math.exp(-1.25), 2 * math.exp(-0.3125), 2, 2]
    assert [settings.weight_at(epoch) for epoch in range(6)] == pytest.approx(expected)
    assert MeanTeacher(weight=1.0, ramp_epochs=0).weight_at(0) == 1


def test_numbers_of_unlabelled_rows():
    assert MeanTeacher(batch_ratio=3.0).n_unlabelled(100) == 300
    assert MeanTeacher(batch_ratio=0.01).n_unlabelled(5) == 1


@pytest.mark.parametrize("decay", [0.0, 0.6, 0.99])
def test_average_against_numpy(decay):
    network = student()
    teacher = MeanTeacher(decay=decay).start(network)
    averages = {name: value.double().numpy().copy() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for t in range(1, 8):
        optimizer.zero_grad()
        network(torch.randn(6, 5)).square().sum().backward()
        optimizer.step()
        teacher.update(network)
        share = min(decay, 1 - 1 / (t + 1))
        for name, value in network.state_dict().items():
            new = value.double().numpy()
            averages[name] = new.copy() if "num_batches" in name else share * averages[name] + (1 - share) * new
    for name, value in teacher.network.state_dict().items():
        np.testing.assert_allclose(value, averages[name], rtol=1e-4, atol=1e-5)


def test_at_first_the_average_is_the_plain_mean():
    network = torch.nn.Linear(1, 1, bias=False)
    weights = [0.0, 3.0, 6.0, -5.0]
    with torch.no_grad():
        network.weight.fill_(weights[0])
        teacher = AveragedTeacher(network)
        for weight in weights[1:]:
            network.weight.fill_(weight)
            teacher.update(network)
    assert teacher.network.weight.item() == pytest.approx(np.mean(weights))


def test_the_teacher_stays_in_evaluation_mode_and_apart():
    network = student()
    teacher = MeanTeacher().start(network)
    outer = torch.nn.ModuleList([teacher]).train()
    assert not any(part.training for part in teacher.modules())
    assert network.training
    assert outer.training
    inputs = torch.randn(6, 5)
    assert torch.equal(teacher(inputs), teacher(inputs))
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    with torch.no_grad():
        network[0].weight.zero_()
    assert teacher.network[0].weight.abs().sum() > 0


def test_state_survives_a_state_dict():
    network = student()
    teacher, other = MeanTeacher().start(network), MeanTeacher().start(student())
    for _ in range(3):
        with torch.no_grad():
            network[0].weight.add_(1)
        teacher.update(network)
    other.load_state_dict(teacher.state_dict())
    assert other.n_updates.item() == 3
    for one in (teacher, other):
        one.update(network)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_consistency_by_hand_and_free_of_scale():
    z = np.random.default_rng(0).normal(size=(2, 4, 3))
    expected = 0.0
    for a, b in zip(z[0], z[1], strict=True):
        expected += (2 - 2 * np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)) / 4
    one, two = torch.from_numpy(z)
    consistency = MeanTeacher().consistency
    assert consistency(one, two).item() == pytest.approx(expected)
    assert consistency(100 * one, two / 100).item() == pytest.approx(expected)
    assert consistency(one, one).item() == 0
    assert consistency(one, -one).item() == pytest.approx(4)


def test_gradients_reach_the_student_alone():
    settings, network = MeanTeacher(), student()
    teacher = settings.start(network)
    one, two = torch.randn(6, 5), torch.randn(6, 5)
    settings.consistency(network(one), teacher(two)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in (network[0].weight, network[3].weight))
    assert all(parameter.grad is None for parameter in teacher.parameters())
    target = torch.randn(6, 3, requires_grad=True)
    settings.consistency(network(one), target).backward()
    assert target.grad is None


def test_rows_of_zeros_have_finite_gradients():
    z = torch.zeros(2, 3, requires_grad=True)
    MeanTeacher().consistency(z, torch.ones(2, 3)).backward()
    assert torch.isfinite(z.grad).all()
