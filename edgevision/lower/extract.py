"""Read the fused Relax function as a list of calls on placed values."""

from __future__ import annotations

import re
from math import prod
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax, tirx

from edgevision.artifact import Step
from edgevision.model import Model
from edgevision.program import Call, Program, Value


def extract(module: tvm.IRModule, model: Model) -> Program:
    """`main` must be call_tir, reshape and tuples only, on static shapes."""
    reader = _Reader(module, model)
    functions = {gv.name_hint: f for gv, f in module.functions.items() if isinstance(f, tirx.PrimFunc)}
    used = {c.function for c in reader.calls}
    return Program(
        module=tvm.IRModule({n: f for n, f in functions.items() if n in used}),
        calls=tuple(reader.calls),
        weights=tuple(reader.weights),
        inputs=model.inputs,
        outputs=model.outputs,
        model_sha256=model.sha256,
    )


class _Reader:
    """Walks the bindings of `main` once. ``_alias`` maps a variable to the value or variable whose bytes it views."""

    def __init__(self, module: tvm.IRModule, model: Model) -> None:
        self.weights: list[np.ndarray] = []
        self.calls: list[Call] = []
        self._module = module
        self._alias: dict[Any, Any] = {}
        self._tuples: dict[Any, list[Any]] = {}
        self._places: dict[Any, tuple[str, int]] = {}
        self._numbers: dict[int, int] = {}
        main = module["main"]
        for i, parameter in enumerate(main.params):
            self._places[parameter] = ("input", i)
        bindings = [b for block in main.body.blocks for b in block.bindings]
        for binding in bindings:
            self._note(binding)
        for i, result in enumerate(self._fields(main.body.body)):
            self._places[self._root(result)] = ("output", i)
        for binding in bindings:
            if isinstance(binding.value, relax.Call) and _operator(binding.value) == "relax.call_tir":
                self._call(binding)

    def _note(self, binding: Any) -> None:
        value = binding.value
        if isinstance(value, relax.Call):
            name = _operator(value)
            if name == "relax.reshape":
                self._alias[binding.var] = value.args[0]
            elif name != "relax.call_tir":
                raise AssertionError(f"unexpected {name} after fusion")
        elif isinstance(value, relax.Tuple):
            self._tuples[binding.var] = list(value.fields)
        elif isinstance(value, relax.TupleGetItem):
            self._alias[binding.var] = self._fields(value.tuple_value)[value.index]
        else:
            self._alias[binding.var] = value

    def _fields(self, value: Any) -> list[Any]:
        if isinstance(value, relax.Tuple):
            return list(value.fields)
        while value not in self._tuples:
            value = self._alias[value]
        return self._tuples[value]

    def _root(self, value: Any) -> Any:
        while not isinstance(value, ir.GenericConst) and value in self._alias:
            value = self._alias[value]
        return value

    def _call(self, binding: Any) -> None:
        value = binding.value
        name = value.args[0].name_hint
        func = self._module[value.args[0]]
        shapes = [tuple(int(d) for d in p.shape) for p in func.params]
        operands = [*value.args[1].fields, binding.var]
        args = tuple(self._value(o, s) for o, s in zip(operands, shapes, strict=True))
        step = Step(name=name, ops=_operators(name), macs=macs(func), schedule="none")
        self.calls.append(Call(function=name, args=args, outputs=1, step=step))

    def _value(self, operand: Any, shape: tuple[int, ...]) -> Value:
        root = self._root(operand)
        dtype = str(operand.ty.dtype)
        if isinstance(root, ir.GenericConst):
            return Value(kind="weight", index=self._weight(root), shape=shape, dtype=dtype)
        if root not in self._places:
            scratch = sum(1 for kind, _ in self._places.values() if kind == "scratch")
            self._places[root] = ("scratch", scratch)
        kind, index = self._places[root]
        return Value(kind=kind, index=index, shape=shape, dtype=dtype)  # type: ignore[arg-type]

    def _weight(self, constant: Any) -> int:
        array = constant.value.numpy()
        key = hash((array.dtype.str, array.shape, array.tobytes()))
        if key not in self._numbers:
            self.weights.append(array)
            self._numbers[key] = len(self.weights) - 1
        return self._numbers[key]


def _operator(call: Any) -> str:
    return str(call.op.name) if isinstance(call.op, ir.Op) else str(call.op)


def _operators(function: str) -> tuple[str, ...]:
    """fused_conv1_add_relu3 -> conv, add, relu."""
    return tuple(re.sub(r"\d+$", "", part) for part in function.split("_") if part != "fused")


def macs(func: tirx.PrimFunc) -> int:
    """Multiply-accumulates: iterations of every block that adds a product of two tensor elements."""
    total = 0

    def visit(node: Any) -> None:
        nonlocal total
        if type(node).__name__ != "SBlock":
            return
        if not any(v.iter_type == tirx.IterVar.CommReduce for v in node.iter_vars):
            return
        product: Any = getattr(getattr(node.body, "value", None), "b", None)
        if type(product).__name__ == "Mul" and {type(product.a).__name__, type(product.b).__name__} == {"TensorLoad"}:
            if product.a.source.same_as(product.b.source):
                return
            total += prod(int(v.dom.extent) for v in node.iter_vars)

    body = func.body.block.body if hasattr(func.body, "block") else None
    for nest in body.seq if isinstance(body, tirx.SeqStmt) else [body] if body is not None else []:
        inner = nest
        while isinstance(inner, tirx.For):
            inner = inner.body
        visit(getattr(inner, "block", None))
    return total
