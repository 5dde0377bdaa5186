"""The ratio is kind to the other side, and the mark is seen by the plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.arm64_cost.__main__ import ratio, row
from edgevision import target as targets
from edgevision.artifact import Step
from edgevision.link import zig
from edgevision.link.toolchain import link_cost_plugin
from edgevision.measure.modelled.trace import trace
from edgevision.modelled import ModelledCost, StepCost

MARKED = """
#include <stdlib.h>
static void __attribute__((noinline)) mark(void) { __asm__ volatile("hint #122"); }
int main(int argc, char **argv) {
    mark();
    for (volatile int i = 0; i < atoi(argv[1]); i++) {}
    mark();
    return argc - 2;
}
"""


def costs(cycles: float, port_bound: float) -> ModelledCost:
    step = StepCost(
        step=Step(name="all", ops=(), macs=100, schedule=""), instructions=1, cycles=cycles, port_bound=port_bound, fma_lanes=90,
        mul_lanes=0,
    )  # fmt: skip
    return ModelledCost(name="n", target="arm64", cpu="neoverse-n1", steps=(step,))


def test_the_ratio_is_the_one_kinder_to_the_other_side() -> None:
    assert ratio(costs(50, 40), costs(100, 50)) == 0.8
    assert ratio(costs(50, 20), costs(60, 50)) == 50 / 60


def test_a_row_has_a_cell_for_each_column() -> None:
    printed = row("net", costs(2e6, 2e6), costs(1e6, 1e6), costs(2e6, 4e6))
    assert printed == "| net | 2.0 | 4.0 | - | 1.0 | 1.0 | - | 0.50 | 1.00 | 0.900 |"


@pytest.mark.modelled
def test_what_runs_between_two_marks_is_a_phase(tmp_path: Path) -> None:
    source, program = tmp_path / "marked.c", tmp_path / "marked"
    source.write_text(MARKED)
    target = targets.load("arm64")
    arguments: list[str | Path] = ["cc", "-target", target.bench_zig_target, "-O1", "-static", source, "-o", program]
    zig.run(arguments, purpose="linking a marked program", scratch=tmp_path / "zig")

    def between(turns: int) -> int:
        phases = trace([str(program), str(turns)], link_cost_plugin(), cpu="neoverse-n1", timeout_s=60).phases
        assert [p.symbol for p in phases] == ["-", "mark", "mark"]
        return phases[1].instructions

    assert between(300) - between(200) == between(200) - between(100) > 100
