"""The stages in order: ingest -> lower -> schedule -> link -> verify -> measure."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from edgevision import emission, ingest, placement
from edgevision import target as targets
from edgevision.artifact import Artifact
from edgevision.divergence import explain
from edgevision.errors import CpuOnlyError, DeviceError, DeviceOnlyError, InputError, VerificationError
from edgevision.latency import Verification
from edgevision.link import package, toolchain
from edgevision.link.package import Version
from edgevision.lower.phases import check, lower
from edgevision.measure import compare, emulator, verify
from edgevision.measure.cuda_device import why_absent as why_no_cuda
from edgevision.measure.device import Device
from edgevision.measure.emulator import Emulator
from edgevision.measure.local import LocalDevice
from edgevision.measure.reference import Reference, inputs_for
from edgevision.measure.side_by_side import compared_here
from edgevision.model import Change, Model
from edgevision.outcome import EMULATED, HOST_BUILD, NOT_RUN, Outcome
from edgevision.program import Program
from edgevision.pruned_model import PruneOptions, pruned_model
from edgevision.report import manifest
from edgevision.rewrite.reparam import reparameterize
from edgevision.schedule.apply import WINOGRAD, schedule
from edgevision.schedule.gpu import half
from edgevision.schedule.gpu.apply import schedule as schedule_for_device
from edgevision.target import Target
from edgevision.tune import network as tuner
from edgevision.tune.benches import check as check_tuning
from edgevision.tune.options import Options as TuningOptions
from edgevision.tune.state import Budget, Report, State
from edgevision.tuning_log import Choice, open_logs, setting_of, shipped, tuned

Progress = Callable[[str], None]

TUNING_LOGS = Path("tuning_logs")
"""Where tuning writes unless told otherwise: in the working directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOptions:
    """What the artifact takes instead of the network's own float input (see `ingest.fold_camera`)."""

    input_layout: str = "nchw"
    input_dtype: str = "float32"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to compile. ``threads``: 0 takes as many as the target has cores and this machine offers. ``tuning_logs`` are
    looked through before the shipped ones, ``tune`` is a number of trials that are made first and go into its first
    folder. ``cpu_fallback`` puts a version for the target's host into a GPU's artifact, and ``compare_cpu`` does so too and times
    the two in turn. ``dtype``: "float16" stores weights and activations in half precision, on GPUs (see `schedule.gpu.half`).
    ``transform_on_load``: store Winograd's weights as they are in the network, not as the kernels read them. ``emit_source``:
    languages in which a GPU's kernels are written too (see `link.emit_source`)."""

    output: Path | None = None
    input_shapes: Mapping[str, tuple[int, ...]] | None = None
    simplify: bool = True
    reparam: bool = True
    prune: PruneOptions | None = None
    cpu: str | None = None
    features: Sequence[str] | None = None
    cores: int | None = None
    camera: CameraOptions | None = None
    symbol_prefix: str = ""
    winograd: bool = True
    transform_on_load: bool = True
    tuning_logs: Sequence[Path] = ()
    shipped_logs: bool = True
    tune: int = 0
    dtype: str = "float32"
    cpu_fallback: bool = False
    compare_cpu: bool = False
    emit_source: Sequence[str] = ()
    verify: bool = True
    measure: bool = True
    threads: int = 0
    dump_ir: Path | None = None
    keep_failed: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """The model as it was compiled and what came of it for each target."""

    model: Model
    outcomes: tuple[Outcome, ...]


def compile_model(
    source: Any,
    names: Sequence[str] = ("native",),
    options: Options | None = None,
    progress: Progress = lambda _: None,
) -> Compilation:
    """Compile ``source`` for each target in ``names``; the model is read and lowered once.

    Raises:
        EdgevisionError: with the exit code of its kind. Targets that were finished before stay on disk.
    """
    options = options or Options()
    chosen = [
        targets.load(n, cpu=options.cpu, features=options.features, cores=options.cores) for n in dict.fromkeys(names)
    ]
    _check_dtype(options.dtype, chosen)
    if options.symbol_prefix:
        toolchain.check_symbol(options.symbol_prefix)
    hosts = [_host(target, options) for target in chosen]
    for target in chosen:
        toolchain.check_cpu(target)
        emission.check(options.emit_source, target)
    progress("reading the model")
    model = read(source, options)
    check(model)
    places = [placement.place(options.output, model.name, t.name, alone=len(chosen) == 1) for t in chosen]
    reference = Reference.of(model, dtype=options.dtype)
    progress("lowering")
    with _libraries_built(chosen):
        program = lower(model, options.dump_ir)
    outcomes = [
        _compile_for(target, host, model, program, reference, place, options, progress)
        for target, host, place in zip(chosen, hosts, places, strict=True)
    ]
    return Compilation(model=model, outcomes=tuple(outcomes))


def _check_dtype(dtype: str, chosen: Sequence[Target]) -> None:
    for target in chosen:
        if dtype == half.HALF and not target.is_device:
            raise DeviceOnlyError("--dtype float16", target.name, "its cores compute in float32, and conversions cost them time")


def _host(target: Target, options: Options) -> Target | None:
    """The target of the CPU version in the artifact of a GPU, if one was asked for."""
    if not options.cpu_fallback and not options.compare_cpu:
        return None
    if not target.is_device:
        flag = "--with-cpu-fallback" if options.cpu_fallback else "--compare-cpu"
        raise InputError(f"{flag} is for GPUs; what is compiled for target {target.name} runs on the CPU as it is")
    if not target.host:
        raise InputError(f"target {target.name} does not say which CPU stands beside the GPU: its file lacks host")
    return targets.load(target.host, cpu=options.cpu, features=options.features, cores=options.cores)


@contextmanager
def _libraries_built(chosen: Sequence[Target]) -> Iterator[None]:
    """Zig builds a C library for each new kind of static executable, some 40 s each: that goes on beside the
    lowering. A failure surfaces when the executable is linked."""
    with ThreadPoolExecutor(1) as background:
        for target in chosen:
            background.submit(toolchain.build_libc, target)
        yield


def read(source: Any, options: Options) -> Model:
    """The model in normal form, pruned and with the camera's preprocessing folded in where asked for."""
    rewrite = _reparameterized if options.reparam else None
    if options.prune is None:
        model = ingest.read(source, input_shapes=options.input_shapes, simplify=options.simplify, rewrite=rewrite)
    else:
        given = ingest.read(source, input_shapes=options.input_shapes, simplify=options.simplify)
        model = pruned_model(given, options.prune, rewrite)
    if options.camera is None:
        return model
    return ingest.fold_camera(
        model, input_layout=options.camera.input_layout, input_dtype=options.camera.input_dtype,
        mean=options.camera.mean, std=options.camera.std,
    )  # fmt: skip


def _reparameterized(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Change, ...]]:
    """Linear regions merged. Not proven here: every artifact is compared with the original file."""
    result = reparameterize(proto, prove=False)
    return result.proto, result.changes


def _compile_for(
    target: Target, host: Target | None, model: Model, program: Program, reference: Reference, place: Path, options: Options,
    progress: Progress,
) -> Outcome:  # fmt: skip
    started = time.monotonic()
    with placement.scratch(place) as scratch:
        progress(f"{target.name}: scheduling")
        scheduled = scheduled_for(program, target, model, options, progress)
        fallback = Version(program=scheduled_for(program, host, model, options, progress), target=host) if host else None
        progress(f"{target.name}: compiling and linking")
        built = _link(scheduled, target, model, scratch, options, fallback)
        sources = emission.write(options.emit_source, scheduled, target, model, built.path.parent)
        build_s = time.monotonic() - started
        device, artifact = _device(target, built, scheduled, model, scratch, options)
        if options.verify:
            progress(f"{target.name}: verifying ({device.how})")
            try:
                record = _verified(target, device, artifact, program, reference, compare.LIMITS[options.dtype])
            except VerificationError as error:
                placement.keep(scratch, options.keep_failed)
                progress(f"{target.name}: looking for the first tensor that is off")
                raise explain(error, model, reference, scheduled) from None
        else:
            record = verify.skipped()
        beside = _verified_beside(fallback, built, model, reference, scratch, options, progress) if fallback else None
        manifest.write(model, target, built, record, beside)
        latency, compared, reason = None, None, _why_not_measured(device, options)
        if isinstance(device, LocalDevice) and not reason:
            progress(f"{target.name}: measuring")
            inputs = inputs_for(model.inputs, reference.seed, 1)[0]
            latency = device.time(built, inputs)
            if options.compare_cpu:
                progress(f"{target.name}: measuring CPU and GPU in turn")
                compared = compared_here(built, inputs, device)
        final, published = placement.publish(built, sources, place)
    return Outcome(
        target=target, artifact=final, verification=record, fallback_verification=beside, latency=latency,
        side_by_side=compared, sources=published, not_measured=reason, build_s=build_s,
    )  # fmt: skip


def _verified_beside(
    fallback: Version, built: Artifact, model: Model, reference: Reference, scratch: Path, options: Options, progress: Progress
) -> Verification:  # fmt: skip
    """The CPU version in a GPU's artifact, where that CPU or an emulator is at hand; else the same program built for here."""
    if not options.verify:
        return verify.skipped()
    device, artifact = _device(fallback.target, built, fallback.program, model, scratch, options, "always")
    progress(f"{built.target}: verifying the CPU version ({device.how})")
    try:
        return _verified(fallback.target, device, artifact, fallback.program, reference)
    except VerificationError:
        placement.keep(scratch, options.keep_failed)
        raise


def _verified(
    target: Target, device: Device, artifact: Artifact, program: Program, reference: Reference, allowed: float = compare.ALLOWED
) -> Verification:  # fmt: skip
    macs = sum(call.step.macs for call in program.calls)
    count = verify.emulated_inputs(macs) if isinstance(device, Emulator) else verify.NATIVE_INPUTS
    try:
        return verify.verify(artifact, device, reference, count=count, allowed=allowed)
    except DeviceError as error:
        if not target.is_device or device.how != "host-build":
            raise
        here = why_no_cuda(target) if target.kind == "cuda" else "it is for another machine"
        raise DeviceError(
            f"the artifact for target {target.name} was not run: {here}, and as OpenCL its kernels do not run either: {error}; "
            "--no-verify compiles it unproven"
        ) from error


def scheduled_for(program: Program, target: Target, model: Model, options: Options, progress: Progress) -> Program:
    """By the tuning logs where they know a workload, else by default; devices have no logs."""
    if target.is_device:
        if options.tune:
            raise CpuOnlyError("--tune", target.name, target.kind)
        scheduled = schedule_for_device(program, target)
        return half.store(scheduled, half.tensors(program)) if options.dtype == half.HALF else scheduled
    if options.tune:
        settings = TuningOptions(
            budget=Budget(trials=options.tune), threads=options.threads or 1, excluded=_excluded(options)
        )

        def report(state: State) -> None:
            progress(f"{target.name}: tuning, trial {state.trials} of {options.tune}")

        tuner.tune_program(program, target, _log_folder(options), settings, report, model.name)
    folders = [*options.tuning_logs, *([_log_folder(options)] if options.tune and not options.tuning_logs else [])]
    elsewhere = open_logs([shipped()], target) if options.shipped_logs else ()
    known = tuned(open_logs(folders, target), setting_of(target, options.threads or target.cores), elsewhere=elsewhere)
    for reason, count in known.refused.items():
        progress(f"{target.name}: {count} {reason} tuning records are no results here; `edgevision tune` starts from them")
    asked: set[str] = set()
    outdated: set[str] = set()

    def chosen(workload: str, default: Choice | None) -> Sequence[Choice]:
        (outdated if known.is_outdated(workload, default) else asked).add(workload)
        return known.choices(workload, default)

    scheduled = schedule(program, target, _excluded(options), chosen)
    if outdated:
        progress(f"{target.name}: {len(outdated)} workloads were tuned beside another default; `edgevision tune` them again")
    modelled = sum(map(known.is_modelled, asked))
    if modelled:
        progress(f"{target.name}: tuning records of {modelled} workloads are modelled, not measured")
    return scheduled if options.transform_on_load else replace(scheduled, transformed={})


def _log_folder(options: Options) -> Path:
    return options.tuning_logs[0] if options.tuning_logs else TUNING_LOGS


def _excluded(options: Options) -> frozenset[str]:
    return frozenset() if options.winograd else WINOGRAD


def tune_model(
    source: Any, name: str = "native", options: Options | None = None, settings: TuningOptions | None = None,
    progress: Progress = lambda _: None, report: Report = lambda _: None, told: Progress = lambda _: None,
) -> State:  # fmt: skip
    """Search for the fastest schedule of each workload of ``source``, into the first of the tuning logs. ``told`` hears of devices
    that are waited for, or lost.

    Raises:
        CannotTuneError: this machine is not the target, and no device was named.
        NothingToTuneError: no workload leaves a choice.
        EdgevisionError: as `compile_model` does.
    """
    options = options or Options()
    settings = settings or TuningOptions(budget=Budget(seconds=600.0))
    target = targets.load(name, cpu=options.cpu, features=options.features, cores=options.cores)
    if target.is_device:
        raise CpuOnlyError("`edgevision tune`", target.name, target.kind)
    check_tuning(target, settings)
    progress("reading the model")
    model = read(source, options)
    check(model)
    progress("lowering")
    program = lower(model)
    progress("tuning")
    return tuner.tune_program(program, target, _log_folder(options), settings, report, model.name, told)


def _link(
    program: Program, target: Target, model: Model, scratch: Path, options: Options, fallback: Version | None = None
) -> Artifact:  # fmt: skip
    pieces, finished = scratch / "pieces", scratch / "artifact"
    pieces.mkdir()
    finished.mkdir()
    artifact = package.link(program, target, pieces, finished, name=model.name, prefix=options.symbol_prefix, fallback=fallback)
    onnx.save(ingest.to_onnx(model.proto), artifact.model)
    return artifact


def _device(
    target: Target, built: Artifact, program: Program, model: Model, scratch: Path, options: Options, fallback: str = "never"
) -> tuple[Device, Artifact]:
    """What runs the artifact here, and the artifact that it runs: the same program built for this machine where there
    is nothing that runs the other one, as there is for no other machine's GPU. ``fallback`` says which version of it runs. What is
    not verified is not built anew."""
    threads = options.threads or min(target.cores, len(os.sched_getaffinity(0)))
    if not target.emulator and not (target.kind == "cuda" and why_no_cuda(target)):
        return LocalDevice(threads=threads, fallback=fallback), built
    if not target.is_device and not emulator.why_absent(target):
        runner = None if emulator.why_no_runner(target) else toolchain.link_runner(target)
        return Emulator(target=target, runner=runner, fallback=fallback), built
    if not options.verify:
        return LocalDevice(threads=threads, how="host-build"), built
    host = targets.load("opencl" if target.is_device else "native")
    here = scratch / f"host-{host.name}"
    here.mkdir()
    return LocalDevice(threads=threads, how="host-build"), _link(program, host, model, here, options)


def _why_not_measured(device: Device, options: Options) -> str:
    if isinstance(device, Emulator):
        return EMULATED
    if device.how == "host-build":
        return HOST_BUILD if options.verify else NOT_RUN
    return "" if options.measure else "--no-measure"
