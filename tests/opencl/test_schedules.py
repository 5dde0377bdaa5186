"""Every class of workload on the device, against onnxruntime; and what its kernels look like."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision.ingest import read
from edgevision.link.opencl_source import device_source
from edgevision.lower.phases import lower
from edgevision.program import GROUP_SIZE, GROUPS
from edgevision.schedule.gpu.apply import schedule
from edgevision.schedule.gpu.conv2d import vector_width
from edgevision.schedule.gpu.kernel import grid
from tests import executor
from tests.opencl import device, networks

GENERATOR = np.random.default_rng(5)


class Bundle:
    """One network whose nodes all read the same images: one program, one comparison each."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: dict[str, tuple[int, ...]] = {}

    def image(self, *shape: int) -> str:
        name = "x" + "_".join(map(str, shape))
        self.inputs[name] = shape
        return name

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, co: int, kernel: tuple[int, int], *, group: int = 1, bias: bool = True, **attributes: object) -> str:
        ci = self.inputs[x][1]
        weight = GENERATOR.standard_normal((co, ci // group, *kernel)).astype(np.float32)
        names = [x, f"w{len(self.weights)}"]
        self.weights.append(numpy_helper.from_array(weight, names[1]))
        if bias:
            names.append(f"w{len(self.weights)}")
            self.weights.append(numpy_helper.from_array(GENERATOR.standard_normal(co).astype(np.float32), names[2]))
        return self.node("Conv", *names, group=group, kernel_shape=list(kernel), **attributes)

    def model(self) -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in self.inputs.items()]
        outputs = [helper.make_tensor_value_info(n.output[0], TensorProto.FLOAT, None) for n in self.nodes]
        graph = helper.make_graph(self.nodes, "bundle", inputs, outputs, self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return onnx.shape_inference.infer_shapes(made)

    def check(self, *, name: str = "opencl") -> None:
        model = self.model()
        images = [GENERATOR.standard_normal(shape).astype(np.float32) for shape in self.inputs.values()]
        expected = executor.onnxruntime_outputs(model, images)
        for node, found, wanted in zip(self.nodes, device.run(model, images, name=name), expected, strict=True):
            error = np.abs(found - wanted).max() / np.abs(wanted).max()
            assert found.shape == wanted.shape
            assert error < 1e-5, (node, error)


def convolutions() -> Bundle:
    b = Bundle()
    x, few, two = b.image(1, 20, 9, 11), b.image(1, 3, 12, 10), b.image(2, 8, 7, 6)
    b.conv(x, 24, (1, 1))
    b.conv(x, 17, (1, 1), bias=False)  # one channel beyond a vector
    b.conv(x, 7, (3, 3), pads=[1, 1, 1, 1])
    b.conv(x, 32, (3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    b.conv(x, 16, (3, 3), pads=[2, 2, 2, 2], dilations=[2, 2])
    b.conv(x, 16, (1, 3), pads=[0, 0, 0, 2])  # the right border alone
    b.conv(x, 16, (3, 1), pads=[2, 0, 0, 0])  # the upper border alone
    b.conv(x, 16, (5, 5), pads=[4, 4, 4, 4], strides=[3, 2])  # windows that lie outside altogether
    b.conv(x, 16, (1, 1), strides=[2, 2])
    b.conv(few, 16, (3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    b.conv(two, 12, (3, 3), pads=[1, 1, 1, 1])  # rows of two images
    return b


def grouped() -> Bundle:
    b = Bundle()
    x, two = b.image(1, 20, 9, 11), b.image(2, 24, 7, 6)
    b.conv(x, 8, (3, 3), group=2, pads=[1, 1, 1, 1])
    b.conv(x, 96, (3, 3), group=2, pads=[1, 1, 1, 1], strides=[2, 2])  # several vectors a group
    b.conv(x, 24, (1, 1), group=2, bias=False)
    b.conv(two, 24, (3, 3), group=6, pads=[1, 1, 1, 1])
    b.conv(two, 72, (1, 1), group=3)
    b.conv(x, 88, (3, 3), group=2, pads=[1, 1, 1, 1])  # eleven vectors a group: a tile of four would leave it
    return b


def alone() -> Bundle:
    """Groups that no vector fills."""
    b = Bundle()
    x = b.image(1, 20, 9, 11)
    b.conv(x, 12, (3, 3), group=2, pads=[1, 1, 1, 1])
    b.conv(x, 40, (3, 3), group=20, pads=[1, 1, 1, 1])
    return b


def depthwise() -> Bundle:
    b = Bundle()
    x, two, wide = b.image(1, 20, 9, 11), b.image(2, 16, 7, 6), b.image(1, 37, 5, 5)
    b.conv(x, 20, (3, 3), group=20, pads=[1, 1, 1, 1])
    b.conv(x, 20, (3, 3), group=20, pads=[1, 1, 1, 1], strides=[2, 2])
    b.conv(x, 20, (5, 5), group=20, pads=[2, 2, 2, 2], strides=[2, 1])
    b.conv(x, 20, (3, 3), group=20, pads=[2, 2, 2, 2], dilations=[2, 2])
    b.conv(x, 20, (3, 3), group=20)
    b.conv(x, 20, (9, 9), group=20, pads=[4, 4, 4, 4])  # too wide to keep a row of weights
    b.conv(two, 16, (3, 3), group=16, pads=[0, 1, 1, 0])
    b.conv(wide, 37, (3, 3), group=37, pads=[1, 1, 1, 1])  # a vector, pieces of one, one channel
    return b


def others() -> Bundle:
    b = Bundle()
    x, long, flat = b.image(1, 20, 9, 11), b.image(1, 3, 30, 40), b.image(3, 301)
    for op in ("MaxPool", "AveragePool"):
        b.node(op, x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for image in (x, long):
        b.node("GlobalAveragePool", image)
        b.node("GlobalMaxPool", image)
    for op in ("Softmax", "LogSoftmax"):
        b.node(op, flat, axis=1)
        b.node(op, x, axis=1)
    b.node("Concat", x, x, axis=1)
    b.node("Concat", x, x, axis=2)
    b.node("Transpose", x, perm=[0, 2, 3, 1])
    for op in ("Tanh", "Sigmoid", "HardSwish", "Erf", "Atan", "Round", "Sqrt"):
        b.node(op, b.node("Abs", x) if op == "Sqrt" else x)
    b.node("ReduceMean", x, keepdims=0)
    b.node("CumSum", flat, _axis(b))
    return b


def _axis(b: Bundle) -> str:
    b.weights.append(numpy_helper.from_array(np.array(1, np.int64), "axis"))
    return "axis"


BUNDLES = {"conv2d": convolutions, "depthwise": depthwise, "grouped": grouped, "alone": alone, "others": others}


@pytest.mark.parametrize("name", ["opencl", "opencl-mali"])
@pytest.mark.parametrize("kind", ["conv2d", "depthwise", "grouped"])
def test_templates_compute_what_onnxruntime_does(kind, name, pocl):
    BUNDLES[kind]().check(name=name)


@pytest.mark.parametrize("kind", ["alone", "others"])
def test_other_workloads_compute_what_onnxruntime_does(kind, pocl):
    BUNDLES[kind]().check()


def programs(bundle: Bundle, name: str = "opencl"):
    return schedule(lower(read(bundle.model(), simplify=False)), device.chosen(name))


def test_convolutions_take_the_template_and_near_misses_do_not():
    tile = "template:conv2d"
    kinds = {"conv2d": tile, "grouped": tile, "depthwise": "template:depthwise", "alone": "default:reduce"}
    for name, wanted in kinds.items():
        assert {call.step.schedule.split()[0] for call in programs(BUNDLES[name]()).calls if call.step.macs} == {wanted}


def test_a_tile_has_the_channels_of_one_group():
    tiles = [call.step.schedule.split()[1].split("x") for call in programs(grouped()).calls if call.step.macs]
    blocks = [int(vectors) * int(width) for _, vectors, width in tiles]
    assert [group % block for group, block in zip((4, 48, 12, 4, 24, 44), blocks, strict=True)] == [0] * 6
    assert max(int(vectors) for _, vectors, _ in tiles) > 1


@pytest.mark.parametrize("kind", BUNDLES)
def test_no_kernel_is_one_work_item(kind):
    program = programs(BUNDLES[kind]())
    sizes = {}
    for call in program.calls:
        func = program.module[call.function]
        sizes[call.function] = int(func.attrs[GROUPS]) * int(func.attrs[GROUP_SIZE])
    lonely = {name for name, size in sizes.items() if size == 1}
    assert lonely == set()


def test_the_source_keeps_to_opencl_c():
    text, launches = device_source(programs(convolutions()))
    assert ".s0]" not in text  # no vector is gathered element by element
    assert text.count("__kernel ") == len(launches)
    for launch in launches.values():
        group = f"__kernel __attribute__((reqd_work_group_size({launch.group_size}, 1, 1))) void {launch.kernel}("
        assert text.count(group) == 1
    text, _ = device_source(programs(others()))
    assert "#define atanf atan\n" in text
    assert "bool*" not in text


def test_a_network_launches_one_kernel_a_workload():
    """Concatenations and everything behind a convolution or a pool cost no launch of their own."""
    program = schedule(lower(read(networks.small(), simplify=False)), device.chosen())
    assert not any("concat" in call.step.ops for call in program.calls)
    assert len([call for call in program.calls if call.step.macs]) == 11


def test_the_same_network_gives_the_same_source():
    assert device_source(programs(depthwise()))[0] == device_source(programs(depthwise()))[0]


@pytest.mark.parametrize(
    ("items", "most", "groups", "size"),
    [(1, 64, 1, 1), (7, 64, 7, 1), (512, 64, 8, 64), (513, 64, 9, 64), (516, 64, 9, 64), (1000, 8, 125, 8)],
)
def test_groups_hold_every_item_and_idle_little(items, most, groups, size):
    over = grid(items, most)
    assert (over.groups, over.size) == (groups, size)
    assert 0 <= over.groups * over.size - items <= max(items // 8, 0)


@pytest.mark.parametrize(
    ("channels", "width"), [(8, 8), (16, 16), (17, 16), (20, 16), (24, 16), (12, 16), (4, 4), (1, 1), (1000, 16)]
)
def test_the_narrowest_of_the_fewest_vectors(channels, width):
    assert vector_width(channels, 16) == width
