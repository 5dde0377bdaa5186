"""The runtimes that are compared, in the order of the table. Importing this imports none of them."""

from __future__ import annotations

from benchmarks.peers.case import Runtime
from benchmarks.peers.runtimes import edgevision, executorch, inductor, iree, litert, mnn, ncnn, onnxruntime, openvino

RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        edgevision.RUNTIME,
        edgevision.UNTUNED,
        onnxruntime.RUNTIME,
        openvino.RUNTIME,
        litert.RUNTIME,
        ncnn.RUNTIME,
        mnn.RUNTIME,
        executorch.RUNTIME,
        inductor.RUNTIME,
        iree.RUNTIME,
    )
}
