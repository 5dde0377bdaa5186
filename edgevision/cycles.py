"""Networks by modelled cycles on a 64-bit ARM core: a `Timer` for latency pruning where there is no device to time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import mean

import onnx

from edgevision import ingest
from edgevision.costing import cost
from edgevision.pipeline import Options
from edgevision.rewrite.prune.network import Network
from edgevision.rewrite.prune.workloads import Timing, Workload, workload_of

CORE = "neoverse-n1"
"""A Cortex-A76's core."""


class CycleTimer:
    """Compiles each network for ``target``, counts its instructions under qemu, and has llvm-mca price them (`costing`).

    One thread, data from the first-level cache: a figure to compare networks with, no time on a device. The same every
    time, in millions of cycles.
    """

    how, unit = "modelled", "M cycles"

    def __init__(self, target: str, progress: Callable[[str], None] = lambda _: None) -> None:
        self._target, self._progress = target, progress
        self._first: tuple[bytes, Timing] | None = None

    @property
    def known(self) -> Mapping[Workload, float]:
        """Nothing: no figure outlives a search."""
        return {}

    def __call__(self, proto: onnx.ModelProto) -> Timing:
        content = proto.SerializeToString(deterministic=True)
        if self._first is not None and self._first[0] == content:
            return self._first[1]
        (modelled,) = cost(ingest.to_onnx(proto), self._target, (CORE,), Options())
        by_macs: defaultdict[int, list[float]] = defaultdict(list)
        for each in modelled.steps:
            by_macs[each.step.macs].append(each.cycles / 1e6)
        network = Network(proto)
        found = [workload for node in network.nodes if (workload := workload_of(node, network)) is not None]
        workloads = {each: mean(by_macs[each.macs]) for each in found if each.macs in by_macs}
        total = modelled.cycles / 1e6
        self._progress(f"{self._target}: {total:.4g} M modelled cycles on {CORE}")
        timing = Timing(ms=total, workloads=workloads, rest_ms=total - sum(workloads[each] for each in found if each in workloads))
        self._first = self._first or (content, timing)
        return timing
