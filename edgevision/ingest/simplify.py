"""onnxsim in a process of its own: it may crash or hang, and then the model goes on without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from edgevision.ingest.admission import OLDEST_OPSET, QUANTIZED
from edgevision.ingest.onnx_file import PROTOBUF_LIMIT_BYTES
from edgevision.ingest.proto_types import default_opset, weight_bytes
from edgevision.ingest.shape_inference import skeleton

TIME_LIMIT_S = 180.0  # a 55 M parameter ParNet takes 6 s on one busy core
CHILD = Path(__file__).with_name("simplify_child.py")


def simplify(
    proto: onnx.ModelProto, *, time_limit_s: float = TIME_LIMIT_S, child: Path = CHILD
) -> tuple[onnx.ModelProto, str]:
    """The simplified model and "", or the model itself and a note that says why onnxsim did nothing.

    A result counts only when it is valid ONNX of standard operators with the same inputs and outputs.
    """
    if find_spec("onnxsim") is None:
        return proto, "onnxsim is not installed: went on without it"
    if weight_bytes(proto) > PROTOBUF_LIMIT_BYTES // 2:
        return proto, "the model is over 1 GiB: went on without onnxsim"
    with tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        before.write_bytes(proto.SerializeToString())
        command = [sys.executable, "-P", str(child), str(before), str(after)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=time_limit_s, env=environment, check=False
            )
        except subprocess.TimeoutExpired:
            return proto, f"onnxsim took over {time_limit_s:g} s: went on without it"
        if run.returncode != 0 or not after.exists():
            return proto, f"onnxsim {_death(run.returncode, run.stderr)}: went on without it"
        try:
            simplified = onnx.ModelProto.FromString(after.read_bytes())
        except DecodeError:
            return proto, "onnxsim wrote a file that does not parse: went on without it"
    flaw = _flaw(proto, simplified)
    return (proto, f"onnxsim's result {flaw}: went on without it") if flaw else (simplified, "")


def _death(returncode: int, stderr: str) -> str:
    if returncode < 0:
        return f"crashed ({signal.Signals(-returncode).name})"
    last = stderr.strip().splitlines()
    return f"failed ({last[-1][:200] if last else f'exit code {returncode}'})"


def _flaw(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """What is wrong with a simplified model; "" if nothing."""
    if [_border(value) for value in before.graph.input] != [_border(value) for value in after.graph.input]:
        return "has other inputs"
    if [value.name for value in before.graph.output] != [value.name for value in after.graph.output]:
        return "has other outputs"
    if not OLDEST_OPSET <= default_opset(after) <= default_opset(before):
        return f"has opset {default_opset(after)}"
    foreign = [node for node in after.graph.node if node.domain not in ("", "ai.onnx")]
    if foreign:
        return f"holds {foreign[0].domain}::{foreign[0].op_type}"
    made = {n.op_type for n in after.graph.node} - {n.op_type for n in before.graph.node}
    if made & QUANTIZED:
        return "is quantized"
    try:
        onnx.checker.check_model(skeleton(after))
    except onnx.checker.ValidationError as error:
        return f"is not valid ONNX ({str(error).splitlines()[0]})"
    return ""


def _border(value: onnx.ValueInfoProto) -> tuple[str, int, tuple[int, ...]]:
    kind = value.type.tensor_type
    return value.name, kind.elem_type, tuple(dim.dim_value for dim in kind.shape.dim)
