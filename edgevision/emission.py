"""Kernels as Metal or WGSL beside a GPU's artifact: the same scheduled program, for hosts that nothing here runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgevision.errors import DeviceOnlyError
from edgevision.link.emit_source import LANGUAGES, emit
from edgevision.model import Model
from edgevision.program import Program
from edgevision.report.json import document, dumps
from edgevision.target import Target


def check(languages: Sequence[str], target: Target) -> None:
    """Raises: DeviceOnlyError, for a CPU's target."""
    for language in languages:
        if not target.is_device:
            raise DeviceOnlyError(f"--emit-source {language}", target.name, "its kernels are loops, not work items")


def write(languages: Sequence[str], program: Program, target: Target, model: Model, folder: Path) -> tuple[Path, ...]:
    """NAME.metal or NAME.wgsl, NAME.metal.weights and NAME.metal.json, the launch plan, in ``folder``.

    Raises: UnsupportedError, for what the language cannot say.
    """
    written: list[Path] = []
    for name in languages:
        language = LANGUAGES[name]
        made = emit(program, target, language)
        kernels, weights, plan = (folder / f"{model.name}.{language.suffix}{more}" for more in ("", ".weights", ".json"))
        kernels.write_text(made.text, encoding="utf-8")
        weights.write_bytes(made.weights)
        head = {"name": model.name, "target": target.name, "language": name, "source": kernels.name, "weights": weights.name}
        plan.write_text(dumps(document("launch_plan", {**head, **made.plan})), encoding="utf-8")
        written += [kernels, weights, plan]
    return tuple(written)
