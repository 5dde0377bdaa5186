"""qemu-user as a device: for correctness only. Its wall time says nothing about ARM, so it has no `time`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevision.artifact import Artifact
from edgevision.errors import DeviceError, ToolchainError
from edgevision.latency import DeviceInfo
from edgevision.measure.compare import Array
from edgevision.measure.device import check_exit
from edgevision.target import Target
from edgevision.tensor import TensorSpec

BIONIC_LIBRARIES = {"libc.so": "libc.so.6", "libm.so": "libm.so.6", "libdl.so": "libdl.so.2"}
"""What an Android library asks for, and which file of a glibc stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """Runs the .so in ``runner`` (native/bench.c with EV_BENCH_DLOPEN, built for ``target.runner_zig_target``), or the
    static bench that lies beside it where ``runner`` is None. ``timeout_s`` is for one input; None takes what the
    network's size allows for. ``fallback`` as in `edgevision.runtime.load`.
    """

    target: Target
    runner: Path | None
    threads: int = 2
    timeout_s: float | None = None
    fallback: str = "never"

    @property
    def how(self) -> str:
        return "qemu" if self.runner else "qemu-bench"

    @property
    def info(self) -> DeviceInfo:
        cpu = self.target.emulator_cpu
        return DeviceInfo(name=f"qemu {cpu}", cpu=cpu, cores=self.threads, transport=self.target.emulator)

    def execute(self, artifact: Artifact, cases: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Outputs for each list of inputs, one emulated process after another."""
        return [self._execute_one(artifact, inputs) for inputs in cases]

    def _execute_one(self, artifact: Artifact, inputs: Sequence[Array]) -> list[Array]:
        with tempfile.TemporaryDirectory(prefix="edgevision-") as name:
            folder = Path(name)
            command = self._command(artifact, folder)
            for number, array in enumerate(inputs):
                path = folder / f"in{number}"
                path.write_bytes(array.tobytes())
                command += ["--input", str(path)]
            outputs = [folder / f"out{number}" for number in range(len(artifact.outputs))]
            for path in outputs:
                command += ["--output", str(path)]
            self._run(command, artifact)
            return [_read(path, spec) for path, spec in zip(outputs, artifact.outputs, strict=True)]

    def _command(self, artifact: Artifact, folder: Path) -> list[str]:
        target = self.target
        command = [target.emulator, "-cpu", target.emulator_cpu]
        if target.os == "android":
            command += ["-p", str(target.page_bytes)]
        if self.runner:
            command += ["-L", target.sysroot, "-E", f"LD_LIBRARY_PATH={_libraries(target, folder)}"]
            command += [str(self.runner), str(artifact.path.resolve())]
        else:
            command += [str(artifact.bench)]
        return [*command, "--runs", "1", "--warmup", "0", "--threads", str(self.threads), "--fallback", self.fallback]

    def _run(self, command: Sequence[str], artifact: Artifact) -> None:
        what = artifact.path if self.runner else artifact.bench
        limit_s = patience_s(artifact) if self.timeout_s is None else self.timeout_s
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit_s)
        except FileNotFoundError as error:
            raise ToolchainError(why_absent(self.target) or f"cannot start {command[0]}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"{what} ran for more than {limit_s:g} s under {self.target.emulator}; "
                "`--no-verify` compiles it without a comparison"
            ) from error
        check_exit(what, f"under {self.target.emulator}", done.returncode, done.stderr)


def patience_s(artifact: Artifact) -> float:
    """How long one input may take: five minutes, and two runs (one is warm-up) at ten million MACs a second.

    A busy core that emulates tuned kernels does 60 (armv7) to 120 million (arm64).
    """
    return 300.0 + 2 * sum(step.macs for step in artifact.steps) / 10e6


def why_absent(target: Target) -> str:
    """Why nothing built for ``target`` can be emulated here; "" when it can."""
    if not target.emulator:
        return f"target {target.name} names no emulator"
    if not shutil.which(target.emulator):
        return f"{target.emulator} is not installed (Debian: apt-get install qemu-user-static)"
    return ""


def why_no_runner(target: Target) -> str:
    """Why the .so itself cannot be loaded under the emulator and the static bench must stand in; "" when it can."""
    if not any(Path(target.sysroot, "lib").glob("ld-linux*.so.*")):
        return (
            f"there is no C library for {target.arch} in {target.sysroot} (Debian: apt-get install {_package(target)})"
        )
    return ""


def _package(target: Target) -> str:
    return {"aarch64": "libc6-arm64-cross", "arm": "libc6-armhf-cross"}.get(target.arch, "its libc6 cross package")


def _libraries(target: Target, folder: Path) -> str:
    """Where the emulated linker looks first: bionic's names for glibc's files, or nothing special."""
    if target.os == "android":
        for name, file in BIONIC_LIBRARIES.items():
            (folder / name).symlink_to(Path(target.sysroot, "lib", file))
        return str(folder)
    return f"{target.sysroot}/lib"


def _read(path: Path, spec: TensorSpec) -> Array:
    values = np.frombuffer(path.read_bytes(), np.dtype(spec.dtype))
    if values.size != spec.size:
        raise DeviceError(f"output {spec.name!r} has {values.size} elements instead of {spec.size}")
    return values.reshape(spec.shape)
