"""Boards with Python that TVM's RPC tracker leads to, each a bench."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.errors import InputError
from edgevision.measure.transport import LostDeviceError
from edgevision.tune import rpc_client
from edgevision.tune.bench import DeviceBench
from edgevision.tune.builder import worker_environment
from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import Cooling, StepwiseDevice
from edgevision.tune.request import Built

SESSION_S = 120.0
"""After which the server is given up for a moment, before it ends the session itself (`rpc_client.SESSION_LIMIT_S`)."""
REACH_S = 240.0
"""Until a server is free: another session may hold it, or a kernel that hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracker:
    """Where TVM's tracker listens, and under which key the boards are there."""

    host: str
    port: int
    key: str

    @classmethod
    def parse(cls, address: str, key: str) -> Tracker:
        """``address``: HOST:PORT. Raises: InputError."""
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise InputError(f"--rpc-tracker {address}: write HOST:PORT, as for `python -m tvm.exec.query_rpc_tracker`")
        return cls(host=host.strip("[]"), port=int(port), key=key)

    def servers(self) -> int:
        """How many boards there are now. Raises: LostDeviceError, where there is none."""
        then = f"start `python -m tvm.exec.rpc_server --tracker {self.host}:{self.port} --key {self.key}` on a board"
        try:
            count = rpc_client.servers(self.host, self.port, self.key)
        except rpc_client.LostError as error:
            raise LostDeviceError(self.key, "asking for boards", str(error), "start `python -m tvm.exec.rpc_tracker`") from error
        if not count:
            raise LostDeviceError(self.key, "asking for boards", f"no server with key {self.key!r}", then)
        return count


class RpcDevice(StepwiseDevice):
    """`edgevision.tune.device.Device` by `edgevision.tune.rpc_client`. Raises LostDeviceError where the board is gone."""

    def __init__(self, tracker: Tracker, name: str, folder: Path, *, threads: int, cooling: Cooling) -> None:
        words = (tracker.host, tracker.port, tracker.key, threads, cooling.weights + cooling.written)
        command = [sys.executable, "-P", "-m", "edgevision.tune.rpc_client", *map(str, words)]
        super().__init__(command, folder, environment=worker_environment())
        self.name, self._began = name, 0.0

    def hold(self, incumbent: Built, limit_s: float) -> None:
        if time.monotonic() - self._began > SESSION_S:
            self.close()
        super().hold(incumbent, limit_s)

    def reach(self) -> None:
        """A server that is free, which holds nothing yet. Raises: LostDeviceError."""
        self._held = ""
        try:
            super()._ask("hello", REACH_S)
        except ChildHungError:
            raise self._lost(f"no server was free for {REACH_S:.0f} s") from None
        except ChildCrashedError as error:
            raise self._lost(error.reason.removeprefix(rpc_client.LOST)) from None
        self._began = time.monotonic()

    def _ask(self, request: str, limit_s: float) -> dict[str, Any]:
        if not self.running:
            self.reach()
        try:
            return super()._ask(request, limit_s)
        except ChildCrashedError as error:
            if error.reason.startswith(rpc_client.LOST):
                raise self._lost(error.reason.removeprefix(rpc_client.LOST)) from None
            raise

    def _lost(self, cause: str) -> LostDeviceError:
        then = "TVM's server serves no more after a kernel crashed in it: see that it is started again, as docs/tune.md shows"
        return LostDeviceError(self.name, "measuring by RPC", cause, then)


class RpcBench(DeviceBench):
    """One session of the tracker's at a time."""

    def __init__(self, device: RpcDevice) -> None:
        super().__init__(device, name=device.name)
        self._board = device

    def open(self) -> None:
        self._board.close()
        self._board.reach()


def benches(tracker: Tracker, folder: Path, *, threads: int, cooling: Cooling) -> tuple[RpcBench, ...]:
    """One for each board. Raises: LostDeviceError, where there is none."""
    found = []
    for number in range(1, tracker.servers() + 1):
        own = folder / f"board{number}"
        own.mkdir()
        found.append(RpcBench(RpcDevice(tracker, f"{tracker.key}-{number}", own, threads=threads, cooling=cooling)))
    return tuple(found)
