"""Emitter: turns the nodes of a normal-form graph into Relax calls of tensor expressions, channels last where it
matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from tvm import ir, relax, te

from edgevision.errors import UnsupportedOperatorError
from edgevision.lower.node import Node
from edgevision.lower.placed import Placed, last_shape, moves_nothing, to_first, to_last
from edgevision.model import Model

ELEMENTWISE, BROADCAST, INJECTIVE, REDUCTION, ANCHOR, OPAQUE = 0, 1, 2, 3, 4, 8
"""TVM's fusion classes (relax op_pattern): what FuseOps may join with what."""

Compute = Callable[..., Any]


class Emitter:
    """State of one lowering: the Relax function being built and where each tensor of the graph went."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.builder = relax.BlockBuilder()
        self.arrays = {t.name: numpy_helper.to_array(t) for t in model.proto.graph.initializer}
        self.values: dict[str, Placed] = {}
        self._reordered: dict[tuple[str, str], Placed] = {}
        self._dtypes = _dtypes(model.proto)
        self._views: dict[Any, Any] = {}

    # --- operands ----------------------------------------------------------------------------------------------------

    def constant(self, name: str) -> np.ndarray | None:
        """The array behind ``name`` if it is an initializer."""
        return self.arrays.get(name)

    def value(self, name: str) -> Placed:
        """The tensor ``name`` as it is stored; an initializer becomes a constant in ONNX's order."""
        if name not in self.values:
            array = self.arrays[name]
            self.values[name] = Placed(var=self.array(array), shape=array.shape, dtype=str(array.dtype))
        return self.values[name]

    def array(self, array: np.ndarray) -> Any:
        # Not np.ascontiguousarray: that makes a scalar an array of one axis.
        return relax.const(np.asarray(array, order="C"), str(array.dtype))

    def plain(self, name: str) -> Placed:
        """The tensor ``name`` stored in ONNX's own order."""
        return self._ordered(name, self.in_order)

    def in_order(self, value: Placed) -> Placed:
        if value.flat:
            c, *spatial = value.flat
            shape = (value.shape[0], c, *spatial)
            image = Placed(var=self.reshape(value.var, last_shape(shape)), shape=shape, dtype=value.dtype, channels_last=True)
            return Placed(var=self.reshape(self.in_order(image).var, value.shape), shape=value.shape, dtype=value.dtype)
        if not value.channels_last:
            return value
        if moves_nothing(value.shape):
            var = self.reshape(value.var, value.shape)
        else:
            var = self.transpose(value.var, to_first(value.rank))
        return Placed(var=var, shape=value.shape, dtype=value.dtype)

    def stored(self, name: str) -> Placed:
        """The tensor ``name`` in either axis order, but never as a reordered matrix."""
        value = self.value(name)
        return self.in_order(value) if value.flat else value

    def last(self, name: str) -> Placed:
        """The tensor ``name`` (rank 3 and up) stored channels last."""
        return self._ordered(name, self.in_last_order)

    def _ordered(self, name: str, order: Callable[[Placed], Placed]) -> Placed:
        """Two readers of one tensor share its reordered copy."""
        key = (name, order.__name__)
        if key not in self._reordered:
            self._reordered[key] = order(self.value(name))
        return self._reordered[key]

    def in_last_order(self, value: Placed) -> Placed:
        if value.channels_last:
            return value
        value = self.in_order(value)
        stored = last_shape(value.shape)
        var = self.reshape(value.var, stored) if moves_nothing(value.shape) else self.transpose(value.var, to_last(value.rank))
        return Placed(var=var, shape=value.shape, dtype=value.dtype, channels_last=True)

    # --- emission ----------------------------------------------------------------------------------------------------

    def compute(self, name: str, function: Compute, *operands: Any, pattern: int | None = None) -> Any:
        """Emit a call of ``function(*tensors)``, a tensor expression; ``name`` (no digits) names it in reports."""
        attrs = {"op_pattern": pattern} if pattern is not None else None
        return self.builder.emit_te(function, *operands, primfunc_name_hint=name, primfunc_attrs=attrs)

    def call(self, kernel: Any, name: str, operands: Sequence[Any], shape: Sequence[int], dtype: str) -> Any:
        """Emit a call of a finished kernel (a PrimFunc with one output of ``shape``)."""
        function = self.builder.add_func(kernel.with_attr("op_pattern", OPAQUE), name)
        result = relax.TensorType(tuple(shape), dtype)
        return self.builder.emit(relax.call_tir(function, relax.Tuple(list(operands)), result))

    def reshape(self, var: Any, shape: Sequence[int]) -> Any:
        """The same bytes under another shape; costs nothing at run time."""
        if tuple(int(d) for d in var.ty.shape) == tuple(shape):
            return var
        array = constant_array(var)
        if array is not None:
            return self.array(array.reshape(tuple(shape)))
        view = self.builder.emit(relax.op.reshape(var, tuple(shape)))
        self._views[view] = var
        return view

    def separate(self, names: Sequence[str]) -> list[Any]:
        """These tensors in ONNX's axis order, each in memory of its own: not an input's, a constant's or another
        one's."""
        taken, results = {self.values[spec.name].var for spec in self.model.inputs}, []
        for name in names:
            var = root = self.plain(name).var
            while root in self._views:
                root = self._views[root]
            if root in taken or constant_array(root) is not None:
                var = root = self.compute("copy", lambda t: te.compute(t.shape, lambda *i: t[i], name="copy"), var)
            taken.add(root)
            results.append(var)
        return results

    def transpose(self, var: Any, perm: Sequence[int]) -> Any:
        """out[i_perm0, i_perm1, ...] = in[i_0, i_1, ...] as in ONNX."""
        array = constant_array(var)
        if array is not None:
            return self.array(array.transpose(perm))
        inverse = np.argsort(perm).tolist()

        def function(x: Any) -> Any:
            shape = [int(x.shape[p]) for p in perm]
            return te.compute(shape, lambda *at: x[tuple(at[i] for i in inverse)], name="transpose")

        return self.compute("transpose", function, var, pattern=OPAQUE)

    def result(self, node: Node, var: Any, *, channels_last: bool = False, flat: tuple[int, ...] = (), output: int = 0) -> None:
        """Declare ``var`` to be output ``output`` of ``node``."""
        shape, dtype = self._dtypes[node.outputs[output]]
        self.values[node.outputs[output]] = Placed(var=var, shape=shape, dtype=dtype, channels_last=channels_last, flat=flat)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._dtypes[name][0] if name in self._dtypes else self.arrays[name].shape

    def dtype(self, name: str) -> str:
        return self._dtypes[name][1] if name in self._dtypes else str(self.arrays[name].dtype)

    def unsupported(self, node: Node, reason: str) -> UnsupportedOperatorError:
        return UnsupportedOperatorError(node.op, node.name, self.model.opset, reason)


def constant_array(var: Any) -> np.ndarray | None:
    """The array inside a Relax constant; None for anything computed."""
    return var.value.numpy() if isinstance(var, ir.GenericConst) else None


def _dtypes(proto: onnx.ModelProto) -> dict[str, tuple[tuple[int, ...], str]]:
    graph = proto.graph
    found = {}
    for info in (*graph.input, *graph.value_info, *graph.output):
        tensor = info.type.tensor_type
        shape = tuple(d.dim_value for d in tensor.shape.dim)
        found[info.name] = (shape, str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))))
    return found
