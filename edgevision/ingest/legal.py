"""What a normal-form ModelProto must satisfy: the specification in `spelling`, as a check between stages."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import defs

from edgevision.ingest.expansion import EXPANDED
from edgevision.ingest.proto_types import is_static
from edgevision.ingest.spelling.moved import COMMUTATIVE, EDGEVISION_DOMAIN, MOVED, NORMAL_OPSET, OMITTED

OWN_OPERATORS = frozenset({"Silu", "ChannelShuffle", "ChannelLayerNormalization"})
RESPELLED = frozenset({"Constant", "Flatten", "Squeeze", "Unsqueeze", "Upsample", "Scatter", "CastLike", "Dropout",
                       "Sum", "Mean", "Shape", "Size"})  # fmt: skip
# What ingest does away with: no later stage sees these, but Identity at the border.
ACCEPTED_BY_REWRITING = tuple(sorted({*RESPELLED, *EXPANDED, "ConstantOfShape", "Identity", "Range"}))


def flaws(proto: onnx.ModelProto) -> list[str]:
    """Every way in which ``proto`` is not in the normal form, one sentence each; [] if it is."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    outputs = {value.name for value in proto.graph.output}
    return [
        *_graph_flaws(proto),
        *(flaw for node in proto.graph.node for flaw in _node_flaws(node, constants, outputs)),
    ]


def _graph_flaws(proto: onnx.ModelProto) -> Iterator[str]:
    graph = proto.graph
    imports = {entry.domain: entry.version for entry in proto.opset_import}
    if imports != {"": NORMAL_OPSET, EDGEVISION_DOMAIN: 1}:
        yield f"it imports {imports}"
    names = [node.name for node in graph.node]
    if len(set(names)) != len(names) or not all(names):
        yield "node names are not unique"
    written = {name for node in graph.node for name in node.output}
    yield from (f"output {v.name!r} is not written by a node" for v in graph.output if v.name not in written)
    constants = {tensor.name for tensor in graph.initializer}
    read = {name for node in graph.node for name in node.input}
    yield from (f"initializer {name!r} is an input" for name in constants & {value.name for value in graph.input})
    yield from (f"initializer {name!r} is not read" for name in constants - read)
    yield from _order_flaws(graph, constants)


def _order_flaws(graph: onnx.GraphProto, constants: set[str]) -> Iterator[str]:
    typed = {value.name for value in [*graph.input, *graph.value_info, *graph.output] if is_static(value)}
    known = constants | {value.name for value in graph.input}
    for node in graph.node:
        unknown = [name for name in node.input if name and name not in known]
        if unknown:
            yield f"{node.name!r} reads {unknown} before anything writes them"
        known.update(node.output)
        for name in node.output:
            if name and name not in typed:
                yield f"{name!r} has no static type"


def _node_flaws(node: onnx.NodeProto, constants: set[str], outputs: set[str]) -> Iterator[str]:
    if node.domain == EDGEVISION_DOMAIN:
        if node.op_type not in OWN_OPERATORS:
            yield f"{node.name!r}: no operator {node.op_type} in domain edgevision"
        return
    if node.op_type in RESPELLED or (node.op_type == "Identity" and node.output[0] not in outputs):
        yield f"{node.name!r}: {node.op_type} has another spelling"
    present = {attribute.name for attribute in node.attribute}
    schema = defs.get_schema(node.op_type, NORMAL_OPSET, "")
    wanted = {name for name, attribute in schema.attributes.items() if attribute.default_value.name} - OMITTED
    if wanted - present:
        yield f"{node.name!r}: attributes {sorted(wanted - present)} are not written out"
    if present & OMITTED:
        yield f"{node.name!r}: attributes {sorted(present & OMITTED)} are not resolved"
    if any(
        index < len(node.input) and node.input[index]
        for index in MOVED.get(node.op_type, {})
        if node.op_type != "OneHot"
    ):
        yield f"{node.name!r}: {node.op_type} has a constant input that should be an attribute"
    if node.op_type != "Identity" and node.input and all(name in constants for name in node.input):
        yield f"{node.name!r}: all inputs are constant"
    if node.op_type in COMMUTATIVE and node.input[0] in constants:
        yield f"{node.name!r}: the constant comes first"
