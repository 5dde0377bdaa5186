"""Fine-tune a pruned model from its file to a file: read -> train -> write, with its accuracy before and after."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgevision import ingest
from edgevision.accuracy import TopOne
from edgevision.errors import InputError, ToolchainError, UnsupportedError
from edgevision.ingest import parse_input_shapes
from edgevision.measure.evaluate import Preprocessing, channels_first
from edgevision.measure.labelled import Labelled, Splits, open_splits, top_one
from edgevision.measure.reference import open_session
from edgevision.model import Model
from edgevision.rewrite.prune.finetune.recipe import Recipe
from edgevision.rewrite.prune.widths import width_table
from edgevision.zoo.saving import check_output, save, save_bytes

if TYPE_CHECKING:
    from edgevision.rewrite.prune.finetune.torch_network import TorchNetwork
    from edgevision.rewrite.prune.finetune.training import Step

SAME = 1e-3
"""How far torch may be from onnxruntime, relative to the largest score: float32 sums in another order stay below 1e-5."""
COMPARED = 4
"""Images on which they are compared, fed to torch together: a network that mixes them is found out."""


class MissingTorchError(ToolchainError):
    """Training needs torch."""

    def __init__(self) -> None:
        super().__init__("fine-tuning needs torch, which is not installed; pip install 'edgevision[torch]'")


class TorchDiffersError(UnsupportedError):
    """What would be trained is not the network in the file."""

    def __init__(self, model: str, error: float) -> None:
        self.model, self.error = model, error
        super().__init__(
            f"{model}: as a torch network its scores differ from onnxruntime's by {error:.2g} of the largest; it cannot be "
            "trained here, fine-tune it in its own framework"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuning:
    """What `finetune` made of ``model``: shares of the held-out images that are named right, in onnxruntime.

    ``teacher`` is None without one, ``scratch`` unless the architecture was trained from fresh weights too, which is then
    in ``scratch_output``. ``widths``: output channels of every layer; ``skipped``: images that could not be read.
    """

    model: Model
    recipe: Recipe
    output: Path
    before: TopOne
    after: TopOne
    teacher: TopOne | None
    scratch: TopOne | None
    scratch_output: Path | None
    widths: dict[str, int]
    widths_output: Path
    trained_on: int
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What both trainings share."""

    student: Model
    teacher: Model | None
    splits: Splits
    recipe: Recipe
    threads: int
    resume: bool
    progress: Callable[[str, Step], None]


def finetune(
    source: Any, output: Path | str, *, data: Path | str, epochs: int | None = None, teacher: Any = None,
    recipe: Recipe | None = None, from_scratch: bool = False, fresh: bool = False, preprocessing: Preprocessing | None = None,
    limit: int | None = None, threads: int = 0, resume: bool = False,
    input_shapes: dict[str, tuple[int, ...]] | None = None, progress: Callable[[str, Step], None] = lambda name, step: None,
) -> Finetuning:  # fmt: skip
    """Train the weights of ``source`` (.onnx, zoo:NAME, ModelProto) on the images in ``data``; write ``output``.

    ``teacher``: the unpruned network, whose scores it learns to give as well as the labels. ``from_scratch``: train the
    same architecture from fresh weights too, with the same recipe, into output.scratch.onnx; ``fresh``: from fresh weights
    only. ``recipe``, or ``epochs`` of
    the default one. ``resume``: continue from the checkpoint of a run that was killed; with one thread the result is the
    same to the bit. A width table for `zoo export --widths` is written beside.

    Raises: EdgevisionError; nothing but a checkpoint is written then.
    """
    if find_spec("torch") is None:
        raise MissingTorchError
    output = Path(output)
    check_output(output)
    recipe = recipe or Recipe(epochs=epochs or 1)
    student, taught_by = _models(source, teacher, input_shapes)
    splits = open_splits(Path(data), student.inputs[0], preprocessing, limit)
    job = _Job(
        student=student, teacher=taught_by, splits=splits, recipe=recipe, threads=threads, resume=resume, progress=progress
    )
    trained = _trained(job, output, scratch=fresh)
    scratch_output = output.with_suffix(".scratch.onnx") if from_scratch else None
    scratch = _trained(job, scratch_output, scratch=True) if scratch_output else None
    result = _result(job, output, trained, scratch_output, scratch)
    for path in (output, scratch_output):
        if path is not None:
            _checkpoint_path(path).unlink(missing_ok=True)
    return result


def _models(source: Any, teacher: Any, input_shapes: dict[str, tuple[int, ...]] | None) -> tuple[Model, Model | None]:
    student = ingest.read(source, input_shapes=input_shapes)
    if teacher is None:
        return student, None
    shape = ",".join(map(str, student.inputs[0].shape))
    taught_by = ingest.read(teacher, input_shapes=parse_input_shapes((shape,)))
    for one, other, what in ((student.inputs, taught_by.inputs, "take"), (student.outputs, taught_by.outputs, "give")):
        if [spec.shape for spec in one] != [spec.shape for spec in other]:
            shapes = " and ".join(", ".join(map(str, specs)) for specs in (one, other))
            raise InputError(f"model and teacher {what} different tensors: {shapes}; give the network that was pruned")
    return student, taught_by


def _trained(job: _Job, output: Path, *, scratch: bool) -> onnx.ModelProto:
    """The trained network as plain ONNX."""
    from edgevision.rewrite.prune.finetune import training
    from edgevision.rewrite.prune.finetune.checkpoint import Checkpoint

    with training.threads(job.threads):
        network = _network(job.student, job.splits)
        teacher = _network(job.teacher, job.splits).eval() if job.teacher else None
        checkpoint = Checkpoint(path=_checkpoint_path(output), run=_identity(job, scratch=scratch))
        name = "from scratch" if scratch else "fine-tuning"
        training.train(
            training.Training(
                network=network, images=job.splits.train, recipe=job.recipe, teacher=teacher, checkpoint=checkpoint,
                scratch=scratch, channels_first=channels_first(job.student.inputs[0]),
            ),
            lambda step: job.progress(name, step), resume=job.resume,
        )  # fmt: skip
        return named_as(job.student.original, ingest.to_onnx(network.to_proto()))


def named_as(original: Path | bytes, trained: onnx.ModelProto) -> onnx.ModelProto:
    """``trained`` with the names that ``original`` gives the constants of the same nodes, where their shapes agree.

    Reading a file may rename what it spells anew: the matrix of a Gemm, transposed twice.
    """
    graph = (onnx.load(original) if isinstance(original, Path) else onnx.load_model_from_string(original)).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    nodes = {(node.op_type, node.name): node.input for node in graph.node if node.name}
    mine = {tensor.name: tensor for tensor in trained.graph.initializer}
    taken = {name for node in trained.graph.node for name in (*node.input, *node.output)}
    new: dict[str, str] = {}
    for node in trained.graph.node:
        for name, old in zip(node.input, nodes.get((node.op_type, node.name), ()), strict=False):
            if name in mine and old not in taken and name not in new and shapes.get(old) == tuple(mine[name].dims):
                new[name] = old
                taken.add(old)
    for name, old in new.items():
        mine[name].name = old
    for node in trained.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
    return trained


def _checkpoint_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.checkpoint")


def _network(model: Model, splits: Splits) -> TorchNetwork:
    """Raises: TorchDiffersError; InputError, where the labels do not fit the scores."""
    from edgevision.rewrite.prune.finetune.torch_network import TorchNetwork, scores

    network = TorchNetwork(model.proto)
    splits.check_scores(network.classes)
    images = splits.held_out.batch(slice(0, COMPARED * model.inputs[0].shape[0]))[0]
    session, size = open_session(_file(model.proto), 1), model.inputs[0].shape[0]
    whole = images[: len(images) // size * size]
    if not len(whole):
        return network
    parts = [session.run(None, {model.inputs[0].name: part})[0] for part in np.split(whole, len(whole) // size)]
    expected = np.concatenate(parts).reshape(len(whole), -1)
    # In another order, so that a network whose images meet answers otherwise.
    found = np.roll(scores(network, np.roll(whole, 1, axis=0)), -1, axis=0)
    error = float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-30))
    if not error <= SAME:
        raise TorchDiffersError(model.name, error)
    return network


def _identity(job: _Job, *, scratch: bool) -> dict[str, str | int | float | bool]:
    """What the result depends on, as a checkpoint remembers it."""
    images = job.splits.train
    digest = hashlib.sha256(images.labels.tobytes())
    digest.update(np.ascontiguousarray(images.pixels[:: max(1, len(images) // 1000)]).tobytes())
    teacher = job.teacher.sha256 if job.teacher else ""
    said = {f"--{name.replace('_', '-')}": value for name, value in asdict(job.recipe).items()}
    shown = repr(images.preprocessing)
    return {
        "model": job.student.sha256, "--teacher": teacher, "--data": digest.hexdigest(), "--mean or --std": shown,
        "scratch": scratch, "version of torch": version("torch"), **said,
    }  # fmt: skip


def _file(proto: onnx.ModelProto) -> bytes:
    content: bytes = ingest.to_onnx(proto).SerializeToString(deterministic=True)
    return content


def _result(
    job: _Job, output: Path, trained: onnx.ModelProto, scratch_output: Path | None, scratch: onnx.ModelProto | None
) -> Finetuning:
    from edgevision.report.json import document, dumps

    held_out: Labelled = job.splits.held_out

    def score(proto: onnx.ModelProto) -> TopOne:
        return top_one(held_out, proto.SerializeToString(), max(job.threads, 1))

    widths_output, widths = output.with_suffix(".widths.json"), width_table(job.student.proto)
    result = Finetuning(
        model=job.student, recipe=job.recipe, output=output, before=score(ingest.to_onnx(job.student.proto)),
        after=score(trained), teacher=score(ingest.to_onnx(job.teacher.proto)) if job.teacher else None,
        scratch=score(scratch) if scratch is not None else None, scratch_output=scratch_output, widths=widths,
        widths_output=widths_output, trained_on=len(job.splits.train), skipped=job.splits.skipped,
    )  # fmt: skip
    save(trained, output)
    if scratch is not None and scratch_output is not None:
        save(scratch, scratch_output)
    save_bytes(dumps(document("widths", {"layers": widths})).encode(), widths_output)
    return result
