"""Kernels as Metal and WGSL: text and plan belong together, WGSL computes the network, and what cannot be said is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision import target
from edgevision.errors import DeviceOnlyError, UnsupportedError
from edgevision.ingest import read
from edgevision.link import wgsl
from edgevision.link.emit_source import LANGUAGES, Emitted, emit
from edgevision.lower.phases import lower
from edgevision.pipeline import Options, compile_model
from edgevision.program import Program
from edgevision.report.json import SCHEMA
from edgevision.schedule.gpu.apply import schedule
from tests import executor
from tests.conformance.cases import Case
from tests.conformance.checks import assert_agrees
from tests.emit import metal_on_cpu, webgpu
from tests.graphs.trained import NotObtainableError
from tests.opencl import networks
from tests.opencl.test_conformance import NODES, parameters
from tests.parity.subjects import SMALL, Subject

TARGET = target.load("opencl-mali-linux")
IMAGE = np.random.default_rng(1).standard_normal((1, 3, 20, 20)).astype(np.float32)


@pytest.fixture
def vulkan() -> None:
    if reason := webgpu.why_absent():
        pytest.skip(reason)


def scheduled(model: onnx.ModelProto) -> Program:
    return schedule(lower(read(model, simplify=False)), TARGET)


def emitted(program: Program, language: str = "webgpu") -> Emitted:
    return emit(program, TARGET, LANGUAGES[language])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a compile that wrote both languages."""
    folder = tmp_path_factory.mktemp("emitted")
    onnx.save(networks.small(), folder / "small.onnx")
    options = Options(output=folder / "out", verify=False, measure=False, emit_source=("metal", "webgpu"))
    outcome = compile_model(folder / "small.onnx", ("opencl-mali-linux",), options).outcomes[0]
    assert {path.parent for path in outcome.sources} == {folder / "out"} and len(outcome.sources) == 6
    return folder / "out"


SIGNATURES = {
    "metal": r"kernel void {}\(([^{{]*)\) \{{",
    "webgpu": r"((?:^@group\(0\) @binding\(\d+\) var<storage, \w+> {0}_b\d+ : array<\w+>;\n)+)(?:var<workgroup> .*\n)*\n?@compute "
    r"@workgroup_size\((\d+), 1, 1\)\nfn {0}\(",
}
BUFFERS = {"metal": r"\[\[ buffer\((\d+)\) \]\]", "webgpu": r"@binding\((\d+)\)"}
FOREIGN = {"metal": r"\b(double|__global|half)\b", "webgpu": r"\b(i64|u64|f64|f16|inff|nanf|podArgs|gridDim)\b"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_and_plan_belong_together(language: str, written: Path) -> None:
    plan = json.loads((written / f"small.{LANGUAGES[language].suffix}.json").read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(plan)
    text, weights = (written / plan["source"]).read_text(), (written / plan["weights"]).read_bytes()
    assert len(weights) == plan["weight_bytes"] and plan["language"] == language
    assert text.count("{") == text.count("}") and text.count("(") == text.count(")")
    assert not re.findall(FOREIGN[language], text)
    for launch in plan["launches"]:
        found = re.search(SIGNATURES[language].format(launch["kernel"]), text, re.MULTILINE)
        assert found, launch["kernel"]
        assert [int(n) for n in re.findall(BUFFERS[language], found[1])] == list(range(len(launch["buffers"])))
        assert language == "metal" or int(found[2]) == launch["group_size"][0]
        for each in launch["buffers"]:
            assert each["offset"] % 256 == 0
            assert each["offset"] + each["bytes"] <= plan[{"weights": "weight_bytes", "arena": "arena_bytes"}[each["of"]]]
    assert plan["most_buffers"] == max(len(each["buffers"]) for each in plan["launches"])
    assert len(plan["launches"]) == len(json.loads((written / "small.json").read_text())["steps"])


def test_what_was_written_computes_the_network(written: Path, vulkan: None) -> None:
    plan = json.loads((written / "small.wgsl.json").read_text())
    (found,) = webgpu.run((written / plan["source"]).read_text(), (written / plan["weights"]).read_bytes(), plan, [IMAGE])
    (wanted,) = executor.onnxruntime_outputs(networks.small(), [IMAGE])
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_the_metal_that_was_written_computes_the_network(written: Path, tmp_path: Path) -> None:
    plan = json.loads((written / "small.metal.json").read_text())
    library = metal_on_cpu.build((written / plan["source"]).read_text(), tmp_path)
    (found,) = metal_on_cpu.run(library, (written / plan["weights"]).read_bytes(), plan, [IMAGE])
    (wanted,) = executor.onnxruntime_outputs(networks.small(), [IMAGE])
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("channels", [6, 8])
def test_metal_stores_packed_vectors_where_they_may_lie_anywhere(channels: int, tmp_path: Path) -> None:
    g = networks.Graph(2)
    x = g.conv("image", 3, channels, 3)
    model = g.model(g.add("Flatten", g.add("GlobalMaxPool", g.add("MaxPool", x, kernel_shape=[2, 2]))), 20, channels)
    made = emitted(scheduled(model), "metal")
    assert ("*(device packed_float4*)(" in made.text) == (channels % 4 != 0)
    (found,) = metal_on_cpu.run(metal_on_cpu.build(made.text, tmp_path), made.weights, made.plan, [IMAGE])
    (wanted,) = executor.onnxruntime_outputs(model, [IMAGE])
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_a_wrong_text_is_refused(vulkan: None) -> None:
    import wgpu

    made = emitted(scheduled(networks.tiny()))
    webgpu.read(made.text)
    with pytest.raises(wgpu.GPUValidationError):
        webgpu.read(made.text.replace("f32 =", "i32 =", 1))


def ran(program: Program, *inputs: np.ndarray) -> list[np.ndarray]:
    made = emitted(program)
    return webgpu.run(made.text, made.weights, made.plan, inputs)


def test_a_grid_wider_than_an_axis(vulkan: None, monkeypatch: pytest.MonkeyPatch) -> None:
    program = scheduled(networks.small())
    plain = ran(program, IMAGE)
    monkeypatch.setattr(wgsl, "MOST_GROUPS", 3)
    made = emitted(program)
    grids = {tuple(launch["groups"]) for launch in made.plan["launches"]}
    assert max(x for x, _, _ in grids) <= 3 < max(z for _, _, z in grids)
    assert ">= " in made.text and "return; }" in made.text  # of a last row, a part may be idle
    np.testing.assert_array_equal(webgpu.run(made.text, made.weights, made.plan, [IMAGE]), plain)


@pytest.mark.parametrize("groups", [1, 65535, 65536, 131071, 10**9])
def test_a_grid_holds_all_groups_and_less_than_a_row_more(groups: int) -> None:
    x, y, z = wgsl.grid(groups)
    assert (y, max(x, z) <= 65535) == (1, True) and 0 <= x * z - groups < z


def product_of_two() -> Program:
    """A matrix product whose operands are computed: a kernel with two inputs of one shape."""
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), helper.make_node("Tanh", ["x"], ["h"]),
             helper.make_node("MatMul", ["t", "h"], ["y"])]  # fmt: skip
    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (2, 8, 8)) for n in "xy"]
    graph = helper.make_graph(nodes, "g", tensors[:1], tensors[1:])
    return scheduled(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))


def test_one_tensor_read_twice_is_one_binding(vulkan: None) -> None:
    program = product_of_two()
    last = program.calls[-1]
    same = replace(last, args=(last.args[0], replace(last.args[0], shape=last.args[1].shape), *last.args[2:]))
    x = np.random.default_rng(2).standard_normal((2, 8, 8)).astype(np.float32)
    changed = replace(program, calls=(*program.calls[:-1], same))
    assert len(emitted(changed).plan["launches"][-1]["buffers"]) == len(last.args) - 1
    t = x.transpose(0, 2, 1)
    (found,) = ran(changed, x)
    np.testing.assert_allclose(found, t @ t, rtol=1e-5, atol=1e-5)


def test_one_function_on_weights_and_on_activations_is_two_kernels(vulkan: None) -> None:
    program = product_of_two()
    last, extra = program.calls[-1], np.random.default_rng(3).standard_normal((2, 8, 8)).astype(np.float32)
    weight = replace(last.args[1], kind="weight", index=len(program.weights))
    constant = replace(last, args=(last.args[0], weight, *last.args[2:]))
    changed = replace(program, calls=(*program.calls, constant), weights=(*program.weights, extra))
    kernels = [launch["kernel"] for launch in emitted(changed).plan["launches"]]
    assert kernels[-1] == f"{kernels[-2]}_1"
    x = np.random.default_rng(2).standard_normal((2, 8, 8)).astype(np.float32)
    (found,) = ran(changed, x)  # the last call wins
    np.testing.assert_allclose(found, x.transpose(0, 2, 1) @ extra, rtol=1e-5, atol=1e-5)


def of_dtype(dtype: int) -> onnx.ModelProto:
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    tensors = [helper.make_tensor_value_info(n, dtype, (4, 8)) for n in "xy"]
    one = numpy_helper.from_array(np.array(1, kind), "one")
    graph = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "g", tensors[:1], tensors[1:], [one])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


REFUSED = {
    "webgpu": (TensorProto.INT64, "has a tensor of int64, which WGSL does not know: it has float32, int32, uint32"),
    "metal": (TensorProto.DOUBLE, "has a tensor of float64, which Metal does not know; convert the network to float32"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_type_that_the_language_lacks(language: str) -> None:
    dtype, said = REFUSED[language]
    with pytest.raises(UnsupportedError, match=said) as refusal:
        emitted(scheduled(of_dtype(dtype)), language)
    assert refusal.value.exit_code == 3
    emitted(scheduled(of_dtype(TensorProto.INT32)), language)


def test_who_has_no_kernels_or_wider_ones(tmp_path: Path) -> None:
    onnx.save(networks.tiny(), tmp_path / "tiny.onnx")
    options = Options(output=tmp_path / "out", verify=False, measure=False, emit_source=("metal",))
    with pytest.raises(DeviceOnlyError, match="--emit-source metal is for GPUs; target native is a CPU's"):
        compile_model(tmp_path / "tiny.onnx", ("native",), options)
    program = scheduled(networks.tiny())
    with pytest.raises(UnsupportedError, match="kernels of target opencl compute with vectors of 16.*such as opencl-mali-linux"):
        emit(program, target.load("opencl"), LANGUAGES["metal"])
    with pytest.raises(UnsupportedError, match="is for tensors in float32; leave --dtype float16 out"):
        emitted(replace(program, dtype="float16"))


QUICK = frozenset({
    "test_averagepool_2d_ceil", "test_conv_with_strides_padding", "test_maxpool_2d_default", "test_reduce_log_sum_default",
    "test_softmax_axis_2", "test_instancenorm_example", "test_hardswish", "test_resize_upsample_scales_nearest",
    "test_softplus_example", "test_mod_mixed_sign_float32",
})  # fmt: skip
"""In the default set; the large one has all whose tensors WGSL can hold."""


IMPRECISE = frozenset({"Acos", "Asin"})
"""Here they are off by 6.2e-5, of 6.77e-5 that WGSL allows (15.7.4.1)."""


def holds(case: Case) -> bool:
    if case.model.graph.node[0].op_type in IMPRECISE or "edge_cases" in case.name:  # WGSL may take it that there is no NaN (15.7.2)
        return False
    return all(str(np.asarray(a).dtype) in wgsl.DTYPES and np.asarray(a).size for a in (*case.inputs, *case.outputs))


SAYABLE = [case for case in NODES if holds(case)]


def test_the_quick_ones_exist() -> None:
    assert {case.name for case in SAYABLE} >= QUICK


@pytest.mark.parametrize("case", list(parameters(SAYABLE, QUICK)))
def test_node(case: Case, vulkan: None) -> None:
    try:
        made = emitted(scheduled(case.model))
    except UnsupportedError as error:
        assert case.name not in QUICK, error
        pytest.skip(re.sub(r".*(has a tensor of|cannot be said)", r"WGSL: \1", str(error)))
    assert_agrees(webgpu.run(made.text, made.weights, made.plan, [np.asarray(a) for a in case.inputs]), case)


@pytest.mark.large
@pytest.mark.trained
@pytest.mark.parametrize("subject", [pytest.param(s, id=s.name) for s in SMALL])
def test_networks(subject: Subject, vulkan: None, tmp_path: Path) -> None:
    from edgevision import pipeline
    from edgevision.measure.reference import Reference

    try:
        source = subject.path()
    except NotObtainableError as error:
        pytest.skip(str(error))
    model = pipeline.read(source, Options(input_shapes=subject.input_shapes))
    program = schedule(lower(model), TARGET)
    made: dict[str, Any] = {language: emitted(program, language) for language in LANGUAGES}
    case = Reference.of(model).cases(1)[0]
    on_vulkan = webgpu.run(made["webgpu"].text, made["webgpu"].weights, made["webgpu"].plan, case.inputs)
    library = metal_on_cpu.build(made["metal"].text, tmp_path)
    on_cpu = metal_on_cpu.run(library, made["metal"].weights, made["metal"].plan, case.inputs)
    for a, b in zip((*on_vulkan, *on_cpu), (*case.expected, *case.expected), strict=True):
        assert np.abs(a - b).max() < 1e-4 * np.abs(b).max()
