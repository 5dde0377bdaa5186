"""PrimFuncs -> one object file, through LLVM."""

from __future__ import annotations

from edgevision import tvm_without_torch as tvm_without_torch  # isort: skip  # before TVM is imported

import re
from functools import cache
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx
from tvm.target.codegen import llvm_get_cpu_features

from edgevision.link.memory_plan import ALIGNMENT_BYTES
from edgevision.link.toolchain import NATIVE
from edgevision.program import Program
from edgevision.target import Target

SYMBOL_PREFIX = "__tvm_ffi_"
BUILD_OPTIONS = {
    "tirx.disable_assert": True,
    # TVM 0.27's own pass moves expressions out of the Let that defines what they read; LLVM does the same work right.
    "tirx.disable_cse_tir": True,
}


@cache
def llvm_target(target: Target) -> tvm.target.Target:
    """What TVM calls the target."""
    return tvm.target.Target(target.llvm)


UNUSED_FEATURES = frozenset({"aes", "sha2", "crc"})
"""What a CPU model implies but arithmetic loops never use; a Raspberry Pi 4 is a Cortex-A72 without aes and sha2."""


def required_features(target: Target) -> tuple[str, ...]:
    """Instruction sets that the object code may use, by LLVM's names, out of those that the runtime can look for
    (cpu.c)."""
    known = set(re.findall(r'\{"([a-z0-9.\-]+)", ', (NATIVE / "cpu.c").read_text()))
    enabled = set(llvm_get_cpu_features(llvm_target(target)))
    return tuple(sorted((enabled & known) - UNUSED_FEATURES))


def compile_object(program: Program, target: Target, output: Path) -> None:
    """Write the object code of every function; each is called ``__tvm_ffi_<name>``."""
    with tvm.transform.PassContext(config=dict(BUILD_OPTIONS)):
        built = tvm.compile(program.module, target=llvm_target(target))
    # Runtime modules answer attribute look-ups by starting the JIT, which fails for another architecture: compare
    # types.
    module = built if isinstance(built, tvm.runtime.Module) else built.mod
    module.write_to_file(str(output))


def compile_function(func: tirx.PrimFunc, target: Target, output: Path, name: str = "kernel") -> int:
    """Write the object code of one function, called ``__tvm_ffi_<name>``; the workspace that it needs, in bytes."""
    module = tvm.IRModule({name: func.with_attr("global_symbol", name)})
    with tvm.transform.PassContext(config=dict(BUILD_OPTIONS)):
        built = tvm.compile(module, target=llvm_target(target))
    (built if isinstance(built, tvm.runtime.Module) else built.mod).write_to_file(str(output))
    return _allocated(func.body)


STACK_BYTES = 1024
"""TVM's kMaxStackAlloca: smaller buffers of constant size live on the stack, the others come from AllocWorkspace."""


def workspace_bytes(program: Program) -> int:
    """A bound of what one thread holds in workspaces at a time: all that one function allocates, in whole cache
    lines."""
    return max((_allocated(f.body) for f in program.module.functions.values()), default=0)


def _allocated(statement: Any) -> int:
    found = _nbytes(statement.buffer) if isinstance(statement, tirx.AllocBuffer) else 0
    for name in _parts(statement.__class__):
        part = getattr(statement, name)
        if name == "alloc_buffers":
            found += sum(map(_nbytes, part))
        elif part is not None:
            found += sum(map(_allocated, part)) if name == "seq" else _allocated(part)
    return found


@cache
def _parts(kind: type) -> tuple[str, ...]:
    """Fields of a kind of statement in which memory may be allocated."""
    return tuple(name for name in ("alloc_buffers", "body", "block", "then_case", "else_case", "seq") if hasattr(kind, name))


def _nbytes(buffer: Any) -> int:
    size = tvm.DataType(str(buffer.dtype)).itemsize
    for extent in buffer.shape:
        size *= int(extent)
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES if size >= STACK_BYTES else 0
