"""Tensors, modules and trained nets as nodes. Imported by functions only, because it needs torch.

A module is its attributes, parameters, buffers and parts: no constructor runs and no function is called by name. Only
the pretrained backbone is built by its class, as its layers belong to another package.
"""

import inspect
import math

import numpy as np
import torch
from torch import nn

from ..deep._training import HashingNet
from ..deep.networks import BackboneNetwork
from ._json import shown

# What torch keeps in every module; the rest is the module's own.
_INTERNALS = set(vars(nn.Module()))
_HOOKS = {name for name in _INTERNALS if name.endswith("_hooks")}

_DTYPES = {
    torch.bool: np.bool_,
    torch.uint8: np.uint8,
    torch.int8: np.int8,
    torch.int16: np.int16,
    torch.int32: np.int32,
    torch.int64: np.int64,
    torch.float16: np.float16,
    torch.float32: np.float32,
    torch.float64: np.float64,
}

# Parameters of a skorch net that are others after loading, or stand for what is stored apart.
_PARTS_OF_NET = {
    *("self", "module", "criterion", "dataset", "iterator_train", "iterator_valid", "device", "compile", "kwargs"),
}
_PREFIX_OF_OPTIMIZER = "optimizer__"
# Others are kept where they differ from skorch's defaults.
_ALWAYS_KEPT = ("optimizer", "lr")


def encode_torch(encoder, value, path, depth):
    """Encode a tensor, a module or a net.

    Parameters
    ----------
    encoder : Encoder
        Takes the arrays.

    value : object
        Anything.

    path : str
        Attributes that lead to it.

    depth : int
        Number of values that it lies in.

    Returns
    -------
    node : dict or None
        None for what is none of these.
    """
    if type(value) in (torch.Tensor, nn.Parameter):
        return _encode_tensor(encoder, value, path)
    if type(value) is HashingNet:
        return _encode_net(encoder, value, path, depth)
    if isinstance(value, nn.Module):
        return _encode_module(encoder, value, path, depth)
    return None


def decode_torch(decoder, node, depth):
    """Decode a node of one of these kinds."""
    decode = {"tensor": _decode_tensor, "module": _decode_module, "net": _decode_net}
    return decode[node["kind"]](decoder, node, depth)


def _encode_tensor(encoder, tensor, path):
    node = {"kind": "tensor", "requires_grad": bool(tensor.requires_grad)}
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in (*_DTYPES, torch.bfloat16):
        raise TypeError(f"{path} is a tensor of dtype {tensor.dtype}, which a file of skhash cannot hold; cast it.")
    values = tensor.detach().cpu().resolve_neg()
    order = sorted(range(values.ndim), key=values.stride, reverse=True)
    if values.numel() and values.stride() != _strides(values.shape) and values.permute(order).is_contiguous():
        # Memory in another order, such as channels_last, is kept: how sums round may depend on it.
        node["shape"], node["strides"] = list(values.shape), [max(1, stride) for stride in values.stride()]
        values = values.permute(order)
    values = values.contiguous()
    if values.dtype == torch.bfloat16:
        node["dtype"], values = "bfloat16", values.view(torch.int16)
    if isinstance(tensor, nn.Parameter):
        node["is_parameter"] = True
    return {**node, "tensor": encoder.add_array(values.numpy(), path)}


def _decode_tensor(decoder, node, depth):
    name, requires_grad, shape, strides, dtype, is_parameter = decoder.fields(
        node,
        tensor=str,
        requires_grad=bool,
        shape=(list, type(None)),
        strides=(list, type(None)),
        dtype=(str, type(None)),
        is_parameter=(bool, type(None)),
    )
    known = decoder.tensors.get(name)
    if known is not None:
        if known[0] != node:
            raise decoder.error(f"has two different tensors in its tensor {shown(name)}")
        return known[1]
    array = decoder.tensor(name)
    try:
        tensor = torch.from_numpy(array)
    except TypeError:
        raise decoder.error(f"has a tensor {shown(name)} of dtype {array.dtype}") from None
    if dtype is not None:
        if dtype != "bfloat16" or array.dtype != np.int16:
            raise decoder.error(f"has a tensor {shown(name)} of dtype {shown(dtype)}")
        tensor = tensor.view(torch.bfloat16)
    if shape is not None or strides is not None:
        if not _is_dense(shape, strides, tensor.numel()):
            raise decoder.error(f"has a tensor {shown(name)} of shape {shown(shape)} and strides {shown(strides)}")
        tensor = tensor.reshape(-1).as_strided(shape, strides)
    if requires_grad and not tensor.is_floating_point():
        raise decoder.error(f"has a tensor {shown(name)} of integers with a gradient")
    tensor = nn.Parameter(tensor, requires_grad) if is_parameter else tensor.requires_grad_(requires_grad)
    decoder.tensors[name] = node, tensor
    return tensor


def _strides(shape):
    """Strides of a tensor in the order of its axes, as torch counts them for axes of one element."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * size)
    return tuple(reversed(strides[: len(shape)]))


def _is_dense(shape, strides, n_elements):
    """Whether a shape and strides walk through so many elements, each of them once."""
    sizes = [shape, strides]
    if not all(
        isinstance(each, list) and all(type(size) is int and 0 < size < 2**62 for size in each) for each in sizes
    ):
        return False
    if len(shape) != len(strides) or not n_elements:
        return False
    n_walked = 1
    for stride, size in sorted((stride, size) for stride, size in zip(strides, shape, strict=True) if size > 1):
        if stride != n_walked:
            return False
        n_walked *= size
    return n_walked == n_elements


def _encode_module(encoder, module, path, depth):
    node = {"kind": "module", "class": encoder.name_of_class(type(module), path), "training": module.training}
    own = vars(module)
    if any(own.get(name) for name in _HOOKS):
        raise TypeError(f"{path} has hooks, which are code that a file of skhash does not hold; remove them.")
    if isinstance(module, BackboneNetwork):
        state = {
            name: encoder.encode(value, f"{path}.{name}", depth + 1) for name, value in module.state_dict().items()
        }
        frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
        return {**node, "dropout": encoder.encode(module.dropout.p, path), "weights": state, "frozen": frozen}
    parts = {
        "parameters": module._parameters,
        "buffers": module._buffers,
        "modules": module._modules,
        "state": {name: value for name, value in own.items() if name not in _INTERNALS},
    }
    for part, values in parts.items():
        node[part] = [
            [name, encoder.encode(value, f"{path}.{name}" if path else name, depth + 1)]
            for name, value in (sorted(values.items()) if part == "state" else values.items())
        ]
    node["not_persistent"] = sorted(module._non_persistent_buffers_set)
    return node


def _decode_module(decoder, node, depth):
    name = node.get("class")
    cls = decoder.class_of(name) if isinstance(name, str) else None
    if cls is None or not issubclass(cls, nn.Module):
        raise decoder.error(f"has a module of the class {shown(name)}")
    if issubclass(cls, BackboneNetwork):
        return _decode_backbone(decoder, node, depth)
    _, training, parameters, buffers, modules, state, not_persistent = decoder.fields(
        node,
        **{"class": str},
        training=bool,
        parameters=list,
        buffers=list,
        modules=list,
        state=list,
        not_persistent=list,
    )
    module = cls.__new__(cls)
    nn.Module.__init__(module)
    module.training = training
    wanted = {"_parameters": nn.Parameter, "_buffers": torch.Tensor, "_modules": nn.Module}
    for part, pairs in zip(wanted, (parameters, buffers, modules), strict=True):
        for key, value in _pairs(decoder, pairs, depth):
            if value is not None and not isinstance(value, wanted[part]):
                raise decoder.error(f"has a {shown(name)} whose {shown(key)} is a {type(value).__name__}")
            getattr(module, part)[key] = value
    for key, value in _pairs(decoder, state, depth):
        if not key.isidentifier() or key in _INTERNALS or key.startswith("__"):
            raise decoder.error(f"has the name {shown(key)} for an attribute")
        vars(module)[key] = value
    module._non_persistent_buffers_set.update(map(str, not_persistent))
    return module


def _pairs(decoder, pairs, depth):
    """Decode named values in their order."""
    if not all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        raise decoder.error("has a module of something else than named values")
    if len({key for key, _ in pairs}) < len(pairs):
        raise decoder.error("has a module in which a name occurs twice")
    return [(key, decoder.decode(value, depth)) for key, value in pairs]


def _decode_backbone(decoder, node, depth):
    name, training, dropout, weights, frozen = decoder.fields(
        node, **{"class": str}, training=bool, dropout=(float, int), weights=dict, frozen=list
    )
    weights = {key: decoder.decode(value, depth) for key, value in weights.items()}
    head = weights.get("head.weight")
    if not all(isinstance(value, torch.Tensor) for value in weights.values()) or head is None or head.ndim != 2:
        raise decoder.error(f"has a {shown(name)} without weights")
    with torch.random.fork_rng([]):
        module = BackboneNetwork(3, head.shape[0], dropout=dropout)
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    if expected != {key: tuple(value.shape) for key, value in weights.items()}:
        raise decoder.error(f"has a {shown(name)} whose weights are those of another network")
    module.load_state_dict(weights, assign=True)
    for key, parameter in module.named_parameters():
        parameter.requires_grad_(key not in frozen)
    return module.train(training)


def _encode_net(encoder, net, path, depth):
    known = inspect.signature(_skorch_init()).parameters
    parameters = {
        name: value
        for name, value in vars(net).items()
        if (name in known and name not in _PARTS_OF_NET and (name in _ALWAYS_KEPT or value is not known[name].default))
        or ("__" in name and not name.startswith("_"))
    }
    unknown = [name for name in parameters if "__" in name and not name.startswith(_PREFIX_OF_OPTIMIZER)]
    if unknown:
        raise TypeError(
            f"{path}.{unknown[0]} is a setting of skorch that a file of skhash does not hold; set net_params to what "
            "concerns the optimizer."
        )
    parts = {
        "network": net.module_,
        "loss": net.criterion_,
        "optimizer": net.optimizer_.state_dict(),
        "history": [dict(epoch) for epoch in net.history_],
    }
    return {
        "kind": "net",
        "parameters": {
            name: encoder.encode(value, f"{path}.{name}", depth + 1) for name, value in sorted(parameters.items())
        },
        **{part: encoder.encode(value, f"{path}.{part}", depth + 1) for part, value in parts.items()},
    }


def _decode_net(decoder, node, depth):
    parameters, *parts = decoder.fields(node, parameters=dict, network=dict, loss=dict, optimizer=dict, history=list)
    known = inspect.signature(_skorch_init()).parameters.keys() - _PARTS_OF_NET
    for name in parameters:
        if name not in known and not name.startswith(_PREFIX_OF_OPTIMIZER):
            raise decoder.error(f"sets the parameter {shown(name)} of a net, which this version does not know")
    values = decoder.named(parameters, depth)
    network, loss, state, history = (decoder.decode(part, depth) for part in parts)
    optimizer = values.get("optimizer")
    if not (inspect.isclass(optimizer) and issubclass(optimizer, torch.optim.Optimizer)):
        raise decoder.error(f"has a net with the optimizer {shown(optimizer)}")
    if not isinstance(network, nn.Module) or not isinstance(loss, nn.Module):
        raise decoder.error("has a net without a network and a loss")
    if not all(isinstance(epoch, dict) for epoch in history) or not _is_finite(values.get("lr")):
        raise decoder.error("has a net without a history and a learning rate")
    trainings = [module.training for module in (network, loss)]
    net = HashingNet(network, loss, **values, device="cpu").initialize()
    net.module, net.criterion = type(network), type(loss)
    net.optimizer_.load_state_dict(state)
    net.history_.extend(history)
    for module, training in zip((network, loss), trainings, strict=True):
        module.train(training)
    return net


def _skorch_init():
    return HashingNet.__mro__[1].__init__


def _is_finite(value):
    return isinstance(value, float | int) and math.isfinite(value)
