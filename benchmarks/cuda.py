"""A folder to carry to a machine with a GPU: artifacts, inputs, what onnxruntime makes of them, a program that compares and times.

    python -m benchmarks.cuda --target cuda-sm87 [--dtype float16] --output orin mobilenetv2-1.0 ghostnet-1.0
    scp -r orin board: && ssh board python3 orin/run.py

That machine needs Python 3.8 and NVIDIA's driver: no TVM, no edgevision, no network (benchmarks/cuda_run.py). Names are the zoo's,
or paths of .onnx files. Nothing is run here.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgevision.artifact import Artifact
from edgevision.measure.compare import LIMITS
from edgevision.measure.reference import Reference
from edgevision.pipeline import Options, compile_model

CASES = 3
NETWORKS = ("mobilenetv2-1.0", "ghostnet-1.0", "mobilenetv3-large", "repvgg-a0", "parnet-s")
RUNNER = Path(__file__).with_name("cuda_run.py")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Build a folder of networks for a machine with a GPU.")
    parser.add_argument("--target", default="cuda-sm87")
    parser.add_argument("--dtype", choices=tuple(LIMITS), default="float32")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    given = parser.parse_args(arguments)
    given.output.mkdir(parents=True, exist_ok=True)
    networks = [_built(name, given.target, given.dtype, given.output) for name in given.networks]
    index = {"target": given.target, "dtype": given.dtype, "allowed": LIMITS[given.dtype], "networks": networks}
    (given.output / "networks.json").write_text(json.dumps(index, indent=1) + "\n")
    shutil.copyfile(RUNNER, given.output / "run.py")


def _built(name: str, target: str, dtype: str, folder: Path) -> dict[str, Any]:
    """Compile one network, keep its program and write its cases; what run.py needs to know of it."""
    source, place = _source(name), folder / name.rpartition("/")[2].removesuffix(".onnx")
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        options = Options(output=Path(scratch), dtype=dtype, verify=False, measure=False)
        result = compile_model(source, (target,), options)
        artifact = result.outcomes[0].artifact
        bench = Path(shutil.move(artifact.bench, place / artifact.bench.name))
    return {
        "name": place.name,
        "bench": str(bench.relative_to(folder)),
        "cases": _cases(Reference.of(result.model, dtype=dtype), place, folder),
        "outputs": [{"name": spec.name, "dtype": spec.dtype} for spec in artifact.outputs],
        "steps": _steps(artifact),
    }


def _source(name: str) -> str:
    """For the compiler: a path as it is, "mobilenetv2-1.0" -> "zoo:mobilenetv2-1.0"."""
    return name if name.endswith(".onnx") else f"zoo:{name}"


def _cases(reference: Reference, place: Path, folder: Path) -> list[dict[str, list[str]]]:
    """Dense files of every case's inputs and of the reference's outputs, relative to ``folder``."""
    written = []
    for number, case in enumerate(reference.cases(CASES)):
        files: dict[str, list[str]] = {}
        for kind, arrays in (("inputs", case.inputs), ("expected", case.expected)):
            paths = [place / f"{kind}{number}.{i}.bin" for i in range(len(arrays))]
            for path, array in zip(paths, arrays, strict=True):
                array.tofile(path)
            files[kind] = [str(path.relative_to(folder)) for path in paths]
        written.append(files)
    return written


def _steps(artifact: Artifact) -> list[dict[str, Any]]:
    return [{"name": step.name, "ops": list(step.ops), "macs": step.macs, "schedule": step.schedule} for step in artifact.steps]


if __name__ == "__main__":
    main()
