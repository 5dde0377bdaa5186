"""An If whose condition is constant becomes the branch that is taken."""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper


def inline_constant_ifs(proto: onnx.ModelProto) -> bool:
    """Replace each If with a constant condition by its branch, in place; True if there was one."""
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    found = False
    for node in proto.graph.node:
        condition = constants.get(node.input[0]) if node.op_type == "If" else None
        if condition is None:
            nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
            continue
        taken = "then_branch" if bool(numpy_helper.to_array(condition).any()) else "else_branch"
        branch = next(attribute.g for attribute in node.attribute if attribute.name == taken)
        inner_nodes, inner_initializers = _inlined(node, branch)
        nodes += inner_nodes
        initializers += inner_initializers
        found = True
    if found:
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)
        proto.graph.initializer.extend(initializers)
    return found


def _inlined(node: onnx.NodeProto, branch: onnx.GraphProto) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The branch's nodes and initializers, its own names prefixed by the If's first output."""
    own = [t.name for t in branch.initializer] + [name for inner in branch.node for name in inner.output if name]
    renamed = {name: f"{node.output[0]}/{name}" for name in own}
    nodes = [_renamed(inner, renamed) for inner in branch.node]
    initializers = []
    for tensor in branch.initializer:
        copy = onnx.TensorProto.FromString(tensor.SerializeToString())
        copy.name = renamed[tensor.name]
        initializers.append(copy)
    for value, outer in zip(branch.output, node.output, strict=True):
        nodes.append(helper.make_node("Identity", [renamed.get(value.name, value.name)], [outer], name=outer))
    return nodes, initializers


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = f"{names[node.output[0]]}/{node.name}" if node.output and node.output[0] in names else node.name
    for field in (copy.input, copy.output):
        for index, name in enumerate(field):
            field[index] = names.get(name, name)
    for attribute in copy.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            renamed = [_renamed(inner, names) for inner in graph.node]
            del graph.node[:]
            graph.node.extend(renamed)
            for value in graph.output:
                value.name = names.get(value.name, value.name)
    return copy
