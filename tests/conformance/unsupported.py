"""Which backend tests are refused, and why: by name, by the operators or types they use. Tested in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import onnx
from onnx import TensorProto, defs, helper

from edgevision.ingest.admission import DTYPES, NEWEST_OPSET
from tests.conformance.cases import Case

OPERATORS: dict[str, frozenset[str]] = {
    "control flow that depends on data": frozenset({"Loop", "Scan"}),
    "quantized networks": frozenset({
        "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
        "QuantizeLinear",
    }),
    "recurrent networks": frozenset({"GRU", "LSTM", "RNN"}),
    "training: losses, gradients, optimisers": frozenset({
        "Adagrad", "Adam", "Gradient", "Momentum", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss",
    }),
    "random numbers": frozenset({"Bernoulli", "RandomUniformLike"}),
    "shapes that depend on values": frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"}),
    "signals and text": frozenset({"DFT", "STFT", "TfIdfVectorizer"}),
    "sequences and optional values": frozenset({
        "ConcatFromSequence", "OptionalGetElement", "SequenceAt", "SequenceConstruct",
        "SequenceEmpty", "SequenceInsert", "SplitToSequence",
    }),
    "files of images": frozenset({"ImageDecoder"}),
    "not lowered: no network asked for it yet": frozenset({
        "Col2Im", "DeformConv", "Det", "EyeLike", "MaxUnpool", "RoiAlign", "RotaryEmbedding",
    }),
}  # fmt: skip

NAMES: dict[str, tuple[str, ...]] = {
    "training: losses, gradients, optimisers": (
        "test_batchnorm_*_training_mode", "test_dropout_default_mask*", "test_training_dropout*",
    ),
    "a form of the operator that is newer than opset 23": (
        "test_attention_*local_window*", "test_attention_bidirectional_window", "test_attention_4d_*padded_kv",
        "test_attention_4d_*nonpad_*", "test_bitshift_*_int*", "test_spacetodepth_*_mode_example",
    ),
    "an optional input left out between two that are given": ("test_attention_4d_causal_with_past_and_present",),
    "shapes that depend on values": ("test_expand_shape_model*",),
    "control flow that depends on data": ("test_if",),
    "not_smaller rounds sizes up, so that no scale gives them": ("test_resize_downsample_sizes_nearest_not_smaller",),
    "tensors without elements": tuple(
        f"test_rotary_embedding{form}_expanded"
        for form in ("", "_3d_input", "_interleaved", "_no_position_ids", "_no_position_ids_interleaved")
    ),
    "PRelu of opset 6 broadcast its slope along the channels; version_converter does not say so": (
        "test_PReLU_?d_multiparam",
    ),
}  # fmt: skip

REFUSED_TYPES = frozenset(value for name, value in TensorProto.DataType.items() if name not in DTYPES) - {0}


def why_unsupported(case: Case) -> list[str]:
    """Every reason for which the case is refused; [] if it must pass."""
    return [*_by_name(case), *_by_operators(case), *_by_types(case)]


def _by_name(case: Case) -> Iterator[str]:
    for reason, patterns in NAMES.items():
        if any(fnmatchcase(case.name, pattern) for pattern in patterns) and not _is_spelled_out(case):
            yield reason


def _is_spelled_out(case: Case) -> bool:
    """Tests that write a newer operator out in older ones pass where the operator itself does not."""
    return "_expanded" in case.name and not case.name.startswith("test_rotary_")


def _by_operators(case: Case) -> Iterator[str]:
    operators = {node.op_type for node in case.model.graph.node}
    for reason, names in OPERATORS.items():
        if operators & names:
            yield reason
    foreign = {node.domain for node in case.model.graph.node} - {"", "ai.onnx"}
    if foreign:
        yield "operators outside ONNX's own domain"
    elif not all(_is_known(op) for op in operators):
        yield "operators that are newer than opset 23"


def _is_known(op: str) -> bool:
    try:
        defs.get_schema(op, NEWEST_OPSET, "")
    except defs.SchemaError:
        return False
    return True


def _by_types(case: Case) -> Iterator[str]:
    values = [*case.model.graph.input, *case.model.graph.output]
    if any(value.type.WhichOneof("value") != "tensor_type" for value in values):
        yield "sequences and optional values"
        return
    types = {value.type.tensor_type.elem_type for value in values}
    types |= {tensor.data_type for tensor in case.model.graph.initializer}
    types |= {type_ for node in case.model.graph.node for type_ in _types_named(node)}
    if types & REFUSED_TYPES:
        yield "strings, complex numbers, and numbers of other widths"
    values = [value for value in values if value.type.tensor_type.HasField("shape")]
    declared = [dim for value in values for dim in value.type.tensor_type.shape.dim]
    if any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in declared):
        yield "tensors without elements"


def _types_named(node: onnx.NodeProto) -> Iterator[int]:
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype"):
            yield attribute.i
        elif attribute.type == onnx.AttributeProto.TENSOR:
            yield helper.get_attribute_value(attribute).data_type
