"""A Network as a ModelProto: what changed in ONNX's own operators, all else as it was."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from edgevision.rewrite.reparam.network import Affine, Network, Node, Opaque, Wire
from edgevision.rewrite.reparam.reading import Reading
from edgevision.rewrite.reparam.spelling import Writer, write_affine

_FIELDS = ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string")


@dataclass(slots=True)
class Emitted:
    """The model that was written, and which new weights belong to which tensor: output -> names of initializers."""

    proto: onnx.ModelProto
    kernels: dict[str, list[str]] = field(default_factory=dict)


def is_unchanged(network: Network) -> bool:
    """True if every node is an original one and none only hands its input on."""
    return all(_is_original(node) and not _handed_on(node, network) for node in network.nodes.values())


def emit(proto: onnx.ModelProto, reading: Reading, opset: int, *, exact: bool = False) -> Emitted:
    """``proto`` with the network's nodes; ``exact`` keeps new weights in float64."""
    network = reading.network
    aliases = _aliases(network)
    taken = _names(proto)
    nodes: list[NodeProto] = []
    initializers: list[TensorProto] = []
    kernels: dict[str, list[str]] = {}
    for node in _topological(network):
        if _is_original(node) and not _to_be_spelled(node, network):
            written: Iterable[NodeProto] = _original(node)
        elif isinstance(node, Affine):
            element = TensorProto.DOUBLE if exact else network.shapes.types[node.output]
            writer = Writer(opset=opset, element=element, taken=taken, stem=node.output)
            write_affine(node, writer, network)
            written, kernels[node.output] = writer.nodes, writer.kernels
            initializers += writer.initializers
        else:
            assert isinstance(node, Wire)
            written = _rewired(node, taken)
        nodes += [_renamed(each, aliases) for each in written]
    return Emitted(proto=_assembled(proto, nodes, initializers), kernels=kernels)


def _is_original(node: Node) -> bool:
    return not (isinstance(node, Affine) and not node.protos) and not (isinstance(node, Wire) and node.moved)


def _original(node: Node) -> tuple[NodeProto, ...]:
    return (node.proto,) if isinstance(node, Opaque) else node.protos


def _handed_on(node: Node, network: Network) -> bool:
    """True for a sum that is its only input, under a name that the graph's border does not need."""
    return (
        isinstance(node, Affine)
        and len(node.terms) == 1
        and node.terms[0].form.identity
        and node.output not in network.protected
    )


def _to_be_spelled(node: Node, network: Network) -> bool:
    """True for a BatchNormalization some of whose readers took it in: what is left of it is a factor and a term."""
    if not isinstance(node, Affine) or node.protos[0].op_type != "BatchNormalization":
        return False
    return not network.has_first_readers(node.output)


def _aliases(network: Network) -> dict[str, str]:
    direct = {node.output: node.terms[0].tensor for node in network.nodes.values()
              if isinstance(node, Affine) and _handed_on(node, network)}  # fmt: skip
    resolved = {}
    for name, source in direct.items():
        while source in direct:
            source = direct[source]
        resolved[name] = source
    return resolved


def _topological(network: Network) -> Iterator[Node]:
    """Nodes in an order in which they can run, the original order wherever that is one."""
    producer = network.producer
    waiting = {key: {producer[t] for t in node.reads if t in producer} for key, node in network.nodes.items()}
    followers: dict[int, list[int]] = {}
    for key, producers in waiting.items():
        for each in producers:
            followers.setdefault(each, []).append(key)
    ready = [(network.nodes[key].position, key) for key, producers in waiting.items() if not producers]
    heapq.heapify(ready)
    while ready:
        _, key = heapq.heappop(ready)
        yield network.nodes[key]
        for follower in followers.get(key, ()):
            waiting[follower].discard(key)
            if not waiting[follower]:
                heapq.heappush(ready, (network.nodes[follower].position, follower))


def _rewired(wire: Wire, taken: set[str]) -> list[NodeProto]:
    """The wire's nodes reading and writing other tensors; tensors between them get new names."""
    renamed: dict[str, str] = {}
    written = []
    for at, proto in enumerate(wire.protos):
        node = NodeProto()
        node.CopyFrom(proto)
        last = at == len(wire.protos) - 1
        if at == 0:
            node.input[: len(wire.reads)] = wire.reads
        else:
            node.input[0] = renamed[proto.input[0]]
        if last:
            node.output[:] = wire.writes
        else:
            renamed[proto.output[0]] = fresh(f"{wire.writes[0]}/{proto.op_type}", taken)
            node.output[0] = renamed[proto.output[0]]
        written.append(node)
    return written


def fresh(hint: str, taken: set[str]) -> str:
    """``hint``, with a number where it is taken; taken from now on."""
    name, serial = hint, 0
    while name in taken:
        serial += 1
        name = f"{hint}_{serial}"
    taken.add(name)
    return name


def _renamed(node: NodeProto, aliases: dict[str, str]) -> NodeProto:
    if not any(name in aliases for name in node.input):
        return node
    changed = NodeProto()
    changed.CopyFrom(node)
    changed.input[:] = [aliases.get(name, name) for name in node.input]
    return changed


def _names(proto: onnx.ModelProto) -> set[str]:
    graph = proto.graph
    names = {value.name for value in (*graph.input, *graph.output, *graph.value_info)}
    names.update(tensor.name for tensor in graph.initializer)
    names.update(name for node in graph.node for name in (*node.input, *node.output, node.name))
    return names


def _assembled(proto: onnx.ModelProto, nodes: list[NodeProto], initializers: list[TensorProto]) -> onnx.ModelProto:
    """``proto`` with other nodes; constants that were read before and are not read now go."""
    graph = proto.graph
    read_before = {name for node in graph.node for name in node.input}
    border = {value.name for value in graph.output} | _inside(graph.node)
    while True:
        read_now = {name for node in nodes for name in node.input} | border
        kept = [node for node in nodes if any(n in read_now for n in node.output) or not read_before & set(node.output)]
        if len(kept) == len(nodes):
            break
        nodes = kept
    result = onnx.ModelProto(opset_import=proto.opset_import, metadata_props=proto.metadata_props,
                             functions=proto.functions, training_info=proto.training_info)  # fmt: skip
    for name in _FIELDS:
        if proto.HasField(name):
            setattr(result, name, getattr(proto, name))
    written = result.graph
    written.name, written.doc_string = graph.name, graph.doc_string
    for name in ("input", "output", "sparse_initializer", "quantization_annotation", "metadata_props"):
        getattr(written, name).extend(getattr(graph, name))
    written.node.extend(nodes)
    written.initializer.extend(
        t for t in graph.initializer if t.name in read_now or t.name not in read_before
    )  # fmt: skip
    initializers.reverse()
    while initializers:  # each is freed once it is copied: weights are not held twice
        written.initializer.add().CopyFrom(initializers.pop())
    known = {name for node in nodes for name in node.output} | {t.name for t in written.initializer}
    written.value_info.extend(value for value in graph.value_info if value.name in known)
    return result


def _inside(nodes: Iterable[NodeProto]) -> set[str]:
    """Names that the bodies of control flow read."""
    found: set[str] = set()
    for node in nodes:
        for attribute in node.attribute:
            bodies = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else list(attribute.graphs)
            for body in bodies:
                found.update(name for inner in body.node for name in inner.input)
                found.update(value.name for value in body.output)
                found |= _inside(body.node)
    return found


def kernel_range(tensors: Iterable[TensorProto]) -> float:
    """Largest absolute weight over the root mean square, of the worst tensor: what a step of int8 has to span."""
    worst = 0.0
    for tensor in tensors:
        weight = numpy_helper.to_array(tensor).astype(np.float64)
        rms = float(np.sqrt(np.mean(weight * weight))) if weight.size else 0.0
        worst = max(worst, float(np.abs(weight).max()) / rms if rms else 0.0)
    return worst
