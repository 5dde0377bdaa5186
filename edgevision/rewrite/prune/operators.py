"""What each operator does to the identities of channels.

    makes        Conv, ConvTranspose, Gemm, MatMul by a constant: new channels; the blocks of a group tie in number
    passes       unary operators, BatchNormalization, InstanceNormalization, pools, Resize, PRelu, depthwise convolution
                 (multiplier m: every identity m times)
    unites       Add, Mul and all broadcasting ones: channel i of both operands; Concat along another axis
    moves        Concat, Split, Slice, Gather, Pad, Tile, Transpose, Reshape, ChannelShuffle, DepthToSpace, SpaceToDepth
    freezes      what compares or normalises across channels, an operand broadcast along the channels, all else
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from edgevision.rewrite.prune.channels import Tracer
from edgevision.rewrite.prune.network import Ids, Node, Shape

Follow = Callable[[Node, Tracer], None]


def follow(node: Node, to: Tracer) -> None:
    """Give the outputs of ``node`` their labels, and tie or freeze what it ties and freezes."""
    rule = OPERATORS.get(node.op)
    if rule is None or len([name for name in node.outputs if name]) != 1 and node.op != "Split":
        to.unknown.append(node.op)
        to.stop(node, f"{node.op} at {node.name!r} is not followed")
        return
    rule(node, to)


def depthwise(node: Node, channels: int) -> bool:
    """Every group reads one channel."""
    return int(node.attributes["group"]) == channels and channels > 1


def _conv(node: Node, to: Tracer) -> None:
    if not all(to.network.is_constant(name) for name in node.inputs[1:] if name):
        to.stop(node, f"{node.op} at {node.name!r} has computed weights")
        return
    ids = to.at(node.inputs[0], 1, f"channels of {node.inputs[0]!r} are not followed")
    group = int(node.attributes["group"])
    if depthwise(node, len(ids)):
        to.put(node.output, 1, np.repeat(ids, to.shape(node.output)[1] // group))
        return
    made = to.make(node, 1)
    if group > 1:
        to.balance(node, ids, group)
        to.balance(node, made, group)


def _product(node: Node, to: Tracer) -> None:
    """Gemm and MatMul with a constant [K, N] (or its transpose) on the right."""
    rank = len(to.shape(node.inputs[0]))
    plain = len(to.shape(node.inputs[1])) == 2 and rank >= 2 and not node.attributes.get("transA", 0)
    if not plain or not all(to.network.is_constant(name) for name in node.inputs[1:] if name):
        to.stop(node, f"{node.op} at {node.name!r} multiplies computed tensors")
        return
    to.at(node.inputs[0], rank - 1, f"{node.op} at {node.name!r} reads an axis that is not followed")
    to.make(node, rank - 1)


def _same(node: Node, to: Tracer) -> None:
    known = to.labels.get(node.inputs[0])
    if known is not None:
        to.put(node.output, known.axis, known.ids)


def _elementwise(node: Node, to: Tracer) -> None:
    """Operands broadcast from the right; a constant operand is cut with its tensor."""
    shape = to.shape(node.output)
    variable = [name for name in node.inputs if name and not to.network.is_constant(name)]
    known = [(name, to.labels[name]) for name in variable if name in to.labels]
    wide = [(name, each) for name, each in known if to.shape(name)[each.axis] == _extent(name, each.axis, shape, to)]
    axes = {each.axis + len(shape) - len(to.shape(name)) for name, each in wide}
    if len(axes) != 1:
        to.stop(node, f"{node.op} at {node.name!r} combines different axes")
        return
    axis = axes.pop()
    ids = wide[0][1].ids
    for _, each in wide[1:]:
        to.unite(ids, each.ids)
    for name in variable:
        if name in dict(wide):
            continue
        to.freeze_tensor(name, f"{node.op} at {node.name!r} broadcasts it along the channels")
        own = axis - len(shape) + len(to.shape(name))
        if own >= 0 and to.shape(name)[own] > 1:
            to.freeze(ids, f"{node.op} at {node.name!r} combines them with {name!r}, which is not followed")
    to.put(node.output, axis, ids)


def _extent(name: str, axis: int, shape: Shape, to: Tracer) -> int:
    return shape[axis + len(shape) - len(to.shape(name))]


def _concat(node: Node, to: Tracer) -> None:
    axis, names = int(node.attributes["axis"]), node.inputs
    known = [to.labels[name] for name in names if name in to.labels]
    if not known:
        return
    if all(each.axis == axis for each in known):
        parts = [
            to.fresh(to.shape(name)[axis])
            if to.network.is_constant(name)
            else to.at(name, axis, f"Concat at {node.name!r} reads {name!r}, which is not followed")
            for name in names
        ]
        to.put(node.output, axis, np.concatenate(parts))
    elif len(known) == len(names) and len({each.axis for each in known}) == 1 and known[0].axis != axis:
        for each in known[1:]:
            to.unite(known[0].ids, each.ids)
        to.put(node.output, known[0].axis, known[0].ids)
    else:
        to.stop(node, f"Concat at {node.name!r} joins different axes")


def _split(node: Node, to: Tracer) -> None:
    known = to.labels.get(node.inputs[0])
    if known is None:
        return
    cuts = np.cumsum(node.attributes["split"])[:-1]
    along = known.axis == int(node.attributes["axis"])
    parts = np.split(known.ids, cuts) if along else [known.ids] * len(node.outputs)
    for name, ids in zip(node.outputs, parts, strict=True):
        if name:
            to.cut(name, known.axis, ids)


def _slice(node: Node, to: Tracer) -> None:
    known = to.labels.get(node.inputs[0])
    if known is None:
        return
    axes, steps = list(node.attributes["axes"]), node.attributes["steps"]
    if known.axis in axes and len(axes) > 1 and int(steps[axes.index(known.axis)]) != 1:
        to.stop(node, f"Slice at {node.name!r} takes channels in steps and cuts other axes too")
        return
    to.cut(node.output, known.axis, sliced(node, known.axis, known.ids))


def sliced(node: Node, axis: int, ids: Ids) -> Ids:
    """What a Slice leaves of ``ids`` along ``axis``."""
    given = node.attributes
    if axis not in given["axes"]:
        return ids
    at = list(given["axes"]).index(axis)
    start, end, step = (int(given[key][at]) for key in ("starts", "ends", "steps"))
    taken: Ids = ids[np.arange(start, end, step)]
    return taken


def _gather(node: Node, to: Tracer) -> None:
    known, axis = to.labels.get(node.inputs[0]), int(node.attributes["axis"])
    if known is None:
        to.stop(node, f"Gather at {node.name!r} reads computed indices")
        return
    rank = len(to.shape(node.inputs[1]))
    if known.axis != axis:
        to.freeze_tensor(node.inputs[1], f"Gather at {node.name!r} reads them as indices")
        to.put(node.output, known.axis + (rank - 1 if known.axis > axis else 0), known.ids)
    elif rank == 1 and to.network.is_constant(node.inputs[1]):
        to.cut(node.output, axis, known.ids[to.network.constant(node.inputs[1])])
    else:
        to.stop(node, f"Gather at {node.name!r} takes channels by computed or shaped indices")


def _pad(node: Node, to: Tracer) -> None:
    known = to.labels.get(node.inputs[0])
    if known is None:
        return
    pads = node.attributes["pads"]
    before, after = int(pads[known.axis]), int(pads[known.axis + len(pads) // 2])
    if (before or after) and node.attributes["mode"] != "constant":
        to.stop(node, f"Pad at {node.name!r} repeats channels")
        return
    to.put(node.output, known.axis, np.concatenate([to.fresh(before), known.ids, to.fresh(after)]))


def _tile(node: Node, to: Tracer) -> None:
    known = to.labels.get(node.inputs[0])
    if known is not None:
        to.put(node.output, known.axis, np.tile(known.ids, int(node.attributes["repeats"][known.axis])))


def _expand(node: Node, to: Tracer) -> None:
    known = to.labels.get(node.inputs[0])
    if known is None:
        return
    shape, before = to.shape(node.output), to.shape(node.inputs[0])
    axis = known.axis + len(shape) - len(before)
    if shape[axis] == before[known.axis]:
        to.put(node.output, axis, known.ids)
    else:
        to.stop(node, f"Expand at {node.name!r} broadcasts the channels")


def _transpose(node: Node, to: Tracer) -> None:
    known = to.labels.get(node.inputs[0])
    if known is not None:
        to.put(node.output, list(node.attributes["perm"]).index(known.axis), known.ids)


def _reshape(node: Node, to: Tracer) -> None:
    """[.., C, ..] -> an axis of C * r elements, every identity r times (Flatten); or such an axis back to C."""
    known = to.labels.get(node.inputs[0])
    if known is None:
        return
    before, after = to.shape(node.inputs[0]), to.shape(node.output)
    outer, inner = prod(before[: known.axis]), prod(before[known.axis + 1 :])
    for axis, extent in enumerate(after):
        if prod(after[:axis]) != outer or len(known.ids) == 1:
            continue
        own = prod(after[axis + 1 :])
        if extent % len(known.ids) == 0 and own * (extent // len(known.ids)) == inner:
            to.put(node.output, axis, np.repeat(known.ids, extent // len(known.ids)))
            return
        runs = known.ids.reshape(extent, -1) if extent > 1 and len(known.ids) % extent == 0 else None
        if runs is not None and own == inner * runs.shape[1] and bool((runs == runs[:, :1]).all()):
            to.put(node.output, axis, runs[:, 0])
            return
    to.stop(node, f"Reshape at {node.name!r} splits the channels over several axes")


def shuffled(groups: int, count: int) -> Ids:
    """Where output channel i * g + j of a ChannelShuffle comes from: j * (C / g) + i."""
    order: Ids = np.arange(count).reshape(groups, -1).T.reshape(-1)
    return order


def _shuffle(node: Node, to: Tracer) -> None:
    known = to.labels.get(node.inputs[0])
    if known is None:
        return
    if known.axis != 1:
        to.stop(node, f"ChannelShuffle at {node.name!r} moves another axis")
        return
    to.put(node.output, 1, known.ids[shuffled(int(node.attributes["groups"]), len(known.ids))])


def _depth_to_space(node: Node, to: Tracer) -> None:
    """The b * b channels that become one are one."""
    ids = to.at(node.inputs[0], 1, f"DepthToSpace at {node.name!r} reads an axis that is not followed")
    area = int(node.attributes["blocksize"]) ** 2
    rows = ids.reshape(area, -1) if node.attributes["mode"] == "DCR" else ids.reshape(-1, area).T
    for row in rows[1:]:
        to.unite(rows[0], row)
    to.put(node.output, 1, rows[0])


def _space_to_depth(node: Node, to: Tracer) -> None:
    ids = to.at(node.inputs[0], 1, f"SpaceToDepth at {node.name!r} reads an axis that is not followed")
    to.put(node.output, 1, np.tile(ids, int(node.attributes["blocksize"]) ** 2))


def _image(node: Node, to: Tracer) -> None:
    """Pools, BatchNormalization, InstanceNormalization: axis 1 passes."""
    known = to.labels.get(node.inputs[0])
    if known is None:
        return
    if known.axis != 1 or not all(to.network.is_constant(name) for name in node.inputs[1:] if name):
        to.stop(node, f"{node.op} at {node.name!r} works on another axis or with computed parameters")
        return
    to.put(node.output, 1, known.ids)


def _resize(node: Node, to: Tracer) -> None:
    known = to.labels.get(node.inputs[0])
    if known is None:
        return
    if to.shape(node.output)[known.axis] != len(known.ids):
        to.stop(node, f"Resize at {node.name!r} interpolates between channels")
    else:
        to.put(node.output, known.axis, known.ids)


def _across(axes: Callable[[Node, int], set[int]], why: str) -> Follow:
    """Passes, unless the channels are among ``axes``, over which the operator works."""

    def rule(node: Node, to: Tracer) -> None:
        known = to.labels.get(node.inputs[0])
        if known is None:
            return
        if known.axis in axes(node, len(to.shape(node.inputs[0]))):
            to.stop(node, f"{node.op} at {node.name!r} {why}")
            return
        axis = known.axis
        if len(to.shape(node.output)) < len(to.shape(node.inputs[0])):
            axis -= sum(each < axis for each in axes(node, len(to.shape(node.inputs[0]))))
        to.put(node.output, axis, known.ids)

    return rule


def _freeze(why: str) -> Follow:
    return lambda node, to: to.stop(node, f"{node.op} at {node.name!r} {why}")


UNARY = ("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Elu",
         "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log",
         "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
         "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu", "edgevision:Silu")  # fmt: skip
ELEMENTWISE = ("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod",
               "Mul", "Or", "PRelu", "Pow", "Sub", "Where", "Xor")  # fmt: skip
POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool")
REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
              "ReduceProd", "ReduceSum", "ReduceSumSquare")  # fmt: skip

OPERATORS: dict[str, Follow] = {
    **dict.fromkeys(UNARY, _same),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys((*POOLS, "BatchNormalization", "InstanceNormalization"), _image),
    **dict.fromkeys(REDUCTIONS, _across(lambda node, rank: set(node.attributes["axes"]), "reduces over them")),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "Hardmax", "CumSum", "ArgMax", "ArgMin"),
        _across(lambda node, rank: {int(node.attributes["axis"])}, "compares them"),
    ),
    "LayerNormalization": _across(
        lambda node, rank: set(range(int(node.attributes["axis"]), rank)), "normalises across them"
    ),
    **dict.fromkeys(
        ("edgevision:ChannelLayerNormalization", "GroupNormalization", "LRN"), _freeze("normalises across them")
    ),
    "Conv": _conv,
    "ConvTranspose": _conv,
    "Gemm": _product,
    "MatMul": _product,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Tile": _tile,
    "Expand": _expand,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "edgevision:ChannelShuffle": _shuffle,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Resize": _resize,
}
"""Operator -> what it does. An operator that is not here freezes the channels that it reads."""
