"""What a device's code generator starts from: the lowered kernels, and how each is launched."""

from __future__ import annotations

from edgevision import tvm_without_torch as tvm_without_torch  # isort: skip  # before TVM is imported

from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.sym import Analyzer

from edgevision.link.codegen import BUILD_OPTIONS
from edgevision.program import GROUP_SIZE, GROUPS, Program

DEVICE_LAUNCH = 2  # CallingConv::kDeviceKernelLaunch


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A kernel's name in the source, its grid, and which arguments of the call it takes, in its own order."""

    kernel: str
    groups: int
    group_size: int
    arguments: tuple[int, ...]


def kernels(program: Program, device: tvm.target.Target) -> tuple[tvm.IRModule, dict[str, Launch]]:
    """The device functions of ``program``, lowered for ``device``, and the launch of each of the program's functions."""
    target = device.with_host(tvm.target.Target("llvm"))
    with tvm.transform.PassContext(config=dict(BUILD_OPTIONS)), target:
        lowered = _lowered(program.module, target)
    launches, functions = {}, {}
    for variable, func in lowered.functions.items():
        if int(func.attrs.get("calling_conv", 0)) != DEVICE_LAUNCH:
            continue
        kernel = str(func.attrs["global_symbol"])
        name = kernel.removesuffix("_kernel")
        made = program.module[name]
        known = [p.name for p in made.params]
        arguments = tuple(known.index(p.name.removesuffix("_ptr")) for p in func.params)
        launches[name] = Launch(
            kernel=kernel, groups=int(made.attrs[GROUPS]), group_size=int(made.attrs[GROUP_SIZE]), arguments=arguments
        )  # fmt: skip
        functions[variable] = func
    return tvm.IRModule(functions), launches


def stores_are_aligned(func: tirx.PrimFunc) -> bool:
    """Whether every vector that ``func`` stores is proven to lie at a multiple of its own size. TVM loads vectors whole only where
    it proves that, but stores them whole wherever they are."""
    analyzer = Analyzer()
    unproven: list[tirx.BufferStore] = []

    def look(store: tirx.BufferStore) -> tirx.BufferStore:
        index = store.indices[-1]
        if isinstance(index, tirx.Ramp):
            known, lanes = analyzer.modular_set(index.base), int(index.lanes)
            if int(known.coeff) % lanes or int(known.base) % lanes:
                unproven.append(store)
        return store

    tvm_ffi.structural_map(func.body, [(tirx.BufferStore, look)], order="post")
    return not unproven


def _lowered(module: tvm.IRModule, target: Any) -> tvm.IRModule:
    pipeline, _, finish_device = tirx.get_tir_pipeline("default")
    narrow = tirx.transform.ForceNarrowIndexToInt32()
    functions = {}
    for variable, func in tirx.transform.BindTarget(target)(module).functions.items():
        # The pass refuses functions with tensors of int64; their indices stay wide where TVM cannot prove that they fit.
        one = tvm.IRModule({variable: func})
        functions[variable] = (one if any(str(p.dtype) == "int64" for p in func.params) else narrow(one))[variable.name_hint]
    lowered = pipeline(tvm.IRModule(functions))
    device = tirx.transform.Filter(lambda f: int(f.attrs.get("calling_conv", 0)) == DEVICE_LAUNCH)(lowered)
    return finish_device()(device)
