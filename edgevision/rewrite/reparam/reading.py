"""A ModelProto as a Network, and why some of its operators of a linear kind stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import onnx

from edgevision.rewrite.reparam import arithmetic, windows, wires
from edgevision.rewrite.reparam.constants import Constants
from edgevision.rewrite.reparam.cost import CostModel
from edgevision.rewrite.reparam.extents import Shapes
from edgevision.rewrite.reparam.network import Affine, Network, Node, Opaque, Wire
from edgevision.rewrite.reparam.price import price
from edgevision.rewrite.reparam.scene import Leaf, Refusal, Scene

LINEAR: dict[str, Callable[[onnx.NodeProto, Scene], Leaf | Refusal | None]] = {
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "AveragePool": windows.average_pool,
    "Pad": windows.pad,
    "Gemm": windows.gemm,
    "MatMul": windows.matmul,
    "BatchNormalization": arithmetic.batch_norm,
    "Add": arithmetic.arithmetic,
    "Sub": arithmetic.arithmetic,
    "Mul": arithmetic.arithmetic,
    "Div": arithmetic.arithmetic,
    "Sum": arithmetic.sum_of,
    "Identity": arithmetic.nothing,
    "Dropout": arithmetic.nothing,
}
WIRES = {
    "GlobalAveragePool": wires.mean,
    "ReduceMean": wires.mean,
    "Transpose": wires.transpose,
    "Flatten": wires.reshape,
    "Reshape": wires.reshape,
    "Squeeze": wires.reshape,
    "Unsqueeze": wires.reshape,
    "Concat": wires.concat,
    "Split": wires.split,
}


@dataclass(slots=True)
class Reading:
    """The network, its constants, and refusals: (names of the nodes, reason)."""

    network: Network
    constants: Constants
    refusals: list[tuple[str, str]] = field(default_factory=list)


def read(proto: onnx.ModelProto, opset: int, model: CostModel) -> Reading:
    """Every node of the graph as Affine, Wire or Opaque."""
    constants = Constants(proto.graph, opset)
    shapes = Shapes(proto, constants)
    mixed = frozenset(node.input[0] for node in proto.graph.node
                      if node.op_type == "MatMul" and len(shapes.shapes.get(node.input[0], ())) > 2)  # fmt: skip
    scene = Scene(constants=constants, shapes=shapes, opset=opset, axes={}, last=mixed)
    inner = {name for node in proto.graph.node for body in _bodies(node) for name in _read_inside(body)}
    protected = frozenset({value.name for value in proto.graph.output} | inner)
    shuffles = _shuffles(proto.graph, scene, protected)
    refusals: list[tuple[str, str]] = []
    nodes: list[Node] = []
    for index, node in enumerate(proto.graph.node):
        if index in shuffles and shuffles[index] is None:
            continue
        found = shuffles.get(index) or _recognised(node, index, scene)
        if isinstance(found, Refusal):
            refusals.append((label(node), found.reason))
            found = None
        if isinstance(found, Affine):
            scene.axes[found.output] = found.axis
        elif isinstance(found, Wire):
            scene.axes.update(dict.fromkeys(found.writes, found.axis_out))
        nodes.append(found or _opaque(node, index, constants))
    network = Network(nodes, shapes, protected, lambda each, net: price(each, net, model))
    return Reading(network=network, constants=constants, refusals=refusals)


def label(node: onnx.NodeProto) -> str:
    """The node's name, or what it writes where it has none."""
    return node.name or f"{node.op_type} of {node.output[0]!r}"


def _recognised(node: onnx.NodeProto, index: int, scene: Scene) -> Affine | Wire | Refusal | None:
    if node.domain not in ("", "ai.onnx") or not node.output or node.output[0] in scene.constants:
        return None
    if node.op_type in WIRES:
        return WIRES[node.op_type](node, scene, (index, 0))
    if node.op_type not in LINEAR or scene.shape(node.output[0]) is None or not scene.is_floating(node.output[0]):
        return None
    leaf = LINEAR[node.op_type](node, scene)
    if not isinstance(leaf, Leaf):
        return leaf
    if any(term.tensor in scene.constants or scene.shape(term.tensor) is None for term in leaf.terms):
        return None
    return Affine(
        position=(index, 0), output=node.output[0], axis=leaf.axis, terms=leaf.terms, protos=(node,),
        sources=(label(node),),
    )  # fmt: skip


def _opaque(node: onnx.NodeProto, index: int, constants: Constants) -> Opaque:
    reads = tuple(dict.fromkeys(name for name in node.input if name and name not in constants))
    return Opaque(position=(index, 0), proto=node, reads=reads, writes=tuple(name for name in node.output if name))


def _shuffles(graph: onnx.GraphProto, scene: Scene, protected: frozenset[str]) -> dict[int, Wire | None]:
    """Where each Reshape, Transpose, Reshape begins that shuffles channels; None for its other two nodes."""
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(index)
    found: dict[int, Wire | None] = {}
    for index, node in enumerate(graph.node):
        chain = [index]
        for op in ("Transpose", "Reshape"):
            following = readers.get(graph.node[chain[-1]].output[0], []) if node.op_type == "Reshape" else []
            if len(following) != 1 or graph.node[following[0]].op_type != op:
                break
            chain.append(following[0])
        nodes = [graph.node[at] for at in chain]
        if len(chain) != 3 or any(each.output[0] in protected for each in nodes[:-1]):
            continue
        wire = wires.shuffle(nodes, scene, (chain[-1], 0))
        if wire is not None:
            found.update({chain[0]: None, chain[1]: None, chain[2]: wire})
    return found


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _read_inside(body: onnx.GraphProto) -> Iterator[str]:
    for node in body.node:
        yield from node.input
        for deeper in _bodies(node):
            yield from _read_inside(deeper)
    yield from (value.name for value in body.output)
