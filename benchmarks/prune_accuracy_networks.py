"""Networks of the zoo's blocks for grey 28x28 images: small enough to be trained on one core in minutes.

    python -m benchmarks.prune_accuracy_networks NAME FILE    writes one as ONNX, with weights that mean nothing
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from edgevision.zoo.blocks import ConvBN, Head
from edgevision.zoo.folding import deploy
from edgevision.zoo.ghostnet import Bottleneck as GhostBottleneck
from edgevision.zoo.ghostnet import _Row as GhostRow
from edgevision.zoo.mobilenetv3 import Bottleneck as MobileBottleneck
from edgevision.zoo.mobilenetv3 import _Row as MobileRow

CLASSES = 10
INPUT = (1, 1, 28, 28)

_GHOST = (
    GhostRow(3, 32, 16, 0, 1),
    GhostRow(3, 64, 32, 0, 2),
    GhostRow(3, 96, 32, 0, 1),
    GhostRow(5, 96, 64, 0.25, 2),
    GhostRow(5, 160, 64, 0.25, 1),
)
_MOBILE = (
    MobileRow(3, 32, 16, False, False, 1),
    MobileRow(3, 64, 24, False, False, 2),
    MobileRow(3, 96, 24, True, True, 1),
    MobileRow(5, 96, 48, True, True, 2),
    MobileRow(5, 192, 48, True, True, 1),
)


def ghostnet() -> nn.Module:
    """[N, 1, 28, 28] -> [N, 10]: GhostNet's modules, bottlenecks and squeeze-and-excitation."""
    channels = 16
    layers: list[nn.Module] = [ConvBN(1, channels, 3, stride=2, activation=nn.ReLU)]
    for row in _GHOST:
        layers.append(GhostBottleneck(channels, row.expanded, row.outputs, row))
        channels = row.outputs
    return nn.Sequential(*layers, ConvBN(channels, 160, 1, activation=nn.ReLU), Head(160, CLASSES))


def mobilenetv3() -> nn.Module:
    """[N, 1, 28, 28] -> [N, 10]: inverted residuals with squeeze-and-excitation and hard-swish."""
    channels = 16
    layers: list[nn.Module] = [ConvBN(1, channels, 3, stride=2, activation=nn.Hardswish)]
    for row in _MOBILE:
        layers.append(MobileBottleneck(channels, row))
        channels = row.outputs
    return nn.Sequential(*layers, ConvBN(channels, 192, 1, activation=nn.Hardswish), Head(192, CLASSES))


NETWORKS: dict[str, Callable[[], nn.Module]] = {"ghostnet": ghostnet, "mobilenetv3": mobilenetv3}


def deployed(name: str) -> nn.Module:
    """In inference form, BatchNormalizations folded; no two parameters are equal, so that an exporter shares none."""
    torch.manual_seed(0)
    network = deploy(NETWORKS[name]().eval()).requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(0, 0.1)
    return network


def save(network: nn.Module, path: str) -> None:
    """[1, 1, 28, 28] "image" -> [1, 10] "scores"; initializers have the parameters' names, but the classifier's."""
    names = {"input_names": ["image"], "output_names": ["scores"]}
    torch.onnx.export(network, (torch.zeros(INPUT),), path, dynamo=False, opset_version=17, **names)  # type: ignore[arg-type]


def load(network: nn.Module, path: str) -> None:
    """Fill ``network`` with the weights of the trained ``path``, whose nodes are those of `save`."""
    graph = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values = {}
    for node in graph.node:
        if node.op_type == "Conv":
            values[node.input[1]] = constants[node.input[1]]
            values[node.input[1].replace(".weight", ".bias")] = constants[node.input[2]]
        elif node.op_type == "Gemm":
            weight = constants[node.input[1]]
            transposed = any(each.name == "transB" and each.i for each in node.attribute)
            head = next(key for key in network.state_dict() if key.endswith("classifier.weight"))
            values[head] = weight if transposed else weight.T
            values[head.replace(".weight", ".bias")] = constants[node.input[2]]
    network.load_state_dict({name: torch.tensor(value) for name, value in values.items()})


if __name__ == "__main__":
    save(deployed(sys.argv[1]), sys.argv[2])
