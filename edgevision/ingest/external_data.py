"""Where a model keeps weights outside its file, and whether those files may be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx.external_data_helper import uses_external_data

from edgevision.errors import ModelFileError


def external_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that lives in another file: initializers and attributes, in subgraphs and functions too."""
    yield from (tensor for tensor in _graph_tensors(proto.graph) if uses_external_data(tensor))
    for function in proto.functions:
        yield from (tensor for node in function.node for tensor in _node_tensors(node) if uses_external_data(tensor))


def external_files(proto: onnx.ModelProto, path: Path) -> list[Path]:
    """The files that the model at ``path`` keeps tensors in, sorted by name.

    Each must be a regular file inside the model's folder, also after following links, and long enough.
    Raises ModelFileError.
    """
    folder = path.parent.resolve()
    files: dict[str, Path] = {}
    for tensor in external_tensors(proto):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = files.setdefault(location, _inside(folder, location, tensor.name, path))
        try:
            offset, length = int(entries.get("offset") or 0), int(entries.get("length") or 0)
        except ValueError:
            raise ModelFileError(
                path, f"tensor {tensor.name!r}: offset or length of its external data is no number"
            ) from None
        if offset < 0 or length < 0 or offset + length > file.stat().st_size:
            reason = f"external data {location!r} of tensor {tensor.name!r} ends before byte {offset + length}"
            raise ModelFileError(path, f"{reason}; it is truncated or belongs to another model")
    return [files[location] for location in sorted(files)]


def _inside(folder: Path, location: str, tensor: str, path: Path) -> Path:
    if not location:
        raise ModelFileError(path, f"tensor {tensor!r} has external data without a location")
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    file = (folder / location).resolve()
    leaves = posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts)
    if leaves or not file.is_relative_to(folder):
        reason = f"external data {location!r} of tensor {tensor!r} points outside the model's folder"
        raise ModelFileError(path, f"{reason}; only files beside the model are read")
    if not file.is_file():
        reason = f"external data {location!r} of tensor {tensor!r} is missing"
        raise ModelFileError(path, f"{reason}; put it beside the model")
    return file


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            yield attribute.t
        elif attribute.type == onnx.AttributeProto.TENSORS:
            yield from attribute.tensors
        elif attribute.type == onnx.AttributeProto.GRAPH:
            yield from _graph_tensors(attribute.g)
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            for graph in attribute.graphs:
                yield from _graph_tensors(graph)
