"""IREE's llvm-cpu: this processor, -O3, data tiling."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peers.case import Array, Case, Run, Runtime

COMPILE = (
    "--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3", "--iree-opt-data-tiling",
)  # fmt: skip


def convert(case: Case, folder: Path) -> None:
    programs = Path(sys.prefix, "bin")
    with tempfile.TemporaryDirectory() as scratch:
        imported = Path(scratch, "network.mlir")
        for program, *arguments in (
            ["iree-import-onnx", str(case.onnx), "-o", str(imported)],
            ["iree-compile", str(imported), *COMPILE, "-o", str(folder / "network.vmfb")],
        ):
            subprocess.run([str(programs / program), *arguments], check=True, stdout=sys.stderr)


def load(case: Case, folder: Path, threads: int) -> Run:
    import iree.runtime as iree

    iree.flags.parse_flags(f"--task_topology_group_count={threads}")
    module = iree.load_vm_flatbuffer_file(str(folder / "network.vmfb"), driver="local-task")
    (name,) = [n for n in module.vm_module.function_names if not n.startswith("__") and not n.endswith("$async")]
    function = module[name]

    def run(array: Array) -> Array:
        return np.asarray(function(array).to_host())

    return run


RUNTIME = Runtime(
    source=f"{__name__}:RUNTIME",
    name="iree",
    packages=("iree-base-compiler", "iree-base-runtime", "onnx"),
    convert=convert,
    load=load,
)
