"""A Ray cluster: many machines compile candidates, and measure them where they are what is tuned for.

Only this process writes the log. A worker that dies costs the time of what it was doing: that is done anew by another one.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from edgevision.errors import DeviceError, UnsupportedError
from edgevision.measure import bounded_call
from edgevision.measure.transport import LostDeviceError
from edgevision.target import Target
from edgevision.tune.builder import LIMIT_S, CandidateError
from edgevision.tune.device import Cooling
from edgevision.tune.ray_worker import Compiler, Hello, Judged, Made, Measurer, forgotten, hello, moved
from edgevision.tune.request import Built, Request
from edgevision.tune.trial import Trial, Verdict

START_S = 120.0
"""Until a new worker answers; one imports edgevision, which takes seconds on a busy machine."""
ANSWER_S = 60.0
KNOCK_S = 30.0
"""Ray's own command line starts within this time on a busy machine."""
MOST_BYTES = 1 << 20
ADDRESS = re.compile(r"[\w.-]+:\d+|\[[\da-fA-F:]+\]:\d+")
LEAVING_S = 5.0
MOST_RUNS = 3
"""Workers that die while they compile the same candidate; then it is left out."""


class NoRayError(UnsupportedError):
    """Ray is not installed."""

    def __init__(self) -> None:
        super().__init__("--ray needs Ray: pip install 'edgevision[ray]'")


class ClusterError(DeviceError):
    """A cluster that does not answer, or has no worker that can be used."""

    def __init__(self, address: str, cause: str) -> None:
        self.address, self.cause = address, cause
        super().__init__(
            f"Ray cluster {address}: {cause}; `ray status` says what it consists of, and `--ray local` begins one on this machine"
        )


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module ray, connected to ``address``: as `ray.init` takes it, "local" for one on this machine while this lasts.

    Raises: NoRayError, ClusterError.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its maker
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise NoRayError from error
    _knock(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterError(address, str(error).splitlines()[0]) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """`ray.init` waits for minutes, or without end, for what does not answer. Raises: ClusterError."""
    if not ADDRESS.fullmatch(address):
        return
    ask = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check", "--address", address]
    asked = bounded_call.call(ask, timeout_s=KNOCK_S, most_bytes=MOST_BYTES)
    if asked.ended or asked.status:
        raise ClusterError(address, f"nothing that is Ray answers there within {KNOCK_S:.0f} s")


class _Actor:
    """One worker process somewhere, started anew when it died. ``make`` gives a handle of a new one."""

    def __init__(self, ray: Any, make: Callable[[], Any]) -> None:
        self._ray, self._make = ray, make
        self._handle: Any = None
        self._leaving: Any = None

    def start(self) -> Hello:
        """Raises: WorkerLostError."""
        self.kill()
        self._handle = self._make()
        found: Hello = self.ask("hello", START_S)
        return found

    def ask(self, method: str, limit_s: float, *arguments: Any) -> Any:
        """Raises: WorkerLostError."""
        exceptions = self._ray.exceptions
        if self._handle is None:
            raise WorkerLostError("it was ended")
        try:
            return self._ray.get(getattr(self._handle, method).remote(*arguments), timeout=limit_s)
        except exceptions.GetTimeoutError:
            raise WorkerLostError(f"no answer within {limit_s:.0f} s") from None
        except exceptions.RayActorError as error:
            raise WorkerLostError("its process died") from error
        except exceptions.RaySystemError as error:
            raise WorkerLostError(str(error).splitlines()[0]) from error

    def leave(self) -> None:
        """Ask it to clean up; `kill` waits for that."""
        if self._handle is not None:
            self._leaving = self._handle.close.remote()

    def kill(self, wait_s: float = 0.0) -> None:
        handle, self._handle = self._handle, None
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            self._ray.wait([leaving], timeout=wait_s)
        if handle is not None:
            self._ray.kill(handle)


class WorkerLostError(Exception):
    """A worker process, or its machine, is gone."""


def end(actors: Sequence[_Actor]) -> None:
    """Have them remove their files, all at the same time, and end them."""
    for actor in actors:
        actor.leave()
    until = time.monotonic() + LEAVING_S
    for actor in actors:
        actor.kill(max(0.0, until - time.monotonic()))


class RayBuilder:
    """`edgevision.tune.builder.Build` on ``jobs`` workers, 0 for one a CPU of the cluster. Files come to where requests want them.

    Raises (from the future): CandidateError; ClusterError when no worker is left.
    """

    def __init__(self, ray: Any, address: str, jobs: int) -> None:
        self.jobs = jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._address = address
        remote = ray.remote(num_cpus=1)(Compiler)
        self._actors = [_Actor(ray, remote.remote) for _ in range(self.jobs)]
        self._left, self._cause = self.jobs, "it was closed"
        self._counting = threading.Lock()
        self._free: SimpleQueue[_Actor | None] = SimpleQueue()
        self._threads = ThreadPoolExecutor(2 * self.jobs, thread_name_prefix="ray")
        for actor in self._actors:
            self._begin(actor)

    def __call__(self, request: Request) -> Future[Built]:
        return self._threads.submit(self._build, request)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        end(self._actors)
        self._free.put(None)
        self._threads.shutdown()

    def _begin(self, actor: _Actor) -> None:
        """In the background: what waits for a worker takes another one meanwhile."""
        threading.Thread(target=self._start, args=(actor,), daemon=True).start()

    def _start(self, actor: _Actor) -> None:
        """It is free when it answers, or it is no more. Versions that differ would give other candidates."""
        try:
            theirs, ours = actor.start().versions, hello().versions
            cause = "" if theirs == ours else f"a worker has {theirs}, this machine {ours}"
        except WorkerLostError as error:
            cause = f"no worker starts: {error}"
        if not cause:
            self._free.put(actor)
            return
        actor.kill()
        with self._counting:
            self._left -= 1
            if not self._left:
                self._cause = cause
                self._free.put(None)

    def _build(self, request: Request) -> Built:
        function = Path(request.function).read_text(encoding="utf-8")
        for _ in range(MOST_RUNS):
            actor = self._take()
            try:
                made: Made = actor.ask("build", LIMIT_S + ANSWER_S, request, function)
            except WorkerLostError:
                self._begin(actor)
                continue
            self._free.put(actor)
            if made.built is None:
                raise CandidateError(made.outcome, made.reason)
            folder = Path(request.stem).parent
            for name, content in made.files.items():
                (folder / name).write_bytes(content)
            return moved(made.built, folder)
        raise CandidateError("uncompilable", f"{MOST_RUNS} workers died while they compiled it")

    def _take(self) -> _Actor:
        actor = self._free.get()
        if actor is None:
            self._free.put(None)  # for the next one who asks
            raise ClusterError(self._address, self._cause)
        return actor


class RayBench:
    """`edgevision.tune.trial.Bench` on one machine of the cluster."""

    size = 1

    def __init__(self, ray: Any, node: str, name: str, target: Target, threads: int, cooling: Cooling) -> None:
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        remote = ray.remote(num_cpus=0, scheduling_strategy=strategy)(Measurer)
        self._actor = _Actor(ray, lambda: remote.remote(target, threads, cooling))
        self._sent: set[str] = set()
        self._target = target
        self.name, self.cpu = name, ""

    def open(self) -> None:
        """Raises: LostDeviceError."""
        self._sent = set()
        try:
            found = self._actor.start()
        except WorkerLostError as error:
            raise self._lost(str(error)) from None
        unfit = misfit(self._target, found.native)
        if unfit:
            raise self._lost(unfit)
        self.cpu = found.cpu

    def trials(self, batch: Sequence[Trial]) -> list[Verdict]:
        """Raises: LostDeviceError."""
        if not self.cpu:
            self.open()
        files = {file for trial in batch for file in trial.files} - self._sent
        limit_s = ANSWER_S + sum(10 * trial.limit_s for trial in batch)
        contents = {Path(file).name: Path(file).read_bytes() for file in files}
        try:
            judged: Judged = self._actor.ask("trials", limit_s, batch, contents)
        except WorkerLostError as error:
            raise self._lost(str(error)) from None
        if judged.lost:
            raise self._lost(judged.lost)
        self._sent = (self._sent | files) - forgotten(batch, judged.verdicts)
        return list(judged.verdicts)

    def close(self) -> None:
        end([self._actor])

    def _lost(self, cause: str) -> LostDeviceError:
        return LostDeviceError(self.name, "measuring on a machine of the cluster", cause, "see `ray status`")


def misfit(target: Target, native: Target) -> str:
    """Why a machine cannot measure ``target``; "" where it can."""
    if native.arch != target.arch or native.vector_bits < target.vector_bits:
        return f"it is {native.arch} with vectors of {native.vector_bits} bits, target {target.name} is {target.arch} with "\
               f"{target.vector_bits}"  # fmt: skip
    if target.name == "native" and native.cpu != target.cpu:
        return f"it is a {native.cpu}, this machine a {target.cpu}; name a target that both are"
    return ""


def benches(ray: Any, target: Target, threads: int, cooling: Cooling) -> tuple[RayBench, ...]:
    """One a machine of the cluster that is alive and has a CPU."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    return tuple(
        RayBench(ray, node["NodeID"], f"ray-{number}-{node['NodeManagerHostname']}", target, threads, cooling)
        for number, node in enumerate(sorted(nodes, key=lambda node: str(node["NodeID"])), start=1)
    )
