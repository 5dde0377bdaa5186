"""Single workloads: built as `lower` builds them, scheduled, compiled for this machine and run in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import te, tirx

from edgevision.link.codegen import BUILD_OPTIONS, llvm_target
from edgevision.lower.compute.convolution import conv, depthwise_conv2d, matmul
from edgevision.schedule.apply import schedule_workload
from edgevision.schedule.scheduled import Scheduled
from edgevision.target import Target, load

NATIVE = load("native")
Finish = Callable[[Any, Sequence[Any]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fused workload with its constant operands and the float64 result it must give."""

    func: tirx.PrimFunc
    operands: tuple[np.ndarray, ...]
    expected: np.ndarray


def prim_func(tensors: Sequence[Any]) -> tirx.PrimFunc:
    return te.create_prim_func(list(tensors), index_dtype_override="int64")


def convolution(
    shape: tuple[int, int, int, int], channels: int, kernel: tuple[int, int], *, strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0), dilations: tuple[int, int] = (1, 1), groups: int = 1, seed: int = 0,
    residual: bool = False, row_bias: bool = False,
) -> Case:  # fmt: skip
    """relu(conv(x) + bias [+ a constant a row] [+ residual]); depthwise where groups == channels == inputs."""
    rng = np.random.default_rng(seed)
    depthwise = groups == channels == shape[3] and groups > 1
    wshape = (*kernel, channels) if depthwise else (*kernel, shape[3] // groups, channels)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in (shape, wshape, (channels,)))
    tx, tw, tb = (te.placeholder(a.shape, name=n) for a, n in ((x, "x"), (w, "w"), (b, "b")))
    if depthwise:
        y = depthwise_conv2d(tx, tw, strides=strides, pads=pads, dilations=dilations)
        full = np.zeros((*kernel, 1, channels), np.float32)
        full[:, :, 0] = w
    else:
        y = conv(tx, tw, strides=strides, pads=pads, dilations=dilations, groups=groups, template=True)
        full = w
    out = tuple(int(d) for d in y.shape)
    value = reference_conv(x, full, strides, pads, dilations, groups) + b
    tensors, operands = [tx, tw, tb], [x, w, b]
    z = te.compute(out, lambda *i: y[i] + tb[i[-1]], name="add")
    if row_bias:
        rows = rng.standard_normal((out[1], 1, out[3])).astype(np.float32)
        tr = te.placeholder(rows.shape, name="rows")
        before = z
        z = te.compute(out, lambda n, a, c, k: before[n, a, c, k] + tr[a, 0, k], name="rows_add")
        tensors.append(tr)
        operands.append(rows)
        value = value + rows
    if residual:
        extra = rng.standard_normal(out).astype(np.float32)
        te_extra = te.placeholder(out, name="extra")
        last = z
        z = te.compute(out, lambda *i: te.max(last[i] + te_extra[i], tirx.const(0, "float32")), name="relu")
        tensors.append(te_extra)
        operands.append(extra)
        value = np.maximum(value + extra, 0)
    return Case(func=prim_func([*tensors, z]), operands=tuple(operands), expected=value)


def product(prefix: tuple[int, ...], depth: int, columns: int) -> Case:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((*prefix, depth)).astype(np.float32)
    w = rng.standard_normal((depth, columns)).astype(np.float32)
    tx, tw = te.placeholder(x.shape, name="x"), te.placeholder(w.shape, name="w")
    return Case(
        func=prim_func([tx, tw, matmul(tx, tw)]), operands=(x, w), expected=x.astype(np.float64) @ w.astype(np.float64)
    )


def reference_conv(
    x: np.ndarray, w: np.ndarray, strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int], groups: int
) -> np.ndarray:
    """Channels-last convolution in float64, one tap at a time. w: [kh, kw, ci, co]."""
    top, left, bottom, right = pads
    data = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    kh, kw, ci, co = w.shape
    ho = (data.shape[1] - (kh - 1) * dilations[0] - 1) // strides[0] + 1
    wo = (data.shape[2] - (kw - 1) * dilations[1] - 1) // strides[1] + 1
    out = np.zeros((x.shape[0], ho, wo, co))
    size = co // groups
    for ky in range(kh):
        for kx in range(kw):
            rows = slice(ky * dilations[0], ky * dilations[0] + (ho - 1) * strides[0] + 1, strides[0])
            columns = slice(kx * dilations[1], kx * dilations[1] + (wo - 1) * strides[1] + 1, strides[1])
            seen = data[:, rows, columns]
            for g in range(groups):
                part = seen[..., g * ci : (g + 1) * ci] @ w[ky, kx, :, g * size : (g + 1) * size].astype(np.float64)
                out[..., g * size : (g + 1) * size] += part
    return out


def run(
    case: Case, target: Target = NATIVE, excluded: frozenset[str] = frozenset()
) -> tuple[Scheduled, np.ndarray]:
    """Schedule for ``target`` (whose code this machine can run), compile, call once."""
    scheduled = schedule_workload(case.func, target, excluded)
    return scheduled, outcome(case, scheduled, target)


def outcome(case: Case, scheduled: Scheduled, target: Target) -> np.ndarray:
    """What ``scheduled`` makes of the case's operands; scratch holds NaN before."""
    with tvm.transform.PassContext(config=dict(BUILD_OPTIONS)):
        built = tvm.compile(
            tvm.IRModule({"k": scheduled.func.with_attr("global_symbol", "k")}), target=llvm_target(target)
        )
    operands = [scheduled.relay[i](a) if i in scheduled.relay else a for i, a in enumerate(case.operands)]
    result = tvm.runtime.tensor(np.full(case.expected.shape, np.nan, np.float32))
    scratch = [tvm.runtime.tensor(np.full(s, np.nan, np.float32)) for s in scheduled.scratch]
    built["k"](*(tvm.runtime.tensor(np.ascontiguousarray(a)) for a in operands), result, *scratch)
    found: np.ndarray = result.numpy()
    return found


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Of the largest expected value; where all are zero, the absolute error."""
    return float(np.abs(actual - expected).max() / (np.abs(expected).max() or 1.0))
