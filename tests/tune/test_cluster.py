"""A Ray cluster: what a worker's death costs, and who may work at all. A real one, and a stand-in for its faults."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from edgevision.measure.transport import LostDeviceError
from edgevision.schedule.identity import serialize
from edgevision.target import Target, load
from edgevision.tune import cluster
from edgevision.tune.builder import CandidateError
from edgevision.tune.cluster import ClusterError, NoRayError, RayBench, RayBuilder, benches, connected, misfit
from edgevision.tune.device import Cooling
from edgevision.tune.ray_worker import Files, Hello, Judged, Made, hello
from edgevision.tune.request import Built, Request
from edgevision.tune.trial import Trial, Verdict
from edgevision.tuning_log import FILE, folder_name, read
from tests.cli.test_tune_devices import TUNE, check_log
from tests.measure.boards import wait_for
from tests.measure.ssh_server import try_kill
from tests.pages import save_model
from tests.tune.fakes import task
from tests.tune.kernels import build, trial

NATIVE = load("native")


# --- a stand-in ------------------------------------------------------------------------------------------------------


class DiedError(Exception):
    pass


class LateError(Exception):
    pass


class BrokenError(Exception):
    pass


class FakeRay:
    """Calls an actor's methods at once. An actor's method that raises one of the errors above is a worker that is lost."""

    exceptions = SimpleNamespace(GetTimeoutError=LateError, RayActorError=DiedError, RaySystemError=BrokenError)
    util = SimpleNamespace(scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node))

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make, self.killed = make, 0

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, **_: Any) -> Callable[[type], Any]:
        return lambda _: SimpleNamespace(remote=lambda *arguments: Handle(self._make(*arguments)))

    def get(self, work: Callable[[], Any], timeout: float) -> Any:
        return work()

    def wait(self, work: list[Callable[[], Any]], timeout: float) -> None:
        for each in work:
            each()

    def kill(self, handle: Handle) -> None:
        self.killed += 1


@dataclass
class Handle:
    actor: Any

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: lambda: getattr(self.actor, name)(*arguments))


@dataclass
class FakeCompiler:
    """``dies``: how many more of its questions end it."""

    dies: list[Exception]
    versions: str = hello().versions
    closed: int = 0

    def hello(self) -> Hello:
        return replace(hello(), versions=self.versions)

    def build(self, request: Request, function: str) -> Made:
        if self.dies:
            raise self.dies.pop()
        if request.seed:
            return Made(files={}, outcome="uncompilable", reason="no such instruction")
        built = Built(library="/there/c.so", schedule="", workspace_bytes=0, arguments=(), tolerance=1e-5)
        return Made(built=built, files={"c.so": function.encode()})

    def close(self) -> None:
        self.closed += 1


def request(folder: Path, seed: int = 0) -> Request:
    found = task()
    function = folder / "function.json"
    function.write_text(serialize(found.func))
    return Request(
        function=str(function), views=(), constants=(), outputs=1, target=asdict(NATIVE), choice=None,
        stem=str(folder / "candidate1"), seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize("how", [DiedError(), LateError(), BrokenError("out of memory")], ids=lambda how: type(how).__name__)
def test_what_a_lost_worker_was_compiling_is_done_by_another(tmp_path: Path, how: Exception) -> None:
    actor = FakeCompiler([how, how])
    builder = RayBuilder(FakeRay(lambda: actor), "local", 2)
    built = builder(request(tmp_path)).result(timeout=10)
    builder.close()
    assert Path(built.library) == tmp_path / "c.so" and "candidate" not in built.library
    assert (tmp_path / "c.so").read_text() == (tmp_path / "function.json").read_text()
    assert actor.closed == 2


def test_what_takes_every_worker_is_left_out(tmp_path: Path) -> None:
    builder = RayBuilder(FakeRay(lambda: FakeCompiler([DiedError()] * 9)), "local", 2)
    with pytest.raises(CandidateError, match="3 workers died"):
        builder(request(tmp_path)).result(timeout=10)
    builder.close()


def test_what_does_not_compile_says_why(tmp_path: Path) -> None:
    builder = RayBuilder(FakeRay(lambda: FakeCompiler([])), "local", 1)
    with pytest.raises(CandidateError, match="no such instruction"):
        builder(request(tmp_path, seed=1)).result(timeout=10)
    builder.close()


def test_workers_of_another_version_are_refused(tmp_path: Path) -> None:
    builder = RayBuilder(FakeRay(lambda: FakeCompiler([], versions="edgevision 0.0")), "head:6379", 2)
    with pytest.raises(ClusterError, match=r"head:6379: a worker has edgevision 0.0, this machine edgevision"):
        builder(request(tmp_path)).result(timeout=10)
    builder.close()


def test_a_cluster_without_workers_is_named(tmp_path: Path) -> None:
    def none() -> FakeCompiler:
        raise DiedError

    ray = FakeRay(lambda: SimpleNamespace(hello=none, close=lambda: None))
    builder = RayBuilder(ray, "head:6379", 2)
    with pytest.raises(ClusterError, match="no worker starts: its process died"):
        builder(request(tmp_path)).result(timeout=10)
    builder.close()


@dataclass
class FakeMeasurer:
    """``answers``: to `trials`, the last one for ever; an exception is raised."""

    target: Target
    answers: list[Judged | Exception]
    sent: list[set[str]]
    native: Target = NATIVE

    def hello(self) -> Hello:
        return replace(hello(), native=self.native, cpu="A76")

    def trials(self, batch: list[Trial], files: Files) -> Judged:
        self.sent.append(set(files))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        pass


RIGHT = Judged(verdicts=(Verdict(outcome="right"),))


def bench(answers: list[Judged | Exception], sent: list[set[str]], **more: Any) -> RayBench:
    ray = FakeRay(lambda target, threads, cooling: FakeMeasurer(target, answers, sent, **more))
    return RayBench(ray, "node", "ray-1-pi", NATIVE, 1, Cooling())


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    return build(tmp_path_factory.mktemp("kernels"))


def test_a_file_is_sent_once_and_again_to_a_new_worker(kernels: dict[str, Built]) -> None:
    """The candidate's own is forgotten there."""
    sent: list[set[str]] = []
    found = bench([RIGHT, RIGHT, DiedError(), RIGHT], sent)
    both = trial(kernels["right"], kernels["slow"])
    assert found.trials([both]) == [Verdict(outcome="right")] and found.cpu == "A76"
    found.trials([both])
    assert sent == [{"operands.bin", "right.so", "slow.so"}, {"slow.so"}]
    with pytest.raises(LostDeviceError, match="ray-1-pi: its process died"):
        found.trials([both])
    found.open()
    found.trials([both])
    assert sent[-1] == {"operands.bin", "right.so", "slow.so"}
    found.close()


def test_a_winner_stays_there(kernels: dict[str, Built]) -> None:
    sent: list[set[str]] = []
    found = bench([Judged(verdicts=(Verdict(outcome="right", better=True),))], sent)
    found.trials([trial(kernels["right"], kernels["slow"])])
    found.trials([replace(trial(kernels["right"], kernels["wrong"]), incumbent=kernels["slow"])])
    assert sent[1] == {"wrong.so"}
    found.close()


def test_no_verdicts_are_a_loss(kernels: dict[str, Built]) -> None:
    found = bench([Judged(lost="clock stands")], [])
    with pytest.raises(LostDeviceError, match="clock stands"):
        found.trials([trial(kernels["right"], kernels["slow"])])


MISFITS = {
    "another family": (load("arm64"), "it is aarch64"), "narrower": (replace(NATIVE, vector_bits=64), "vectors of 64 bits"),
    "another core": (replace(NATIVE, cpu="i486"), "it is a i486"),
}  # fmt: skip


@pytest.mark.parametrize(("other", "why"), MISFITS.values(), ids=MISFITS)
def test_a_machine_that_is_not_the_target_measures_nothing(kernels: dict[str, Built], other: Target, why: str) -> None:
    assert why in misfit(NATIVE, other) and not misfit(NATIVE, NATIVE)
    with pytest.raises(LostDeviceError, match=why):
        bench([RIGHT], [], native=other).trials([trial(kernels["right"], kernels["slow"])])


def test_a_target_that_both_are_needs_no_equal_cores() -> None:
    assert not misfit(load("x86_64"), replace(load("x86_64"), cpu="znver5"))


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NoRayError, match=r"edgevision\[ray\]") as caught, connected("local"):
        pass
    assert caught.value.exit_code == 3


def test_what_is_no_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Near misses: an address where nobody answers, and one that is none."""
    monkeypatch.setattr(cluster, "KNOCK_S", 0.1)
    for address, cause in (("127.0.0.1:1", "nothing that is Ray"), ("[::1]:1", "nothing that is Ray"), ("no", "Invalid")):
        with pytest.raises(ClusterError, match=cause) as caught, connected(address):
            pass
        assert caught.value.exit_code == 4


# --- a real one ------------------------------------------------------------------------------------------------------


@pytest.fixture
def here() -> Iterator[Any]:
    with connected("local") as ray:
        yield ray


def test_a_cluster_of_this_machine_compiles_and_measures_whatever_dies(
    here: Any, tmp_path: Path, kernels: dict[str, Built]
) -> None:
    builder = RayBuilder(here, "local", 1)
    found = benches(here, NATIVE, 1, Cooling())
    try:
        built = builder(request(tmp_path)).result(timeout=300)
        assert Path(built.library).parent == tmp_path and Path(built.library).stat().st_size > 1000
        (only,) = found
        assert [v.outcome for v in only.trials([trial(kernels["right"], kernels["slow"])])] == ["right"] and only.cpu
        try_kill(only._actor.ask("hello", 60).process)
        with pytest.raises(LostDeviceError, match="its process died"):
            only.trials([trial(kernels["right"], kernels["wrong"])])
        only.open()
        assert [v.outcome for v in only.trials([trial(kernels["right"], kernels["wrong"])])] == ["wrong"]
    finally:
        builder.close()
        for each in found:
            each.close()


@pytest.mark.large
def test_a_compiler_that_dies_half_way_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model.onnx")
    log = tmp_path / "logs" / folder_name(NATIVE) / FILE
    words = ["--ray", "local", "--jobs", "2", "--trials", "16", "--tuning-logs", "logs", "-q"]
    process = subprocess.Popen([*TUNE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert wait_for(lambda: log.exists() and len(read(log).records) > 8, 400)
    compilers = [each for each in psutil.process_iter(["cmdline"]) if "ray::Compiler" in " ".join(each.info["cmdline"] or [])]
    assert len(compilers) == 2
    compilers[0].kill()
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    content = read(log)
    assert content.damaged == ()
    check_log(tuple(content.records), 16)
