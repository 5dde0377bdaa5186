"""Constants: the tensors of a graph that no input can change, in float64 where they are floating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

FLOATING = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_NOT_EVALUATED = ("If", "Loop", "Scan", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike",
                  "Bernoulli", "Multinomial", "QuantizeLinear", "DequantizeLinear")  # fmt: skip
_KEPT_WIDE = (TensorProto.FLOAT, TensorProto.DOUBLE)  # a Cast to these keeps float64
_LARGEST = 1 << 22  # elements: a node that makes more from constants is left to the runtime

Array = npt.NDArray[np.generic]


class Constants:
    """Initializers that no graph input overrides, Constant nodes, and what is computed from those alone.

    Values are decoded when they are asked for, and only those of at most ``_LARGEST`` elements that were computed are
    kept: a model's weights are not held a second time.
    """

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        inputs = {value.name for value in graph.input}
        self.overridable = {tensor.name for tensor in graph.initializer if tensor.name in inputs}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in inputs}
        self._opset = opset
        values = (*graph.input, *graph.value_info)
        self._types = {value.name: value.type.tensor_type.elem_type for value in values}
        self._types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        self._aliases: dict[str, str] = {}
        self._computed: dict[str, Array] = {}
        for node in graph.node:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                self._add_constant(node)
            elif node.op_type == "Identity" and node.input[0] in self:
                self._aliases[node.output[0]] = node.input[0]
            elif node.op_type in ("Cast", "CastLike", "Shape"):
                self._compute_exactly(node)
            elif self._computable(node):
                self._compute(node)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors or name in self._computed or name in self._aliases

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a constant, without decoding it."""
        name = self._resolved(name)
        return tuple(self._tensors[name].dims) if name in self._tensors else self._computed[name].shape

    def value(self, name: str) -> Array:
        """The constant; floating ones in float64."""
        name = self._resolved(name)
        if name in self._computed:
            return self._computed[name]
        tensor = self._tensors[name]
        array = numpy_helper.to_array(tensor)
        return array.astype(np.float64) if tensor.data_type in FLOATING else array

    def floats(self, name: str) -> npt.NDArray[np.float64]:
        """The constant in float64."""
        return self.value(name).astype(np.float64, copy=False)

    def integers(self, name: str) -> tuple[int, ...]:
        """The elements of an integer constant."""
        return tuple(int(v) for v in np.asarray(self.value(name)).reshape(-1))

    def _resolved(self, name: str) -> str:
        while name in self._aliases:
            name = self._aliases[name]
        return name

    def _add_constant(self, node: onnx.NodeProto) -> None:
        attribute = node.attribute[0]
        value = helper.get_attribute_value(attribute)
        if attribute.name == "value":
            self._tensors[node.output[0]] = value
        elif attribute.name in ("value_float", "value_floats"):
            self._computed[node.output[0]] = np.asarray(value, np.float64)
        elif attribute.name in ("value_int", "value_ints"):
            self._computed[node.output[0]] = np.asarray(value, np.int64)

    def _compute_exactly(self, node: onnx.NodeProto) -> None:
        """Cast, CastLike and Shape of a constant: float64 stays as it is, and shapes need no values."""
        source = node.input[0]
        if source not in self or node.domain not in ("", "ai.onnx"):
            return
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "Shape":
            shape = np.asarray(self.shape(source), np.int64)
            self._computed[node.output[0]] = shape[given.get("start", 0) : given.get("end", len(shape))]
            return
        to = given["to"] if node.op_type == "Cast" else self._types.get(node.input[1], TensorProto.UNDEFINED)
        if to in _KEPT_WIDE:
            self._computed[node.output[0]] = np.asarray(self.value(source)).astype(np.float64)
        elif to in (TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL):
            kind = helper.tensor_dtype_to_np_dtype(to)
            self._computed[node.output[0]] = np.asarray(self.value(source)).astype(kind)

    def _computable(self, node: onnx.NodeProto) -> bool:
        if node.domain not in ("", "ai.onnx") or node.op_type in _NOT_EVALUATED or len(node.output) != 1:
            return False
        read = [name for name in node.input if name]
        return bool(read) and all(name in self for name in read) and self._small(read)

    def _small(self, names: Sequence[str]) -> bool:
        return sum(int(np.prod(self.shape(name))) for name in names) <= _LARGEST

    def _compute(self, node: onnx.NodeProto) -> None:
        feeds: Mapping[str, Array] = {name: np.asarray(self.value(name)) for name in node.input if name}
        imports = [helper.make_opsetid("", self._opset)]
        graph = helper.make_graph(
            [node], "fold", [helper.make_value_info(name, onnx.TypeProto()) for name in feeds],
            [helper.make_value_info(node.output[0], onnx.TypeProto())],
        )  # fmt: skip
        result = ReferenceEvaluator(helper.make_model(graph, opset_imports=imports)).run(None, dict(feeds))[0]
        self._computed[node.output[0]] = np.asarray(result)
