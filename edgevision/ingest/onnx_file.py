"""Read an .onnx file, its external data included, or say in one sentence why it cannot be read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import load_external_data_for_tensor

from edgevision.errors import ModelFileError
from edgevision.ingest.external_data import external_files, external_tensors

PROTOBUF_LIMIT_BYTES = 2**31 - 1  # protobuf refuses longer messages
SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive, perhaps a torch checkpoint: export the network to .onnx or .pt2",
    b"\x80\x02": "a Python pickle, perhaps a torch checkpoint: export the network to .onnx",
    b"\x89HDF": "an HDF5 file, perhaps of Keras: convert it with tf2onnx",
    b"\x7fELF": "an ELF executable or shared object",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"%PDF": "a PDF document",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file with `git lfs pull`",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """A parsed file: the model with external data loaded, and the SHA-256 of all its bytes."""

    proto: onnx.ModelProto
    sha256: str


def load(path: Path) -> OnnxFile:
    """Parse ``path`` and load its external data.

    The hash covers the file, then each external file in order of name. Raises ModelFileError.
    """
    content = _read(path)
    proto = parse(content, str(path))
    digest = hashlib.sha256(content)
    for file in external_files(proto, path):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    for tensor in external_tensors(proto):
        load_external_data_for_tensor(tensor, str(path.parent))
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return OnnxFile(proto=proto, sha256=digest.hexdigest())


def parse(content: bytes, where: str) -> onnx.ModelProto:
    """The ModelProto in ``content``; ``where`` names it in errors."""
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError:
        raise ModelFileError(where, _what_it_is(content)) from None
    if not proto.HasField("graph") or proto.ir_version == 0:
        raise ModelFileError(where, _what_it_is(content))
    if not proto.graph.node:
        raise ModelFileError(where, "the graph has no nodes: there is nothing to compile")
    if not proto.graph.output:
        raise ModelFileError(where, "the graph has no outputs: there is nothing to compute")
    return proto


def _read(path: Path) -> bytes:
    if path.is_dir():
        inside = ", ".join(sorted(p.name for p in path.glob("*.onnx"))[:4])
        raise ModelFileError(
            path, f"is a directory; name a file{f' in it: {inside}' if inside else ', such as model.onnx'}"
        )
    try:
        size_bytes = path.stat().st_size
        if size_bytes > PROTOBUF_LIMIT_BYTES:
            raise ModelFileError(path, "is over 2 GiB, more than protobuf can hold; save the weights as external data")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(path, "no such file; check the path") from None
    except OSError as error:
        raise ModelFileError(path, f"cannot be read: {error.strerror}") from error
    if not content:
        raise ModelFileError(path, "is empty; export or copy it again")
    return content


def _what_it_is(content: bytes) -> str:
    """Why ``content`` does not parse, from its first bytes: another format, or ONNX that was cut or damaged."""
    for signature, description in SIGNATURES.items():
        if content.startswith(signature):
            return f"is not an ONNX model but {description}"
    if content[4:8] == b"TFL3":
        return "is not an ONNX model but a TensorFlow Lite model: convert it with tf2onnx"
    if content[:1] == b"\x08":  # ModelProto.ir_version, which every exporter writes first
        return "is truncated or damaged: it begins like an ONNX model but does not parse; export or copy it again"
    try:
        content[:512].decode()
    except UnicodeDecodeError:
        return "is not an ONNX model"
    return "is not an ONNX model but text" if b"\0" not in content[:512] else "is not an ONNX model"
