"""An artifact's outputs from a device, by its -bench executable: what `edgevision.measure.local` does without one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevision.artifact import Artifact
from edgevision.errors import DeviceError
from edgevision.latency import DeviceInfo
from edgevision.measure.bench_program import check
from edgevision.measure.compare import Array
from edgevision.measure.emulator import patience_s
from edgevision.measure.transport import Transport, Workspace
from edgevision.tensor import TensorSpec


@dataclass(slots=True)
class RemoteDevice:
    """`edgevision.measure.device.Device` behind a transport."""

    transport: Transport
    threads: int = 0
    info: DeviceInfo = DeviceInfo(name="", cpu="", cores=0, transport="")

    @property
    def how(self) -> str:
        return "qemu-bench" if self.transport.how == "emulated" else "device"

    def execute(self, artifact: Artifact, cases: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Outputs for each list of inputs, one process after another. Raises: LostDeviceError, DeviceError."""
        with self.transport.open() as workspace, tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
            self.info = workspace.info
            program = workspace.push(artifact.bench)
            return [self._once(workspace, artifact, program, inputs, Path(folder)) for inputs in cases]

    def _once(
        self, workspace: Workspace, artifact: Artifact, program: str, inputs: Sequence[Array], folder: Path
    ) -> list[Array]:
        command = [program, "--runs", "1", "--warmup", "0", "--threads", str(self.threads)]
        for number, array in enumerate(inputs):
            path = folder / f"in{number}"
            path.write_bytes(np.ascontiguousarray(array).tobytes())
            command += ["--input", workspace.push(path)]
        for number in range(len(artifact.outputs)):
            command += ["--output", f"out{number}"]
        check(workspace, artifact, workspace.run(command, timeout_s=patience_s(artifact)))
        return [_fetched(workspace, f"out{number}", spec, folder) for number, spec in enumerate(artifact.outputs)]


def _fetched(workspace: Workspace, name: str, spec: TensorSpec, folder: Path) -> Array:
    workspace.pull(name, folder / name)
    values = np.frombuffer((folder / name).read_bytes(), np.dtype(spec.dtype))
    if values.size != spec.size:
        raise DeviceError(f"output {spec.name!r} has {values.size} elements instead of {spec.size}")
    return values.reshape(spec.shape)
