"""Code counted under qemu and priced by llvm-mca: nothing is lost or counted twice, and the same comes out every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edgevision.artifact import Step
from edgevision.cli.main import edgevision
from edgevision.costing import cost
from edgevision.errors import DeviceError, InputError, ToolchainError
from edgevision.link.toolchain import link_cost_plugin
from edgevision.measure.modelled import mca, pricing, trace
from edgevision.measure.modelled.paths import is_branch, joined
from edgevision.measure.modelled.trace import Block, Phase
from edgevision.modelled import StepCost
from edgevision.pipeline import Options
from edgevision.report.json import dumps
from edgevision.report.modelled import cost_report
from tests.ingest.nets import network, random
from tests.report.test_json import fits

FMLA = 0x4E21CC00  # fmla v0.4s, v0.4s, v1.4s
ADD = 0x91000421  # add x1, x1, #1
LOOP = 0x54FFFFC1  # b.ne to eight bytes before
RETURN = 0xD65F03C0
NOP = 0xD503201F


def independent_fmla(count: int) -> tuple[int, ...]:
    """fmla v<i>.4s, v30.4s, v31.4s for ``count`` accumulators."""
    return tuple(0x4E3FCFC0 | i for i in range(count))


def test_a_block_that_does_not_branch_goes_on_in_the_next() -> None:
    first, second = Block(address=0, code=(ADD, FMLA)), Block(address=8, code=(FMLA, LOOP))
    assert joined({first: 5, second: 5}) == {(ADD, FMLA, FMLA, LOOP): 5}


def test_what_is_entered_from_elsewhere_too_is_counted_for_both() -> None:
    first, second = Block(address=0, code=(ADD,)), Block(address=4, code=(FMLA, LOOP))
    assert joined({first: 1, second: 5}) == {(ADD, FMLA, LOOP): 1, (FMLA, LOOP): 4}


def test_a_branch_ends_a_path() -> None:
    first, second = Block(address=0, code=(ADD, LOOP)), Block(address=8, code=(FMLA, RETURN))
    assert joined({first: 3, second: 3}) == {(ADD, LOOP): 3, (FMLA, RETURN): 3}


def test_barriers_and_hints_are_no_branches() -> None:
    assert [is_branch(word) for word in (NOP, 0xD5033BBF, LOOP, RETURN, 0x94000001, 0xB4000000, ADD, FMLA)] == [
        False, False, True, True, True, True, False, False
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 9)), min_size=1, max_size=12))
def test_every_executed_instruction_is_on_one_path(parts: list[tuple[int, bool, int]]) -> None:
    runs, address = {}, 0
    for number, (length, branches, times) in enumerate(parts):
        code = (*((ADD + number,) * (length - 1)), LOOP if branches else FMLA + number)
        runs[Block(address=address, code=code)] = times
        address += 4 * length
    wanted: Counter[int] = Counter()
    for block, times in runs.items():
        for word in block.code:
            wanted[word] += times
    found: Counter[int] = Counter()
    for code, times in joined(runs).items():
        for word in code:
            found[word] += times
    assert +found == +wanted


@pytest.mark.modelled
def test_a_core_with_two_pipes_starts_two_fma_a_cycle() -> None:
    code = independent_fmla(16)
    price = mca.prices([code, (ADD, RETURN)], "neoverse-n1")[code]
    assert (price.fma_lanes, price.mul_lanes) == (64, 0)
    assert price.port_bound == 8.0
    assert price.cycles == pytest.approx(8.0, rel=0.1)


@pytest.mark.modelled
def test_a_chain_waits_for_its_own_results() -> None:
    """fmla forwards to its accumulator in two cycles on a Neoverse N1."""
    price = mca.prices([(FMLA,) * 8], "neoverse-n1")[(FMLA,) * 8]
    assert price.cycles > 2 * price.port_bound


@pytest.mark.modelled
def test_lanes_of_vectors_scalars_and_elements() -> None:
    words = {
        0x4F821020: ("fmla", 4),  # fmla v0.4s, v1.4s, v2.s[0]
        0x0E22CC20: ("fmla", 2),  # fmla v0.2s, v1.2s, v2.2s
        0x1F020C20: ("fmadd", 1),  # fmadd s0, s1, s2, s3
        0x6E22DC20: ("fmul", 4),  # fmul v0.4s, v1.4s, v2.4s
        0x4E22D420: ("fadd", 0),  # fadd v0.4s, v1.4s, v2.4s
        0x4E22C420: ("fmaxnm", 0),  # fmaxnm v0.4s, v1.4s, v2.4s
    }
    price = mca.prices([(word,) for word in words], "neoverse-n1")
    for word, (op, lanes) in words.items():
        mul = op == "fmul"
        assert (price[(word,)].fma_lanes, price[(word,)].mul_lanes) == (0 if mul else lanes, lanes if mul else 0), op


def step(name: str, macs: int = 0, schedule: str = "default:loops") -> Step:
    return Step(name=name, ops=("conv",), macs=macs, schedule=schedule)


def phase(symbol: str, runs: int = 1) -> Phase:
    block = Block(address=0, code=(FMLA, RETURN))
    return Phase(symbol=symbol, runs={block: runs}, accesses=0, l1_misses=0, l2_misses=0)


def test_the_run_in_the_middle_is_taken() -> None:
    once, mark = [phase("__tvm_ffi_a"), phase("__tvm_ffi_b")], phase("mark")
    middle = [phase("__tvm_ffi_a", 7), phase("__tvm_ffi_b", 8)]
    assert list(pricing.steady([phase("-"), *once, mark, *middle, mark, *once, mark], ["a", "b"])) == middle


@pytest.mark.parametrize("names", ["ab|ab|", "ababab", "ab|a|ab|", "ba|ba|ba|", "ab|ab|ab|ab|"])
def test_a_trace_of_something_else_is_refused(names: str) -> None:
    with pytest.raises(DeviceError, match="not 3 runs of 2 operators"):
        pricing.steady([phase("-"), *(phase("mark" if n == "|" else f"__tvm_ffi_{n}") for n in names)], ["a", "b"])


@pytest.mark.modelled
def test_lost_multiplications_are_noticed() -> None:
    one, many = step("a", macs=16), step("a", macs=17)
    assert isinstance(pricing.price_steps([phase("a")], [one], "neoverse-n1", caches=False)[0], StepCost)
    with pytest.raises(DeviceError, match="17 MACs, but only 4"):
        pricing.price_steps([phase("a")], [many], "neoverse-n1", caches=False)
    transformed = step("a", macs=17, schedule="template:winograd")
    pricing.price_steps([phase("a")], [transformed], "neoverse-n1", caches=False)


@pytest.fixture(scope="module")
def pointwise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 1x1 convolution: no border, so that every MAC is one lane."""
    path = tmp_path_factory.mktemp("models") / "pointwise.onnx"
    body = "(float[1,16,12,12] x) => (float[1,24,12,12] y) { c = Conv(x, w) y = Relu(c) }"
    onnx.save(network(body, w=random(24, 16, 1, 1)), path)
    return path


@pytest.mark.modelled
def test_a_network_costs_the_same_every_time(pointwise: Path) -> None:
    first, second = (cost(pointwise, caches=True, options=Options(simplify=False)) for _ in range(2))
    assert dumps(cost_report(first)) == dumps(cost_report(second))
    fits(cost_report(first))
    n1, a55 = first
    assert (n1.cpu, a55.cpu) == ("neoverse-n1", "cortex-a55")
    assert n1.fma_lanes == n1.macs == 12 * 12 * 24 * 16
    assert n1.macs / 16 < n1.port_bound <= n1.cycles < n1.macs
    assert a55.cycles > n1.cycles
    assert n1.l1_misses is not None and n1.l2_misses is not None
    assert n1.l2_misses == 0 < n1.l1_misses  # all of it stays in the L2 from run to run
    assert [s.step.ops for s in n1.steps if s.step.macs] == [("conv", "relu")]


@pytest.mark.modelled
def test_winograd_reads_its_weights_once_and_keeps_its_data(tmp_path: Path) -> None:
    """RepVGG-A0's 14x14 pixels of 192 channels, 1.3 MB of weights a layer: transformed at load they would be 3.7 MB."""
    body = "(float[1,192,14,14] x) => (float[1,192,14,14] y) { a = Conv<pads = [1,1,1,1]>(x, v) y = Conv<pads = [1,1,1,1]>(a, w) }"
    weights = {name: random(192, 192, 3, 3) for name in "vw"}
    onnx.save(network(body, **weights), tmp_path / "layers.onnx")
    options = Options(simplify=False, shipped_logs=False)
    (n1,) = cost(tmp_path / "layers.onnx", cpus=["neoverse-n1"], caches=True, options=options)
    assert all(s.step.schedule == "template:winograd 3x3" for s in n1.steps if s.step.macs)
    lines = sum(w.nbytes for w in weights.values()) / 64
    assert n1.l2_misses is not None and lines < n1.l2_misses < 2 * lines
    assert n1.cycles < 0.55 * n1.macs / 8, "of the cycles that products alone would take directly"


@pytest.mark.modelled
def test_calls_that_share_a_concatenation_have_functions_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "concat.onnx"
    body = """(float[1,16,6,6] x) => (float[1,48,6,6] y) {
        a = Conv(x, w) b = Conv<group = 24>(a, d) y = Concat<axis = 1>(a, b) }"""
    onnx.save(network(body, w=random(24, 16, 1, 1), d=random(24, 1, 1, 1)), path)
    (n1,) = cost(path, cpus=["neoverse-n1"], options=Options(simplify=False, reparam=False))
    assert n1.macs == 36 * 24 * 17


@pytest.mark.modelled
def test_the_command_prints_both_cores(pointwise: Path) -> None:
    done = CliRunner().invoke(edgevision, ["cost", str(pointwise), "--top", "1", "-q"])
    assert done.exit_code == 0, done.output
    assert "neoverse-n1" in done.output and "cortex-a55" in done.output and "modelled" in done.output


@pytest.mark.parametrize(("target", "cores", "said"), [
    ("armv7", ("neoverse-n1",), "target armv7 is arm: try arm64"),
    ("arm64", ("cortex-a53",), "no model of cortex-a53; there is one of neoverse-n1 and cortex-a55"),
    ("arm64", (), "no model of no core"),
])  # fmt: skip
def test_what_has_no_model_is_refused(pointwise: Path, target: str, cores: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        cost(pointwise, target, cores)


def test_without_an_emulator_that_takes_plugins_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "EMULATOR", "qemu-nothing")
    with pytest.raises(ToolchainError, match="apt-get install qemu-user"):
        trace.trace(["program"], Path("plugin"), cpu="max", timeout_s=1)


@pytest.mark.modelled
def test_a_program_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="missing"):
        trace.trace([str(tmp_path / "missing")], link_cost_plugin(), cpu="max", timeout_s=60)


def test_a_trace_that_was_cut_off_is_refused() -> None:
    whole = ["phase - 0 0 0", "0 1", "block 0 10 d503201f", "end"]
    assert trace._read(whole, "p")[0].instructions == 1
    with pytest.raises(DeviceError, match="before its instructions were counted"):
        trace._read(whole[:-1], "p")
