"""Small networks lowered, run and compared with onnxruntime."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx

from edgevision.program import Program
from tests import executor
from tests.ingest.nets import network, random

__all__ = ["agreeing", "network", "operators", "program", "random"]


def program(body: str, *, opset: int = 17, **weights: np.ndarray) -> Program:
    """``body`` as ONNX text, lowered and scheduled."""
    return executor.compiled(network(body, opset=opset, **weights))[1]


def agreeing(
    source: str | onnx.ModelProto, *inputs: np.ndarray, opset: int = 17, rtol: float = 1e-5, **weights: np.ndarray
) -> Program:
    """The program of ``source``, which answers as onnxruntime does: floats within ``rtol`` of their range, NaN and
    infinities in the same places, everything else equal."""
    model = network(source, opset=opset, **weights) if isinstance(source, str) else source
    _, lowered = executor.compiled(model)
    wanted = executor.onnxruntime_outputs(model, inputs)
    for ours, theirs in zip(executor.execute(lowered, inputs), wanted, strict=True):
        assert_near(ours, theirs, rtol)
    return lowered


def assert_near(ours: np.ndarray, theirs: np.ndarray, rtol: float) -> None:
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    if theirs.dtype.kind != "f":
        np.testing.assert_array_equal(ours, theirs)
        return
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(np.where(finite, 0, ours), np.where(finite, 0, theirs))
    range_ = np.abs(theirs[finite]).max(initial=0.0)
    np.testing.assert_allclose(ours[finite], theirs[finite], rtol=0, atol=rtol * range_)


def operators(lowered: Program) -> Counter[str]:
    """How often each operator occurs in the names of the kernels that are called."""
    return Counter(op for call in lowered.calls for op in call.step.ops)


def images(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """A random tensor: normal floats, small integers of both signs, booleans."""
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    if np.dtype(dtype) == bool:
        return generator.random(shape) < 0.5
    low = 0 if np.dtype(dtype).kind == "u" else -9
    return generator.integers(low, 10, shape).astype(dtype)
