"""Runs an emitted WGSL module by its launch plan, as a host program of any language would: on wgpu, and Mesa's Vulkan for CPUs.

wgpu's compiler (naga) reads every word of the text, and its checks of bindings are those that browsers make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@cache
def why_absent() -> str:
    """Why nothing can be run; "" where it can."""
    try:
        import wgpu
    except ImportError:
        return "wgpu is not installed"
    try:
        wgpu.gpu.request_adapter_sync()
    except RuntimeError:
        return "no Vulkan device (Debian: apt-get install mesa-vulkan-drivers)"
    return ""


@cache
def device() -> Any:
    """With the limits that every WebGPU device has, and no more, but for the sizes of buffers."""
    import wgpu

    return wgpu.gpu.request_adapter_sync().request_device_sync()


def read(text: str) -> Any:
    """The module, which naga accepts. Raises: wgpu.GPUValidationError."""
    return device().create_shader_module(code=text)


def run(text: str, weights: bytes, plan: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    import wgpu

    gpu, module = device(), read(text)
    usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
    buffers = {
        "weights": gpu.create_buffer_with_data(data=weights or bytes(4), usage=usage),
        "arena": gpu.create_buffer(size=plan["arena_bytes"], usage=usage),
    }
    gpu.queue.write_buffer(buffers["arena"], 0, b"\xff" * plan["arena_bytes"])  # NaN, where nothing is written
    for spec, array in zip(plan["inputs"], inputs, strict=True):
        gpu.queue.write_buffer(buffers["arena"], spec["offset"], np.ascontiguousarray(array))
    pipelines: dict[str, Any] = {}
    encoder = gpu.create_command_encoder()
    for launch in plan["launches"]:
        kernel = launch["kernel"]
        if kernel not in pipelines:
            stage = {"module": module, "entry_point": kernel}
            pipelines[kernel] = gpu.create_compute_pipeline(layout="auto", compute=stage)
        entries = [
            {"binding": i, "resource": {"buffer": buffers[each["of"]], "offset": each["offset"], "size": each["bytes"]}}
            for i, each in enumerate(launch["buffers"])
        ]
        group = gpu.create_bind_group(layout=pipelines[kernel].get_bind_group_layout(0), entries=entries)
        step = encoder.begin_compute_pass()
        step.set_pipeline(pipelines[kernel])
        step.set_bind_group(0, group)
        step.dispatch_workgroups(*launch["groups"])
        step.end()
    gpu.queue.submit([encoder.finish()])
    return [_output(gpu, buffers["arena"], spec) for spec in plan["outputs"]]


def _output(gpu: Any, arena: Any, spec: Mapping[str, Any]) -> Array:
    raw = gpu.queue.read_buffer(arena, spec["offset"], -(-spec["bytes"] // 4) * 4)
    return np.frombuffer(raw, spec["dtype"], count=int(np.prod(spec["shape"]))).reshape(spec["shape"])
