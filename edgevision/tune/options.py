"""How to tune."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgevision.device_file import DeviceEntry
from edgevision.tune.rpc import Tracker
from edgevision.tune.state import Budget
from edgevision.tuning_log import How


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``jobs``: candidates compiled at a time, 0 for one a core. ``nice``: priority of the measuring process. ``excluded``:
    templates that are not used. ``modelled``: by cycles of `modelled.CPU` on one thread, not by time. ``devices`` that measure,
    sharing the work, in the place of this machine, bound to ``cores``: numbers, or a set of each entry. ``tracker`` leads to
    boards that measure instead. ``ray``: the address of a cluster that compiles, and measures where nothing else does."""

    budget: Budget
    threads: int = 1
    seed: int = 0
    jobs: int = 0
    nice: int = 0
    excluded: frozenset[str] = field(default_factory=frozenset)
    modelled: bool = False
    devices: tuple[DeviceEntry, ...] = ()
    cores: str = ""
    tracker: Tracker | None = None
    ray: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of what measures, where that is not this machine."""
        far = (*(device.name for device in self.devices), *((self.tracker.key,) if self.tracker else ()))
        return far or (("ray",) if self.ray and not self.modelled else ())

    @property
    def how(self) -> How:
        return "modelled" if self.modelled else "measured"
