"""Runs a scheduled program on this machine's OpenCL device from Python, without linking an artifact: about 0.2 s a graph."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from edgevision import target
from edgevision.ingest import read
from edgevision.link.opencl import BUILD_OPTIONS
from edgevision.link.opencl_source import device_source
from edgevision.lower.phases import lower
from edgevision.program import Program, Value
from edgevision.schedule.gpu.apply import schedule

Array = np.ndarray[Any, Any]
ALL, READ_WRITE, COPY, LOG = 0xFFFFFFFF, 1, 32, 0x1183


@cache
def library() -> ctypes.CDLL | None:
    """The ICD loader; None where there is none."""
    for name in ("libOpenCL.so.1", "libOpenCL.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


@cache
def device() -> ctypes.c_void_p | None:
    """The first device of the first platform; None where there is none."""
    if library() is None:
        return None
    platform, found = ctypes.c_void_p(), ctypes.c_void_p()
    if library().clGetPlatformIDs(1, ctypes.byref(platform), None) != 0:
        return None
    status = library().clGetDeviceIDs(platform, ctypes.c_uint64(ALL), 1, ctypes.byref(found), None)
    return found if status == 0 else None


def why_absent() -> str:
    """Why nothing can be run; "" where it can."""
    return "" if device() else "no OpenCL device (Debian: apt-get install pocl-opencl-icd ocl-icd-libopencl1)"


@cache
def chosen(name: str = "opencl") -> target.Target:
    return target.load(name)


def run(source: Any, inputs: Sequence[Array], *, name: str = "opencl") -> list[Array]:
    """Outputs of ``source`` (an .onnx path or ModelProto) for ``inputs``."""
    return execute(schedule(lower(read(source, simplify=False)), chosen(name)), inputs)


def execute(program: Program, inputs: Sequence[Array]) -> list[Array]:
    """Launch every kernel once. Memory that nothing wrote holds 0xFF bytes: NaN, -1 or neither true nor false."""
    text, launches = device_source(program)
    with _Queue(text) as queue:
        memory: dict[tuple[str, int], ctypes.c_void_p] = {}
        for call in program.calls:
            for value in call.args:
                if (value.kind, value.index) not in memory:
                    memory[value.kind, value.index] = queue.buffer(_initial(value, program, inputs))
        for call in program.calls:
            launch = launches[call.function]
            buffers = [memory[call.args[i].kind, call.args[i].index] for i in launch.arguments]
            queue.launch(launch.kernel, launch.groups, launch.group_size, buffers)
        results = []
        for i, spec in enumerate(program.outputs):
            array = np.empty(spec.shape, spec.dtype)
            if array.size:
                queue.read(memory["output", i], array)
            results.append(array)
        return results


def _initial(value: Value, program: Program, inputs: Sequence[Array]) -> Array:
    if value.kind == "input":
        return np.ascontiguousarray(inputs[value.index])
    if value.kind == "weight":
        return np.ascontiguousarray(program.weights[value.index])
    return np.full(np.dtype(value.dtype).itemsize * int(np.prod(value.shape)), 0xFF, np.uint8)


class _Queue:
    """A context with one program, and all that was made in it; everything is released at the end."""

    def __init__(self, text: str) -> None:
        self.cl = library()
        for name in ("clCreateContext", "clCreateCommandQueue", "clCreateBuffer", "clCreateProgramWithSource", "clCreateKernel"):
            getattr(self.cl, name).restype = ctypes.c_void_p
        status = ctypes.c_int()
        self.context = ctypes.c_void_p(self.cl.clCreateContext(None, 1, ctypes.byref(device()), None, None, ctypes.byref(status)))
        self.queue = ctypes.c_void_p(self.cl.clCreateCommandQueue(self.context, device(), ctypes.c_uint64(0), ctypes.byref(status)))
        source = ctypes.c_char_p(text.encode())
        self.program = ctypes.c_void_p(
            self.cl.clCreateProgramWithSource(self.context, 1, ctypes.byref(source), None, ctypes.byref(status))
        )
        built = self.cl.clBuildProgram(self.program, 1, ctypes.byref(device()), BUILD_OPTIONS.encode(), None, None)
        assert built == 0, self._log()
        self.buffers: list[ctypes.c_void_p] = []
        self.kernels: list[ctypes.c_void_p] = []

    def _log(self) -> str:
        log = ctypes.create_string_buffer(1 << 16)
        self.cl.clGetProgramBuildInfo(self.program, device(), LOG, ctypes.c_size_t(len(log)), log, None)
        return log.value.decode(errors="replace")

    def buffer(self, content: Array) -> ctypes.c_void_p:
        status = ctypes.c_int()
        # An empty tensor is never read or written; OpenCL has no empty buffers.
        content = content if content.nbytes else np.zeros(1, np.uint8)
        pointer = ctypes.c_void_p(content.ctypes.data)
        made = self.cl.clCreateBuffer(
            self.context, ctypes.c_uint64(READ_WRITE | COPY), ctypes.c_size_t(content.nbytes), pointer, ctypes.byref(status)
        )
        assert made, status.value
        self.buffers.append(ctypes.c_void_p(made))
        return self.buffers[-1]

    def launch(self, name: str, groups: int, size: int, buffers: Sequence[ctypes.c_void_p]) -> None:
        status = ctypes.c_int()
        kernel = ctypes.c_void_p(self.cl.clCreateKernel(self.program, name.encode(), ctypes.byref(status)))
        assert kernel, (name, status.value)
        self.kernels.append(kernel)
        for i, buffer in enumerate(buffers):
            assert self.cl.clSetKernelArg(kernel, i, ctypes.c_size_t(8), ctypes.byref(buffer)) == 0
        whole, local = ctypes.c_size_t(groups * size), ctypes.c_size_t(size)
        code = self.cl.clEnqueueNDRangeKernel(self.queue, kernel, 1, None, ctypes.byref(whole), ctypes.byref(local), 0, None, None)
        assert code == 0, (name, code)

    def read(self, buffer: ctypes.c_void_p, into: Array) -> None:
        pointer = ctypes.c_void_p(into.ctypes.data)
        assert (
            self.cl.clEnqueueReadBuffer(
                self.queue, buffer, 1, ctypes.c_size_t(0), ctypes.c_size_t(into.nbytes), pointer, 0, None, None
            )
            == 0
        )

    def __enter__(self) -> _Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self.cl.clFinish(self.queue)
        for kernel in self.kernels:
            self.cl.clReleaseKernel(kernel)
        for buffer in self.buffers:
            self.cl.clReleaseMemObject(buffer)
        self.cl.clReleaseProgram(self.program)
        self.cl.clReleaseCommandQueue(self.queue)
        self.cl.clReleaseContext(self.context)
