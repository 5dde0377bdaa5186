"""Resize of every opset, and Upsample: full sizes and full scales."""

from __future__ import annotations

from edgevision.errors import UnsupportedOperatorError
from edgevision.ingest.graph import Graph, Node


def resize(graph: Graph, node: Node, opset: int) -> None:
    """sizes and scales of every axis.

    Where the file gives scales they are what the coordinate transform divides by, although the result's extent is
    floor(in * scale); where it gives sizes the scale is out / in (keep_aspect_ratio_policy: one scale for all axes).
    Opset 10 knew neither coordinate transforms nor rounding modes: asymmetric, floor.
    """
    before, after = graph.shape(node.inputs[0]), graph.shape(node.output)
    rank, a = len(before), node.attributes
    axes = [axis % rank for axis in a.pop("axes", None) or range(rank)]
    scales = [1.0] * rank
    if a.get("scales"):
        for axis, scale in zip(axes, a["scales"], strict=True):
            scales[axis] = float(scale)
    else:
        scales = [out / extent for out, extent in zip(after, before, strict=True)]
        policy = a.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            choose = min if policy == "not_larger" else max
            scale = choose(a["sizes"][i] / before[axis] for i, axis in enumerate(axes))
            scales = [scale if axis in axes else 1.0 for axis in range(rank)]
            if [int(extent * s) for extent, s in zip(before, scales, strict=True)] != list(after):
                reason = f"{policy} rounds its sizes up, so that no scale gives them"
                raise UnsupportedOperatorError(node.op, node.name, opset, reason)
    a.pop("keep_aspect_ratio_policy", None)
    roi = [float(value) for value in a.pop("roi", None) or []]
    if a.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        full = [0.0] * rank + [1.0] * rank
        for i, axis in enumerate(axes):
            full[axis], full[rank + axis] = roi[i], roi[len(axes) + i]
        a["roi"] = full
    if opset == 10 or node.op == "Upsample":
        a.update(coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        a["mode"] = {"bilinear": "linear"}.get(a.get("mode", "nearest"), a.get("mode", "nearest"))
    a.update(scales=scales, sizes=list(after))
    if node.op == "Upsample":
        graph.replace(node, "Resize", node.inputs, a)


SPELLINGS = {"Resize": resize, "Upsample": resize}
