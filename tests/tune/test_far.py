"""Candidates that go to a device as one program: over a shell here, a real ssh server and the real adb client."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevision.errors import DeviceError
from edgevision.latency import DeviceInfo
from edgevision.link.trial_program import link_trial, link_trials
from edgevision.measure.emulated import EmulatedTransport
from edgevision.measure.local_transport import LocalTransport
from edgevision.measure.transport import LostDeviceError, Ran, Transport
from edgevision.target import load
from edgevision.tune import far
from edgevision.tune.device import Cooling, TrialProcess
from edgevision.tune.far import FarBench
from edgevision.tune.reference import References
from edgevision.tune.request import Argument, Built
from edgevision.tune.trial import Trial, difference
from tests.measure.boards import KINDS, QUICK, Board, board, keep_caches
from tests.tune.kernels import EXPECTED, OUTCOMES, build, trial

HOST = load("native", cores=1)


@dataclass(frozen=True)
class Kernels:
    """Objects for programs, and the library that computes what is right."""

    folder: Path
    objects: dict[str, Built]
    reference: Built

    def trial(self, candidate: str, incumbent: str = "right") -> Trial:
        return trial(self.objects[incumbent], self.objects[candidate], self.reference)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    folders = [tmp_path_factory.mktemp(name) for name in ("objects", "libraries")]
    target = ("-target", HOST.bench_zig_target)
    return Kernels(folder=folders[0], objects=build(folders[0], *target, linked=True), reference=build(folders[1])["right"])


@contextmanager
def bench(transport: Transport, folder: Path, **more: Any) -> Iterator[FarBench]:
    folder.mkdir(exist_ok=True)
    process = TrialProcess(link_trial(HOST), folder, threads=1, cooling=Cooling())
    references = References(process, folder)
    made = FarBench(transport, HOST, folder / "bench", references, cooling=Cooling(weights=1 << 17, written=1 << 16), **more)
    try:
        yield made
    finally:
        made.close()
        references.close()


@pytest.fixture
def here(tmp_path: Path) -> LocalTransport:
    return LocalTransport(name="here", folder=tmp_path / "there", lock=str(tmp_path / "lock"), terms=QUICK)


def test_each_of_a_batch_is_judged_and_what_crashes_or_hangs_costs_itself(
    kernels: Kernels, here: LocalTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgevision.tune.trial.LEAST_LIMIT_S", 1.0)
    wanted = {**OUTCOMES, "hang": "hung", "slow": "right"}
    with bench(here, tmp_path / "files") as measuring:
        verdicts = measuring.trials([kernels.trial(name) for name in wanted])
        assert measuring.cpu and measuring.name == "here"
    found = {name: verdict.outcome for name, verdict in zip(wanted, verdicts, strict=True)}
    assert found == wanted, verdicts
    assert all(verdict.detail for verdict in verdicts if verdict.outcome != "right")
    assert verdicts[list(wanted).index("slow")].ratio > 20  # type: ignore[operator]


def test_a_faster_one_wins_in_three_processes_and_is_the_next_incumbent(
    kernels: Kernels, here: LocalTransport, tmp_path: Path
) -> None:
    with bench(here, tmp_path / "files") as measuring:
        (won,) = measuring.trials([kernels.trial("right", incumbent="slow")])
        (lost,) = measuring.trials([kernels.trial("slow", incumbent="right")])
    assert won.better and won.ratio is not None and won.ratio < 0.05 and won.us is not None
    assert not lost.better


@pytest.mark.parametrize("kind", KINDS)
def test_over_each_transport(kernels: Kernels, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_caches(monkeypatch)

    def measured(there: Board) -> None:
        with bench(there.transport(QUICK), tmp_path / "files", cores=(min(os.sched_getaffinity(0)),)) as measuring:
            verdicts = measuring.trials([kernels.trial("right", incumbent="slow"), kernels.trial("crash")])
            again = measuring.trials([kernels.trial("wrong")])
        assert [verdict.outcome for verdict in (*verdicts, *again)] == ["right", "crashed", "wrong"]
        assert verdicts[0].better

    with board(kind, tmp_path) as there:
        measured(there)
        assert there.is_clean()


def test_a_session_ends_now_and_then(
    kernels: Kernels, here: LocalTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others who wait for the device have their turn."""
    with bench(here, tmp_path / "files") as measuring:
        measuring.trials([kernels.trial("crash")])
        first = measuring._workspace
        measuring.trials([kernels.trial("crash")])
        assert measuring._workspace is first
        monkeypatch.setattr(far, "SESSION_S", 0.0)
        measuring.trials([kernels.trial("crash")])
        assert measuring._workspace is not first


def test_what_does_not_link_costs_itself(kernels: Kernels, here: LocalTransport, tmp_path: Path) -> None:
    missing = replace(kernels.objects["right"], library=str(kernels.folder / "missing.o"))
    (kernels.folder / "missing.o").write_bytes((kernels.folder / "right.o").read_bytes())  # another symbol than its name
    with bench(here, tmp_path / "files") as measuring:
        batch = [replace(kernels.trial("crash"), candidate=missing), kernels.trial("wrong")]
        assert [verdict.outcome for verdict in measuring.trials(batch)] == ["uncompilable", "wrong"]


def test_a_program_for_another_machine_is_named(here: LocalTransport, tmp_path: Path) -> None:
    """A sentence for its user, not a candidate that crashed."""
    arm = load("arm64")
    folder = tmp_path / "arm"
    folder.mkdir()
    objects = build(folder, "-target", arm.bench_zig_target, linked=True)
    (tmp_path / "libraries").mkdir()
    reference = build(tmp_path / "libraries")["right"]
    with bench(here, tmp_path / "files") as measuring:
        measuring._target = arm
        with pytest.raises(DeviceError, match=r"target arm64 does not start on device here.*devices probe"):
            measuring.trials([trial(objects["right"], objects["right"], reference)])


def test_an_emulator_has_no_times(tmp_path: Path, here: LocalTransport) -> None:
    with pytest.raises(DeviceError, match="emulated"), bench(EmulatedTransport(target=load("arm64"), machine=here), tmp_path):
        pass


@dataclass
class Scripted:
    """A device whose program prints what a test wants."""

    printed: str
    name: str = "scripted"
    how: str = "measured"
    cores: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    info: DeviceInfo = DeviceInfo(name="scripted", cpu="A76", cores=1, transport="none")
    closed: int = 0

    @contextmanager
    def open(self) -> Iterator[Scripted]:
        yield self
        self.closed += 1

    def push(self, path: Path) -> str:
        return f"/there/{path.name}"

    def run(self, command: Sequence[str], *, timeout_s: float, **_: Any) -> Ran:
        return Ran(status=0, stdout=self.printed, stderr="")


def answers(ns: int) -> str:
    both = f'{{"a": {[ns] * 32}, "b": {[ns] * 32}}}\n'
    return '{}\n{}\n{"guarded": true, "error": 0}\n' + 2 * both + "\nended 0\n"


VOID = {
    "a clock": (answers(10**9), "its clock is wrong"), "garbage": ("{}\n", "garbled output"),
    "killed": ("{}\n\nended 137\n", "SIGKILL"),
}  # fmt: skip


@pytest.mark.parametrize(("printed", "cause"), VOID.values(), ids=VOID)
def test_what_cannot_be_right_is_no_figure(kernels: Kernels, tmp_path: Path, printed: str, cause: str) -> None:
    device = Scripted(printed)
    with bench(device, tmp_path / "files") as measuring:  # type: ignore[arg-type]
        with pytest.raises(LostDeviceError, match=cause):
            measuring.trials([kernels.trial("wrong")])
        assert device.closed == 1, "the session ends with what was lost"
    device = Scripted(answers(1000))
    with bench(device, tmp_path / "more") as measuring:  # type: ignore[arg-type]
        assert measuring.trials([kernels.trial("wrong")])[0].outcome == "right"


# --- the comparison that happens there -------------------------------------------------------------------------------

COPY = """
#include <stdint.h>
typedef struct {{ {kind} *data; }} tensor;
typedef struct {{ int32_t type, zero; tensor *at; }} any;
int32_t __tvm_ffi_copy(void *self, any *args, int32_t n, any *result) {{
    for (int i = 0; i < {count}; i++) args[1].at->data[i] = args[0].at->data[i];
    return 0;
}}
"""
RIGHT = np.linspace(-1, 1, 50, dtype=np.float32)
INFINITE = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
PAIRS = {
    "the same": (RIGHT, RIGHT), "scaled": (RIGHT * np.float32(1.01), RIGHT), "thousandfold": (RIGHT * np.float32(1000), RIGHT),
    "zeros": (RIGHT * 0, RIGHT), "zero reference": (RIGHT, RIGHT * 0), "both zero": (RIGHT * 0, RIGHT * 0),
    "one NaN": (np.where(np.arange(50) == 7, np.float32(np.nan), RIGHT), RIGHT),
    "NaN wanted": (RIGHT, np.full(50, np.nan, np.float32)),
    "one element": (RIGHT + (np.arange(50) == 3).astype(np.float32), RIGHT), "infinities": (INFINITE, INFINITE),
    "other infinities": (INFINITE[[1, 0, 2, 3]], INFINITE), "doubles": (RIGHT.astype(np.float64) * 1.01, RIGHT.astype(np.float64)),
    "integers": (np.arange(5), np.arange(5)), "other integers": (np.arange(5), np.arange(5) + (np.arange(5) == 2)),
    "bytes": (np.arange(5, dtype=np.uint8), np.arange(5, dtype=np.uint8)),
}  # fmt: skip
KINDS_IN_C = {"f4": "float", "f8": "double", "i8": "int64_t", "u1": "uint8_t"}


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("copies")


def copier(folder: Path, kind: str, count: int) -> Path:
    """The program whose only kernel copies ``count`` elements."""
    from edgevision.link import zig

    program = folder / f"copy-{kind}-{count}"
    if not program.exists():
        source = folder / f"{kind}{count}.c"
        source.write_text(COPY.format(kind=KINDS_IN_C[kind], count=count))
        words = ["cc", "-target", HOST.bench_zig_target, "-O1", "-c", "-fno-sanitize=all", source, "-o", source.with_suffix(".o")]
        zig.run(words, purpose="building a kernel", scratch=folder / "zig")
        link_trials(HOST, {"copy": source.with_suffix(".o")}, program)
    return program


@pytest.mark.parametrize(("computed", "expected"), PAIRS.values(), ids=PAIRS)
def test_the_comparison_there_is_the_one_here(
    copies: Path, tmp_path: Path, computed: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]
) -> None:
    import json

    from edgevision.tune.worker import argument

    (tmp_path / "in").write_bytes(computed.tobytes())
    (tmp_path / "expected").write_bytes(expected.tobytes())
    made = [argument(role, computed.shape, computed.dtype.str, file, 0) for role, file in (("a", str(tmp_path / "in")), ("o", "-"))]
    lines = ["load\t1\t5\t0\t2", *(line(each) for each in made), f"check\t1\t5\t{tmp_path / 'expected'}"]
    program = copier(copies, computed.dtype.str[1:], computed.size)
    done = subprocess.run([program, "1", "128", "64", "4096", "-", *lines], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    here = difference([computed], [expected])
    assert answer["guarded"] is True
    assert answer["error"] == pytest.approx(here, rel=1e-6) if math.isfinite(here) else answer["error"] is None


def line(a: Argument) -> str:
    return "\t".join(map(str, (a.role, a.code, a.bits, a.offset, a.file, len(a.shape), *a.shape)))


def test_a_screened_candidate_is_not_confirmed(kernels: Kernels, tmp_path: Path) -> None:
    """At most the ratio that was asked for; a near miss just above it is taken no further."""
    import json

    from edgevision.tune.device import load_lines

    program = tmp_path / "trials"
    link_trials(HOST, {name: Path(kernels.objects[name].library) for name in ("right", "slow")}, program)
    loads = [
        words
        for slot, name in enumerate(("right", "slow"))
        for words in load_lines(slot, replace(kernels.objects[name], library=str(slot)), 5)
    ]
    for percent, count in ((150, 0), (10**9, 2 * 3)):
        words = [*loads, "compare\t5\t4", f"confirm\t5\t3\t{percent}"]
        done = subprocess.run([program, "1", "128", "64", "4096", "-", *words], capture_output=True, text=True, timeout=30)
        assert len(json.loads(done.stdout.splitlines()[-1])["a"]) == count, done.stderr


def test_the_reference_is_what_the_host_computes(kernels: Kernels, tmp_path: Path) -> None:
    references = References(TrialProcess(link_trial(HOST), tmp_path, threads=1, cooling=Cooling()), tmp_path)
    path = references(kernels.reference)
    assert np.array_equal(np.frombuffer(path.read_bytes(), np.float32), EXPECTED)
    before = path.stat().st_mtime_ns
    assert references(kernels.reference) == path and path.stat().st_mtime_ns == before
    references.close()
    with pytest.raises(DeviceError, match="reference"):
        references(replace(kernels.reference, library="/nothing.so"))
