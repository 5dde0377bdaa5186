"""What an artifact is compared with: onnxruntime on the original file, on inputs made from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgevision.errors import UnresponsiveReferenceError, UnsupportedError
from edgevision.measure.compare import LIMITS, Array, variation
from edgevision.model import Camera, Model
from edgevision.tensor import TensorSpec

if TYPE_CHECKING:
    import onnxruntime

SCALES = (1.0, 8.0, 64.0)
"""Standard deviations of float inputs, tried in this order until every output responds."""

RESPONDS = {"float32": 10 * LIMITS["float32"], "float16": 2.5 * LIMITS["float16"]}
"""A reference must move by this much between inputs (relative to its largest value), so that an artifact that ignored its
input would fail: more than twice the error that is allowed for what it is stored in."""

PROBES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Inputs as the artifact takes them, and what the original makes of them."""

    inputs: tuple[Array, ...]
    expected: tuple[Array, ...]


def inputs_for(specs: Sequence[TensorSpec], seed: int, count: int, scale: float = 1.0) -> list[list[Array]]:
    """``count`` lists of arrays for ``specs``; list number i depends on ``seed`` and i alone.

    Floats are normal with standard deviation ``scale``, uint8 is uniform over 0..255 (pixels), int8 over -128..127,
    other integers over 0..3 (they are indices and counts more often than quantities), booleans are tossed.
    """
    return [
        [_random(spec, np.random.default_rng((seed, i, k)), scale) for k, spec in enumerate(specs)]
        for i in range(count)
    ]


class Reference:
    """The original network in onnxruntime; one session and one list of cases, made when first asked for.

    ``to_original`` turns the artifact's inputs into the original's, where preprocessing was folded into the artifact.
    ``constant`` names outputs that depend on no input and therefore cannot respond to one.
    """

    def __init__(
        self,
        original: Path | bytes,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        original_inputs: Sequence[str] = (),
        to_original: Callable[[Sequence[Array]], Sequence[Array]] = list,
        constant: frozenset[str] = frozenset(),
        seed: int = 0,
        threads: int = 2,
        responds: float = RESPONDS["float32"],
    ) -> None:
        self.inputs, self.outputs, self.seed = tuple(inputs), tuple(outputs), seed
        self._responds = responds
        self._original, self._threads = original, threads
        self._feed_names = tuple(original_inputs) or tuple(spec.name for spec in inputs)
        self._to_original, self._constant = to_original, constant
        self._opened: onnxruntime.InferenceSession | None = None
        self._cases: list[Case] = []
        self._scale = 0.0

    @classmethod
    def of(cls, model: Model, *, seed: int = 0, threads: int = 2, dtype: str = "float32") -> Reference:
        """The reference for what was compiled from ``model``, its tensors stored in ``dtype``."""
        return cls(
            model.original,
            model.inputs,
            model.outputs,
            original_inputs=[spec.name for spec in model.original_inputs],
            to_original=list if model.camera is None else _through(model.camera, model.inputs),
            constant=constant_outputs(model.proto.graph),
            seed=seed,
            threads=threads,
            responds=RESPONDS[dtype],
        )

    @property
    def scale(self) -> float:
        """Standard deviation of the float inputs: the first of `SCALES` to which every output responds.

        Integer and boolean outputs are excused while another output responds (the class of random noise is always the
        same one), and so are outputs that depend on no input.

        Raises:
            UnresponsiveReferenceError: with none of them; comparing would prove nothing.
        """
        if not self._scale:
            still: list[str] = []
            for scale in SCALES:
                probes = [self._case(inputs) for inputs in inputs_for(self.inputs, self.seed, PROBES, scale)]
                still = self._unmoved(probes)
                if not still:
                    self._scale, self._cases = scale, probes
                    break
            else:
                raise UnresponsiveReferenceError(still, PROBES)
        return self._scale

    def cases(self, count: int) -> list[Case]:
        """The first ``count`` cases; onnxruntime runs each once however often they are asked for."""
        missing = inputs_for(self.inputs, self.seed, count, self.scale)[len(self._cases) :]
        self._cases += [self._case(inputs) for inputs in missing]
        return self._cases[:count]

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """What the original makes of the artifact's ``inputs``, whether it responds to them or not."""
        return self._case(inputs).expected

    @property
    def name(self) -> str:
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"

    def _unmoved(self, probes: Sequence[Case]) -> list[str]:
        moved = {
            spec.name: any(variation(probes[0].expected[k], other.expected[k]) > self._responds for other in probes[1:])
            for k, spec in enumerate(self.outputs)
            if spec.name not in self._constant
        }
        excused = {spec.name for spec in self.outputs if "float" not in spec.dtype} if any(moved.values()) else set()
        return [name for name, did in moved.items() if not did and name not in excused]

    def _case(self, inputs: Sequence[Array]) -> Case:
        feed = dict(zip(self._feed_names, self._to_original(inputs), strict=True))
        expected = _checked(lambda: self._session().run([spec.name for spec in self.outputs], feed), "run")
        return Case(inputs=tuple(inputs), expected=tuple(map(np.asarray, expected)))

    def _session(self) -> onnxruntime.InferenceSession:
        if self._opened is None:
            self._opened = open_session(self._original, self._threads)
        return self._opened


def open_session(model: Path | bytes, threads: int) -> onnxruntime.InferenceSession:
    """onnxruntime's CPU session on a file or a serialised model, in its default settings.

    Raises:
        UnsupportedError: onnxruntime refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    source = model if isinstance(model, bytes) else str(model)
    return _checked(lambda: onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"]), "load")


def constant_outputs(graph: onnx.GraphProto) -> frozenset[str]:
    """Names of outputs that no input's values reach; a tensor's shape does not depend on its values."""
    reached = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and not reached.isdisjoint(_names_read(node)):
            reached.update(node.output)
    return frozenset(value.name for value in graph.output if value.name not in reached)


def _names_read(node: onnx.NodeProto) -> Iterator[str]:
    """Inputs of a node and of every node in its subgraphs."""
    yield from node.input
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            yield from (output.name for output in body.output)
            for inner in body.node:
                yield from _names_read(inner)


def _through(camera: Camera, inputs: Iterable[TensorSpec]) -> Callable[[Sequence[Array]], Sequence[Array]]:
    names = [spec.name for spec in inputs]
    return lambda arrays: [
        camera.to_original(array) if name == camera.input else array for name, array in zip(names, arrays, strict=True)
    ]


def _random(spec: TensorSpec, rng: np.random.Generator, scale: float) -> Array:
    dtype = np.dtype(spec.dtype)
    if dtype == np.bool_:
        return rng.integers(0, 2, spec.shape).astype(np.bool_)
    if dtype in (np.uint8, np.int8):
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, spec.shape, dtype, endpoint=True)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, 4, spec.shape, dtype)
    return np.asarray(scale * rng.standard_normal(spec.shape), dtype)


def _checked(call: Callable[[], Any], verb: str) -> Any:
    from onnxruntime.capi import onnxruntime_pybind11_state as ort

    refusals = (ort.Fail, ort.InvalidArgument, ort.InvalidGraph, ort.InvalidProtobuf, ort.NotImplemented,
                ort.NoModel, ort.NoSuchFile, ort.RuntimeException)  # fmt: skip
    try:
        return call()
    except refusals as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedError(
            f"onnxruntime, which an artifact is compared with, cannot {verb} the model: {reason}; "
            "`--no-verify` compiles it without a comparison"
        ) from error
