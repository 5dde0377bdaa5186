"""Slice, Pad, Split, and the operators that take indices."""

from __future__ import annotations

import numpy as np

from edgevision.errors import UnsupportedOperatorError
from edgevision.ingest.graph import Graph, Node


def slice_(graph: Graph, node: Node, opset: int) -> None:
    """Axes sorted, starts and ends clamped to the extents as ONNX says (negative ones count from the end)."""
    del opset
    shape = graph.shape(node.inputs[0])
    a = node.attributes
    axes = [axis % len(shape) for axis in a.get("axes") or range(len(a["starts"]))]
    rows = []
    for axis, start, end, step in zip(axes, a["starts"], a["ends"], a.get("steps") or [1] * len(axes), strict=True):
        rows.append((axis, *slice(start, end, step).indices(shape[axis]), step))
    rows.sort()
    a.update(
        axes=[r[0] for r in rows], starts=[r[1] for r in rows], ends=[r[2] for r in rows], steps=[r[4] for r in rows]
    )


def pad(graph: Graph, node: Node, opset: int) -> None:
    """pads for every axis, value of the tensor's type; negative pads become a Slice before the Pad."""
    shape = graph.shape(node.inputs[0])
    rank, a = len(shape), node.attributes
    axes = [axis % rank for axis in a.pop("axes", None) or range(rank)]
    given, count = a["pads"], len(axes)
    pads = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        pads[axis], pads[rank + axis] = given[i], given[count + i]
    if min(pads) < 0 and a.get("mode", "constant") != "constant":
        raise UnsupportedOperatorError("Pad", node.name, opset, f"pads are negative in mode {a['mode']!r}")
    source = node.inputs[0]
    if min(pads) < 0:
        starts = [max(-begin, 0) for begin in pads[:rank]]
        ends = [extent - max(-end, 0) for extent, end in zip(shape, pads[rank:], strict=True)]
        cut = tuple(end - start for start, end in zip(starts, ends, strict=True))
        bounds = {"starts": starts, "ends": ends, "axes": list(range(rank)), "steps": [1] * rank}
        source = graph.add("Slice", [source], cut, bounds, at=node)
    number = float if np.issubdtype(graph.dtype(node.output), np.floating) else int
    a.update(pads=[max(p, 0) for p in pads], value=number(a.get("value", 0)))
    graph.set_inputs(node, [source])


def split(graph: Graph, node: Node, opset: int) -> None:
    """The sizes of all parts."""
    del opset
    axis = node.attributes.setdefault("axis", 0)
    node.attributes.pop("num_outputs", None)
    node.attributes["split"] = [graph.shape(output)[axis] for output in node.outputs]


def gather(graph: Graph, node: Node, opset: int) -> None:
    """Constant indices count from the start."""
    del opset
    axis = node.attributes.setdefault("axis", 0)
    _count_from_start(graph, node, graph.shape(node.inputs[0])[axis])


def gather_nd(graph: Graph, node: Node, opset: int) -> None:
    """Constant index tuples count from the start of each axis."""
    del opset
    batch = node.attributes.get("batch_dims", 0)
    depth = graph.shape(node.inputs[1])[-1]
    _count_from_start(graph, node, np.array(graph.shape(node.inputs[0])[batch : batch + depth]))


def scatter(graph: Graph, node: Node, opset: int) -> None:
    """Scatter (opset 9, 10) -> ScatterElements."""
    new = graph.replace(node, "ScatterElements", node.inputs, node.attributes) if node.op == "Scatter" else node
    gather(graph, new, opset)


def _count_from_start(graph: Graph, node: Node, extent: int | np.ndarray) -> None:
    indices = graph.constants.get(node.inputs[1])
    if indices is not None and indices.size and indices.min() < 0:
        counted = np.where(indices < 0, indices + extent, indices).astype(indices.dtype)
        graph.set_inputs(node, [node.inputs[0], graph.constant(counted, node.inputs[1]), *node.inputs[2:]])


def grid_sample(graph: Graph, node: Node, opset: int) -> None:
    """Mode names as from opset 20."""
    del graph, opset
    mode = node.attributes.get("mode", "linear")
    node.attributes["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)


SPELLINGS = {
    "Slice": slice_,
    "Pad": pad,
    "Split": split,
    "Gather": gather,
    "GatherElements": gather,
    "GatherND": gather_nd,
    "Scatter": scatter,
    "ScatterElements": scatter,
    "ScatterND": gather_nd,
    "GridSample": grid_sample,
}
