"""onnxruntime with its CPU provider; the file as it is, optimised at load, as most users run it."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.peers.case import Case, Run, Runtime


def convert(case: Case, folder: Path) -> None:
    shutil.copy(case.onnx, folder / "network.onnx")


def load(case: Case, folder: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(folder / "network.onnx", options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda array: session.run(None, {name: array})[0]


RUNTIME = Runtime(source=f"{__name__}:RUNTIME", name="onnxruntime", packages=("onnxruntime",), convert=convert, load=load)
