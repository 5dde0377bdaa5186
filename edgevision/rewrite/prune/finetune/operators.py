"""How torch computes each operator of the normal form that a gradient can flow through.

A rule takes the node, its inputs and the static shape of its output. The first axis of an activation is the batch, and
may be larger than the shape says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgevision.errors import UnsupportedError
from edgevision.rewrite.prune.finetune import windows
from edgevision.rewrite.prune.network import Node, Shape

Apply = Callable[[Node, Sequence[Tensor], Shape], Any]


class UntrainableOperatorError(UnsupportedError):
    """An operator that training cannot go through."""

    def __init__(self, op: str, node: str, reason: str) -> None:
        self.op, self.node, self.reason = op, node, reason
        super().__init__(f"{op} at node {node!r} cannot be trained: {reason}; fine-tune the network in its own framework")


def check(node: Node) -> None:
    """Raises: UntrainableOperatorError, for an operator without a rule or across the images of a batch."""
    if node.op not in OPERATORS:
        raise UntrainableOperatorError(node.op, node.name, "edgevision has no gradient for it")
    if len([name for name in node.outputs if name]) != 1 and node.op != "Split":
        raise UntrainableOperatorError(node.op, node.name, "it has several outputs")
    given = node.attributes
    axes = [given["axis"]] if "axis" in given and node.op != "LayerNormalization" else list(given.get("axes", []))
    if 0 in axes or (node.op == "Transpose" and given["perm"][0] != 0):
        raise UntrainableOperatorError(node.op, node.name, "it works across the images of a batch")


def _unary(function: Callable[[Tensor], Tensor]) -> Apply:
    return lambda node, x, out: function(x[0])


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Apply:
    return lambda node, x, out: function(x[0], x[1])


def _clip(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return x[0].clamp(node.attributes.get("min"), node.attributes.get("max"))


def _hard_sigmoid(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    gate: Tensor = node.attributes["alpha"] * x[0] + node.attributes["beta"]
    return gate.clamp(0.0, 1.0)


def _gelu(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return functional.gelu(x[0], approximate=node.attributes["approximate"])


def _elu(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return functional.elu(x[0], node.attributes["alpha"])


def _selu(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    """gamma * (x, or alpha * (exp(x) - 1) below 0)"""
    return functional.elu(x[0], node.attributes["alpha"]) * float(node.attributes["gamma"])


def _leaky_relu(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return functional.leaky_relu(x[0], node.attributes["alpha"])


def _prelu(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return x[0].clamp(min=0) + x[1] * x[0].clamp(max=0)


def _global(function: Callable[..., Tensor]) -> Apply:
    return lambda node, x, out: function(x[0], dim=tuple(range(2, x[0].ndim)), keepdim=True)


def _reduce(function: Callable[..., Tensor]) -> Apply:
    def rule(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
        axes = tuple(int(axis) for axis in node.attributes["axes"])
        return function(x[0], dim=axes, keepdim=bool(node.attributes["keepdims"]))

    return rule


def _length(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, 2, dim, keepdim)
    return length


def _softmax(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return torch.softmax(x[0], int(node.attributes["axis"]))


def _log_softmax(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return torch.log_softmax(x[0], int(node.attributes["axis"]))


def _gemm(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    """alpha A B + beta C"""
    given = node.attributes
    a = x[0].T if given["transA"] else x[0]
    b = x[1] if given["transB"] else x[1].T
    product: Tensor = float(given["alpha"]) * functional.linear(a, b)
    if len(x) > 2:
        product = product + float(given["beta"]) * x[2]
    return product


def _reshape(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return x[0].reshape(-1, *out[1:])


def _expand(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return x[0].expand(-1, *out[1:]) if x[0].ndim == len(out) else x[0].expand(*out)


def _transpose(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return x[0].permute(*node.attributes["perm"])


def _concat(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return torch.cat(list(x), int(node.attributes["axis"]))


def _split(node: Node, x: Sequence[Tensor], out: Shape) -> Sequence[Tensor]:
    parts: Sequence[Tensor] = torch.split(x[0], [int(v) for v in node.attributes["split"]], int(node.attributes["axis"]))
    return parts


def _slice(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    y, given = x[0], node.attributes
    for axis, start, end, step in zip(given["axes"], given["starts"], given["ends"], given["steps"], strict=True):
        if step == 1:
            y = y.narrow(int(axis), int(start), int(end) - int(start))
        else:
            y = y.index_select(int(axis), torch.arange(int(start), int(end), int(step)))
    return y


def _gather(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    axis, indices = int(node.attributes["axis"]), x[1]
    chosen = x[0].index_select(axis, indices.reshape(-1).long())
    return chosen.reshape(*x[0].shape[:axis], *indices.shape, *x[0].shape[axis + 1 :])


def _pad(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    given = node.attributes
    pads = [int(each) for each in given["pads"]]
    if given["mode"] == "constant":
        return functional.pad(x[0], windows.torch_pads(pads), value=float(given.get("value", 0.0)))
    rank = len(pads) // 2
    if pads[0] or pads[1] or pads[rank] or pads[rank + 1] or given["mode"] not in _PADDED:
        raise UntrainableOperatorError(node.op, node.name, f"mode {given['mode']} on these axes")
    return functional.pad(x[0], windows.torch_pads([*pads[2:rank], *pads[rank + 2 :]]), _PADDED[given["mode"]])


_PADDED = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _tile(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return x[0].repeat(*(int(each) for each in node.attributes["repeats"]))


def _shuffle(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    n, _, *image = x[0].shape
    return x[0].reshape(n, int(node.attributes["groups"]), -1, *image).transpose(1, 2).flatten(1, 2)


def _depth_to_space(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    side = int(node.attributes["blocksize"])
    if node.attributes["mode"] == "CRD":
        return functional.pixel_shuffle(x[0], side)
    n, channels, height, width = x[0].shape
    blocks = x[0].reshape(n, side, side, channels // side**2, height, width)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, height * side, width * side)


def _space_to_depth(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    side = int(node.attributes["blocksize"])
    n, channels, height, width = x[0].shape
    blocks = x[0].reshape(n, channels, height // side, side, width // side, side)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, height // side, width // side)


def _resize(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    given = node.attributes
    mode, coordinates = given["mode"], given["coordinate_transformation_mode"]
    key = (mode, coordinates, given["nearest_mode"] if mode == "nearest" else "")
    if key not in _RESIZED or x[0].ndim != 4 or out[1] != x[0].shape[1]:
        raise UntrainableOperatorError(node.op, node.name, f"torch has no {mode} resize with {coordinates} coordinates")
    how, aligned = _RESIZED[key]
    return functional.interpolate(x[0], out[2:], mode=how, align_corners=aligned)


_RESIZED: dict[tuple[str, str, str], tuple[str, bool | None]] = {
    ("nearest", "asymmetric", "floor"): ("nearest", None),
    ("nearest", "half_pixel", "round_prefer_floor"): ("nearest-exact", None),
    ("nearest", "half_pixel", "round_prefer_ceil"): ("nearest-exact", None),
    ("linear", "half_pixel", ""): ("bilinear", False),
    ("linear", "pytorch_half_pixel", ""): ("bilinear", False),
    ("linear", "align_corners", ""): ("bilinear", True),
    ("cubic", "half_pixel", ""): ("bicubic", False),
    ("cubic", "pytorch_half_pixel", ""): ("bicubic", False),
    ("cubic", "align_corners", ""): ("bicubic", True),
}


def _layer_norm(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    axis = int(node.attributes["axis"])
    normal = functional.layer_norm(x[0], x[0].shape[axis:], eps=node.attributes["epsilon"]) * x[1]
    return normal + x[2] if len(x) > 2 else normal


def _channel_layer_norm(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    last = functional.layer_norm(x[0].movedim(1, -1), x[1].shape, x[1], x[2], node.attributes["epsilon"])
    return last.movedim(-1, 1)


def _group_norm(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    given = node.attributes
    return functional.group_norm(x[0], int(given["num_groups"]), x[1], x[2], given["epsilon"])


def _instance_norm(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    return functional.instance_norm(x[0], weight=x[1], bias=x[2], eps=node.attributes["epsilon"])


def _lrn(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    given = node.attributes
    return functional.local_response_norm(x[0], int(given["size"]), given["alpha"], given["beta"], given["bias"])


def _batch_norm(node: Node, x: Sequence[Tensor], out: Shape) -> Tensor:
    """In inference; `torch_network` does it in training."""
    return functional.batch_norm(x[0], x[3], x[4], x[1], x[2], eps=node.attributes["epsilon"])


OPERATORS: dict[str, Apply] = {
    "Abs": _unary(torch.abs),
    "Add": _binary(torch.add),
    "AveragePool": windows.average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Div": _binary(torch.div),
    "Elu": _elu,
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": _expand,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "GroupNormalization": _group_norm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _unary(functional.hardswish),
    "Identity": _unary(lambda x: x),
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _leaky_relu,
    "Log": _unary(torch.log),
    "LogSoftmax": _log_softmax,
    "MatMul": _binary(torch.matmul),
    "Max": _binary(torch.maximum),
    "MaxPool": windows.max_pool,
    "Min": _binary(torch.minimum),
    "Mish": _unary(functional.mish),
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _binary(torch.pow),
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL2": _reduce(_length),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _unary(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Selu": _selu,
    "Sigmoid": _unary(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _unary(functional.softplus),
    "Softsign": _unary(functional.softsign),
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Sqrt": _unary(torch.sqrt),
    "Sub": _binary(torch.sub),
    "Tanh": _unary(torch.tanh),
    "Tile": _tile,
    "Transpose": _transpose,
    "edgevision:ChannelShuffle": _shuffle,
    "edgevision:ChannelLayerNormalization": _channel_layer_norm,
    "edgevision:Silu": _unary(functional.silu),
}
"""Operator -> its rule. Any other cannot be trained."""
