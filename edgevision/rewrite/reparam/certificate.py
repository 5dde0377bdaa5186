"""Certificate: how far a rewritten graph is from the original, region by region and as a whole.

error = max|a - b| / max|a| over an output, a being the original in float64. The rewritten graph is evaluated in float64
with weights not yet rounded, which shows the algebra alone, and in float32 as it is saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from edgevision.errors import InputError
from edgevision.rewrite.reparam.interpreter import Array, Interpreter, Values, reads

FLOAT64_LIMIT = 1e-12  # a network of a hundred layers gathers some 1e-14 of rounding
FLOAT32_LIMIT = 1e-5  # and some 1e-6 in float32
ROUNDED_STEPS = 8.0  # of the weights' own type that rounding them may cost
STEPS = {TensorProto.FLOAT16: 2.0**-10, TensorProto.BFLOAT16: 2.0**-7}  # of types coarser than float32, above 1.0
ROUNDING_FACTOR = 4.0  # a network whose own float32 result is further off than that limit may stay as far off


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionProof:
    """Errors of one region on the original's own values.

    ``growth``: range of the merged kernel over the widest of those that went in, a kernel's range being its largest
    weight over its root mean square; above 1 int8 quantization will lose precision here. 0 where no kernel was merged.
    """

    output: str
    error64: float
    error32: float
    growth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What was found over all inputs.

    ``error64`` and ``error32`` are of the whole graph's worst output, ``original_error32`` of the original itself in
    float32. ``inputs`` counts the inputs tried, ``given`` those that were real. ``undone`` names regions that were
    taken back because they did not agree. ``allowed32`` is what is allowed of a region in float32: 1e-5, more where
    weights are saved in a coarser type.
    """

    regions: tuple[RegionProof, ...]
    error64: float
    error32: float
    original_error32: float
    inputs: int
    given: int
    seed: int
    allowed32: float = FLOAT32_LIMIT
    undone: tuple[str, ...] = ()

    @property
    def limit64(self) -> float:
        """What is allowed in float64."""
        return FLOAT64_LIMIT

    @property
    def limit32(self) -> float:
        """What is allowed in float32."""
        return max(self.allowed32, ROUNDING_FACTOR * self.original_error32)

    @property
    def holds(self) -> bool:
        """True if the whole graph agrees."""
        return self.error64 <= FLOAT64_LIMIT and self.error32 <= self.limit32

    @property
    def offending(self) -> tuple[str, ...]:
        """Regions that do not agree on their own."""
        return tuple(r.output for r in self.regions if not (r.error64 <= FLOAT64_LIMIT and r.error32 <= self.allowed32))


def relative_error(reference: Array, other: Array) -> float:
    """max|reference - other| / max|reference|; infinite for other shapes, and for NaN or Inf in other places."""
    if not np.issubdtype(reference.dtype, np.floating):
        return 0.0 if np.array_equal(reference, other) else float("inf")
    finite = np.isfinite(reference)
    if not np.array_equal(finite, np.isfinite(other)):
        return float("inf")
    if not np.array_equal(reference[~finite], other[~finite].astype(reference.dtype), equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    largest = np.abs(reference[finite]).max()
    difference = np.abs(reference[finite] - other[finite]).max()
    return float(difference / largest) if largest else (0.0 if difference == 0 else float("inf"))


def certify(
    original: onnx.ModelProto,
    exact: onnx.ModelProto,
    saved: onnx.ModelProto,
    growths: Mapping[str, float],
    feeds: Sequence[Mapping[str, Array]],
    *,
    given: int = 0,
    seed: int = 0,
) -> Certificate:
    """Compare ``exact`` (new weights in float64) and ``saved`` with ``original`` on each of ``feeds``.

    ``growths`` has an entry for every region, under the tensor that it writes.
    """
    parts = {output: _part(exact, original, output) for output in growths}
    parts32 = {output: _part(saved, original, output) for output in growths}
    proofs = dict.fromkeys(growths, (0.0, 0.0))
    whole = (0.0, 0.0, 0.0)
    first, double, single = (Interpreter(m, t) for m, t in
                             ((original, np.float64), (exact, np.float64), (saved, np.float32)))  # fmt: skip
    wanted = {name for part in parts.values() for name in part.reads} | {
        name for part in parts32.values() for name in part.reads
    }
    for feed in feeds:
        reference = {}
        for output, values in _original(first, feed, wanted):
            if output in parts:
                errors = (_part_error(double, parts[output], values), _part_error(single, parts32[output], values))
                proofs[output] = tuple(max(pair) for pair in zip(proofs[output], errors, strict=True))  # type: ignore[assignment]
            reference = values
        results = (double.final(feed), single.final(feed), Interpreter(original, np.float32).final(feed))
        errors3 = (max(relative_error(reference[name], array) for name, array in each.items()) for each in results)
        whole = tuple(max(pair) for pair in zip(whole, errors3, strict=True))  # type: ignore[assignment]
    return Certificate(
        regions=tuple(
            RegionProof(output=o, error64=e64, error32=e32, growth=growths[o]) for o, (e64, e32) in proofs.items()
        ),
        error64=whole[0], error32=whole[1], original_error32=whole[2], inputs=len(feeds), given=given, seed=seed,
        allowed32=_allowed32(saved),
    )  # fmt: skip


def _allowed32(saved: onnx.ModelProto) -> float:
    return max([FLOAT32_LIMIT, *(ROUNDED_STEPS * STEPS.get(tensor.data_type, 0.0) for tensor in saved.graph.initializer)])


def _original(interpreter: Interpreter, feed: Mapping[str, Array], wanted: set[str]) -> Iterator[tuple[str, Values]]:
    """The original, node by node; that it cannot be evaluated is no bug of the rewriting."""
    last = "the inputs"
    try:
        for output, values in interpreter.run(feed, keep=wanted):
            yield output, values
            last = repr(output)
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as problem:
        raise InputError(
            f"the original cannot be evaluated, so that nothing can be compared: the node behind {last} fails: {problem}; "
            "give real inputs with --input, or leave the comparison out with --no-prove"
        ) from problem


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The rewritten nodes between tensors of the original and one region's output."""

    output: str
    nodes: tuple[onnx.NodeProto, ...]
    reads: tuple[str, ...]


def _part(rewritten: onnx.ModelProto, original: onnx.ModelProto, output: str) -> _Part:
    constants = {tensor.name for tensor in original.graph.initializer}
    known = {value.name for value in original.graph.input} - constants
    known |= {n for node in original.graph.node for n in node.output}
    writers = {name: node for node in rewritten.graph.node for name in node.output}
    found: list[onnx.NodeProto] = []
    border: dict[str, None] = {}
    stack, seen = [output], {output}
    while stack:
        name = stack.pop()
        if name in known and name != output:
            border[name] = None
        elif name in writers:
            found.append(writers[name])
            new = [each for each in reads(writers[name]) if each not in seen]
            seen.update(new)
            stack += new
    chosen = {id(node) for node in found}
    return _Part(
        output=output, reads=tuple(border), nodes=tuple(node for node in rewritten.graph.node if id(node) in chosen)
    )  # fmt: skip


def _part_error(interpreter: Interpreter, part: _Part, values: Mapping[str, Array]) -> float:
    result = interpreter.evaluate(part.nodes, {name: values[name] for name in part.reads})
    return relative_error(values[part.output], result[part.output])
