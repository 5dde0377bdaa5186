"""Every class of workload as CUDA kernels on the CPU, against onnxruntime; and how their tiles are chosen."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgevision import target
from edgevision.ingest import read
from edgevision.lower.phases import lower
from edgevision.program import GROUP_SIZE, GROUPS
from edgevision.schedule.gpu import warp_tile
from edgevision.schedule.gpu.apply import schedule
from edgevision.schedule.gpu.warp_tile import Steps, WarpTile
from tests import executor
from tests.cuda import on_cpu
from tests.opencl.test_schedules import Bundle, alone, convolutions, depthwise, grouped, others

GENERATOR = np.random.default_rng(7)


def shared() -> Bundle:
    """Reductions that several threads share: even and odd numbers of tiles, borders, few channels, a prologue's worth of them."""
    b = Bundle()
    deep, wide, dot = b.image(1, 96, 7, 7), b.image(1, 64, 5, 6), b.image(1, 128, 1, 1)
    b.conv(deep, 40, (1, 1))
    b.conv(deep, 18, (1, 1))
    b.conv(deep, 24, (1, 1), strides=[2, 2])
    b.conv(wide, 20, (3, 3), pads=[1, 1, 1, 1])
    b.conv(wide, 7, (3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    b.conv(wide, 1, (1, 1))
    b.conv(dot, 10, (1, 1))
    b.conv(dot, 33, (1, 1), bias=False)
    b.conv(deep, 48, (3, 3), pads=[1, 1, 1, 1], group=3)
    b.conv(dot, 24, (1, 1), group=2)  # three vectors a group
    return b


BUNDLES = {"conv2d": convolutions, "depthwise": depthwise, "grouped": grouped, "alone": alone, "others": others,
           "shared": shared}  # fmt: skip


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """All bundles in one library."""
    models = {name: make() for name, make in BUNDLES.items()}
    prepared = {name: on_cpu.prepare(bundle.model(), f"{name}_") for name, bundle in models.items()}
    return models, prepared, on_cpu.build(list(prepared.values()), tmp_path_factory.mktemp("kernels"))


@pytest.mark.parametrize("name", BUNDLES)
def test_kernels_compute_what_onnxruntime_does(name, compiled):
    models, prepared, library = compiled
    model = models[name].model()
    images = [GENERATOR.standard_normal(shape).astype(np.float32) for shape in models[name].inputs.values()]
    expected = executor.onnxruntime_outputs(model, images)
    for node, found, wanted in zip(models[name].nodes, on_cpu.run(prepared[name], library, images), expected, strict=True):
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert found.shape == wanted.shape
        assert error < 1e-5, (node, error)


def test_a_tile_has_the_channels_of_one_group():
    b = Bundle()
    b.conv(b.image(1, 24, 56, 56), 24, (3, 3), pads=[1, 1, 1, 1], group=2)  # three vectors a group, of which tiles would take two
    b.conv(b.image(1, 24, 56, 56), 48, (1, 1), group=2)
    program = schedule(lower(read(b.model(), simplify=False)), on_cpu.TARGET)
    tiles = [call.step.schedule.split()[1].split("x") for call in program.calls if call.step.macs]
    assert [int(vectors) for _, vectors, _ in tiles] == [1, 2]


def test_long_reductions_are_shared(compiled):
    _, prepared, _ = compiled
    program = prepared["shared"].program
    kinds = [call.step.schedule for call in program.calls if call.step.macs]
    assert all(re.fullmatch(r"template:conv2d \dx\dx\d/\d+", kind) for kind in kinds), kinds
    assert prepared["shared"].text.count("__syncthreads();") == len({c.function for c in program.calls if c.step.macs})


@pytest.mark.parametrize("kind", ["shared", "conv2d", "depthwise"])
def test_every_vector_is_loaded_whole(kind, compiled):
    """TVM gathers what it cannot prove to be aligned; in `convolutions` and `depthwise` some channels are no multiple of four."""
    _, prepared, _ = compiled
    gathered = len(re.findall(r"make_float4\((\w+)\[", prepared[kind].text))
    assert gathered == 0 if kind == "shared" else gathered < prepared[kind].text.count("*(float4*)(p")


def test_without_its_barrier_a_shared_reduction_is_wrong(compiled, tmp_path):
    """The stand-in is checked: it must show what a missing barrier does."""
    models, prepared, library = compiled
    images = [GENERATOR.standard_normal(shape).astype(np.float32) for shape in models["shared"].inputs.values()]
    right = on_cpu.run(prepared["shared"], library, images)
    broken = on_cpu.Prepared(
        program=prepared["shared"].program, text=prepared["shared"].text.replace("__syncthreads();", ""),
        launches=prepared["shared"].launches, mark=prepared["shared"].mark,
    )  # fmt: skip
    wrong = on_cpu.run(broken, on_cpu.build([broken], tmp_path), images)
    assert not any(np.allclose(a, b) for a, b in zip(right, wrong, strict=True))


@pytest.mark.parametrize("name", ["cuda-sm86", "cuda-sm87", "cuda-sm89", "cuda-sm90"])
def test_blocks_are_of_a_size_that_every_gpu_has(name):
    program = on_cpu.prepare(shared().model(), on=target.load(name)).program
    for call in program.calls:
        func = program.module[call.function]
        assert 1 <= int(func.attrs[GROUP_SIZE]) <= 1024
        assert int(func.attrs[GROUPS]) >= 1


DEEP, SHALLOW = Steps(windows=1, each=240, width=4), Steps(windows=1, each=8, width=4)


def choose(rows, columns, channels, steps, units=16):
    return warp_tile.choose(rows, columns, channels, steps, units=units, block=128)


def test_few_results_with_long_reductions_are_split_and_many_are_not():
    assert choose(1, 49, 160, DEEP).splits > 1
    assert choose(1, 12544, 96, SHALLOW).splits == 1


def test_more_multiprocessors_get_smaller_tiles():
    few, many = choose(1, 784, 192, SHALLOW, units=8), choose(1, 784, 192, SHALLOW, units=132)
    assert few.pixels * few.vectors / few.splits > many.pixels * many.vectors / many.splits


@pytest.mark.parametrize("each", [7, 12, 30, 240])
def test_a_reduction_is_split_evenly(each):
    steps = Steps(windows=9, each=each, width=4)
    found = {splits for splits, _ in warp_tile._shares(steps, 100, 8, 128)}
    assert found == {s for s in (1, 2, 4, 8, 16, 32) if each % s == 0}


def test_what_threads_share_fits_a_blocks_memory():
    for vectors in (1, 8, 16):
        for splits, lanes in warp_tile._shares(Steps(windows=1, each=64, width=4), 1000, vectors, 128):
            assert splits == 1 or (splits - 1) * vectors * lanes * 16 <= 48 * 1024
            assert 32 <= splits * lanes <= 512 or splits == 1
    assert (32, 16) in warp_tile._shares(Steps(windows=1, each=64, width=4), 1000, 4, 128)
    assert (32, 16) not in warp_tile._shares(Steps(windows=1, each=64, width=4), 1000, 16, 128)


def test_one_block_more_than_multiprocessors_costs_as_much_as_twice_as_many():
    tile = WarpTile(1, 1, 1, 128)
    full, beyond, twice = (warp_tile.cycles(tile, blocks * 128, SHALLOW, 16) for blocks in (16, 17, 32))
    assert full <= beyond == twice


@pytest.mark.parametrize(("channels", "anywhere"), [(16, False), (17, True), (18, True), (20, False)])
def test_where_vectors_may_lie_anywhere_the_address_is_looked_at(channels, anywhere):
    """A GPU faults on a vector of four floats at another place than a multiple of 16 bytes."""
    b = Bundle()
    b.conv(b.image(1, 20, 9, 11), channels, (1, 1))
    text = on_cpu.prepare(b.model()).text
    assert ("store_4(p" in text) == anywhere
    assert anywhere == (re.search(r"^ *\*\(float4\*\)\(p\d_ptr", text, re.MULTILINE) is None)
