"""How many kernels the zoo's networks launch: no more than convolutions, products, pools and reductions are left after fusion."""

from __future__ import annotations

import pytest

from edgevision import target, zoo
from edgevision.lower.phases import lower
from edgevision.pipeline import Options, read
from edgevision.schedule.gpu.apply import schedule
from edgevision.side_by_side import kind_of

QUICK = ("ghostnet-0.5",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.large) for n in zoo.names()])
def test_no_network_launches_more_than_its_operators(name: str) -> None:
    program = lower(read(f"zoo:{name}", Options()))
    needed = sum(kind_of(call.step.ops) != "other" for call in program.calls)
    launches = [len(schedule(program, target.load(shaped)).calls) for shaped in ("opencl", "opencl-mali")]
    assert launches == [needed] * 2
