"""A machine that qemu-user stands in for: programs pushed there run, their times mean nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgevision.errors import ToolchainError
from edgevision.latency import DeviceInfo, How
from edgevision.measure.emulator import why_absent
from edgevision.measure.local_transport import LocalTransport
from edgevision.measure.transport import NO_VARIABLES, Ran, Workspace
from edgevision.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedTransport:
    """``machine``: the transport to the machine that emulates, this one."""

    target: Target
    machine: LocalTransport

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def how(self) -> How:
        return "emulated"

    @property
    def cores(self) -> Mapping[str, tuple[int, ...]]:
        return self.machine.cores

    @contextmanager
    def open(self) -> Iterator[Workspace]:
        """Raises: LostDeviceError; ToolchainError where there is no emulator."""
        absent = why_absent(self.target)
        if absent:
            raise ToolchainError(absent)
        with self.machine.open() as workspace:
            yield EmulatedWorkspace(workspace=workspace, target=self.target)


@dataclass(slots=True, kw_only=True)
class EmulatedWorkspace:
    """What was pushed is a program for ``target``; other commands are this machine's."""

    workspace: Workspace
    target: Target
    pushed: set[str] = field(default_factory=set)

    @property
    def info(self) -> DeviceInfo:
        target, machine = self.target, self.workspace.info
        return DeviceInfo(name=machine.name, cpu=f"qemu {target.emulator_cpu}", cores=machine.cores, transport=target.emulator)

    def push(self, path: Path) -> str:
        there = self.workspace.push(path)
        self.pushed.add(there)
        return there

    def run(
        self, command: Sequence[str], *, timeout_s: float, variables: Mapping[str, str] = NO_VARIABLES, text: str = ""
    ) -> Ran:
        if command[0] in self.pushed:
            command = [self.target.emulator, "-cpu", self.target.emulator_cpu, *command]
        return self.workspace.run(command, timeout_s=timeout_s, variables=variables, text=text)

    def pull(self, name: str, into: Path) -> None:
        self.workspace.pull(name, into)
