"""Which calls are joined, and what must be left apart; what is joined computes the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from tvm import te, tirx

from edgevision.artifact import Step
from edgevision.ingest import read
from edgevision.lower.phases import lower
from edgevision.program import Call, Program, Value
from edgevision.schedule.gpu.apply import schedule
from edgevision.schedule.gpu.join import join
from edgevision.schedule.gpu.prologue import absorb
from edgevision.schedule.gpu.workloads import MOST_OPERANDS
from edgevision.tvm_without_torch import tvm
from tests import executor
from tests.opencl import device
from tests.opencl.networks import Graph

SHAPE = (2, 6)
Operands = tuple[te.Tensor, ...]


def elementwise(compute: Callable[..., tirx.Expr], inputs: int = 1, shape: tuple[int, ...] = SHAPE) -> tirx.PrimFunc:
    """out[i, j] = compute(i, j, the inputs)."""
    operands = [te.placeholder(SHAPE, name=f"x{i}") for i in range(inputs)]
    return te.create_prim_func([*operands, te.compute(shape, lambda i, j: compute(i, j, *operands))])


def rows(x: te.Tensor) -> te.Tensor:
    k = te.reduce_axis((0, SHAPE[1]), name="k")
    return te.compute((SHAPE[0],), lambda i: te.sum(x[i, k], axis=k))


def scaled() -> tirx.PrimFunc:
    return elementwise(lambda i, j, x: x[i, j] * 2.0)


def shifted() -> tirx.PrimFunc:
    return elementwise(lambda i, j, x: x[i, j] + 1.0)


def value(kind: str, index: int, shape: tuple[int, ...] = SHAPE, first: int | None = None) -> Value:
    return Value(kind=kind, index=index, shape=shape, dtype="float32", first=first)  # type: ignore[arg-type]


IMAGE, BETWEEN, RESULT = value("input", 0), value("scratch", 0), value("output", 0)


def program(*calls: tuple[tirx.PrimFunc, tuple[Value, ...]]) -> Program:
    functions = {f"f{i}": func for i, (func, _) in enumerate(calls)}
    names = [next(n for n, f in functions.items() if f is func) for func, _ in calls]
    made = tuple(
        Call(function=n, args=args, outputs=1, step=Step(name=f"s{i}", ops=(f"s{i}",), macs=1 + i, schedule=""))
        for i, (n, (_, args)) in enumerate(zip(names, calls, strict=True))
    )
    module = tvm.IRModule(functions)
    return Program(module=module, calls=made, weights=(), inputs=(), outputs=(), model_sha256="")


def pair(first: tirx.PrimFunc | None = None, then: tirx.PrimFunc | None = None, between: Value = BETWEEN) -> Program:
    return program((first or scaled(), (IMAGE, between)), (then or shifted(), (between, RESULT)))


def launches(what: Program) -> int:
    return len(join(what, {})[0].calls)


def test_two_elementwise_calls_become_one():
    joined, workloads = join(pair(), {})
    (call,) = joined.calls
    assert call.args == (IMAGE, RESULT)
    assert (call.step.name, call.step.ops, call.step.macs) == ("s1", ("s0", "s1"), 3)
    assert [len(stage.axes) for stage in workloads[call.function].stages] == [2, 2]


def test_a_chain_becomes_one():
    other, last = value("scratch", 1), elementwise(lambda i, j, x: x[i, j] - 3.0)
    assert launches(program((scaled(), (IMAGE, BETWEEN)), (shifted(), (BETWEEN, other)), (last, (other, RESULT)))) == 1


def test_a_reader_of_a_permutation_is_joined():
    assert launches(pair(then=elementwise(lambda i, j, x: x[1 - i, j] + 1.0))) == 1


def two_readers() -> Program:
    return program((scaled(), (IMAGE, BETWEEN)), (shifted(), (BETWEEN, RESULT)), (shifted(), (BETWEEN, value("output", 1))))


def one_function() -> Program:
    func = scaled()
    return program((func, (IMAGE, BETWEEN)), (func, (BETWEEN, RESULT)))


def two_arguments() -> Program:
    return program((scaled(), (IMAGE, BETWEEN)), (elementwise(lambda i, j, x, y: x[i, j] + y[i, j], 2), (BETWEEN, BETWEEN, RESULT)))


def many_operands() -> Program:
    func = elementwise(lambda i, j, *x: sum((each[i, j] for each in x[1:]), x[0][i, j]), MOST_OPERANDS)
    inputs = [value("input", i) for i in range(MOST_OPERANDS - 1)]
    return program((scaled(), (IMAGE, BETWEEN)), (func, (BETWEEN, *inputs, RESULT)))


def finished() -> Program:
    return pair(then=shifted().with_attr("tirx.is_scheduled", True))


def loops() -> Program:
    return pair(first=shifted().with_attr("tirx.is_scheduled", True))


def reduced() -> Program:
    x = te.placeholder(SHAPE, name="x")
    return program((scaled(), (IMAGE, BETWEEN)), (te.create_prim_func([x, rows(x)]), (BETWEEN, value("output", 0, SHAPE[:1]))))


def behind_a_sum() -> Program:
    x, y = te.placeholder(SHAPE, name="x"), te.placeholder(SHAPE[:1], name="y")
    between = value("scratch", 0, SHAPE[:1])
    then = te.create_prim_func([y, te.compute(SHAPE[:1], lambda i: y[i] * 2.0)])
    return program((te.create_prim_func([x, rows(x)]), (IMAGE, between)), (then, (between, value("output", 0, SHAPE[:1]))))


APART = {
    "two readers": two_readers,
    "the caller reads it": lambda: pair(between=value("output", 1)),
    "some channels of a wider tensor": lambda: pair(between=value("scratch", 0, first=2)),
    "read in another shape": lambda: program((scaled(), (IMAGE, BETWEEN)), (shifted(), (value("scratch", 0, (6, 2)), RESULT))),
    "read for every row": lambda: pair(then=elementwise(lambda i, j, x: x[0, j] + 1.0, shape=(4, 6))),
    "read in two places": lambda: pair(then=elementwise(lambda i, j, x: x[i, j] + x[1 - i, j])),
    "two arguments": two_arguments,
    "the same function": one_function,
    "many operands": many_operands,
    "a finished kernel reads": finished,
    "a finished kernel writes": loops,
    "a reduction reads": reduced,
    "a sum that is no anchor": behind_a_sum,
}


@pytest.mark.parametrize("made", APART.values(), ids=APART)
def test_a_near_miss_stays_apart(made):
    what = made()
    assert join(what, {})[0] == what


def test_a_change_of_order_that_two_elementwise_calls_read_keeps_its_launch():
    turned = elementwise(lambda i, j, x: x[1 - i, j])
    what = program((turned, (IMAGE, BETWEEN)), (scaled(), (BETWEEN, RESULT)), (shifted(), (BETWEEN, value("output", 1))))
    assert absorb(what, {})[0] == what


def block(*, late: bool = False, data: bool = False, twice: bool = False) -> onnx.ModelProto:
    """A convolution beside a scaled, shifted and gated shortcut, added before the activation, as in ParNet's blocks; ``late``: the
    gate is the convolution's own."""
    g = Graph(3)
    x = g.add("Relu", g.conv("image", 3, 16, 3))
    gate = g.add("Sigmoid", g.conv(g.add("GlobalAveragePool", x), 16, 16, 1))
    if late:
        y = g.add("Relu", g.add("Mul", g.conv(x, 16, 16, 3), gate))
    else:
        shortcut = g.add("Mul", g.add("Add", g.add("Mul", x, g.weight(16, 1, 1)), g.weight(16, 1, 1)), gate)
        y = g.add("Relu", g.add("Add", g.conv(shortcut if data else x, 16, 16, 3), shortcut))
        y = g.add("Add", y, shortcut) if twice else y
    return g.model(g.add("Gemm", g.add("Flatten", g.add("GlobalMaxPool", y)), g.weight(16, 5), g.weight(5, scale=0.1)), 12, 5)


def alone(model: onnx.ModelProto) -> int:
    """Launches that are elementwise and nothing else, the input's new order apart."""
    calls = schedule(lower(read(model, simplify=False)), device.chosen()).calls
    return sum(c.step.schedule == "default:elementwise" and c.step.ops != ("transpose",) for c in calls)


@pytest.mark.parametrize(
    ("change", "left", "name"),
    [
        ({}, 0, "opencl"), ({}, 0, "opencl-mali"), ({"late": True}, 0, "opencl"), ({"late": True}, 0, "opencl-mali"),
        ({"data": True}, 1, "opencl"), ({"twice": True}, 1, "opencl"),
    ],
)  # fmt: skip
def test_a_shortcut_costs_no_launch_where_the_tail_alone_reads_it(change, left, name, pocl):
    model = block(**change)
    assert alone(model) == left
    image = np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype(np.float32)
    (wanted,) = executor.onnxruntime_outputs(model, [image])
    (found,) = device.run(model, [image], name=name)
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
