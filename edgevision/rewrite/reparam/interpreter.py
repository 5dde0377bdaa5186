"""Interpreter: an ONNX graph evaluated with numpy in float64 or float32, node by node.

Convolutions and pools are computed here, because onnx.reference takes minutes for a network, and Erf, because it knows only
float32; every other operator is onnx.reference's. In float64 the weights are the file's, widened, and a Cast to float32
stays in float64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = NDArray[Any]
Values = dict[str, Array]
_WIDENED = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


class Interpreter:
    """Runs nodes of one model in ``dtype``; lives as long as one proof."""

    def __init__(self, proto: onnx.ModelProto, dtype: type[np.float64] | type[np.float32]) -> None:
        self.proto, self.dtype = proto, dtype
        self._imports, self._functions = list(proto.opset_import), list(proto.functions)
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}

    def run(self, feeds: Mapping[str, Array], *, keep: Iterable[str] = ()) -> Iterator[tuple[str, Values]]:
        """Evaluate node by node; after each, its first output's name and all values alive. ``keep`` are not dropped."""
        nodes = self.proto.graph.node
        kept = {value.name for value in self.proto.graph.output} | set(keep)
        uses = Counter(name for node in nodes for name in reads(node))
        values = {name: self.typed(array) for name, array in feeds.items()}
        for node in nodes:
            values.update(self.outputs(node, values))
            for name in set(reads(node)):
                uses[name] -= sum(each == name for each in reads(node))
                if not uses[name] and name not in kept:
                    values.pop(name, None)
            yield (node.output[0] if node.output else ""), values

    def final(self, feeds: Mapping[str, Array]) -> Values:
        """The graph's outputs."""
        values = dict(feeds)
        for _, now in self.run(feeds):
            values = now
        return {value.name: values[value.name] for value in self.proto.graph.output}

    def evaluate(self, nodes: Iterable[NodeProto], values: Mapping[str, Array]) -> Values:
        """What ``nodes``, in this order, make of ``values``."""
        known = {name: self.typed(array) for name, array in values.items()}
        for node in nodes:
            known.update(self.outputs(node, known))
        return known

    def typed(self, array: Array) -> Array:
        """Floats in this interpreter's type."""
        return array.astype(self.dtype, copy=False) if np.issubdtype(array.dtype, np.floating) else array

    def outputs(self, node: NodeProto, values: Mapping[str, Array]) -> Values:
        """The node's outputs by name."""
        fast = _FAST.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if fast is not None:
            result = fast(node, [self._value(name, values) for name in node.input if name])
            if result is not None:
                return {node.output[0]: self.typed(result)}
        if self.dtype is np.float64:
            node = _widened(node)
        feeds = {name: self._value(name, values) for name in dict.fromkeys(reads(node)) if self._known(name, values)}
        names = [name for name in node.output if name]
        graph = helper.make_graph(
            [node], "node", [helper.make_value_info(name, onnx.TypeProto()) for name in feeds],
            [helper.make_value_info(name, onnx.TypeProto()) for name in names],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=self._imports, functions=self._functions)
        results = ReferenceEvaluator(model).run(names, dict(feeds))
        return {name: self.typed(np.asarray(result)) for name, result in zip(names, results, strict=True)}

    def _known(self, name: str, values: Mapping[str, Array]) -> bool:
        return name in values or name in self._constants

    def _value(self, name: str, values: Mapping[str, Array]) -> Array:
        if name in values:
            return values[name]
        array = numpy_helper.to_array(self._constants[name])
        return array.astype(self.dtype) if self._constants[name].data_type in (*_WIDENED, TensorProto.DOUBLE) else array


def reads(node: NodeProto) -> list[str]:
    """Every tensor that a node needs, its bodies' included."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        bodies = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else list(attribute.graphs)
        for body in bodies:
            found += [name for inner in body.node for name in reads(inner)]
            found += [value.name for value in body.output]
    return found


def _widened(node: NodeProto) -> NodeProto:
    """The node with float64 where it names float32: the type of a Cast, the value of a Constant."""
    changed = NodeProto()
    changed.CopyFrom(node)
    for attribute in changed.attribute:
        if attribute.name in ("to", "dtype") and attribute.i in _WIDENED:
            attribute.i = TensorProto.DOUBLE
        elif attribute.HasField("t") and attribute.t.data_type in _WIDENED:
            array = numpy_helper.to_array(attribute.t).astype(np.float64)
            attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
    return changed


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Windows:
    """``padded`` [N, C, *space] and where the windows of a kernel lie in it."""

    padded: Array
    kernel: tuple[int, ...]
    stride: Sequence[int]
    dilation: Sequence[int]

    @property
    def count(self) -> list[int]:
        """Windows along each axis."""
        axes = zip(self.padded.shape[2:], self.kernel, self.stride, self.dilation, strict=True)
        return [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in axes]

    def taps(self) -> Iterator[tuple[tuple[int, ...], Array]]:
        """Each tap, and what all windows have there: [N, C, *output]."""
        for tap in np.ndindex(self.kernel):
            places = zip(tap, self.dilation, self.count, self.stride, strict=True)
            window = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in places)
            yield tap, self.padded[(slice(None), slice(None), *window)]

    def at(self, axis: int) -> NDArray[np.intp]:
        """Positions [window, tap] along a spatial axis."""
        windows, taps = np.arange(self.count[axis]), np.arange(self.kernel[axis])
        return self.stride[axis] * windows[:, None] + self.dilation[axis] * taps


def _windows(node: NodeProto, x: Array, kernel: tuple[int, ...], fill: float) -> _Windows | None:
    """None: left to onnx.reference."""
    given = _attributes(node)
    rank = len(kernel)
    if given.get("auto_pad", b"NOTSET") != b"NOTSET" or given.get("ceil_mode", 0):
        return None
    stride, dilation = (given.get(name, [1] * rank) for name in ("strides", "dilations"))
    pads = given.get("pads", [0] * 2 * rank)
    padded = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)], constant_values=fill)
    return _Windows(padded=padded, kernel=kernel, stride=stride, dilation=dilation)


MANY_TAPS = 49
"""From here on a product for each channel takes less time than a pass over the tensor for each tap."""


def _conv(node: NodeProto, inputs: list[Array]) -> Array | None:
    x, weight = inputs[:2]
    group = _attributes(node).get("group", 1)
    windows = _windows(node, x, weight.shape[2:], 0.0)
    if windows is None:
        return None
    depthwise = group == x.shape[1] == weight.shape[0]
    if depthwise and x.ndim == 4 and np.prod(windows.kernel) >= MANY_TAPS and np.isfinite(x).all():
        result = _large_depthwise(windows, weight)
    else:
        result = _by_taps(windows, weight, group, depthwise=depthwise)
    if len(inputs) > 2:
        result = result + inputs[2].reshape(1, -1, *[1] * (x.ndim - 2))
    return result


def _by_taps(windows: _Windows, weight: Array, group: int, *, depthwise: bool) -> Array:
    result: Array | None = None
    for tap, window in windows.taps():
        taken: Array = weight[np.index_exp[:, :] + tap]
        part = window * taken.reshape(1, -1, *[1] * (window.ndim - 2)) if depthwise else _mixed(window, taken, group)
        result = part if result is None else np.add(result, part, out=result)
    assert result is not None, "a kernel has taps"
    return result


def _large_depthwise(windows: _Windows, weight: Array) -> Array:
    """Channel by channel, all rows of an output as one product: with the kernel's rows as bands of a matrix.

    Zeros of that matrix meet every element, so all must be finite.
    """
    padded, (height, width) = windows.padded, windows.count
    rows, columns = windows.at(0), windows.at(1)
    result = np.empty((*padded.shape[:2], height, width), padded.dtype)
    bands = np.zeros((windows.kernel[0], padded.shape[3], width), padded.dtype)
    for channel in range(padded.shape[1]):
        bands[:, columns.T, np.arange(width)] = weight[channel, 0][:, :, None]
        for image in range(padded.shape[0]):
            lines = padded[image, channel][rows].reshape(height, -1)
            result[image, channel] = lines @ bands.reshape(-1, width)
    return result


def _mixed(window: Array, weight: Array, group: int) -> Array:
    batch, channels, *space = window.shape
    x = window.reshape(batch, group, channels // group, -1)
    w = weight.reshape(group, -1, channels // group)
    mixed: Array = np.matmul(w, x).reshape(batch, weight.shape[0], *space)
    return mixed


def _conv_transpose(node: NodeProto, inputs: list[Array]) -> Array | None:
    """Every input position adds its window to the output; onnx.reference 1.23 fails where there are groups."""
    given = _attributes(node)
    if given.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in given:
        return None
    x, weight = inputs[:2]
    group, kernel, space = given.get("group", 1), weight.shape[2:], x.shape[2:]
    rank = len(kernel)
    stride, dilation = (given.get(name, [1] * rank) for name in ("strides", "dilations"))
    pads, more = given.get("pads", [0] * 2 * rank), given.get("output_padding", [0] * rank)
    axes = zip(space, stride, kernel, dilation, more, strict=True)
    full = [(n - 1) * s + (k - 1) * d + 1 + m for n, s, k, d, m in axes]
    result = np.zeros((x.shape[0], weight.shape[1] * group, *full), x.dtype)
    for tap in np.ndindex(kernel):
        taken = weight[np.index_exp[:, :] + tap].reshape(group, -1, weight.shape[1]).transpose(0, 2, 1)
        places = zip(tap, dilation, space, stride, strict=True)
        window = tuple(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in places)
        result[np.index_exp[:, :] + window] += _mixed(x, taken.reshape(-1, taken.shape[2]), group)
    crop = tuple(slice(b, n - e) for b, n, e in zip(pads[:rank], full, pads[rank:], strict=True))
    result = result[np.index_exp[:, :] + crop]
    return result if len(inputs) < 3 else result + inputs[2].reshape(1, -1, *[1] * rank)


def _average_pool(node: NodeProto, inputs: list[Array]) -> Array | None:
    given = _attributes(node)
    kernel = tuple(given["kernel_shape"])
    if any(given.get("pads", [])) and not given.get("count_include_pad", 0):
        return None
    windows = _windows(node, inputs[0], kernel, 0.0)
    if windows is None:
        return None
    total: Array = np.add.reduce([part for _, part in windows.taps()])
    return total / float(np.prod(kernel))


def _max_pool(node: NodeProto, inputs: list[Array]) -> Array | None:
    if len(node.output) > 1:
        return None
    x = inputs[0]
    lowest = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
    windows = _windows(node, x, tuple(_attributes(node)["kernel_shape"]), lowest)
    return None if windows is None else np.max(np.stack([part for _, part in windows.taps()]), 0)


def _batch_norm(node: NodeProto, inputs: list[Array]) -> Array | None:
    given = _attributes(node)
    if given.get("training_mode", 0) or len(node.output) > 1:
        return None
    x, scale, bias, mean, var = inputs
    column = (1, -1, *[1] * (x.ndim - 2))
    factor = scale / np.sqrt(var + given.get("epsilon", 1e-5))
    normal: Array = (x - mean.reshape(column)) * factor.reshape(column).astype(x.dtype) + bias.reshape(column)
    return normal


def _matmul(node: NodeProto, inputs: list[Array]) -> Array | None:
    """All rows in one product; numpy makes one for each index of the leading axes."""
    x, weight = inputs
    if x.ndim < 3 or weight.ndim != 2:
        return None
    product: Array = (x.reshape(-1, x.shape[-1]) @ weight).reshape(*x.shape[:-1], -1)
    return product


def _erf(node: NodeProto, inputs: list[Array]) -> Array | None:
    """onnx.reference 1.23 rounds it to float32."""
    from scipy.special import erf

    result: Array = erf(inputs[0])
    return result


def _gelu(node: NodeProto, inputs: list[Array]) -> Array | None:
    x = inputs[0]
    if _attributes(node).get("approximate", b"none") != b"none":
        return None
    from scipy.special import erf

    result: Array = x / 2 * (1 + erf(x / np.sqrt(x.dtype.type(2))))
    return result


_FAST: dict[str, Callable[[NodeProto, list[Array]], Array | None]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "AveragePool": _average_pool,
    "Erf": _erf,
    "Gelu": _gelu,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "BatchNormalization": _batch_norm,
}
