"""Half precision in memory without half precision in the device: OpenCL's vload_half and vstore_half convert on the way.

Every device has them (OpenCL 1.2, 6.12.7). TVM declares variables of type half instead, which takes the extension cl_khr_fp16.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx

Expr = Any


def through_conversions(kernels: tvm.IRModule) -> tvm.IRModule:
    """Lowered kernels with OpenCL's functions in the place of each cast of an element that memory holds as half."""
    return tvm.IRModule({name: _converted(func) for name, func in kernels.functions.items()})


def _converted(func: tirx.PrimFunc) -> tirx.PrimFunc:
    def read(cast: tirx.Cast) -> Expr:
        return _widened(cast.value) if _is_wide(cast) and _is_half(cast.value) else cast

    def write(store: tirx.BufferStore) -> Any:
        value = store.value
        if isinstance(value, ir.TensorLoad) and _is_half(value):
            return _stored(store.buffer, store.indices, _loaded(value))
        if isinstance(value, tirx.Cast) and _is_half(value) and _is_wide(value.value):
            return _stored(store.buffer, store.indices, value.value)
        return store

    return func.with_body(tvm_ffi.structural_map(func.body, [(tirx.Cast, read), (tirx.BufferStore, write)], order="post"))


def _is_half(value: Expr) -> bool:
    return _dtype(value).startswith("float16")


def _is_wide(value: Expr) -> bool:
    return _dtype(value).startswith("float32")


def _dtype(value: Expr) -> str:
    return str(value.ty.dtype)


def _lanes(value: Expr) -> int:
    return int(tvm.DataType(_dtype(value)).lanes)


def _widened(value: Expr) -> Expr:
    """Elements of memory, or one of them in every lane, in float32."""
    return tirx.Broadcast(_loaded(value.value), value.lanes) if isinstance(value, tirx.Broadcast) else _loaded(value)


def _loaded(load: Expr) -> Expr:
    """Neighbours as one vector, others one by one."""
    (index,) = load.indices
    width = _lanes(index)
    if width == 1 or _is_run(index):
        return _vload(load.source, index.base if width > 1 else index, width)
    parts = [_vload(load.source, _lane(index, i), 1) for i in range(width)]
    return tirx.Shuffle(parts, list(range(width)))


def _stored(buffer: Any, indices: Sequence[Expr], value: Expr) -> Any:
    (index,) = indices
    width = _lanes(index)
    assert width == 1 or _is_run(index), "a schedule stores neighbours"
    place = _address(buffer, index.base if width > 1 else index)
    return tirx.Evaluate(tirx.call_extern("int32", f"vstore_half{_suffix(width)}_rte", value, 0, place))


def _vload(buffer: Any, at: Expr, width: int) -> Expr:
    kind = "float32" if width == 1 else f"float32x{width}"
    return tirx.call_pure_extern(kind, f"vload_half{_suffix(width)}", 0, _address(buffer, at))


def _address(buffer: Any, at: Expr) -> Expr:
    return tirx.address_of(buffer[at])


def _suffix(width: int) -> str:
    return "" if width == 1 else str(width)


def _is_run(index: Expr) -> bool:
    return isinstance(index, tirx.Ramp) and int(index.stride) == 1


def _lane(index: Expr, lane: int) -> Expr:
    return index.base + lane * index.stride if isinstance(index, tirx.Ramp) else tirx.Shuffle([index], [lane])


_EXTENSION = re.compile(r"^#ifdef cl_khr_fp16\n(?:.*\n)*?#endif *\n+", re.MULTILINE)
_POINTER = re.compile(r"__global half ?\*")


def without_needless_extension(kernel: str) -> str:
    """The generator asks for cl_khr_fp16 wherever it writes the word half; a pointer takes none."""
    rest = _POINTER.sub("", _EXTENSION.sub("", kernel))
    return kernel if re.search(r"\bhalf\d*\b", rest) else _EXTENSION.sub("", kernel)
