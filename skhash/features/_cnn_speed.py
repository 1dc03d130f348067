"""Rewrite a network so that it runs faster and computes the same.

The network is traced by torch.fx, and the graph is rewritten three times:

1. constant zero padding becomes the padding of the convolution behind it,
2. batch norm is folded into the weights of the convolution before it,
3. rectifiers overwrite the output of their convolution instead of allocating memory.

Only torch's public interface is used, nothing is compiled, and the result is an ordinary module.
Imported by functions only, because it needs torch.
"""

import copy
import operator
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.Hardswish)

# Tracing replaces nn.Module.__call__ for the whole process and puts back what it found.
_TRACE_LOCK = threading.Lock()


def trace_network(network: nn.Module, layer: str | None = None) -> fx.GraphModule:
    """Trace a network up to one layer, so that nothing behind that layer is computed.

    Parameters
    ----------
    network : nn.Module
        A network in evaluation mode.

    layer : str, default=None
        Name of the submodule whose output is wanted; None for the output of the network.

    Returns
    -------
    traced : fx.GraphModule
        The traced network; it shares the parameters of `network`.

    Raises
    ------
    Exception
        Whatever the network's own code raises when it meets a symbolic input, or torch.fx for code that it cannot
        follow.
    """
    tracer = _LayerTracer(layer)
    with _TRACE_LOCK:
        graph = tracer.trace(network)
    if layer is not None:
        (output,) = (node for node in graph.nodes if node.op == "output")
        graph.erase_node(output)
        graph.output(tracer.captured.node)
    traced = fx.GraphModule(tracer.root, graph)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


class _LayerTracer(fx.Tracer):
    def __init__(self, layer):
        super().__init__()
        self._layer = layer
        self._thread = threading.get_ident()
        self.captured = None

    def getattr(self, attr, attr_val, parameter_proxy_cache):
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m, forward, args, kwargs):
        # Networks that other threads run meanwhile come by here, too.
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        output = super().call_module(m, forward, args, kwargs)
        if self._layer is not None and self.path_of_module(m) == self._layer:
            self.captured = output
        return output


def fold_network(traced: fx.GraphModule, rewrites: Iterable[Callable] | None = None) -> fx.GraphModule:
    """Fold padding, batch norm and rectifiers into the convolutions of a traced network.

    Parameters
    ----------
    traced : fx.GraphModule
        A traced network in evaluation mode; its graph is rewritten, its parameters are left alone.

    rewrites : iterable of callable, default=None
        Which of `REWRITES` to apply; None applies all.

    Returns
    -------
    folded : fx.GraphModule
        The same graph module.
    """
    for number, node in enumerate(list(traced.graph.nodes)):
        convolution = _own_convolution(node, traced)
        if convolution is None:
            continue
        name = f"folded_convolution_{number}"
        traced.add_submodule(name, convolution)
        with traced.graph.inserting_before(node):
            replacement = traced.graph.call_module(name, (node.args[0],))
        node.replace_all_uses_with(replacement)
        traced.graph.erase_node(node)
        for rewrite in REWRITES if rewrites is None else rewrites:
            rewrite(replacement, convolution, traced)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def absorb_padding(node: fx.Node, convolution: nn.Conv2d, traced: fx.GraphModule) -> None:
    """Turn zero padding in front of a convolution into its own padding, where both sides are padded alike.

    Parameters
    ----------
    node : fx.Node
        The call of the convolution.

    convolution : nn.Conv2d
        The module it calls, used nowhere else.

    traced : fx.GraphModule
        The network.
    """
    source: Any = node.args[0]
    module = _called_module(source, traced)
    if type(module) is not nn.ZeroPad2d or isinstance(convolution.padding, str):
        return
    left, right, top, bottom = module.padding
    if convolution.padding_mode != "zeros" or left != right or top != bottom or min(left, top) < 0:
        return
    convolution.padding = (convolution.padding[0] + top, convolution.padding[1] + left)
    node.args = (source.args[0],)


def absorb_batch_norm(node: fx.Node, convolution: nn.Conv2d, traced: fx.GraphModule) -> None:
    """Fold the batch norm behind a convolution into its weights, where nothing else uses the convolution.

    Parameters
    ----------
    node : fx.Node
        The call of the convolution.

    convolution : nn.Conv2d
        The module it calls, used nowhere else.

    traced : fx.GraphModule
        The network.
    """
    norm_node = _only_user(node)
    norm = _called_module(norm_node, traced)
    if type(norm) is not nn.BatchNorm2d or norm.training:
        return
    if norm.running_mean is None or norm.running_var is None:
        return
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    norm_node.replace_all_uses_with(node)
    traced.graph.erase_node(norm_node)


def rectify_in_place(node: fx.Node, convolution: nn.Conv2d, traced: fx.GraphModule) -> None:
    """Let the rectifier behind a convolution overwrite its output, where nothing else uses that output.

    Parameters
    ----------
    node : fx.Node
        The call of the convolution.

    convolution : nn.Conv2d
        The module it calls, used nowhere else.

    traced : fx.GraphModule
        The network.
    """
    rectifier_node = _only_user(node)
    rectifier = _called_module(rectifier_node, traced)
    if type(rectifier) in _RECTIFIERS:
        rectifier = copy.copy(rectifier)
        rectifier.inplace = True
        rectifier_node.target = f"{node.target}_rectifier"
        traced.add_submodule(rectifier_node.target, rectifier)


REWRITES = (absorb_padding, absorb_batch_norm, rectify_in_place)


def _called_module(node, traced):
    """Return the module that a node calls, or None for other nodes and for modules with hooks."""
    if node is None or node.op != "call_module":
        return None
    module = traced.get_submodule(node.target)
    return None if module._forward_hooks or module._forward_pre_hooks else module


def _only_user(node):
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _own_convolution(node, traced):
    """Return a copy of the convolution of a node, or None where the node is no plain 2-d convolution."""
    if node.op == "call_function" and node.target is torch.conv2d:
        return _functional_convolution(node, traced)
    module = _called_module(node, traced)
    if type(module) is not nn.Conv2d:
        return None
    # Not a deep copy: folding replaces the weights, it never changes them in place.
    convolution = copy.copy(module)
    convolution._parameters = dict(module._parameters)
    return convolution


def _functional_convolution(node, traced):
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    options = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    options |= dict(zip(names, node.args, strict=False)) | node.kwargs
    stored = [options["weight"]] + ([options["bias"]] if options["bias"] is not None else [])
    if not all(isinstance(value, fx.Node) and value.op == "get_attr" for value in stored) or not node.args:
        return None
    weight, *bias = (operator.attrgetter(value.target)(traced) for value in stored)
    convolution = nn.Conv2d(
        weight.shape[1] * options["groups"],
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=_plain(options["stride"]),
        padding=_plain(options["padding"]),
        dilation=_plain(options["dilation"]),
        groups=options["groups"],
        bias=bool(bias),
        device="meta",
    )
    convolution.weight = weight
    if bias:
        convolution.bias = bias[0]
    return convolution.eval()


def _plain(option):
    return tuple(option) if isinstance(option, list | tuple) else option
