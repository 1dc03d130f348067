"""Fitted hashers and networks as ONNX models: from features or images to projections and packed codes."""

import copy
import logging
import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._optional import import_optional
from ..codes import code_width, pack_bits
from ..features import CNNFeatures
from ..hashers import (
    ITQ,
    AnchorGraphHash,
    CirculantHash,
    DiscriminantITQ,
    InductiveManifoldHash,
    KernelSupervisedHash,
    KMeansHash,
    NestedHash,
    OnlineHadamardHash,
    ShiftInvariantKernelLSH,
    SpectralHash,
    SphericalHash,
)

# The first opset in which all reductions take their axes in one way, and the format that torch writes, so that models
# can be merged: onnxruntime 1.18 and later read them.
_OPSET, _IR_VERSION = 18, 10

_FEATURES, _IMAGES = "features", "images"

# As much of the reason of torch as fits into a message.
_LONGEST_REASON = 300


def to_onnx(estimator):
    """Turn a fitted hasher, or a feature extractor, into an ONNX model.

    Parameters
    ----------
    estimator : hasher or CNNFeatures
        Fitted: any of :mod:`skhash.hashers`, a deep hasher, or :class:`~skhash.CNNFeatures` on a CPU.

    Returns
    -------
    model : onnx.ModelProto
        Maps ``features``, float32 of shape (n, n_features), for any n, to ``projections``, float32 of shape (n,
        n_bits), and ``codes``, uint8 of shape (n, ceil(n_bits / 8)), as of ``transform``. Of a deep hasher that was
        fitted on images the input is ``images``, uint8 of shape (n, height, width, n_channels), in the size that the
        network sees; of `CNNFeatures` as well, and the output is ``features``. ``onnx.save(model, path)`` writes it.

    Raises
    ------
    ImportError
        If onnx is not installed, or, for a network, onnxscript.
    sklearn.exceptions.NotFittedError
        If `estimator` is not fitted.
    TypeError
        If `estimator` is something else, or computes projections in a way of its own.
    ValueError
        If the network runs on a GPU and cannot be copied, or torch cannot export it.

    See Also
    --------
    skhash.save : Writes the estimator itself, with what it learned from.

    Notes
    -----
    All is computed in float32, whatever the hasher was fitted on. A bit may differ from that of ``transform`` where its
    projection is 0 but for rounding errors. Nothing is checked: NaN and infinity, which ``transform`` refuses, give
    bits without a meaning. Files of images are not read, and images not resized.

    The projections of a :class:`~skhash.CirculantHash` are computed with a dense matrix instead of Fourier transforms.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhash import ITQ
    >>> from skhash.persistence import to_onnx
    >>> X, _ = load_digits(return_X_y=True)
    >>> model = to_onnx(ITQ(n_bits=16, random_state=0).fit(X))
    >>> [output.name for output in model.graph.output]
    ['projections', 'codes']
    """
    from .. import __version__

    onnx = import_optional("onnx", extra="onnx", feature="to_onnx")
    add_projections = _find_projections(estimator)
    check_is_fitted(estimator)
    name = type(estimator).__name__
    if isinstance(estimator, CNNFeatures):
        model = _exported(_feature_module(estimator), estimator, _IMAGES, _image_shape(estimator), _FEATURES)
        model.doc_string = f"{name}: pooled features of images."
    else:
        if add_projections is None:
            model = _deep_model(onnx, estimator)
        else:
            model = _shallow_model(onnx, estimator, add_projections)
        onnx.helper.set_model_props(model, {"skhash_n_bits": str(estimator.n_bits_)})
        model.doc_string = (
            f"{name} with {estimator.n_bits_} bits. Bit 0 of a code is the highest bit of its first byte; the last "
            "byte is padded with zeros."
        )
    model.producer_name, model.producer_version, model.graph.name = "skhash", __version__, name
    onnx.checker.check_model(model, full_check=True)
    return model


def _find_projections(estimator):
    """Return what adds the projections of a shallow hasher to a graph, and None for a network."""
    from ..deep import DeepSupervisedHasher

    # Found by the function that computes projections, which a class of somebody else may have replaced.
    function = getattr(type(estimator), "_project_rows", None)
    if function in _PROJECTIONS:
        return _PROJECTIONS[function]
    if function is DeepSupervisedHasher._project_rows or isinstance(estimator, CNNFeatures):
        return None
    raise TypeError(
        f"to_onnx: takes a fitted hasher of skhash or CNNFeatures, got a {type(estimator).__name__}, whose projections "
        "it does not know; of a pipeline, pass one step."
    )


def _shallow_model(onnx, hasher, add_projections):
    graph = _Graph(onnx)
    graph.name_output(add_projections(graph, _FEATURES, hasher), "projections")
    _add_codes(graph, hasher.n_bits_)
    shape = ["n", hasher.n_features_in_]
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            type(hasher).__name__,
            [onnx.helper.make_tensor_value_info(_FEATURES, onnx.TensorProto.FLOAT, shape)],
            _outputs(onnx, hasher.n_bits_),
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )


def _outputs(onnx, n_bits):
    make = onnx.helper.make_tensor_value_info
    return [
        make("projections", onnx.TensorProto.FLOAT, ["n", n_bits]),
        make("codes", onnx.TensorProto.UINT8, ["n", code_width(n_bits)]),
    ]


def _add_codes(graph, n_bits):
    """Pack the signs of the output "projections" to the output "codes"."""
    signs = graph.add("GreaterOrEqual", "projections", graph.number(0))
    # Row k is the code with bit k alone, so that sums of rows are codes: whole numbers up to 255, exact in float32.
    codes_of_bits = pack_bits(np.eye(n_bits, dtype=bool))
    sums = graph.add("MatMul", graph.cast(signs, "FLOAT"), graph.constant(codes_of_bits))
    graph.name_output(graph.cast(sums, "UINT8"), "codes")


class _Graph:
    """Nodes and constants of a graph that grows.

    Parameters
    ----------
    onnx : module
        The package onnx.
    """

    def __init__(self, onnx):
        self.nodes, self.constants = [], []
        self._onnx, self._n_names = onnx, 0

    def add(self, operator, *inputs, n_outputs=1, **attributes):
        """Add a node, and return the name of its output, or a list of several."""
        outputs = [self._new_name() for _ in range(n_outputs)]
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0] if n_outputs == 1 else outputs

    def constant(self, values, dtype=np.float32):
        """Add a constant, and return its name."""
        name = self._new_name()
        self.constants.append(self._onnx.numpy_helper.from_array(np.asarray(values, dtype=dtype, order="C"), name))
        return name

    def number(self, value):
        """Add a constant that is one number."""
        return self.constant(np.reshape(value, ()))

    def axes(self, *values):
        """Add a constant that is a list of axes or lengths."""
        return self.constant(values, np.int64)

    def cast(self, value, dtype):
        """Add a change of type, and return the name of the result."""
        return self.add("Cast", value, to=getattr(self._onnx.TensorProto, dtype))

    def name_output(self, value, output):
        """Give a value the name of an output of the graph."""
        self.nodes.append(self._onnx.helper.make_node("Identity", [value], [output]))

    def sum(self, value):
        """Add the sums over the last axis, as a column."""
        return self.add("ReduceSum", value, self.axes(1), keepdims=1)

    def one_where_zero(self, value):
        """Add what replaces zeros by ones."""
        is_zero = self.add("Equal", value, self.number(0))
        return self.add("Where", is_zero, self.number(1), value)

    def _new_name(self):
        self._n_names += 1
        return f"skhash_{self._n_names}"


def _affine(graph, rows, weights, offsets):
    """Add ``rows @ weights - offsets``."""
    return graph.add("Sub", graph.add("MatMul", rows, graph.constant(weights)), graph.constant(offsets))


def _squared_distances(graph, rows, anchors):
    anchors = np.asarray(anchors, dtype=np.float64)
    norms = graph.sum(graph.add("Mul", rows, rows))
    distances = graph.add("MatMul", rows, graph.constant(-2 * anchors.T))
    distances = graph.add("Add", graph.add("Add", distances, norms), graph.constant((anchors**2).sum(axis=1)))
    return graph.add("Max", distances, graph.number(0))


def _linear(graph, rows, hasher):
    return _affine(graph, rows, hasher._weights, hasher._offsets)


def _linear_of_directions(graph, rows, hasher):
    """Of the directions of rows: products are divided by norms, 1 for rows of zeros."""
    norms = graph.add("Sqrt", graph.one_where_zero(graph.sum(graph.add("Mul", rows, rows))))
    products = graph.add("Div", graph.add("MatMul", rows, graph.constant(hasher._weights)), norms)
    return graph.add("Sub", products, graph.constant(hasher._offsets))


def _circulant(graph, rows, hasher):
    identity = np.eye(hasher.n_features_in_)
    return _affine(graph, rows, hasher._uncentred_projections(identity), hasher._offsets)


def _spectral(graph, rows, hasher):
    principal = _affine(graph, rows, hasher._weights, hasher._offsets)
    positions = graph.add(
        "Div", graph.add("Sub", principal, graph.constant(hasher.minimums_)), graph.constant(hasher.ranges_)
    )
    positions = graph.add("Gather", positions, graph.axes(*hasher.directions_), axis=1)
    return graph.add("Cos", graph.add("Mul", positions, graph.constant(np.pi * hasher.modes_)))


def _shift_invariant(graph, rows, hasher):
    waves = graph.add("MatMul", rows, graph.constant(hasher.components_.T))
    waves = graph.add("Cos", graph.add("Add", waves, graph.constant(hasher.phases_)))
    return graph.add("Add", waves, graph.constant(hasher.thresholds_))


def _spherical(graph, rows, hasher):
    squared_radii = np.square(hasher.radii_.astype(np.float64))
    return graph.add("Sub", graph.constant(squared_radii), _squared_distances(graph, rows, hasher.pivots_))


def _k_means(graph, rows, hasher):
    nearness = _affine(graph, rows, hasher._weights, hasher._offsets)
    sides = []
    for value in (1, 0):
        columns = _codewords_with_bits(hasher._subspace_bits, value)
        gathered = graph.add("Gather", nearness, graph.constant(columns, np.int64), axis=1)
        sides.append(graph.add("ReduceMax", gathered, graph.axes(2), keepdims=0))
    return graph.add("Sub", *sides)


def _codewords_with_bits(subspace_bits, value):
    """List for each bit the columns of codewords in which it has a value, shorter lists filled up by repetitions."""
    width = 2 ** (max(subspace_bits) - 1)
    lists, start = [], 0
    for n_bits in subspace_bits:
        codewords = np.arange(2**n_bits)
        for position in range(n_bits):
            # Bit 0 of a codeword is its highest.
            columns = start + codewords[(codewords >> (n_bits - 1 - position)) & 1 == value]
            lists.append(np.resize(columns, width))
        start += 2**n_bits
    return np.array(lists)


def _nested(graph, rows, hasher):
    kernel = hasher._kernel
    magnitudes = graph.add("Abs", rows)
    shares = graph.add("Div", magnitudes, graph.one_where_zero(graph.sum(magnitudes)))
    roots = graph.add("Mul", graph.add("Sign", rows), graph.add("Sqrt", shares))
    products = graph.add("MatMul", roots, graph.constant(kernel.anchors.T))
    exponents = graph.add("Mul", graph.add("Sub", products, graph.number(1)), graph.number(2 / kernel.width))
    # The weights of a longer code are more, of which a prefix has the first.
    first = slice(0, hasher.n_bits_)
    return _affine(graph, graph.add("Exp", exponents), hasher._weights[:, first], hasher._offsets[first])


def _anchored(graph, rows, hasher):
    """Linear in kernels to anchors, or in the rows themselves where `ColumnSampledHash` has no anchors."""
    if hasattr(hasher, "anchors_"):
        kernel = hasher._map
        centred = graph.add("Sub", rows, graph.constant(kernel.centre))
        distances = _squared_distances(graph, centred, kernel.anchors - kernel.centre)
        rows = graph.add("Exp", graph.add("Mul", distances, graph.number(-1 / (2 * kernel.width**2))))
    return _affine(graph, rows, hasher._weights, hasher._offsets)


def _nearest_anchors(graph, rows, hasher, weights):
    """Mean of the weights of the nearest anchors, by kernels that sum to 1."""
    anchor_map = hasher._map
    distances = _squared_distances(graph, rows, anchor_map.anchors)
    near, nearest = graph.add(
        "TopK", distances, graph.axes(anchor_map.n_nearest), n_outputs=2, axis=1, largest=0, sorted=1
    )
    exponents = graph.add("Mul", near, graph.number(-1 / (2 * anchor_map.width**2)))
    shares = graph.add("Unsqueeze", graph.add("Softmax", exponents, axis=1), graph.axes(2))
    values = graph.add("Gather", graph.constant(weights), nearest, axis=0)
    return graph.add("ReduceSum", graph.add("Mul", values, shares), graph.axes(1), keepdims=0)


def _anchor_graph(graph, rows, hasher):
    values = _nearest_anchors(graph, rows, hasher, hasher.weights_)
    if hasher.n_layers == 1:
        return values
    upper, lower = hasher.thresholds_
    twice = graph.add("Slice", values, graph.axes(0), graph.axes(len(upper)), graph.axes(1))
    second = graph.add(
        "Where",
        graph.add("GreaterOrEqual", twice, graph.number(0)),
        graph.add("Sub", twice, graph.constant(upper)),
        graph.add("Sub", graph.constant(lower), twice),
    )
    return graph.add("Concat", values, second, axis=1)


def _inductive_manifold(graph, rows, hasher):
    return _nearest_anchors(graph, rows, hasher, hasher.embedding_)


# One class stands for all that compute projections by the same function.
_PROJECTIONS = {
    ITQ._project_rows: _linear,
    OnlineHadamardHash._project_rows: _linear,
    DiscriminantITQ._project_rows: _linear_of_directions,
    CirculantHash._project_rows: _circulant,
    SpectralHash._project_rows: _spectral,
    ShiftInvariantKernelLSH._project_rows: _shift_invariant,
    SphericalHash._project_rows: _spherical,
    KMeansHash._project_rows: _k_means,
    NestedHash._project_rows: _nested,
    KernelSupervisedHash._project_rows: _anchored,
    AnchorGraphHash._project_rows: _anchor_graph,
    InductiveManifoldHash._project_rows: _inductive_manifold,
}


def _deep_model(onnx, hasher):
    is_image = hasher.image_shape_ is not None
    shape = hasher.image_shape_ if is_image else (hasher.n_features_in_,)
    model = _exported(_projecting_module(hasher), hasher, _IMAGES if is_image else _FEATURES, shape, "projections")
    graph = _Graph(onnx)
    _add_codes(graph, hasher.n_bits_)
    model.graph.node.extend(graph.nodes)
    model.graph.initializer.extend(graph.constants)
    del model.graph.output[:]
    model.graph.output.extend(_outputs(onnx, hasher.n_bits_))
    return model


def _exported(module, estimator, input_name, shape, output_name):
    """Export a torch module that maps (n, *shape) to one tensor."""
    import_optional("onnxscript", extra="onnx", feature="to_onnx of a network")
    import torch

    # A batch of one row would be taken for a constant of the network.
    example = torch.zeros(2, *shape, dtype=torch.uint8 if input_name == _IMAGES else torch.float32)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                opset_version=_OPSET,
                verbose=False,
            )
    # Exporting runs code of the network, of torch and of onnxscript, whose errors are of many kinds.
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ValueError(
            f"to_onnx: torch cannot export the network of {type(estimator).__name__} ({reason}); use operations that "
            "torch.onnx supports."
        ) from error
    return program.model_proto


def _projecting_module(hasher):
    """Copy the network of a deep hasher to the CPU, with what is done before and after it."""
    import torch

    from_pixels = hasher.image_shape_ is not None

    class Projecting(torch.nn.Module):
        """Rows or pixels to projections."""

        def __init__(self):
            super().__init__()
            self.network = copy.deepcopy(hasher.net_.module_)
            self.loss = copy.deepcopy(hasher.net_.criterion_)

        def forward(self, rows):
            if from_pixels:
                rows = rows.permute(0, 3, 1, 2).to(torch.float32) / 255
            return self.loss.project(self.network(rows))

    return Projecting().cpu().eval()


def _image_shape(features):
    size = features._loaded_network().image_size
    return size, size, 3


def _feature_module(features):
    """Take the network of `CNNFeatures`, with what is done before and after it."""
    import torch

    network = features._loaded_network()
    if network._device.type != "cpu":
        raise ValueError("to_onnx: the network of CNNFeatures is on a GPU; fit with device='cpu'.")
    if not isinstance(network._network, torch.nn.Module):
        raise ValueError("to_onnx: the backbone of CNNFeatures is a plain callable; pass an nn.Module.")

    class Extracting(torch.nn.Module):
        """Pixels to features."""

        def __init__(self):
            super().__init__()
            self.network = network._fast_network()

        def forward(self, images):
            output = self.network(network._preprocess(images.permute(0, 3, 1, 2)))
            return output.mean((2, 3)) if output.ndim == 4 else output

    return Extracting().eval()


@contextmanager
def _quiet():
    """Hide what torch says of its own deprecated calls, and of packages that it could use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
