"""Every elementwise operator behind a convolution, where a template stores whole vectors."""

from __future__ import annotations

import numpy as np
import pytest

from edgevision.lower.compute.elementwise import BINARY, UNARY
from tests import executor
from tests.lower.programs import assert_near, images, network, operators, random

ATTRIBUTES = {"HardSigmoid": "<alpha = 0.3>", "ThresholdedRelu": "<alpha = 0.4>", "Shrink": "<lambd = 0.3>"}
# Arguments that a function takes: |x| < 1, x > 1, x > 0.
BOUNDED, ABOVE_ONE, POSITIVE = ("Acos", "Asin", "Atanh"), ("Acosh",), ("Log", "Sqrt", "Reciprocal")
ON_FLOATS = sorted(op for op in UNARY if "::" not in op and op not in {"Clip", "Not", "BitwiseNot", "IsNaN", "IsInf", "Swish"})
# Add, Sub, Mul and Div of constants become part of the convolution itself.
FOLDED = {"Add", "Sub", "Mul", "Div"}
ON_INTEGERS = {"And", "Or", "Xor", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"}
ARITHMETIC = sorted(set(BINARY) - FOLDED - ON_INTEGERS)
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")

X = images(1, 6, 5, 3)
WEIGHTS = {"w": random(20, 6, 1, 1), "b": random(20, seed=1)}
CONV = "(float[1,6,5,3] x) => ({kind}[1,20,5,3] y) {{ c = Conv(x, w, b) {nodes} }}"
ARGUMENT = {
    **dict.fromkeys(BOUNDED, "t = Sin(c)"),
    **dict.fromkeys(ABOVE_ONE, "s = Mul(c, c) one = Constant<value = float {1.5}>() t = Add(s, one)"),
    **dict.fromkeys(POSITIVE, "s = Mul(c, c) one = Constant<value = float {0.5}>() t = Add(s, one)"),
}


@pytest.mark.parametrize("op", ON_FLOATS)
def test_a_unary_operator_is_fused_behind_a_convolution(op: str) -> None:
    prepare = ARGUMENT.get(op, "t = Identity(c)")
    check(f"{prepare} y = {op}{ATTRIBUTES.get(op, '')}(t)")


@pytest.mark.parametrize("op", ARITHMETIC)
def test_a_binary_operator_is_fused_behind_a_convolution(op: str) -> None:
    attributes = "<fmod = 1>" if op == "Mod" else ""
    prepare = "s = Abs(c) one = Constant<value = float {0.5}>() t = Add(s, one)" if op == "Pow" else "t = Identity(c)"
    kind = "bool" if op in COMPARISONS else "float"
    check(f"{prepare} y = {op}{attributes}(t, k)", kind, k=np.linspace(-2, 2, 20, dtype=np.float32).reshape(20, 1, 1))


def check(nodes: str, kind: str = "float", **constants: np.ndarray) -> None:
    model = network(CONV.format(kind=kind, nodes=nodes), opset=20, **WEIGHTS, **constants)
    _, program = executor.compiled(model)
    fused = next(call for call in program.calls if "conv" in call.step.ops)
    assert fused.step.schedule.startswith("template:conv2d")
    assert len(fused.step.ops) > 2, "more than the convolution and its bias"
    assert operators(program).total() == len(fused.step.ops) + 2 * operators(program)["transpose"] // 2
    (found,), (wanted,) = executor.execute(program, [X]), executor.onnxruntime_outputs(model, [X])
    assert_near(found, wanted, 1e-5)


def test_a_clip_is_fused_behind_a_convolution() -> None:
    check("y = Clip(c, low, high)", low=np.float32(-0.25), high=np.float32(0.5))


def test_long_chains_of_functions_are_cut() -> None:
    """Fused all in one, they took minutes to compile."""
    model = network(CONV.format(kind="float", nodes="s = Sigmoid(c) t = Tanh(s) u = Mish(t) y = Gelu(u)"), opset=20, **WEIGHTS)
    _, program = executor.compiled(model)
    assert [call.step.ops for call in program.calls if call.step.ops != ("transpose",)] == [
        ("conv", "add", "sigmoid", "tanh"), ("mish",), ("gelu",),
    ]  # fmt: skip
    (found,), (wanted,) = executor.execute(program, [X]), executor.onnxruntime_outputs(model, [X])
    assert_near(found, wanted, 1e-5)
