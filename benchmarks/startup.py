"""How long things take to start, and what memory they take: the command line, and an artifact from nothing to its first result.

    python -m benchmarks.startup build/mobilenetv2-1.0.native/mobilenetv2-1.0.so

Fresh processes, medians of 15 with the range; wall time and VmHWM of this machine, measured. Pythons find the bytecode of what they
import, as after an installation. Beside an artifact, whose files lie
together as `edgevision compile` wrote them, onnxruntime loads the network that it was compiled from.

    start    = load to first result, less a later run
    overhead = VmHWM - that of a bare process of the same kind - weights - arena

Bare is a static C program, or a Python with numpy; both hold the input and the output. Weights are those of the ONNX file for
onnxruntime, and of the artifact, with those that it makes of them on loading, for edgevision; the arena is what the artifact needs,
for both. One thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import onnx
from onnx import numpy_helper

from benchmarks import bytecode
from edgevision import target
from edgevision.artifact import Artifact
from edgevision.link import zig
from edgevision.report.manifest import artifact_of

ROUNDS = 15
LATER_RUNS = 5

IN_PYTHON = """
import json, sys, time
start = time.perf_counter()
import numpy as np
kind, path, shapes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
inputs = [np.zeros(shape, dtype) for shape, dtype in shapes]
begun = time.perf_counter()
if kind.startswith("edgevision"):
    from edgevision import runtime
    network = runtime.load(path, threads=1, shared=kind.endswith("shared"))
    run = lambda: network.run(*inputs)
elif kind == "onnxruntime":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = dict(zip((each.name for each in session.get_inputs()), inputs))
    run = lambda: session.run(None, feed)
else:
    run = lambda: None
loaded = time.perf_counter()
results = run()
first = time.perf_counter()
peak_kb = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
again = time.perf_counter()
for _ in range(int(sys.argv[4])):
    run()
later = (time.perf_counter() - again) / int(sys.argv[4])
print(1e3 * (loaded - begun), 1e3 * (first - loaded - later), 1e3 * later, 1024 * peak_kb)
"""

BARE_C = """
#include <stdio.h>
int main(void) {
    char line[256];
    unsigned long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) if (sscanf(line, "VmHWM: %lu kB", &kib) == 1) break;
    printf("%lu\\n", 1024 * kib);
    return 0;
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Milliseconds to load, of the first run beyond a later one, of a later one; the most bytes that were resident."""

    load_ms: float
    first_ms: float
    later_ms: float
    peak_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """What starting adds: ``ms`` to a run, ``bytes`` to a bare process, the weights and the arena."""

    ms: float
    bytes: float


def help_ms() -> float:
    start = time.perf_counter()
    command = [sys.executable, "-c", "from edgevision.cli.main import main; main()", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    return 1e3 * (time.perf_counter() - start)


def in_python(kind: str, path: Path, artifact: Artifact, environment: Mapping[str, str]) -> Start:
    """``kind``: "edgevision", "edgevision shared", "onnxruntime", or "bare" with the inputs alone."""
    shapes = json.dumps([(each.shape, each.dtype) for each in artifact.inputs])
    command = [sys.executable, "-c", IN_PYTHON, kind, str(path), shapes, str(LATER_RUNS)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    load, first, later, peak = map(float, printed.split())
    return Start(load_ms=load, first_ms=first, later_ms=later, peak_bytes=peak)


def in_c(artifact: Artifact) -> Start:
    """The static executable."""
    command = [str(artifact.bench), "--runs", str(LATER_RUNS), "--warmup", "0", "--threads", "1"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    later = median(report["samples_ns"])
    return Start(
        load_ms=report["create_ns"] / 1e6, first_ms=(report["first_run_ns"] - later) / 1e6, later_ms=later / 1e6,
        peak_bytes=report["peak_rss_bytes"],
    )  # fmt: skip


def bare_c_bytes(artifact: Artifact) -> int:
    """VmHWM of a program that does nothing, linked as the benchmark is, and the input and the output that it does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "bare.c"), Path(folder, "bare")
        source.write_text(BARE_C)
        zig_target = target.load("native").bench_zig_target
        zig.run(["cc", "-target", zig_target, "-O2", "-s", "-static", source, "-o", program], purpose="linking a bare program")
        printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return int(printed) + sum(each.nbytes for each in (*artifact.inputs, *artifact.outputs))


def onnx_weight_bytes(model: Path) -> int:
    return sum(numpy_helper.to_array(each).nbytes for each in onnx.load(model).graph.initializer)


def typical(starts: Sequence[Start]) -> Start:
    """Each figure's median."""
    return Start(
        load_ms=median(s.load_ms for s in starts), first_ms=median(s.first_ms for s in starts),
        later_ms=median(s.later_ms for s in starts), peak_bytes=median(s.peak_bytes for s in starts),
    )  # fmt: skip


def overhead(start: Start, bare_bytes: float, weight_bytes: int, arena_bytes: int) -> Overhead:
    return Overhead(ms=start.load_ms + start.first_ms, bytes=start.peak_bytes - bare_bytes - weight_bytes - arena_bytes)


def measured(title: str, sample: Callable[[], Start]) -> Start:
    """The medians of fresh processes, which are printed with their range; one more goes ahead of them and leaves its bytecode."""
    sample()
    rounds = [sample() for _ in range(ROUNDS)]
    show(title, "load", [each.load_ms for each in rounds])
    show(title, "first run beyond a later one", [each.first_ms for each in rounds])
    show(title, "a later run", [each.later_ms for each in rounds])
    show(title, "most memory", [each.peak_bytes / 1e6 for each in rounds], "MB")
    return typical(rounds)


def show(title: str, label: str, values: Sequence[float], unit: str = "ms") -> None:
    print(f"{title}: {label:32} {median(values):7.2f} {unit}   ({min(values):.2f} .. {max(values):.2f})", flush=True)


def compare(artifact: Artifact, environment: Mapping[str, str]) -> None:
    """What edgevision adds beside what onnxruntime adds."""
    name, weights = artifact.path.stem, artifact.weight_bytes + artifact.transformed_bytes
    theirs_weights = onnx_weight_bytes(artifact.model)
    peer = measured("onnxruntime in Python", lambda: in_python("onnxruntime", artifact.model, artifact, environment))
    bare = in_python("bare", artifact.path, artifact, environment).peak_bytes
    theirs = overhead(peer, bare, theirs_weights, artifact.arena_bytes)
    print(f"{name}: weights {weights / 1e6:.2f} MB ({theirs_weights / 1e6:.2f} in ONNX), arena {artifact.arena_bytes / 1e6:.2f} MB")
    print(f"onnxruntime in Python: overhead {theirs.ms:.1f} ms, {theirs.bytes / 1e6:.2f} MB")
    for title, start, below in (
        ("edgevision in C", lambda: in_c(artifact), bare_c_bytes(artifact)),
        ("edgevision in Python", lambda: in_python("edgevision", artifact.path, artifact, environment), bare),
        ("the same, shared=True", lambda: in_python("edgevision shared", artifact.path, artifact, environment), bare),
    ):
        ours = overhead(measured(title, start), below, weights, artifact.arena_bytes)
        shares = f"{ours.ms / theirs.ms:.3f} and {ours.bytes / theirs.bytes:.3f} of onnxruntime's"
        print(f"{title}: overhead {ours.ms:.1f} ms, {ours.bytes / 1e6:.2f} MB: {shares}")


def main() -> None:
    show("command line", "edgevision --help, whole process", [help_ms() for _ in range(ROUNDS)])
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:]:
            compare(artifact_of(Path(name)), bytecode.kept_in(Path(folder)))


if __name__ == "__main__":
    main()
