"""ncnn, converted by pnnx in float32; everything that lowers the precision is off."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.peers.case import Array, Case, Run, Runtime

REDUCED_PRECISION = (
    "use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_bf16_packed",
    "use_int8_packed", "use_int8_storage", "use_int8_arithmetic", "use_int8_inference",
)  # fmt: skip


def convert(case: Case, folder: Path) -> None:
    shape = ",".join(map(str, case.input().shape))
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(case.onnx, Path(scratch, "network.onnx"))
        command = [str(Path(sys.prefix, "bin", "pnnx")), "network.onnx", f"inputshape=[{shape}]", "fp16=0"]
        subprocess.run(command, cwd=scratch, check=True, stdout=sys.stderr)
        for kind in ("param", "bin"):
            shutil.copy(Path(scratch, f"network.ncnn.{kind}"), folder)


def load(case: Case, folder: Path, threads: int) -> Run:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for option in REDUCED_PRECISION:
        if hasattr(net.opt, option):  # each version has its own set of them
            setattr(net.opt, option, False)
    for read, kind in ((net.load_param, "param"), (net.load_model, "bin")):
        if read(str(folder / f"network.ncnn.{kind}")) != 0:
            raise ValueError(f"ncnn cannot read network.ncnn.{kind}")
    shape = case.reference().shape

    def run(array: Array) -> Array:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(array[0]))
        status, output = extractor.extract("out0")
        if status != 0:
            raise ValueError(f"ncnn returned {status}")
        return np.array(output).reshape(shape)

    return run


RUNTIME = Runtime(source=f"{__name__}:RUNTIME", name="ncnn", packages=("ncnn", "pnnx", "torch"), convert=convert, load=load)
