"""MNN with precision "high": float32 throughout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.peers.case import Array, Case, Run, Runtime


def convert(case: Case, folder: Path) -> None:
    # The mnnconvert script installs a logging client and reports its use to a server; its native entry does not.
    import _tools
    import MNN  # noqa: F401  it registers what _tools needs

    result = folder / "network.mnn"
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(case.onnx), "--MNNModel", str(result)])
    if not result.exists():
        raise ValueError("MNN's converter wrote nothing")


def load(case: Case, folder: Path, threads: int) -> Run:
    import MNN

    interpreter = MNN.Interpreter(str(folder / "network.mnn"))
    session = interpreter.createSession({"backend": "CPU", "precision": "high", "numThread": threads})
    source, result = interpreter.getSessionInput(session), interpreter.getSessionOutput(session)
    shape = case.reference().shape
    caffe = MNN.Tensor_DimensionType_Caffe
    landing = MNN.Tensor(shape, MNN.Halide_Type_Float, np.empty(shape, np.float32), caffe)

    def run(array: Array) -> Array:
        source.copyFrom(MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, caffe))
        interpreter.runSession(session)
        result.copyToHostTensor(landing)
        return np.array(landing.getNumpyData()).reshape(shape)

    return run


RUNTIME = Runtime(source=f"{__name__}:RUNTIME", name="mnn", packages=("mnn",), convert=convert, load=load)
