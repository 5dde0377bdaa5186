"""How many activations may be fused in a row."""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import relax, tirx

from edgevision.lower.emitter import INJECTIVE, OPAQUE

DEEPEST = 20
"""Lets along a chain. TVM's simplifier takes twice as long for every one or two more: Tanh behind Sigmoid, 17 of them,
compiles in 2 s, with Mish behind it in minutes."""


def limit_fused_depth(module: tvm.IRModule) -> tvm.IRModule:
    """Mark as fused with nothing every elementwise function that some call puts too deep behind others."""
    lets = {gv: _lets(f) for gv, f in module.functions.items() if isinstance(f, tirx.PrimFunc)}
    depth: dict[relax.Var, int] = {}
    alone = set()
    for binding in (b for block in module["main"].body.blocks for b in block.bindings):
        call = binding.value
        if not isinstance(call, relax.Call) or call.op.name != "relax.call_tir":
            continue
        function = call.args[0]
        if int(module[function].attrs["op_pattern"]) > INJECTIVE:
            continue
        behind = lets[function] + max((depth.get(v, 0) for v in call.args[1].fields), default=0)
        if behind > DEEPEST and lets[function]:
            alone.add(function)
        depth[binding.var] = 0 if function in alone else behind
    for function in alone:
        module[function] = module[function].with_attr("op_pattern", OPAQUE)
    return module


def _lets(func: tirx.PrimFunc) -> int:
    found = 0

    def count(_: tirx.Let) -> None:
        nonlocal found
        found += 1

    tvm_ffi.structural_walk(func.body, (tirx.Let, count))
    return found
