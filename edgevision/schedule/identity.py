"""What makes two workloads one, and how a workload is called in a tuning log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

from edgevision.schedule.geometry import geometry
from edgevision.schedule.tail import elementwise_tail
from edgevision.schedule.workload import ANCHOR, Views, Workload, dtype_of, parse, shape_of


@dataclass(frozen=True, slots=True)
class Identity:
    """``key``: TVM's structural hash of the function and the views it works on, 16 hex digits and what follows. Names of
    functions, stages and variables do not count, so the same layer of two networks is one workload. ``what``: the same in
    words, which do not depend on TVM's version; two workloads may share them."""

    key: str
    what: str


def identify(func: tirx.PrimFunc, views: Views | None = None) -> Identity:
    plain = func.without_attr("global_symbol") if func.attrs and "global_symbol" in func.attrs else func
    key = f"{tvm_ffi.structural_hash(plain) & (2**64 - 1):016x}"
    seen = "".join(f"@{number}:{first}/{channels}" for number, (first, channels) in sorted((views or {}).items()))
    return Identity(key + seen, _words(parse(func, views)) + seen)


def _words(workload: Workload | None) -> str:
    """conv2d 1x56x56x24->144 k1x1 s1x1 p0,0,0,0 | add clip."""
    if workload is None:
        return "unknown"
    anchor = workload.anchor
    stages = " ".join(stage.name.removesuffix("_intermediate") for stage in workload.stages if stage is not anchor)
    found = elementwise_tail(workload) if anchor else None
    g = geometry(workload, found[0], any_padding=True) if found else None
    if anchor is None or g is None:
        shapes = " ".join(f"{dtype_of(p)}[{','.join(map(str, shape_of(p)))}]" for p in workload.params)
        return f"loops {shapes} | {stages}"
    kernel = f"k{g.kh}x{g.kw} s{g.strides[0]}x{g.strides[1]} p{','.join(map(str, g.pads))}"
    more = (f" d{g.dilations[0]}x{g.dilations[1]}" if g.dilations != (1, 1) else "") + (
        f" g{g.groups}" if g.groups > 1 else ""
    )
    return f"{anchor.annotations[ANCHOR]} {g.n}x{g.h}x{g.w}x{g.groups * g.ci}->{g.co} {kernel}{more} | {stages}"


def serialize(func: tirx.PrimFunc) -> str:
    return str(tvm.ir.save_json(func))


def deserialize(text: str) -> Any:
    return tvm.ir.load_json(text)
