"""A process that settles is where it was told, with its group of processes at the same priority."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.peers.child import CHECKOUT
from edgevision.measure.cores import AUTOGROUP

SETTLE = """
import os
from edgevision.measure.cores import AUTOGROUP, settle
settle({nice}, [{core}])
print(os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0))
print(AUTOGROUP.read_text().split()[-1])
"""


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel does not group processes by session")
@pytest.mark.parametrize("nice", [0, 7])
def test_the_group_gets_the_priority_too(nice: int) -> None:
    """0 leaves the priority as it is: what this process has."""
    core, kept = max(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0)
    program = SETTLE.format(core=core, nice=nice)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True,
        start_new_session=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{{{core}}} {nice or kept}", str(nice)]
