"""Which inputs are attributes in the normal form."""

from __future__ import annotations

EDGEVISION_DOMAIN = "edgevision"
NORMAL_OPSET = 23

MOVED: dict[str, dict[int, str]] = {
    "Clip": {1: "min", 2: "max"},
    "CumSum": {1: "axis"},
    "Expand": {1: "shape"},
    "OneHot": {1: "depth"},
    "Pad": {1: "pads", 2: "value", 3: "axes"},
    "ReduceL1": {1: "axes"},
    "ReduceL2": {1: "axes"},
    "ReduceLogSum": {1: "axes"},
    "ReduceLogSumExp": {1: "axes"},
    "ReduceMax": {1: "axes"},
    "ReduceMean": {1: "axes"},
    "ReduceMin": {1: "axes"},
    "ReduceProd": {1: "axes"},
    "ReduceSum": {1: "axes"},
    "ReduceSumSquare": {1: "axes"},
    "Reshape": {1: "shape"},
    "Resize": {1: "roi", 2: "scales", 3: "sizes"},
    "Slice": {1: "starts", 2: "ends", 3: "axes", 4: "steps"},
    "Split": {1: "split"},
    "Squeeze": {1: "axes"},
    "Tile": {1: "repeats"},
    "TopK": {1: "k"},
    "Trilu": {1: "k"},
    "Unsqueeze": {1: "axes"},
    "Upsample": {1: "scales"},
}
SCALARS = frozenset({"min", "max", "axis", "depth", "value", "k"})
SHAPE_IS_ENOUGH = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Expand"})  # the static result says all
REDUCTIONS = frozenset(op for op in MOVED if op.startswith("Reduce"))
COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min", "And", "Or", "Xor", "Equal"})
BINARY = COMMUTATIVE | {"Sub", "Div", "Pow", "Mod", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "BitShift",
                        "BitwiseAnd", "BitwiseOr", "BitwiseXor", "PRelu"}  # fmt: skip
OMITTED = frozenset({"auto_pad", "noop_with_empty_axes", "keep_aspect_ratio_policy"})  # resolved into other attributes
