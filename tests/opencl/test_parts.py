"""Work on a concatenation that the calls of its parts do, and what must be left to a launch; both compute the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from tvm import te, tirx

from edgevision.ingest import read
from edgevision.lower.phases import lower
from edgevision.program import Program
from edgevision.schedule import views
from edgevision.schedule.gpu.parts import narrowed, spread
from edgevision.schedule.workload import parse, shape_of
from tests import executor
from tests.opencl import device
from tests.opencl.networks import Graph

SIZE, HALF = 12, 6


def block(
    *, work: str = "shortcut", late: bool = False, again: bool = False, outer: bool = False, pooled: bool = False, group: int = 1,
    three: bool = False, shuffled: bool = False, flat: bool = False,
) -> onnx.ModelProto:  # fmt: skip
    """A ghost module of 2 x HALF channels, ``work`` on it, a convolution and a classifier.

    ``late``: the shortcut is made behind the parts; ``again``: the concatenation is read by another too; ``outer``: the sum is
    part of another concatenation; ``pooled``: a part comes from a pool, ``group``: or from a grouped convolution; ``three``: there
    is a third part, of other channels; ``shuffled``: the sum's channels change places; ``flat``: one pixel, and the
    work sees a vector.
    """
    g = Graph(5)
    channels = 2 * HALF + 3 * three
    x = g.add("Relu", g.conv("image", 3, channels, 3, stride=2))
    x = g.add("GlobalAveragePool", x) if flat else x
    first = g.conv(x, channels, HALF, 1, group=group)
    side = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    second = g.add("MaxPool", first, **side) if pooled else g.conv(first, HALF, HALF, 3, group=HALF)
    parts = [first, g.conv(x, channels, 3, 1), second] if three else [first, second]
    y = g.add("Concat", *parts, axis=1)
    cut = g.add("MaxPool", x, **side) if late else x
    if flat:
        y, cut = (g.add("Flatten", each) for each in (y, cut))
    z = worked(g, work, y, cut, channels)
    if shuffled:
        z = g.add("Reshape", z, g.numbers(1, 2, HALF, SIZE // 2, SIZE // 2))
        z = g.add("Reshape", g.add("Transpose", z, perm=[0, 2, 1, 3, 4]), g.numbers(1, 2 * HALF, SIZE // 2, SIZE // 2))
        z = g.add("Sub", z, x)  # or the next convolution's weights would change places instead
    z = g.add("Concat", z, g.conv(x, channels, channels, 1), axis=1) if outer else z
    z = g.add("Reshape", z, g.numbers(1, channels, 1, 1)) if flat else z
    z = g.add("Relu", g.conv(z, channels * (1 + outer), 9, 3))
    z = g.add("Add", z, g.conv(cut, channels, 9, 3)) if late else z
    z = g.add("Add", z, g.conv(y, channels, 9, 1)) if again else z
    return g.model(g.add("Gemm", g.add("Flatten", g.add("GlobalMaxPool", z)), g.weight(9, 5), g.weight(5, scale=0.1)), SIZE, 5)


def worked(g: Graph, work: str, y: str, cut: str, channels: int) -> str:
    if work == "shortcut":
        return g.add("Add", y, cut)
    if work == "turned":
        return g.add("Sub", cut, y)
    if work == "constants":
        return g.add("Relu", g.add("Add", g.add("Mul", y, g.weight(channels, 1, 1)), g.weight(1, scale=1.0)))
    if work == "pixels":
        return g.add("Mul", y, g.weight(1, 1, SIZE // 2, SIZE // 2))
    if work == "deep":
        return g.add("Mish", g.add("Sigmoid", g.add("Tanh", g.add("Add", y, cut))))
    assert work == "many"
    for number in range(8):
        y = g.add("Mul" if number % 2 else "Add", y, g.weight(1, channels, SIZE // 2, SIZE // 2))
    return y


def classified(g: Graph, x: str) -> onnx.ModelProto:
    x = g.add("Flatten", g.add("GlobalMaxPool", g.conv(x, 2 * HALF, 9, 3)))
    return g.model(g.add("Gemm", x, g.weight(9, 5), g.weight(5, scale=0.1)), SIZE, 5)


def shared(model: onnx.ModelProto) -> Program:
    program = lower(read(model, simplify=False))
    return views.share(program, {n.name_hint for n, f in program.module.functions.items() if parse(f) is not None})


def fused(model: onnx.ModelProto) -> int:
    """Launches that are saved."""
    before = shared(model)
    return len(before.calls) - len(spread(before)[0].calls)


def agrees(model: onnx.ModelProto, name: str) -> bool:
    image = np.random.default_rng(1).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    (wanted,) = executor.onnxruntime_outputs(model, [image])
    (found,) = device.run(model, [image], name=name)
    return bool(np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max())


DONE = {
    "a shortcut": {},
    "a shortcut as the first operand": {"work": "turned"},
    "numbers of a channel, and one for all": {"work": "constants"},
    "numbers of a pixel": {"work": "pixels"},
    "three parts of other widths": {"three": True},
    "what goes on behind two results": {"work": "deep"},
}


@pytest.mark.parametrize("change", DONE.values(), ids=DONE)
@pytest.mark.parametrize("name", ["opencl", "opencl-mali"])
def test_the_parts_do_it(change, name, pocl):
    model = block(**change)
    assert fused(model) == 1
    assert agrees(model, name)


def test_a_part_that_others_read_is_a_second_result():
    program, made = spread(shared(block()))
    first, second = (call for call in program.calls if call.function in made)
    assert (first.outputs, second.outputs) == (2, 1)
    kept, result = first.args[-2:]
    assert (kept.shape, kept.first, result.first) == ((1, SIZE // 2, SIZE // 2, HALF), None, 0)
    assert kept in second.args[:-1] and (second.args[-1].place, second.args[-1].first) == (result.place, HALF)
    assert (first.step.ops[-1], second.step.ops[-1]) == ("add", "add")


def test_one_function_on_either_operand_and_with_one_result_or_two(pocl):
    g = Graph(6)
    x = g.add("Relu", g.conv("image", 3, 2 * HALF, 3, stride=2))
    x = g.add("Sub", x, g.ghost(x, 2 * HALF))
    x = g.add("Sub", g.ghost(x, 2 * HALF), x)
    x = g.add("Sub", g.add("Concat", *(g.conv(x, 2 * HALF, HALF, 1) for _ in range(2)), axis=1), x)
    model = classified(g, x)
    assert fused(model) == 3
    assert agrees(model, "opencl")


def test_work_next_to_work():
    g = Graph(6)
    x = g.add("Relu", g.conv("image", 3, 2 * HALF, 3, stride=2))
    parts = [g.ghost(x, 2 * HALF) for _ in range(2)]
    sums = [g.conv(each, 2 * HALF, 2 * HALF, 3) for each in [g.add("Add", part, x) for part in parts]]
    assert fused(classified(g, g.add("Add", *sums))) == 2


def test_what_the_caller_reads_stays(pocl):
    g = Graph(6)
    x = g.add("GlobalAveragePool", g.conv("image", 3, 2 * HALF, 3))
    whole = g.ghost(x, 2 * HALF)
    model = g.model(g.add("Add", whole, x), SIZE, 5)
    names, shape = (whole, g.nodes[-1].output[0]), [1, 2 * HALF, 1, 1]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in names)
    assert fused(model) == 0
    image = np.random.default_rng(1).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    for found, wanted in zip(device.run(model, [image]), executor.onnxruntime_outputs(model, [image]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


NEAR_MISSES = {
    "the shortcut is made later": {"late": True},
    "the concatenation is read by another too": {"again": True},
    "the sum is part of another concatenation": {"outer": True},
    "a part comes from a pool": {"pooled": True},
    "a part comes from a grouped convolution": {"group": 2},
    "many operands": {"work": "many"},
    "seen in another shape": {"flat": True},
    "channels change places": {"shuffled": True},
}


@pytest.mark.parametrize("change", NEAR_MISSES.values(), ids=NEAR_MISSES)
def test_a_near_miss_keeps_its_launch(change, pocl):
    model = block(**change)
    assert fused(model) == 0
    assert agrees(model, "opencl")


SHAPE = (1, 2, 2, 4)


def elementwise(compute: Callable[..., tirx.Expr], shape: tuple[int, ...] = SHAPE) -> tirx.PrimFunc:
    x, y = (te.placeholder(SHAPE, name=name) for name in "xy")
    return te.create_prim_func([x, y, te.compute(shape, lambda *at: compute(x, y, *at))])


def test_a_narrower_workload_has_as_many_channels_everywhere():
    found = narrowed(parse(elementwise(lambda x, y, *at: x[at] + y[0, 0, 0, 0])), 3)
    assert [shape_of(p)[-1] for p in found.params] == [3, 4, 3]


@pytest.mark.parametrize(
    "compute",
    [
        lambda x, y, n, h, w, c: x[n, h, w, c] + y[n, h, w, 3 - c],
        lambda x, y, n, h, w, c: x[n, h, w, c] + y[n, h, w, c] * x[n, h, w, 0],
        lambda x, y, n, h, w, c: tirx.if_then_else(c < 2, x[n, h, w, c], y[n, h, w, c]),
        lambda x, y, n, h, w, c: x[n, h, w, c] + y[n, h, c % 2, c],
    ],
    ids=["another channel", "one for all of a tensor that is read in its place too", "a choice by it", "another pixel by it"],
)
def test_what_looks_at_the_channel_is_not_narrowed(compute):
    assert narrowed(parse(elementwise(compute)), 3) is None


def test_a_stage_of_another_shape_is_not_narrowed():
    x = te.placeholder(SHAPE, name="x")
    turned = te.compute((1, 2, 4, 2), lambda n, h, w, c: x[n, h, c, w], name="turned")
    back = te.compute(SHAPE, lambda n, h, w, c: turned[n, h, c, w], name="back")
    assert narrowed(parse(te.create_prim_func([x, back])), 3) is None
