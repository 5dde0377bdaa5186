"""Two programs in turn through a transport: the order they run in, what the shell is asked, and what no bench prints."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from edgevision.artifact import Artifact
from edgevision.bout import Block, Bout, throttled
from edgevision.errors import DeviceError
from edgevision.latency import DeviceInfo
from edgevision.measure import bout as bouts
from edgevision.measure.attended import TERMS
from edgevision.measure.bout import SCRIPT, Plan, alternate
from edgevision.measure.local_transport import LocalTransport
from edgevision.measure.transport import LostDeviceError, Ran
from edgevision.report.gate import Gate, Terms
from tests.measure.boards import FAR, board
from tests.measure.conftest import Benched
from tests.report.bouts import telemetry

QUICK = Plan(burst_s=0.001, runs=2, limit_s=60.0)


@pytest.fixture
def machine(tmp_path: Path) -> LocalTransport:
    return LocalTransport(folder=tmp_path / "device", lock=str(tmp_path / "lock"))


def until(count: int) -> Callable[..., bool]:
    return lambda blocks, elapsed_s, throttled: len(blocks) >= count


def test_a_bout_on_this_machine(benched: Benched, machine: LocalTransport) -> None:
    found = alternate(machine, benched.artifact, benched.artifact, replace(QUICK, seed=3), until(13))
    assert len(found.blocks) == 13 and found.how == "measured" and found.device.name == "local"
    orders = ["".join(start.side for start in block.starts) for block in found.blocks]
    assert set(orders) == {"ABBA", "BAAB"}
    again = alternate(machine, benched.artifact, benched.artifact, replace(QUICK, seed=3), until(13))
    assert ["".join(start.side for start in block.starts) for block in again.blocks] == orders
    for block in found.blocks:
        assert not block.clock and all(benched.is_right(start.ns / 1e6) for start in block.starts)
    assert all(benched.is_right(ms) for side in ("A", "B") for ms in found.milliseconds(side))  # type: ignore[arg-type]
    profile = found.profiles[1]
    assert [name for name, _ in profile.steps_us] == ["smooth", "scores", "bright"]
    assert profile.cold_start_ns > 0 and profile.peak_bytes is not None and profile.peak_bytes < 8_000_000
    assert len(found.looks) == 3


@pytest.mark.parametrize("kind", FAR)
def test_a_bout_far_away(benched: Benched, tmp_path: Path, kind: str) -> None:
    """Over a real ssh server and the real adb client: the same script, judged by the same gate."""
    gate = Gate(terms=Terms(allow=0.5, limit_s=60.0))
    with board(kind, tmp_path) as far:
        found = alternate(far.transport(TERMS), benched.artifact, benched.artifact, QUICK, gate.look)
    assert len(found.blocks) >= 13 and not any(block.clock for block in found.blocks)
    assert all(benched.is_right(start.ns / 1e6) for block in found.blocks for start in block.starts)
    assert gate.checks[0].decision != "FAIL" and found.device.transport == kind


def test_the_script_is_one_for_any_shell() -> None:
    """dash stands for the bare shells of devices: no arrays, no [[, no functions of bash."""
    done = subprocess.run(["dash", "-euc", SCRIPT, "sh", "A B B A", "echo", "expr", "1 + 2"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["1 + 2", "3", "3", "1 + 2"]), done.stderr
    failed = subprocess.run(["dash", "-c", SCRIPT, "sh", "A B A", "true", "false", ""], capture_output=True)
    assert failed.returncode == 1


@dataclass
class Scripted:
    """A device whose bench prints what ``say`` makes of its sides; it answers at once."""

    say: Callable[[list[str]], str]
    name: str = "scripted"
    how: str = "measured"
    cores: dict[str, tuple[int, ...]] = field(default_factory=dict)
    info: DeviceInfo = DeviceInfo(name="scripted", cpu="", cores=1, transport="none")
    timeouts: list[float] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator[Scripted]:
        yield self

    def push(self, path: Path) -> str:
        return str(path)

    def run(self, command: Sequence[str], *, timeout_s: float, **_: Any) -> Ran:
        if "look.sh" in str(command):
            return Ran(status=0, stdout="", stderr="")
        self.timeouts.append(timeout_s)
        sides = ["profile"] if "--profile" in command else command[command.index(SCRIPT) + 2].split()
        return Ran(status=0, stdout=self.say(sides), stderr="")


def answer(**more: Any) -> str:
    said = {
        "threads": 1, "model_sha256": "00ff", "samples_ns": [1000, 1000], "waited_ns": [0, 0], "threads_ran_ns": 2000,
        "threads_waited_ns": 0, "elapsed_ns": 2000, "asleep_ns": 0, "create_ns": 1, "first_run_ns": 2, "peak_rss_bytes": None,
        "steps": [{"name": "step", "ns": 5}], **more,
    }  # fmt: skip
    return json.dumps(said) + "\n"


def scripted(**more: Any) -> Scripted:
    return Scripted(lambda sides: answer(**({} if sides == ["profile"] else more)) * len(sides))


def run(device: Scripted, artifact: Artifact, count: int = 1) -> Bout:
    return alternate(device, artifact, artifact, QUICK, until(count))  # type: ignore[arg-type]


@pytest.fixture
def artifact(benched: Benched) -> Artifact:
    assert benched.artifact.model_sha256 == "00ff"
    return benched.artifact


def test_it_looks_after_one_block_then_after_growing_batches(artifact: Artifact) -> None:
    seen: list[int] = []

    def enough(blocks: Sequence[Block], elapsed_s: float, throttled: str) -> bool:
        seen.append(len(blocks))
        return len(blocks) > 30

    device = scripted()
    alternate(device, artifact, artifact, QUICK, enough)  # type: ignore[arg-type]
    assert seen == [1, 13, 18, 25, 35]
    assert device.timeouts[-5] == QUICK.first_s and all(each < 12 for each in device.timeouts[-4:])


def test_it_ends_at_the_limit_and_says_so_once(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10000, 7))  # each reading seven seconds after the one before
    monkeypatch.setattr(bouts.time, "monotonic", lambda: float(next(clock)))
    seen: list[float] = []
    alternate(scripted(), artifact, artifact, QUICK, lambda blocks, s, t: bool(seen.append(s)))  # type: ignore[arg-type,func-returns-value]
    assert seen[-1] == QUICK.limit_s and all(s < QUICK.limit_s for s in seen[:-1])


CLOCKS = {
    "ahead": ({"elapsed_ns": 10**9}, "ran ahead"),
    "back": ({"samples_ns": [1500, 1500]}, "went back"),
    "right": ({"elapsed_ns": 10**6}, ""),
}


@pytest.mark.parametrize(("more", "said"), CLOCKS.values(), ids=CLOCKS)
def test_the_devices_clock(artifact: Artifact, more: dict[str, Any], said: str) -> None:
    [block] = run(scripted(**more), artifact).blocks
    assert said in block.clock and bool(said) == bool(block.clock)


GARBAGE = {
    "no JSON": {"say": "Segmentation fault\n"},
    "another network": {"model_sha256": "abcd"},
    "no samples": {"samples_ns": [], "waited_ns": []},
    "no time": {"samples_ns": [0, 0]},
    "negative": {"samples_ns": [-1, 5]},
    "text for a number": {"elapsed_ns": "2000"},
    "truth for a number": {"threads": True},
    "waits of other samples": {"waited_ns": [0]},
}


@pytest.mark.parametrize("more", GARBAGE.values(), ids=GARBAGE)
def test_what_no_bench_prints_is_no_figure(artifact: Artifact, more: dict[str, Any]) -> None:
    device = scripted(**more)
    if "say" in more:
        device = Scripted(lambda sides: answer() if sides == ["profile"] else more["say"])
    with pytest.raises(LostDeviceError) as lost:
        run(device, artifact)
    assert "garbled output" in lost.value.cause


def test_a_missing_result_is_no_figure(artifact: Artifact) -> None:
    with pytest.raises(LostDeviceError, match="3 results of 4"):
        run(Scripted(lambda sides: answer() * (1 if sides == ["profile"] else 3)), artifact)


def test_a_missing_key_is_no_figure(artifact: Artifact) -> None:
    with pytest.raises(LostDeviceError, match="KeyError"):
        run(Scripted(lambda sides: answer() if sides == ["profile"] else '{"threads": 1}\n' * len(sides)), artifact)


def test_a_device_that_is_emulated_has_no_times(artifact: Artifact) -> None:
    device = scripted()
    device.how = "emulated"
    with pytest.raises(DeviceError, match="emulated"):
        run(device, artifact)


def test_a_program_that_fails_is_named(artifact: Artifact, machine: LocalTransport, tmp_path: Path) -> None:
    broken = tmp_path / "broken-bench"
    broken.write_text("#!/bin/sh\necho no memory >&2; exit 4\n")
    broken.chmod(0o755)
    with pytest.raises(DeviceError, match=r"broken-bench.*no memory"):
        alternate(machine, artifact, replace(artifact, bench=broken), QUICK, until(1))


def test_what_the_device_says_of_throttling() -> None:
    calm, hot = telemetry(throttle_events=3), telemetry(throttle_events=5)
    assert throttled([calm, hot]) == "2 times meanwhile" and throttled([hot, hot]) == ""
    assert throttled([calm, telemetry(throttled=("thermal at step 2",))]) == "thermal at step 2"
    assert throttled([telemetry(), telemetry()]) == ""
