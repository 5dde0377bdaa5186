"""A normal-form graph as a torch module: the same operators, its weights as parameters under their own names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edgevision.errors import InputError
from edgevision.rewrite.prune.finetune import operators
from edgevision.rewrite.prune.finetune.normalization import Moments, Normalization, behind, by_filter
from edgevision.rewrite.prune.network import Array, Network, Node

Watch = Callable[[Node, Tensor], None]

WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (0, 1), "PRelu": (1,),
    "InstanceNormalization": (1, 2), "LayerNormalization": (1, 2), "GroupNormalization": (1, 2),
    "edgevision:ChannelLayerNormalization": (1, 2), "Add": (1,), "Mul": (1,),
}  # fmt: skip
"""Operator -> inputs that are trained where they are constant; of Add and Mul only those of several elements that do not
touch the network's input: single numbers belong to an activation's formula, and the input's to its preprocessing."""

_STATISTICS = ("scale", "shift", "mean", "variance")


class NotAClassifierError(InputError):
    """A network that does not give one score a class."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}; fine-tuning takes classifiers: one input of images, one output of a score a class")


class TorchNetwork(nn.Module):
    """Runs ``proto`` on any number of images: [N, ..] -> scores [N, classes], before a Softmax that ends the network.

    In training its BatchNormalizations, and those that `normalise` puts behind its convolutions, use the batch.

    Raises: UntrainableOperatorError, NotAClassifierError.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        super().__init__()
        self.network = network = Network(proto)
        _check_border(network)
        for node in network.nodes:
            operators.check(node)
        self.readers = Counter(name for node in network.nodes for name in node.inputs)
        self.names = tuple(dict.fromkeys(name for node in network.nodes for name in _trained(node, network)))
        self.weights = nn.ParameterList(nn.Parameter(_tensor(network.constant(name))) for name in self.names)
        self.fixed = {
            name: _tensor(network.constant(name)) for name in network.tensors if name not in set(self.names)
        }
        self.norms = nn.ModuleList()
        self.norm_of: dict[str, Normalization] = {}
        for node in network.nodes:
            if node.op == "BatchNormalization":
                scale, shift, mean, variance = (_tensor(network.constant(name)).float() for name in node.inputs[1:])
                self._add(node, Normalization(scale, shift, mean, variance, node.attributes["epsilon"]))
        self._last = _last_reads(network)

    @property
    def classes(self) -> int:
        return int(self.network.shapes[self.network.outputs[0]][1])

    def value(self, name: str) -> Tensor:
        """A parameter or a constant."""
        if name in self.fixed:
            return self.fixed[name]
        parameter: Tensor = self.weights[self.names.index(name)]
        return parameter

    def forward(self, images: Tensor, watch: Watch | None = None) -> Tensor:
        """``watch`` sees what every Conv and ConvTranspose gives, before its BatchNormalization."""
        values: dict[str, Tensor] = dict(zip(self.names, self.weights, strict=True))
        values.update(self.fixed)
        values[self.network.inputs[0]] = images
        end = self.network.nodes[-1]
        for node in self.network.nodes:
            if node is end and node.op == "Softmax":
                return values[node.inputs[0]].flatten(1)
            result = self._run(node, values, watch)
            outputs = (result,) if isinstance(result, Tensor) else result
            values.update(zip(node.outputs, outputs, strict=True))
            for name in self._last[node.name]:
                del values[name]
        return values[self.network.outputs[0]].flatten(1)

    def _run(self, node: Node, values: Mapping[str, Tensor], watch: Watch | None) -> Tensor | tuple[Tensor, ...]:
        norm = self.norm_of.get(node.name)
        if node.op == "BatchNormalization" and norm is not None:
            normal: Tensor = norm(values[node.inputs[0]])
            return normal
        inputs = [values[name] for name in node.inputs if name]
        if norm is not None:
            inputs = inputs[:2]
        result: Tensor = operators.OPERATORS[node.op](node, inputs, self.network.shapes[node.output])
        if watch is not None and node.op in ("Conv", "ConvTranspose"):
            watch(node, result)
        return result if norm is None else norm(result)

    def normalise(self, batches: Iterable[Tensor] | None) -> None:
        """BatchNormalization behind every convolution that can have one, see `normalization`; the function stays.

        None for ``batches``: for weights that are to be drawn anew, with scale 1 and shift 0.
        """
        from edgevision.rewrite.prune.finetune.normalization import fresh

        nodes = [node for node in self.network.nodes if self._takes_normalization(node)]
        if batches is None:
            for node in nodes:
                self._add(node, fresh(self.network.shapes[node.output][1]))
            return
        seen = {node.name: Moments() for node in nodes}

        def watch(node: Node, result: Tensor) -> None:
            if node.name in seen:
                seen[node.name].add(result)

        self.eval()
        with torch.no_grad():
            for images in batches:
                self(images, watch)
            for node in nodes:
                weight, *bias = (self.value(name) for name in node.inputs[1:])
                stretched, norm = behind(node, weight, bias[0] if bias else None, seen[node.name])
                weight.copy_(stretched)
                self._add(node, norm)

    def recalibrate(self, batches: Iterable[Tensor]) -> None:
        """Every mean and variance as over all ``batches``, each batch normalised by its own."""
        norms = [norm for norm in self.norms if isinstance(norm, Normalization)]
        momenta = [norm.momentum for norm in norms]
        self.train()
        with torch.no_grad():
            for number, images in enumerate(batches, 1):
                for norm in norms:
                    norm.momentum = 1.0 / number
                self(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.eval()

    def to_proto(self) -> onnx.ModelProto:
        """The graph with the weights that are here now: the same nodes and names, BatchNormalizations folded again.

        A convolution without bias gets one, and constants that nodes shared and no longer can get names of their own.
        """
        values = {name: weight.detach().numpy() for name, weight in zip(self.names, self.weights, strict=True)}
        result = onnx.ModelProto()
        result.CopyFrom(self.network.proto)
        for node, written in zip(self.network.nodes, result.graph.node, strict=True):
            norm = self.norm_of.get(node.name)
            if norm is None:
                continue
            parts = self._folded(node, norm)
            for place, (suffix, value) in enumerate(parts, 1):
                name = node.inputs[place] if place < len(node.inputs) else ""
                if not name or self.readers[name] > 1:
                    name = f"{node.name}/{suffix}"
                values[name] = value.detach().float().numpy()
                written.input[place:] = [name, *written.input[place + 1 :]]
        read = {name for node in result.graph.node for name in node.input}
        constants = {name: self.network.constant(name) for name in self.network.tensors} | values
        del result.graph.initializer[:]
        result.graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(constants[name]), name) for name in sorted(read & constants.keys())
        )
        return result

    def _folded(self, node: Node, norm: Normalization) -> list[tuple[str, Tensor]]:
        if node.op == "BatchNormalization":
            return [(suffix, getattr(norm, suffix)) for suffix in _STATISTICS]
        factor, offset = norm.affine()
        return [("weight", by_filter(node, self.value(node.inputs[1]).detach(), factor)), ("bias", offset)]

    def _add(self, node: Node, norm: Normalization) -> None:
        self.norms.append(norm)
        self.norm_of[node.name] = norm

    def _takes_normalization(self, node: Node) -> bool:
        """A convolution of more than one pixel (that leaves out squeeze-and-excitation) with weights of its own."""
        if node.op not in ("Conv", "ConvTranspose") or node.name in self.norm_of:
            return False
        owned = all(self.network.is_constant(name) for name in node.inputs[1:]) and self.readers[node.inputs[1]] == 1
        return owned and int(np.prod(self.network.shapes[node.output][2:])) > 1


def scores(network: TorchNetwork, images: Array) -> Array:
    """What the file's network gives for ``images`` [N, ..] in inference: [N, classes]."""
    network.eval()
    with torch.no_grad():
        found = network(torch.from_numpy(images))
        end = network.network.nodes[-1]
        result: Array = (torch.softmax(found, 1) if end.op == "Softmax" else found).numpy()
    return result


def _check_border(network: Network) -> None:
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise NotAClassifierError(f"the network has {len(network.inputs)} inputs and {len(network.outputs)} outputs")
    kind = network.proto.graph.input[0].type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT:
        raise NotAClassifierError(f"the input is {onnx.TensorProto.DataType.Name(kind)}, not FLOAT")
    shape = network.shapes[network.outputs[0]]
    if len(shape) < 2 or shape[1] < 2 or int(np.prod(shape[2:])) != 1:
        raise NotAClassifierError(f"the output {network.outputs[0]!r} has shape {list(shape)}")


def _trained(node: Node, network: Network) -> list[str]:
    found = []
    for place in WEIGHTS.get(node.op, ()):
        name = node.inputs[place] if place < len(node.inputs) else ""
        if not network.is_constant(name) or network.constant(name).dtype != np.float32:
            continue
        scalar_or_input = network.constant(name).size == 1 or node.inputs[0] in network.inputs
        if not (node.op in ("Add", "Mul") and scalar_or_input):
            found.append(name)
    return found


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array.copy())


def _last_reads(network: Network) -> dict[str, list[str]]:
    """Node -> tensors that nothing reads after it."""
    last = {name: node.name for node in network.nodes for name in node.inputs if name and not network.is_constant(name)}
    found: dict[str, list[str]] = {node.name: [] for node in network.nodes}
    for name, node in last.items():
        if name not in network.outputs:
            found[node].append(name)
    return found
