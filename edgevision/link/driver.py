"""Generate the driver: one `ev_plan` in C (native/plan.h), all constants, and the weights as an assembler file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgevision import __version__
from edgevision.link.codegen import SYMBOL_PREFIX, required_features
from edgevision.link.memory_plan import MemoryPlan
from edgevision.link.weights import Unpacked, Weights, unpacked
from edgevision.program import Program, Value
from edgevision.target import Target
from edgevision.tensor import TensorSpec

_EV_DTYPES = {
    "float32": "EV_FLOAT32", "float64": "EV_FLOAT64", "float16": "EV_FLOAT16", "int8": "EV_INT8", "int16": "EV_INT16",
    "int32": "EV_INT32", "int64": "EV_INT64", "uint8": "EV_UINT8", "uint16": "EV_UINT16", "uint32": "EV_UINT32",
    "uint64": "EV_UINT64", "bool": "EV_BOOL",
}  # fmt: skip
_DL_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}


def embedded_source(**files: Path) -> str:
    """Assembler that puts each file into read-only data under its name, a zero byte behind it."""
    parts = [
        f'.section .rodata.{name}, "a"\n.balign 64\n.globl {name}\n.hidden {name}\n{name}:\n'
        f".incbin {json.dumps(str(path))}\n.byte 0\n"
        for name, path in files.items()
    ]
    return "".join(parts) + '.section .note.GNU-stack, ""\n'


def driver_source(
    program: Program,
    target: Target,
    memory: MemoryPlan,
    weights: Weights,
    *,
    name: str,
    workspace_bytes: int,
) -> str:
    """The C text of the driver."""
    tables, made = _Tables(), unpacked(program)
    steps: list[str] = []
    operands: list[str] = []
    for call in program.calls:
        steps.append(
            f"    {{{literal(call.step.name)}, {SYMBOL_PREFIX}{call.function}, {len(operands)}, {len(call.args)}}},"
        )
        operands += [_operand(v, memory, weights, made, tables) for v in call.args]
    kernels = sorted({c.function for c in program.calls})
    parts = [
        '#include "plan.h"\n',
        'extern const unsigned char ev_weights[] __attribute__((visibility("hidden")));',
        *(f"int32_t {SYMBOL_PREFIX}{k}(void *, ev_any *, int32_t, ev_any *);" for k in kernels),
        *tables.lines,
        array("ev_operand", "operands", [f"    {o}," for o in operands]),
        array("ev_plan_step", "steps", steps),
        *interface(program, memory),
        _features(required_features(target)),
        model(program, target, memory, weights, name),
        *_transforms(program, weights, made),
        _plan(program, target, operands, made, workspace_bytes),
    ]
    return "\n".join(parts) + "\n"


def entry_source(api: str, prefix: str) -> str:
    """The C text that says which runtime answers callers, and the function that --symbol-prefix exports; ``prefix`` "" exports
    `ev_get_api` alone."""
    chosen = f'#include "runtime.h"\n\nconst ev_api *const ev_the_api = &{api};\n'
    if not prefix:
        return chosen
    return chosen + (
        f'__attribute__((visibility("default"))) const ev_api *{prefix}_get_api(uint32_t abi);\n'
        f"const ev_api *{prefix}_get_api(uint32_t abi) {{ return ev_runtime_api(abi); }}\n"
    )


def interface(program: Program, memory: MemoryPlan) -> tuple[str, ...]:
    """Inputs and outputs, and where each is in the arena."""
    return (
        array("ev_tensor", "inputs", [_tensor(t) for t in program.inputs]),
        array("ev_tensor", "outputs", [_tensor(t) for t in program.outputs]),
        _offsets("input_offsets", "input", len(program.inputs), memory),
        _offsets("output_offsets", "output", len(program.outputs), memory),
    )


class _Tables:
    """Shapes and strides, each distinct one once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[tuple[int, ...], str] = {}

    def name(self, numbers: tuple[int, ...]) -> str:
        if numbers not in self._names:
            self._names[numbers] = f"d{len(self._names)}"
            content = ", ".join(map(str, numbers)) or "0"
            self.lines.append(f"static const int64_t {self._names[numbers]}[] = {{{content}}};")
        return self._names[numbers]


def _operand(value: Value, memory: MemoryPlan, weights: Weights, made: Unpacked, tables: _Tables) -> str:
    strides = tuple(int(np.prod(value.shape[i + 1 :], dtype=np.int64)) for i in range(len(value.shape)))
    if value.kind == "weight" and value.index in made.offsets:
        place, offset = "EV_IN_TRANSFORMED", made.offsets[value.index]
    elif value.kind == "weight":
        place, offset = "EV_IN_WEIGHTS", weights.offsets[value.index]
    else:
        place, offset = "EV_IN_ARENA", memory.offsets[value.kind, value.index]
    dtype = np.dtype(value.dtype)
    code, bits = _DL_CODES[dtype.kind], dtype.itemsize * 8
    return (
        f"{{{place}, {offset}u, {len(value.shape)}, {{{code}, {bits}, 1}}, {tables.name(value.shape)}, "
        f"{tables.name(strides)}}}"
    )


def _tensor(spec: TensorSpec) -> str:
    shape = ", ".join(map(str, spec.shape)) or "0"
    return (
        f"    {{{literal(spec.name)}, {literal(spec.layout)}, {_EV_DTYPES[spec.dtype]}, {len(spec.shape)}, {{{shape}}}, "
        f"{spec.nbytes}u}},"
    )


def array(kind: str, name: str, lines: Sequence[str]) -> str:
    """C has no empty arrays: an unused element stands in."""
    return f"static const {kind} {name}[] = {{\n" + "\n".join(lines or ["    {0},"]) + "\n};"


def _offsets(name: str, kind: str, count: int, memory: MemoryPlan) -> str:
    return array("uint64_t", name, [f"    {memory.offsets[kind, i]}u," for i in range(count)] or ["    0,"])


def _features(names: Sequence[str]) -> str:
    return array("char *const", "features", [*(f"    {literal(n)}," for n in names), "    0,"])


def model(program: Program, target: Target, memory: MemoryPlan, weights: Weights, name: str, steps: int = 0) -> str:
    """``steps``: how many a run has at most, where another version of the network may compute it."""
    fields = (
        "sizeof(ev_model)", "EV_ABI", literal(name), literal(target.name), literal(__version__),
        literal(program.model_sha256), str(len(program.inputs)), str(len(program.outputs)), "inputs", "outputs",
        f"{len(weights.blob)}u", f"{memory.arena_bytes}u",
        str(max(steps, len(program.calls))),
    )  # fmt: skip
    return f"static const ev_model model = {{{', '.join(fields)}}};"


def _transforms(program: Program, weights: Weights, made: Unpacked) -> Iterator[str]:
    """Each matrix once, and the table of what is made of which weights."""
    matrices: dict[bytes, str] = {}
    lines = []
    for index, each in program.transformed.items():
        matrix, by = each.by.matrix.astype(np.float64), each.by
        if matrix.tobytes() not in matrices:
            matrices[matrix.tobytes()] = f"g{len(matrices)}"
            yield array("double", matrices[matrix.tobytes()], [f"    {float(v).hex()}," for v in matrix.flat])
        numbers = (each.filters.shape[2], by.inputs, by.groups, by.channels, by.filled, by.block, *matrix.shape)
        lines.append(
            f"    {{{weights.offsets[index]}u, {made.offsets[index]}u, {matrices[matrix.tobytes()]}, "
            f"{', '.join(map(str, numbers))}}},"
        )
    yield array("ev_filters", "transforms", lines)


def _plan(program: Program, target: Target, operands: Sequence[str], made: Unpacked, workspace_bytes: int) -> str:
    fields = (
        "&model", "ev_weights", "operands", str(len(operands)), "steps", str(len(program.calls)), "input_offsets",
        "output_offsets", f"{workspace_bytes}u", str(target.cores), "features", "transforms", str(len(program.transformed)),
        f"{made.nbytes}u",
    )  # fmt: skip
    return f"const ev_plan ev_the_plan = {{{', '.join(fields)}}};"


def literal(text: str) -> str:
    """A C string literal; UTF-8 bytes beyond ASCII as octal escapes, which end by themselves."""
    out = []
    for byte in text.encode():
        plain = 32 <= byte < 127 and byte not in b'"\\?'
        out.append(chr(byte) if plain else f"\\{byte:03o}")
    return '"' + "".join(out) + '"'
