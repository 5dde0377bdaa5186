"""Which benches a tuning run has: this machine, a model of another one, or devices that were named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgevision import devices
from edgevision import target as targets
from edgevision.device_file import DeviceEntry
from edgevision.errors import DeviceError, InputError
from edgevision.link.toolchain import link_cost_plugin
from edgevision.link.trial_program import link_trial
from edgevision.target import Target
from edgevision.tune import cluster, rpc
from edgevision.tune.bench import DeviceBench
from edgevision.tune.device import Cooling, TrialProcess
from edgevision.tune.far import FarBench
from edgevision.tune.modelled import ModelledProcess
from edgevision.tune.options import Options
from edgevision.tune.reference import References
from edgevision.tune.trial import Bench

ARM64 = "aarch64"


class CannotTuneError(DeviceError):
    """A target that this machine cannot run, so that nothing can be timed."""

    def __init__(self, target: Target) -> None:
        self.target = target.name
        super().__init__(
            f"target {target.name} cannot be tuned here: this machine only emulates it, which says nothing about time. Name a "
            f"device with --device; or run `edgevision tune --target native` on a machine with {target.arch}, and add its log to "
            f"yours with `edgevision logs merge`{'; or rank by a model of its cycles: --modelled' if target.arch == ARM64 else ''}"
        )


class NoModelError(InputError):
    """A target that no model has cycles of."""

    def __init__(self, target: Target) -> None:
        self.target = target.name
        super().__init__(f"--modelled: there is a model of 64-bit ARM cores alone, and target {target.name} is {target.arch}")


class EmulatedDeviceError(DeviceError):
    """A device that has no times."""

    def __init__(self, device: DeviceEntry) -> None:
        self.device = device.name
        super().__init__(
            f"device {device.name} is emulated: its times say nothing about real ones. Name a device that is reached by local, ssh "
            "or adb; or rank by a model of 64-bit ARM's cycles: --modelled"
        )


def check(target: Target, options: Options) -> None:
    """Raises: CannotTuneError, NoModelError, EmulatedDeviceError; InputError for what does not go together."""
    if options.modelled:
        _check_modelled(target, options)
        return
    for device in options.devices:
        if device.transport == "emulator":
            raise EmulatedDeviceError(device)
    if options.devices and options.tracker:
        raise InputError("--device and --rpc-tracker: one run measures on one kind of device; leave one out")
    if options.names and options.nice:
        raise InputError("--nice is the priority of a process of this machine; leave it out where others measure")
    if options.cores and not options.devices:
        raise InputError("--cores needs --device; this machine is --device local")
    if target.emulator and not options.names:
        raise CannotTuneError(target)


def _check_modelled(target: Target, options: Options) -> None:
    if target.arch != ARM64:
        raise NoModelError(target)
    if options.tracker:
        raise InputError("--modelled asks no device; leave --modelled or --rpc-tracker out")
    if options.threads > 1:
        raise InputError(f"--modelled --threads {options.threads}: the model is of one thread")
    for device in options.devices:
        if device.transport != "emulator":
            raise InputError(f"--modelled asks no device, and {device.name} is a real one; leave --modelled or --device out")


@contextmanager
def benches(
    target: Target, folder: Path, options: Options, cooling: Cooling, told: Callable[[str], None], ray: Any = None
) -> Iterator[tuple[Bench, ...]]:
    """``folder``: for files of the run. ``told`` hears who has a device that is waited for. ``ray``: the module, connected."""
    if options.devices and not options.modelled:
        with _far(target, folder, options, cooling, told) as found:
            yield found
        return
    if options.tracker:
        yield rpc.benches(options.tracker, folder, threads=options.threads, cooling=cooling)
        return
    if ray and not options.modelled:
        yield cluster.benches(ray, target, options.threads, cooling)
        return
    program = link_trial(target)
    if options.modelled:
        yield (DeviceBench(ModelledProcess(program, link_cost_plugin(), target, folder)),)
        return
    process = TrialProcess(program, folder, threads=options.threads, cooling=cooling, nice=options.nice)
    yield (DeviceBench(process),)


@contextmanager
def _far(
    target: Target, folder: Path, options: Options, cooling: Cooling, told: Callable[[str], None]
) -> Iterator[tuple[Bench, ...]]:
    here = host()
    process = TrialProcess(link_trial(here), folder, threads=1, cooling=Cooling())
    references = References(process, folder)
    try:
        yield tuple(
            FarBench(
                devices.transport(device, told=told), target, folder / f"device{number}", references, cooling=cooling,
                threads=options.threads, cores=devices.cores(device, options.cores) if options.cores else (),
            )
            for number, device in enumerate(options.devices)
        )  # fmt: skip
    finally:
        references.close()


def host() -> Target:
    """What this machine is."""
    return targets.load("native", cores=1)
