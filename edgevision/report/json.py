"""What edgevision prints with ``--json``: stable keys, documented in docs/json.md and checked by schema.json.

Figures that do not exist (an infinite error, a latency that was not measured) are null, never 0 or text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from edgevision import __version__
from edgevision.artifact import CpuVersion, Step
from edgevision.latency import DeviceInfo, Latency, Verification
from edgevision.model import Camera, Change, Model
from edgevision.outcome import Outcome, coverage
from edgevision.side_by_side import SideBySide
from edgevision.tensor import TensorSpec

SCHEMA_VERSION = 1
SCHEMA = Path(__file__).parent / "schema.json"

Json = dict[str, Any]


def document(kind: str, content: Mapping[str, object]) -> Json:
    """``content`` under the two keys that every document begins with."""
    return {"kind": kind, "schema_version": SCHEMA_VERSION, "edgevision": __version__, **content}


def dumps(value: Mapping[str, object]) -> str:
    """The text of a document: two spaces of indentation, one line break at the end; NaN and infinity are refused."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def compile_report(model: Model, outcomes: Sequence[Outcome]) -> Json:
    """What ``edgevision compile --json`` prints."""
    return document(
        "compile",
        {"model": model_entry(model), "targets": [_outcome(outcome) for outcome in outcomes]},
    )


def model_entry(model: Model) -> Json:
    return {
        "name": model.name,
        "sha256": model.sha256,
        "opset": model.opset,
        "inputs": [tensor(spec) for spec in model.inputs],
        "outputs": [tensor(spec) for spec in model.outputs],
        "camera": None if model.camera is None else camera(model.camera),
        "changes": [change(each) for each in model.changes],
        "notes": list(model.notes),
    }


def camera(folded: Camera) -> Json:
    return {
        "input": folded.input,
        "layout": folded.layout,
        "dtype": folded.dtype,
        "mean": list(folded.mean),
        "std": list(folded.std),
    }


def device(ran: DeviceInfo) -> Json:
    return {"name": ran.name, "cpu": ran.cpu, "cores": ran.cores, "transport": ran.transport}


def tensor(spec: TensorSpec) -> Json:
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "shape": list(spec.shape),
        "layout": spec.layout,
        "bytes": spec.nbytes,
    }


def change(each: Change) -> Json:
    return {"rule": each.rule, "count": each.count, "refusals": list(each.refusals)}


def step(each: Step) -> Json:
    return {"name": each.name, "ops": list(each.ops), "macs": each.macs, "schedule": each.schedule}


def verification(record: Verification) -> Json:
    """Errors are rounded to three digits: more of them depend on the CPU that onnxruntime ran on."""
    return {
        "how": record.how,
        "passed": None if record.how == "skipped" else record.passed,
        "reference": record.reference,
        "inputs_tried": record.inputs_tried,
        "seed": record.seed,
        "input_scale": record.scale,
        "max_error": None if record.how == "skipped" else _rounded(record.max_error),
        "outputs": [
            {"name": e.name, "error": _rounded(e.error), "allowed": e.allowed, "detail": e.detail}
            for e in record.errors
        ],
    }


def latency(record: Latency) -> Json:
    """Times in milliseconds, of steps in microseconds."""
    interval = record.interval_ms
    return {
        "how": record.how,
        "device": device(record.device),
        "processor": record.processor or None,
        "fell_back": record.fell_back,
        "threads": record.threads,
        "warmup": record.warmup,
        "samples": len(record.samples_ms),
        "median_ms": record.median_ms,
        "p90_ms": record.p90_ms,
        "min_ms": record.min_ms,
        "spread": record.spread,
        "median_interval_ms": None if interval is None else list(interval),
        "samples_ms": list(record.samples_ms),
        "steps": [{"name": s.name, "median_us": s.median_us, "macs": s.macs} for s in record.steps],
    }


def cpu_version(version: CpuVersion | None, record: Verification | None) -> Json | None:
    """``record``: how that version was compared."""
    if version is None or record is None:
        return None
    return {
        "target": version.target,
        "weight_bytes": version.weight_bytes,
        "transformed_bytes": version.transformed_bytes,
        "arena_bytes": version.arena_bytes,
        "verification": verification(record),
        "schedules": coverage(version.steps),
        "steps": [step(each) for each in version.steps],
    }


def side_by_side(found: SideBySide) -> Json:
    """``slower`` are places in ``operators``, the greatest loss first."""
    return {
        "how": "measured",
        "device": device(found.device),
        "threads": found.threads,
        "cpu_ms": found.cpu_ms,
        "gpu_ms": found.gpu_ms,
        "ratio": found.ratio,
        "rounds": found.rounds,
        "quiet": found.quiet,
        "kinds": [
            {
                "kind": kind,
                "cpu_operators": sum(len(pair.cpu) for pair in pairs),
                "cpu_us": sum(pair.cpu_us for pair in pairs),
                "gpu_launches": sum(len(pair.gpu) for pair in pairs),
                "gpu_us": sum(pair.gpu_us for pair in pairs),
            }
            for kind, pairs in found.kinds
        ],
        "operators": [
            {
                "name": pair.name,
                "kind": pair.kind,
                "ops": [op for each in pair.cpu for op in each.step.ops],
                "cpu_us": pair.cpu_us,
                "gpu_us": pair.gpu_us,
            }
            for pair in found.pairs
        ],
        "slower": [found.pairs.index(pair) for pair in found.slower],
    }


def _outcome(outcome: Outcome) -> Json:
    artifact = outcome.artifact
    return {
        "target": outcome.target.name,
        "library": str(artifact.path),
        "header": str(artifact.header),
        "bench": str(artifact.bench),
        "model": str(artifact.model),
        "manifest": str(artifact.manifest),
        "sha256": artifact.sha256,
        "weight_bytes": artifact.weight_bytes,
        "transformed_bytes": artifact.transformed_bytes,
        "arena_bytes": artifact.arena_bytes,
        "file_bytes": artifact.file_bytes,
        "dtype": artifact.dtype,
        "build_s": round(outcome.build_s, 3),
        "schedules": coverage(artifact.steps),
        "steps": [step(each) for each in artifact.steps],
        "processor": artifact.processor,
        "fallback": cpu_version(artifact.fallback, outcome.fallback_verification),
        "verification": verification(outcome.verification),
        "latency": None if outcome.latency is None else latency(outcome.latency),
        "side_by_side": None if outcome.side_by_side is None else side_by_side(outcome.side_by_side),
        "sources": [str(path) for path in outcome.sources],
        "not_measured": outcome.not_measured,
    }


def _rounded(error: float) -> float | None:
    return float(f"{error:.2e}") if isfinite(error) else None
