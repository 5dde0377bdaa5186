"""remove: the network without the channels that were chosen."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.errors import InputError
from edgevision.rewrite.prune.channels import Channels
from edgevision.rewrite.prune.network import Network
from edgevision.rewrite.prune.removing import Mask, Removal, rewrite


class FrozenChannelError(InputError):
    """A channel that was to go must stay."""

    def __init__(self, channel_class: int, reason: str) -> None:
        self.channel_class, self.reason = channel_class, reason
        super().__init__(f"the channels of class {channel_class} cannot be removed: {reason}")


def remove(network: Network, channels: Channels, classes: Collection[int]) -> onnx.ModelProto:
    """A new normal-form proto without the channels in ``classes``.

    It computes what the original does when every Conv, ConvTranspose, Gemm and MatMul has its weights for the removed
    input channels set to zero; exactly, but for the order of sums.

    Raises: FrozenChannelError; InputError where blocks that are tied would keep different numbers of channels, or a
    tensor none.
    """
    for each in classes:
        if each in channels.frozen:
            raise FrozenChannelError(each, channels.frozen[each])
    keep = ~np.isin(channels.root, list(classes))
    _check(channels, keep)
    removal = Removal(network, channels, keep)
    result = onnx.ModelProto()
    result.CopyFrom(_without_weights(network.proto))
    graph = result.graph
    del graph.node[:]
    for node in network.nodes:
        op, inputs, attributes = rewrite(node, removal)
        domain, _, kind = op.rpartition(":")
        made = helper.make_node(kind, inputs, node.outputs, name=node.name, domain=domain)
        made.attribute.extend(_attribute(key, value) for key, value in sorted(attributes.items()))
        graph.node.append(made)
    for value in graph.value_info:
        for axis, extent in enumerate(removal.shape(value.name)):
            value.type.tensor_type.shape.dim[axis].dim_value = extent
    read = {name for node in graph.node for name in node.input}
    constants = sorted((name, value) for name, value in removal.constants.items() if name in read)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants)
    return result


def _check(channels: Channels, keep: Mask) -> None:
    for balance in channels.balances:
        counts = [int(keep[block].sum()) for block in balance.blocks]
        if len(set(counts)) > 1 or not counts[0]:
            raise InputError(f"the blocks of {balance.node!r} would keep {counts} channels; they keep as many each")
    for name, labels in channels.labels.items():
        if len(labels.ids) and not keep[labels.ids].any():
            raise InputError(f"no channel of tensor {name!r} would stay; keep at least one")


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    light = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    light.producer_name = proto.producer_name
    light.graph.name = proto.graph.name
    for field in ("node", "input", "output", "value_info"):
        getattr(light.graph, field).extend(getattr(proto.graph, field))
    return light


_FLOAT_LISTS = frozenset({"scales", "roi"})


def _attribute(key: str, value: object) -> onnx.AttributeProto:
    """The type of a list does not hang on its first element."""
    if isinstance(value, list | tuple) and (not value or key in _FLOAT_LISTS):
        kind = onnx.AttributeProto.FLOATS if key in _FLOAT_LISTS else onnx.AttributeProto.INTS
        return helper.make_attribute(key, [float(v) if key in _FLOAT_LISTS else v for v in value], attr_type=kind)
    return helper.make_attribute(key, value)
