"""A bench whose device is asked step by step: a process of this machine, a model of another one, or TVM's RPC."""

from __future__ import annotations

from collections.abc import Sequence

from edgevision.measure.transport import LostDeviceError
from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import Array, Device
from edgevision.tune.request import Built
from edgevision.tune.trial import Trial, Verdict, hung, judge


class DeviceBench:
    """`edgevision.tune.trial.Bench` around a device. What the default computes there is the reference of a workload."""

    size = 1

    def __init__(self, device: Device, *, name: str = "") -> None:
        self.name, self._device = name, device
        self._references: dict[str, tuple[Array, ...]] = {}

    @property
    def cpu(self) -> str:
        """This machine's is in the log's provenance; TVM's RPC does not tell a board's."""
        return ""

    def open(self) -> None:
        """A device is started by what it is asked first, and anew after a crash."""

    def trials(self, batch: Sequence[Trial]) -> list[Verdict]:
        return [self._trial(trial) for trial in batch]

    def close(self) -> None:
        self._device.close()

    def _trial(self, trial: Trial) -> Verdict:
        try:
            if trial.workload not in self._references:
                self._references[trial.workload] = self._reference(trial.default, trial.limit_s)
            return judge(self._device, trial, self._references[trial.workload])
        except ChildCrashedError as error:
            return self._broken(trial, Verdict(outcome="crashed", detail=error.reason))
        except ChildHungError:
            return self._broken(trial, hung(trial.limit_s))

    def _broken(self, trial: Trial, verdict: Verdict) -> Verdict:
        """What a candidate is compared with does not run: its own fault only where it is the same."""
        if trial.candidate == trial.default:
            return verdict
        doing = "running what a candidate is compared with"
        raise LostDeviceError(self.name or "this machine", doing, verdict.detail, "it ran before: see what changed there")

    def _reference(self, default: Built, limit_s: float) -> tuple[Array, ...]:
        self._device.hold(default, limit_s)
        return self._device.results(default, limit_s).arrays
