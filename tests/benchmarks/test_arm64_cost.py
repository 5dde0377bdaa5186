"""The ratio is kind to the other side, a table has a cell for each column, and the mark is seen by the plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.arm64_cost.__main__ import HEAD, compared, figures, line, summary
from benchmarks.arm64_cost.counting import Ours, ratio
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


def costs(cycles: float, port_bound: float, l1_misses: int | None = None) -> ModelledCost:
    step = StepCost(
        step=Step(name="all", ops=(), macs=100, schedule=""), instructions=1, cycles=cycles, port_bound=port_bound, fma_lanes=90,
        mul_lanes=0, accesses=None, l1_misses=l1_misses, l2_misses=l1_misses,
    )  # fmt: skip
    return ModelledCost(name="n", target="arm64", cpu="neoverse-n1", steps=(step,))


def test_the_ratio_is_the_one_kinder_to_the_other_side() -> None:
    assert ratio(costs(50, 40), costs(100, 50)) == 0.8
    assert ratio(costs(50, 20), costs(60, 50)) == 50 / 60


def test_a_row_has_a_cell_for_each_column() -> None:
    theirs = figures("net", "peer", costs(2e6, 44e6, 3_300_000), 100)
    assert line([*theirs, "0.50"]) == "| net | peer | 2.00 | 44.0 | 3.30 | 3.30 | 0.900 | 0.50 | - | - |"
    assert line(figures("net", "peer", costs(2e6, 4e6), 100)).count("| - ") == 5
    assert line(theirs).count("|") == len(HEAD) + 1


def test_untuned_tuned_and_without_winograd_stand_apart() -> None:
    mine = Ours(untuned=costs(50, 50), tuned=costs(25, 25), direct=costs(80, 80))
    found = compared(mine, costs(100, 100))
    assert found == (0.5, 0.25, 0.8)
    assert summary({"peer": [found, (2.0, 1.0, 0.8)]}) == ["peer, 2 networks: untuned 1.00, tuned 0.50, no Winograd 0.80"]


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
