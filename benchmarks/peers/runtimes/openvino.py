"""OpenVINO's CPU plugin in float32: by default it computes in bfloat16 on machines with AMX (error 3e-3 to 2e-2)."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.case import Array, Case, Run, Runtime


def convert(case: Case, folder: Path) -> None:
    import openvino

    # Not openvino.convert_model: that one reports its use to a server.
    openvino.save_model(openvino.Core().read_model(case.onnx), folder / "network.xml", compress_to_fp16=False)


def load(case: Case, folder: Path, threads: int) -> Run:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
    }
    request = openvino.Core().compile_model(folder / "network.xml", "CPU", settings).create_infer_request()

    def run(array: Array) -> Array:
        request.infer([array], share_inputs=True, share_outputs=True)
        output: Array = request.get_output_tensor(0).data
        return output

    return run


RUNTIME = Runtime(source=f"{__name__}:RUNTIME", name="openvino", packages=("openvino",), convert=convert, load=load)
