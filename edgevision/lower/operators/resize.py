"""Resize: every mode is a table of source positions and weights for each axis, made at compile time.

Nearest reads one position; linear, cubic and antialiased ones sum a few. Source: ONNX Resize, opset 19.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

from edgevision.lower.compute import scalar
from edgevision.lower.emitter import ANCHOR, Emitter
from edgevision.lower.node import Node
from edgevision.lower.operators.movement import by_tables


@dataclass(frozen=True, slots=True)
class Taps:
    """For each of n outputs along one axis: k source positions and weights; ``outside`` marks outputs that extrapolate."""

    positions: np.ndarray  # [n, k]
    weights: np.ndarray  # [n, k]
    outside: np.ndarray  # [n]

    @property
    def is_single(self) -> bool:
        """Whether each output is one input as it stands."""
        return self.positions.shape[1] == 1 and not self.outside.any()


def resize(e: Emitter, node: Node) -> None:
    """Axes that read one position each are gathered together; the others follow one after another."""
    x = e.stored(node.inputs[0])
    if x.rank >= 3:
        x = e.in_last_order(x)
    sizes, scales = e.shape(node.outputs[0]), node["scales"]
    roi = node.get("roi") or [0.0] * x.rank + [1.0] * x.rank
    found = {x.axis(i): axis_taps(node, x.shape[i], sizes[i], scales[i], (roi[i], roi[x.rank + i])) for i in range(x.rank)}
    single = {i: taps.positions[:, 0] for i, taps in found.items() if taps is not None and taps.is_single}
    var = by_tables(e, "resize", x.var, single) if single else x.var
    several = {i: taps for i, taps in found.items() if taps is not None and i not in single}
    exact = "float" in x.dtype
    if several and not exact:
        var = _converted(e, var, "float32")
    for axis, taps in several.items():
        var = _apply(e, var, axis, taps, float(node["extrapolation_value"]))
    e.result(node, var if exact or not several else _converted(e, var, x.dtype), channels_last=x.channels_last)


def _converted(e: Emitter, var: Any, to: str) -> Any:
    return e.compute("cast", lambda t: te.compute(t.shape, lambda *i: scalar.cast(t[i], to), name="cast"), var)


def axis_taps(node: Node, extent: int, size: int, scale: float, roi: tuple[float, float]) -> Taps | None:
    """None where the axis stays as it is."""
    crop = node["coordinate_transformation_mode"] == "tf_crop_and_resize"
    if size == extent and scale == 1.0 and not (crop and roi != (0.0, 1.0)):
        return None
    at = _coordinates(node["coordinate_transformation_mode"], np.arange(size), extent, size, scale, roi)
    outside = (at < 0) | (at > extent - 1) if crop else np.zeros(size, bool)
    if node["mode"] == "nearest":
        positions = np.clip(_nearest(at, node.get("nearest_mode", "round_prefer_floor")), 0, extent - 1)[:, None]
        return Taps(positions, np.ones_like(positions, np.float64), outside)
    cubic = node["mode"] == "cubic"
    stretch = min(scale, 1.0) if node.get("antialias", 0) else 1.0
    reach = (2 if cubic else 1) / stretch
    low, high = np.floor(at - reach).astype(int) + 1, np.floor(at + reach).astype(int)
    count = int((np.maximum(high, low) - low).max()) + 1
    positions = low[:, None] + np.arange(count)[None]
    distance = np.abs(positions - at[:, None]) * stretch
    weights = _cubic(distance, node["cubic_coeff_a"]) if cubic else np.maximum(0.0, 1.0 - distance)
    if node.get("exclude_outside", 0):
        weights = np.where((positions < 0) | (positions >= extent), 0.0, weights)
    weights = weights / weights.sum(1, keepdims=True)
    return Taps(np.clip(positions, 0, extent - 1), weights, outside)


def _coordinates(mode: str, i: np.ndarray, extent: int, size: int, scale: float, roi: tuple[float, float]) -> np.ndarray:
    """Output position -> source coordinate, along one axis."""
    start, end = roi
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * ((extent - 1) / (size - 1)) if size > 1 else i * 0.0
    if mode == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if size > 1 else i * 0.0
    if mode == "half_pixel_symmetric":
        adjusted = extent / 2 * (1 - size / (scale * extent))
        return adjusted + (i + 0.5) / scale - 0.5
    if mode == "tf_crop_and_resize":
        if size > 1:
            return start * (extent - 1) + i * (end - start) * (extent - 1) / (size - 1)
        return np.full(i.shape, 0.5 * (start + end) * (extent - 1))
    return (i + 0.5) / scale - 0.5


def _nearest(at: np.ndarray, mode: str) -> np.ndarray:
    rounded = {
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }[mode]
    return np.asarray(rounded, np.int64)


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel."""
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _apply(e: Emitter, var: Any, axis: int, taps: Taps, fill: float) -> Any:
    """out[..., i, ...] = sum over k of in[..., positions[i, k], ...] * weights[i, k]; ``fill`` where i lies outside."""
    count, k = taps.positions.shape
    dtype = str(var.ty.dtype)
    positions = e.array(taps.positions.astype(np.int32))
    weights = e.array(np.where(taps.outside[:, None], 0.0, taps.weights).astype(dtype))
    shift = [e.array(np.where(taps.outside, fill, 0.0).astype(dtype))] if taps.outside.any() else []

    def function(t: Any, where: Any, weight: Any, *offset: Any) -> Any:
        shape = [count if i == axis else int(n) for i, n in enumerate(t.shape)]
        tap = te.reduce_axis((0, k), "tap")

        def element(*at: Any) -> Any:
            source = tirx.Cast("int64", where[at[axis], tap])
            return te.sum(t[(*at[:axis], source, *at[axis + 1 :])] * weight[at[axis], tap], axis=tap)

        total = te.compute(shape, element, name="taps")
        if not offset:
            return total
        return te.compute(shape, lambda *at: total[at] + offset[0][at[axis]], name="resize")

    return e.compute("resize", function, var, positions, weights, *shift, pattern=ANCHOR)
