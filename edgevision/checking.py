"""Is a network still fast enough? Candidate against baseline on a device, by a model of cores, and against budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgevision import devices
from edgevision.artifact import Artifact
from edgevision.bout import Bout
from edgevision.costing import cost
from edgevision.elf import machine_of
from edgevision.errors import InputError
from edgevision.measure.bout import Plan, alternate
from edgevision.measure.modelled.mca import CPUS
from edgevision.modelled import ModelledCost
from edgevision.pipeline import Options, compile_model
from edgevision.report import baseline as baselines
from edgevision.report.baseline import Baseline
from edgevision.report.gate import Gate, Terms, at_most, modelled
from edgevision.report.manifest import artifact_of
from edgevision.verdict import Check, Gated, Verdict

Progress = Callable[[str], None]

PLACE = Path("build", "check")
NO_MEMORY = "the device does not say how much a process uses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """``baseline``: base.json or a .so (modelled: a model too). ``target``: what a model is compiled for, by default what the
    baseline is. ``modelled``: cycles and instructions of 64-bit ARM cores ``cpus`` in place of a device. ``save``: where the
    candidate becomes a baseline, unless it fails. ``options``: how a model is compiled; by default into `PLACE`."""

    baseline: Path | None = None
    device: str = "local"
    devices: Path | None = None
    cores: str = ""
    target: str = ""
    terms: Terms = field(default_factory=Terms)
    plan: Plan = field(default_factory=Plan)
    memory_bytes: float | None = None
    size_bytes: float | None = None
    modelled: bool = False
    cpus: Sequence[str] = CPUS
    save: Path | None = None
    options: Options = field(default_factory=Options)


def check(source: Any, ask: Ask, progress: Progress = lambda _: None) -> Gated:
    """Check ``source``, a model or an artifact's .so. A device that is asked is asked for `Terms.limit_s` at most, and some
    seconds for sending and profiling.

    Raises:
        EdgevisionError: 2 for a baseline that is missing or was changed, 4 for a device that went away; as compiling raises.
    """
    gated = _by_model(source, ask, progress) if ask.modelled else _on_device(source, ask, progress)
    if ask.save is not None and gated.verdict.decision != "FAIL":
        baselines.save(ask.save, gated.candidate, gated.bout, gated.costs[1] if gated.costs else ())
    return gated


def _on_device(source: Any, ask: Ask, progress: Progress) -> Gated:
    baseline = baselines.read(ask.baseline).artifact if ask.baseline else None
    if ask.baseline and baseline is None:
        raise InputError(f"{ask.baseline}: holds modelled costs alone; compare with them by --modelled")
    candidate = _artifact(source, baseline, ask, progress)
    _check_machine(baseline, candidate)
    gate, bout = Gate(terms=ask.terms, compared=baseline is not None), None
    if baseline or ask.terms.budget_ms is not None or ask.memory_bytes is not None or ask.save:
        bout = _bout(baseline or candidate, candidate, ask, gate, progress)
    checks = [*gate.checks, *_budgets(candidate, bout, ask)]
    return Gated(
        name=candidate.path.stem, verdict=Verdict(checks=tuple(checks)), allow=ask.terms.allow, risk=ask.terms.risk,
        candidate=candidate, baseline=baseline, bout=bout,
    )  # fmt: skip


def _bout(baseline: Artifact, candidate: Artifact, ask: Ask, gate: Gate, progress: Progress) -> Bout:
    found = devices.entry(ask.device, ask.devices)
    plan = replace(ask.plan, limit_s=ask.terms.limit_s)
    if ask.cores:
        plan = replace(plan, cores=devices.cores(found, ask.cores))
    return alternate(devices.transport(found, told=progress), baseline, candidate, plan, gate.look, progress)


def _budgets(candidate: Artifact, bout: Bout | None, ask: Ask) -> list[Check]:
    found = []
    if ask.memory_bytes is not None and bout is not None:
        found.append(at_most("resident memory", bout.profiles[1].peak_bytes, ask.memory_bytes, "bytes", NO_MEMORY))
    if ask.size_bytes is not None:
        found.append(at_most("size of the library", candidate.file_bytes, ask.size_bytes, "bytes"))
    return found


def _artifact(source: Any, baseline: Artifact | None, ask: Ask, progress: Progress) -> Artifact:
    """``source`` itself, or what it is compiled to. Raises: InputError, when that would be in the baseline's place."""
    if _is_library(source):
        return artifact_of(Path(source))
    target, place = ask.target or (baseline.target if baseline else "native"), ask.options.output or PLACE
    if baseline and place.resolve() == baseline.path.resolve().parent:
        raise InputError(f"{place}: the baseline lies there, and {source} would be compiled over it; name another folder, -o DIR")
    compiled = compile_model(source, (target,), replace(ask.options, output=place, measure=False), progress)
    return compiled.outcomes[0].artifact


def _check_machine(baseline: Artifact | None, candidate: Artifact) -> None:
    if baseline is None:
        return
    before, now = machine_of(baseline.bench), machine_of(candidate.bench)
    if before != now:
        raise InputError(
            f"{candidate.path} is for {now}, the baseline {baseline.path} for {before}: compare what runs on the same device"
        )


def _by_model(source: Any, ask: Ask, progress: Progress) -> Gated:
    saved = _saved(ask)
    before = _costs_before(saved, ask, progress) if ask.baseline else ()
    target = before[0].target if before else ""
    after = _costs(source, ask, target, progress)
    checks: list[Check] = []
    for old, new in zip(before, after, strict=True) if before else ():
        checks.append(modelled(f"cycles of {new.cpu}", old.cycles, new.cycles, ask.terms.allow))
    if before:
        checks.append(modelled("instructions", before[0].instructions, after[0].instructions, ask.terms.allow))
    return Gated(
        name=after[0].name, verdict=Verdict(checks=tuple(checks)), allow=ask.terms.allow, risk=0.0, costs=(before, after),
        candidate=artifact_of(Path(source)) if _is_library(source) else None, baseline=saved.artifact if saved else None,
    )  # fmt: skip


def _saved(ask: Ask) -> Baseline | None:
    if ask.baseline is None or ask.baseline.suffix not in (".so", ".json"):
        return None
    return baselines.read(ask.baseline)


def _costs_before(saved: Baseline | None, ask: Ask, progress: Progress) -> tuple[ModelledCost, ...]:
    """As saved; else of the baseline's network as it would be compiled now."""
    if saved is None:
        return _costs(ask.baseline, ask, "", progress)
    known = {each.cpu: each for each in saved.costs}
    if saved.costs and all(cpu in known for cpu in ask.cpus):
        return tuple(known[cpu] for cpu in ask.cpus)
    if saved.artifact is None:
        raise InputError(f"{ask.baseline}: holds costs of {', '.join(known)} alone; save a new baseline for {', '.join(ask.cpus)}")
    return _costs(saved.artifact.path, ask, "", progress)


def _costs(source: Any, ask: Ask, target: str, progress: Progress) -> tuple[ModelledCost, ...]:
    if _is_library(source):
        artifact = artifact_of(Path(source))
        source, target = artifact.model, ask.target or artifact.target
    return cost(source, ask.target or target or "arm64", ask.cpus, ask.options, progress=progress)


def _is_library(source: Any) -> bool:
    return isinstance(source, (str, Path)) and Path(source).suffix == ".so"
