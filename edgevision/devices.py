"""Devices by name, from a file (`edgevision.device_file`) or this machine: what leads to each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from edgevision import device_file
from edgevision import target as targets
from edgevision.device_file import DeviceEntry
from edgevision.errors import EdgevisionError, InputError, UnknownNameError
from edgevision.measure import adb, ssh
from edgevision.measure.adb import AdbTransport
from edgevision.measure.attended import TERMS, Terms, say_nothing
from edgevision.measure.emulated import EmulatedTransport
from edgevision.measure.local_transport import LocalTransport
from edgevision.measure.ssh import SshTransport
from edgevision.measure.transport import Transport
from edgevision.target import Target

Result = TypeVar("Result")

LOCAL = DeviceEntry(name="local", transport="local", target="native")
"""This machine, which needs no entry; a file may have one of this name in its place."""


def entries(file: Path | None = None) -> tuple[DeviceEntry, ...]:
    """The devices of ``file``, or of the one that is found without it (`edgevision.device_file.find`), and this machine.

    Raises: DeviceFileError, UnknownNameError.
    """
    path = device_file.find(file)
    listed = device_file.read(path) if path else ()
    return listed if LOCAL.name in [each.name for each in listed] else (LOCAL, *listed)


def entry(name: str, file: Path | None = None) -> DeviceEntry:
    """The device called ``name``.

    Raises: UnknownNameError, and as `entries`.
    """
    known = {each.name: each for each in entries(file)}
    if name not in known:
        raise UnknownNameError("device", name, tuple(known))
    return known[name]


def chosen(names: Sequence[str], labels: Sequence[str], file: Path | None = None) -> tuple[DeviceEntry, ...]:
    """The devices of these names, then those that have one of these labels, each once.

    Raises: UnknownNameError, and as `entries`.
    """
    listed = entries(file)
    known = {label for each in listed for label in each.labels}
    for label in labels:
        if label not in known:
            raise UnknownNameError("label", label, tuple(sorted(known)))
    labelled = [each for each in listed if not set(labels).isdisjoint(each.labels)]
    return tuple({each.name: each for each in (*(entry(name, file) for name in names), *labelled)}.values())


def load(
    name: str, file: Path | None = None, *, told: Callable[[str], None] = say_nothing, terms: Terms = TERMS
) -> Transport:
    """What leads to the device called ``name``; nothing is connected yet. ``told`` hears who has a device that is waited for.

    Raises: UnknownNameError, and as `entries`.
    """
    return transport(entry(name, file), told=told, terms=terms)


def transport(found: DeviceEntry, *, told: Callable[[str], None] = say_nothing, terms: Terms = TERMS) -> Transport:
    """What leads to the device ``found``.

    Raises: InputError, when an emulator's target needs none.
    """
    if found.transport == "ssh":
        return SshTransport(
            name=found.name, address=found.address, port=found.port, user=found.user, jump=found.jump, identity=found.identity,
            ssh_config=found.ssh_config, folder=found.folder.removeprefix("~/") or ssh.FOLDER, lock=found.lock,
            environment=found.environment, cores=found.cores, terms=terms, told=told,
        )  # fmt: skip
    if found.transport == "adb":
        return AdbTransport(
            name=found.name, serial=found.serial, address=found.address, port=found.port, folder=found.folder or adb.FOLDER,
            lock=found.lock, environment=found.environment, cores=found.cores, terms=terms, told=told,
        )  # fmt: skip
    local = LocalTransport(
        name=found.name, lock=found.lock, environment=found.environment, cores=found.cores, terms=terms, told=told
    )
    if found.folder:
        local = replace(local, folder=Path(found.folder).expanduser())
    return EmulatedTransport(target=_emulated(found), machine=local) if found.transport == "emulator" else local


def cores(found: DeviceEntry, wanted: str) -> tuple[int, ...]:
    """The cores that ``wanted`` names: a set of the device's entry ("big"), or numbers ("4,5").

    Raises: InputError, UnknownNameError.
    """
    if wanted in found.cores:
        return found.cores[wanted]
    numbers = wanted.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        if not found.cores:
            raise InputError(f"device {found.name} names no sets of cores; give numbers, 4,5, or name a set in its entry")
        raise UnknownNameError(f"set of cores of device {found.name}", wanted, tuple(found.cores))
    return tuple(map(int, numbers))


def each(found: Sequence[DeviceEntry], work: Callable[[DeviceEntry], Result]) -> list[Result | EdgevisionError]:
    """``work`` on all devices at the same time; one that fails costs its own result. In the order of ``found``.

    The threads are daemons: a process that is interrupted ends, and devices that hear nothing more clean up themselves.
    """
    results: dict[str, Result | EdgevisionError] = {}
    bugs: list[BaseException] = []

    def one(device: DeviceEntry) -> None:
        try:
            results[device.name] = work(device)
        except EdgevisionError as error:
            results[device.name] = error
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
            bugs.append(error)

    if len(found) == 1:
        one(found[0])
    else:
        threads = [threading.Thread(target=one, args=(device,), daemon=True) for device in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if bugs:
        raise bugs[0]
    return [results[device.name] for device in found]


def _emulated(found: DeviceEntry) -> Target:
    target = targets.load(found.target)
    if not target.emulator:
        raise InputError(
            f"device {found.name}: target {target.name} runs on this machine and nothing emulates it; use transport local"
        )
    return target
