"""One start of an artifact's -bench executable on a device, and what it printed. The other half is native/bench.c."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgevision.artifact import Artifact
from edgevision.errors import DeviceError
from edgevision.measure.device import check_exit
from edgevision.measure.transport import LostDeviceError, Ran, Workspace

CLOCKS_DIFFER = 1.05
"""How much longer the runs may take by the device's clock than the whole command took by ours: quartz differs by 0.0001."""
CLOCKS_DIFFER_S = 0.05

CANNOT_EXECUTE, NOT_FOUND = 126, 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """``steps_us``: the median of each fused operator, empty without --profile; ``peak_rss_bytes`` is None where it is not told."""

    samples_ms: tuple[float, ...]
    warmup: int
    threads: int
    create_ms: float
    first_run_ms: float
    steps_us: tuple[tuple[str, float], ...]
    peak_rss_bytes: int | None


def start(workspace: Workspace, artifact: Artifact, program: str, options: Sequence[str], timeout_s: float) -> Start:
    """Run ``program``, where ``artifact.bench`` was pushed to.

    Raises:
        LostDeviceError: the device went away, the program hangs or was killed, or printed something else than a measurement.
        DeviceError: it cannot be run there, or failed.
    """
    began = time.monotonic()
    ran = workspace.run([program, *options], timeout_s=timeout_s)
    took_s = time.monotonic() - began
    check(workspace, artifact, ran)
    found = _read(workspace, artifact, ran.stdout)
    if sum(found.samples_ms) / 1000 > CLOCKS_DIFFER * took_s + CLOCKS_DIFFER_S:
        raise LostDeviceError(
            workspace.info.name, f"timing {artifact.bench.name}", "its clock is wrong",
            f"by it, runs took {sum(found.samples_ms) / 1000:.3g} s in a command that took {took_s:.3g} s here; restart it",
        )  # fmt: skip
    return found


def check(workspace: Workspace, artifact: Artifact, ran: Ran) -> None:
    """Raises: LostDeviceError, when the program was killed; DeviceError, when it failed."""
    name, device = artifact.bench.name, workspace.info.name
    if ran.status == 128 + signal.SIGKILL:
        raise LostDeviceError(device, f"running {name}", "killed by SIGKILL", "see whether it ran out of memory, then repeat")
    foreign = "Exec format error" in ran.stderr or "not executable" in ran.stderr or "cannot execute binary" in ran.stderr
    if foreign or (ran.status in (CANNOT_EXECUTE, NOT_FOUND) and "ermission denied" not in ran.stderr):
        raise DeviceError(
            f"{artifact.bench} does not start on device {device}: it is compiled for target {artifact.target}; "
            f"`edgevision devices probe {device}` names the one that fits"
        )
    if ran.status == CANNOT_EXECUTE:
        raise DeviceError(f"device {device} starts no programs from its folder; name another one, folder = ..., in its entry")
    if ran.status == 128 + signal.SIGILL:
        raise DeviceError(
            f"{artifact.bench} uses instructions that device {device} lacks: it is compiled for target {artifact.target}; "
            "compile it with another --cpu or --features"
        )
    check_exit(artifact.bench, f"on device {device}", ran.status, ran.stderr)


def _read(workspace: Workspace, artifact: Artifact, printed: str) -> Start:
    try:
        said = json.loads(printed)
        found = Start(
            samples_ms=tuple(ns / 1e6 for ns in said["samples_ns"]),
            warmup=said["warmup"],
            threads=said["threads"],
            create_ms=said["create_ns"] / 1e6,
            first_run_ms=said["first_run_ns"] / 1e6,
            steps_us=tuple((step["name"], step["ns"] / 1e3) for step in said["steps"]),
            peak_rss_bytes=said["peak_rss_bytes"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _garbled(workspace, artifact, f"its output is no measurement ({type(error).__name__}: {error})") from error
    wrong = _wrong(artifact, said, found)
    if wrong:
        raise _garbled(workspace, artifact, wrong)
    return found


def _wrong(artifact: Artifact, said: Mapping[str, Any], found: Start) -> str:
    if said.get("model_sha256") != artifact.model_sha256:
        return f"it speaks of another network ({said.get('model_sha256')} instead of {artifact.model_sha256})"
    if not found.samples_ms or min(found.samples_ms) <= 0:
        return "it took no time, or has none"
    return ""


def _garbled(workspace: Workspace, artifact: Artifact, why: str) -> LostDeviceError:
    then = f"{why}; see that the files of the compile belong together"
    return LostDeviceError(workspace.info.name, f"timing {artifact.bench.name}", "garbled output", then)
