"""torch modules and torch.export files to ONNX. torch is imported here and only when one of them is read."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import BadZipFile

from edgevision.errors import InputError, ModelFileError, ShapeError, UnsupportedError

OPSET = 20
# torch and onnxruntime round differently; an exporter that lost a branch or a mode is off by orders of magnitude more.
EXPORT_RTOL = 1e-3


def export_module(module: Any, input_shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """A torch.nn.Module (in evaluation mode) or ExportedProgram as a serialised ONNX model of opset 20.

    A module is traced with float32 inputs of ``input_shapes``: "" is the only input, else the names of forward's
    parameters. BatchNormalization stays as it is, so that later stages see the training form. The module's mode is
    restored. One random input is computed both ways. Raises ShapeError, UnsupportedError.
    """
    import torch

    if isinstance(module, torch.export.ExportedProgram):
        return _export_program(module, "ExportedProgram")
    names, examples = _examples(module, input_shapes)
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with _quiet(), torch.no_grad(), TemporaryDirectory(prefix="edgevision-") as folder:
            path = Path(folder, "module.onnx")
            torch.onnx.export(
                module, examples, path, input_names=names, opset_version=OPSET, dynamo=False,
                training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=True,
            )  # fmt: skip
            content = path.read_bytes()
            expected = module(*examples)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedError(
            f"torch cannot trace {type(module).__name__} to ONNX: {reason}; try torch.export and give the .pt2 file"
        ) from error
    finally:
        for part, was_training in modes:
            part.training = was_training
    _compare(content, names, examples, expected, type(module).__name__)
    return content


def export_program_file(path: Path) -> bytes:
    """A .pt2 file that torch.export.save wrote, as a serialised ONNX model. Raises ModelFileError, UnsupportedError."""
    try:
        import torch
    except ImportError:
        raise ModelFileError(path, "a .pt2 file needs torch; install `edgevision[torch]`, or export to .onnx") from None
    try:
        with _quiet():
            program = torch.export.load(path)
    except (RuntimeError, ValueError, KeyError, OSError, EOFError, AssertionError, BadZipFile) as error:
        raise ModelFileError(
            path, "is not a file of torch.export.save, or was written by another version of torch"
        ) from error
    return _export_program(program, str(path))


def _export_program(program: Any, where: str) -> bytes:
    import torch

    try:
        with _quiet():
            exported = torch.onnx.export(program, dynamo=True, opset_version=OPSET, optimize=False, verbose=False)
    except torch.onnx.errors.OnnxExporterError as error:
        raise UnsupportedError(
            f"{where}: torch cannot write it as ONNX: {str(error).strip().splitlines()[0]}"
        ) from error
    if exported is None:
        raise UnsupportedError(f"{where}: torch wrote no ONNX")
    content: bytes = exported.model_proto.SerializeToString()
    return content


def _examples(module: Any, input_shapes: Mapping[str, tuple[int, ...]]) -> tuple[list[str], tuple[Any, ...]]:
    import torch

    parameters = list(inspect.signature(module.forward).parameters)
    if not input_shapes:
        wanted = ", ".join(f"{name!r}: (1, ...)" for name in parameters)
        raise ShapeError(f"a torch module does not say its input shapes; give input_shapes={{{wanted}}}")
    if "" in input_shapes and len(input_shapes) > 1:
        raise ShapeError('input_shapes gives "" (the only input) beside others; name each input')
    unknown = [name for name in input_shapes if name and name not in parameters]
    if unknown:
        raise InputError(
            f"forward of {type(module).__name__} has no parameter {unknown[0]!r}; it has {', '.join(parameters)}"
        )
    generator = torch.Generator().manual_seed(0)
    names = [""] if "" in input_shapes else [name for name in parameters if name in input_shapes]
    examples = tuple(torch.randn(input_shapes[name], generator=generator) for name in names)
    return [name or parameters[0] for name in names], examples


def _compare(content: bytes, names: list[str], examples: tuple[Any, ...], expected: Any, where: str) -> None:
    """Raise UnsupportedError unless the exported model computes what the module computed."""
    import onnxruntime as ort
    import torch

    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    wanted = [value for value in torch.utils._pytree.tree_leaves(expected) if isinstance(value, torch.Tensor)]
    read = {value.name for value in session.get_inputs()}
    feed = {name: example.numpy() for name, example in zip(names, examples, strict=True) if name in read}
    for value, result in zip(wanted, session.run(None, feed), strict=True):
        reference = torch.as_tensor(result)
        scale = float(value.abs().max()) if value.numel() else 0.0
        error = float((value.double() - reference.double()).abs().max()) if value.numel() else 0.0
        if not error <= EXPORT_RTOL * max(scale, 1e-30):
            raise UnsupportedError(
                f"torch's ONNX export of {where} computes something else than the module "
                f"(relative error {error / max(scale, 1e-30):.1e}); "
                "branches and random numbers in forward are not traced"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' warnings and progress."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
