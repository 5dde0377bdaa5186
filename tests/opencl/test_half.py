"""Half precision in memory: what is stored as half and what is not, that only storing rounds, and what a compile says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision.errors import DeviceOnlyError, UnresponsiveReferenceError, VerificationError
from edgevision.ingest import read
from edgevision.link.opencl_source import device_source
from edgevision.lower.compute import elementwise
from edgevision.lower.phases import lower
from edgevision.measure.reference import Reference
from edgevision.pipeline import Options, compile_model
from edgevision.program import Program
from edgevision.schedule.gpu import half
from edgevision.schedule.gpu.apply import schedule
from tests import executor
from tests.conformance.cases import Case
from tests.opencl import device, networks
from tests.opencl.test_conformance import NODES

Array = np.ndarray


def stored(model: onnx.ModelProto, name: str = "opencl") -> Program:
    lowered = lower(read(model, simplify=False))
    return half.store(schedule(lowered, device.chosen(name)), half.tensors(lowered))


def graph(nodes: list[onnx.NodeProto], shape: tuple[int, ...], result: tuple[int, ...], **weights: Array) -> onnx.ModelProto:
    """One float input x, one float output y."""
    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", result))]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = helper.make_graph(nodes, "g", tensors[:1], tensors[1:], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def passed_on(factor: Array) -> onnx.ModelProto:
    """x, stored once, times a diagonal matrix."""
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["t", "w"], ["y"])]
    return graph(nodes, (16, 64), (64, 16), w=np.diag(factor).astype(np.float32))


def dtypes(program: Program, kind: str) -> set[str]:
    return {v.dtype for call in program.calls for v in call.args if v.kind == kind}


@pytest.mark.parametrize("name", ["opencl", "opencl-mali"])
def test_storing_rounds_to_the_nearest_half(name: str, pocl: None) -> None:
    random = np.random.default_rng(0)
    x = (random.standard_normal((16, 64)) * np.exp(random.uniform(-16, 8, (16, 64)))).astype(np.float32)
    x[0, :4] = 0.0, -0.0, 1e5, 2.0**-25  # beyond the largest half, and half of the smallest: to even
    with np.errstate(over="ignore"):
        wanted = x.T.astype(np.float16).astype(np.float32)
    wanted[2, 1:], wanted[2, 0] = np.nan, np.inf  # the matrix's zeros times infinity
    (found,) = device.execute(stored(passed_on(np.ones(16)), name), [x])
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["opencl", "opencl-mali"])
def test_a_network_is_off_by_what_storing_loses(name: str, pocl: None) -> None:
    image = np.random.default_rng(1).standard_normal((1, 3, 20, 20)).astype(np.float32)
    program = stored(networks.small(), name)
    (found,), (wanted,) = device.execute(program, [image]), executor.onnxruntime_outputs(networks.small(), [image])
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert 2e-5 < error < 2e-3
    assert (dtypes(program, "input"), dtypes(program, "output"), dtypes(program, "weight")) == (
        {"float32"},
        {"float32"},
        {"float16"},
    )


def test_no_kernel_asks_for_an_extension() -> None:
    text, _ = device_source(stored(networks.small()))
    assert "cl_khr_fp16" not in text
    assert not re.findall(r"\bhalf\d*\b(?! ?\*)", text)
    assert {"vload_half", "vload_half16", "vstore_half16_rte"} <= set(re.findall(r"v\w+_half\w*", text))


def test_partial_results_stay_in_float32() -> None:
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]), helper.make_node("Softmax", ["t"], ["y"], axis=1)]
    program = stored(graph(nodes, (300, 4), (4, 300)))
    first, *others = program.calls
    assert [v.dtype for v in first.args if v.kind == "scratch"] == ["float16"]
    inner = {v.place for call in others for v in call.args if v.kind == "scratch"} - {v.place for v in first.args}
    assert len(inner) == 3
    assert {v.dtype for call in others for v in call.args if v.place in inner} == {"float32"}


def test_a_sum_that_grows_in_memory_stays_in_float32(pocl: None) -> None:
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["s"]), helper.make_node("Transpose", ["s"], ["y"], perm=[1, 0])]
    program = stored(graph(nodes, (2, 4000), (4000, 2), axis=np.array(1, np.int64)))
    assert dtypes(program, "scratch") == {"float32"}
    (found,) = device.execute(program, [np.ones((2, 4000), np.float32)])
    np.testing.assert_array_equal(found[:, 0], np.arange(1, 4001))


KEPT = {"too large": 70000.0, "too small": 1e-9, "no number": np.inf}


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT)
def test_a_weight_that_half_would_spoil_stays_in_float32(value: float, pocl: None) -> None:
    program = stored(passed_on(np.full(16, value)))
    assert dtypes(program, "weight") == {"float32"}


def test_a_weight_with_small_elements_among_larger_ones_is_stored_as_half() -> None:
    assert dtypes(stored(passed_on(np.logspace(-9, 4, 16))), "weight") == {"float16"}


def test_one_function_on_tensors_stored_in_two_ways_is_two_kernels(pocl: None) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Conv", ["a", "w"], ["y"])]
    weight = np.random.default_rng(2).standard_normal((4, 4, 1, 1)).astype(np.float32)
    model = graph(nodes, (1, 4, 6, 6), (1, 4, 6, 6), w=weight)
    program = stored(model)
    reads = {call.function: call.args[-1].dtype for call in program.calls if "conv" in call.function}
    assert len(program.module.functions) == len({call.function for call in program.calls}) == len(program.calls), reads
    image = np.random.default_rng(3).standard_normal((1, 4, 6, 6)).astype(np.float32)
    (found,), (wanted,) = device.execute(program, [image]), executor.onnxruntime_outputs(model, [image])
    assert np.abs(found - wanted).max() < 5e-3 * np.abs(wanted).max()


def test_one_half_in_every_lane(pocl: None) -> None:
    """A product of two tensors reads one element of the first for sixteen of the second."""
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), helper.make_node("Tanh", ["x"], ["h"]),
             helper.make_node("MatMul", ["t", "h"], ["y"])]  # fmt: skip
    model = graph(nodes, (2, 8, 16), (2, 16, 16))
    x = np.random.default_rng(4).standard_normal((2, 8, 16)).astype(np.float32)
    (found,), (wanted,) = device.execute(stored(model), [x]), executor.onnxruntime_outputs(model, [x])
    assert np.abs(found - wanted).max() < 5e-3 * np.abs(wanted).max()


QUICK = frozenset({
    "test_averagepool_2d_ceil", "test_concat_2d_axis_0", "test_conv_with_strides_padding", "test_gather_elements_1",
    "test_gridsample", "test_isnan", "test_reduce_log_sum_default", "test_top_k",
})  # fmt: skip
EVERY = [
    pytest.param(each, id=each.name, marks=() if each.name in QUICK else pytest.mark.large)
    for each in NODES
    if any(np.asarray(a).dtype == np.float32 for a in (*each.inputs, *each.outputs))
]


@pytest.mark.parametrize("case", EVERY)
def test_an_operator_on_halves_is_the_operator_on_the_same_numbers(case: Case, pocl: None) -> None:
    """Inputs, weights and outputs stored as half against the same kernels on the same numbers in float32, rounded at the end. An
    output that other kernels read would be rounded before."""
    wide = schedule(lower(read(case.model, simplify=False)), device.chosen())
    border = {v.place for call in wide.calls for v in call.args if v.kind in ("input", "output")}
    places = [{i: v.place for i, v in enumerate(call.args)} for call in wide.calls]
    made = [half.written(wide.module[call.function]) for call in wide.calls]
    inner = {at for own, of in zip(places, made, strict=True) for i, at in own.items() if i not in of and at[0] == "output"}
    narrow = half.store(wide, border - inner)
    kinds = {v.place: v.dtype for call in narrow.calls for v in call.args}
    specs = [spec._replace(dtype=kinds.get(("output", i), spec.dtype)) for i, spec in enumerate(narrow.outputs)]
    inputs = [np.asarray(a).astype(kinds.get(("input", i), np.asarray(a).dtype)) for i, a in enumerate(case.inputs)]
    found = device.execute(replace(narrow, outputs=tuple(specs)), inputs)
    wide = replace(wide, weights=tuple(w.astype(v.dtype) for w, v in zip(narrow.weights, wide.weights, strict=True)))
    wanted = device.execute(wide, [a.astype(np.asarray(b).dtype) for a, b in zip(inputs, case.inputs, strict=True)])
    floats = [v for call in wide.calls for v in call.args if v.dtype == "float32" and v.place not in inner]
    assert half.HALF in {*kinds.values()} or not floats
    with np.errstate(over="ignore"):
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a, b.astype(a.dtype))


def test_the_quick_ones_exist() -> None:
    assert {parameter.id for parameter in EVERY} >= QUICK


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., object]:
    """Compiles a model for ``opencl`` in half precision, without measuring."""

    def compiled(model: onnx.ModelProto, **more: object) -> object:
        onnx.save(model, tmp_path / "network.onnx")
        options = Options(output=tmp_path / "out", measure=False, dtype="float16")
        return compile_model(tmp_path / "network.onnx", ("opencl",), replace(options, **more)).outcomes[0]

    return compiled


def test_an_artifact_is_half_as_large_and_says_how_it_is_stored(compiled, pocl: None) -> None:
    small, large = compiled(networks.small()), compiled(networks.small(), dtype="float32")
    assert small.artifact.weight_bytes < 0.7 * large.artifact.weight_bytes  # small arrays begin at multiples of 512 bytes
    assert small.artifact.arena_bytes < 0.55 * large.artifact.arena_bytes
    assert (small.verification.errors[0].allowed, large.verification.errors[0].allowed) == (2e-2, 1e-4)
    assert large.verification.max_error < 1e-6 < 1e-5 < small.verification.max_error < 2e-3
    assert json.loads(large.artifact.manifest.read_text())["dtype"] == "float32"


def test_a_cpu_is_refused(tmp_path: Path) -> None:
    onnx.save(networks.tiny(), tmp_path / "tiny.onnx")
    with pytest.raises(DeviceOnlyError, match="--dtype float16 is for GPUs; target native is a CPU's") as refusal:
        compile_model(tmp_path / "tiny.onnx", ("opencl", "native"), Options(dtype="float16"))
    assert refusal.value.exit_code == 3


def growing(scale: float) -> onnx.ModelProto:
    """Activations of some ``scale`` between two convolutions."""
    g = networks.Graph(0)
    x = g.add("Relu", g.conv("image", 3, 8, 3, stride=2))
    x = g.add("Relu", g.add("Conv", x, g.weight(8, 8, 1, 1, scale=scale)))
    x = g.add("Conv", x, g.weight(8, 8, 1, 1, scale=1 / scale))
    x = g.add("Flatten", g.add("GlobalAveragePool", x))
    return g.model(g.add("Gemm", x, g.weight(8, 10), g.weight(10, scale=0.1)), 8, 10)


def test_an_overflow_is_found_and_the_operator_named(compiled, pocl: None) -> None:
    with pytest.raises(VerificationError, match=r"half precision ends at 65504 and step '.*conv1.*' \(conv relu\)") as caught:
        compiled(growing(3e4))
    assert caught.value.tensor == "t2"
    assert re.search(r"in \d+ of 128 elements, up to [67]\S+e\+04|up to \d\.\d+e\+05", str(caught.value))


def test_a_network_that_half_is_too_coarse_for_is_said_to_be_one(compiled, pocl: None) -> None:
    """What a difference of large numbers leaves."""
    nodes = [helper.make_node("Add", ["x", "c"], ["a"]), helper.make_node("Transpose", ["a"], ["t"], perm=[1, 0]),
             helper.make_node("CumSum", ["t", "axis"], ["s"]), helper.make_node("Sub", ["s", "c"], ["y"])]  # fmt: skip
    model = graph(nodes, (8, 1), (1, 8), c=np.array(2000, np.float32), axis=np.array(0, np.int64))
    with pytest.raises(VerificationError, match="half precision is too coarse for it, compile it with --dtype float32"):
        compiled(model)


@pytest.mark.large
def test_a_wrong_lowering_is_still_one(compiled, pocl: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(elementwise.UNARY, "HardSigmoid", lambda x, a: x)
    with pytest.raises(VerificationError, match="it reaches the output"):
        compiled(networks.small())


def test_a_reference_must_move_by_more_than_half_may_lose(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"]),
        helper.make_node("Mul", ["t", "s"], ["m"]),
        helper.make_node("Add", ["m", "o"], ["y"]),
    ]
    model = read(graph(nodes, (1, 64), (1, 64), s=np.array(0.01, np.float32), o=np.array(1, np.float32)))
    assert Reference.of(model).scale == 1.0
    with pytest.raises(UnresponsiveReferenceError):
        assert Reference.of(model, dtype="float16").scale
