"""Boards that TVM's RPC tracker knows: a real tracker, and a real server that crashes and is started again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgevision.errors import InputError
from edgevision.measure.transport import LostDeviceError
from edgevision.tune import rpc_client
from edgevision.tune.builder import worker_environment
from edgevision.tune.device import Cooling
from edgevision.tune.request import Built
from edgevision.tune.rpc import RpcBench, Tracker, benches
from edgevision.tune.trial import Verdict
from tests.measure.boards import wait_for
from tests.measure.ssh_server import descendants, free_port, try_kill
from tests.pages import examples
from tests.tune.kernels import build, trial

KEY = "board"
START_S = 60.0
PAGE = (Path(__file__).parent.parent.parent / "docs" / "tune.md").read_text(encoding="utf-8")
[SCRIPT] = [example.text for example in examples(PAGE) if example.file == "board.sh"]


@dataclass
class Programs:
    """The tracker, and the servers that were started; ``port`` is the tracker's."""

    port: int
    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def tracker(self) -> Tracker:
        return Tracker(host="127.0.0.1", port=self.port, key=KEY)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        environment = {**worker_environment(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        said = subprocess.DEVNULL
        process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=said, stderr=said)
        self.running.append(process)
        return process

    def serve(self) -> subprocess.Popen[bytes]:
        """One board more, by the script of the page, known to the tracker when this returns."""
        before, own = rpc_client.servers("127.0.0.1", self.port, KEY), free_port()
        board = Path(tempfile.mkdtemp(dir=self.folder)) / "board.sh"
        board.write_text(SCRIPT)
        process = self.start("sh", "-c", f"cd {board.parent}; exec sh {board} 127.0.0.1:{self.port} {KEY} {ports(own, 20)}")
        assert wait_for(lambda: rpc_client.servers("127.0.0.1", self.port, KEY) > before, START_S), "TVM's server does not start"
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        children = descendants(process.pid)
        for pid in (process.pid, *children):
            try_kill(pid)
        process.wait()
        self.running.remove(process)


def ports(first: int, count: int = 1) -> str:
    """A server that is started again finds its last port still waiting, and takes the next one."""
    return f"--host 127.0.0.1 --port {first} --port-end {first + count}"


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    found = Programs(port=free_port(), folder=tmp_path_factory.mktemp("boards"))
    try:
        found.start(sys.executable, "-m", "tvm.exec.rpc_tracker", *ports(found.port).split())
        assert wait_for(lambda: listens(found.port), START_S), "TVM's tracker does not start"
        found.serve()
        yield found
    finally:
        for process in list(found.running):
            found.end(process)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    return build(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def bench(programs: Programs, tmp_path: Path) -> Iterator[RpcBench]:
    (found,) = benches(programs.tracker, tmp_path, threads=1, cooling=Cooling())
    try:
        yield found
    finally:
        found.close()


def judged(bench: RpcBench, kernels: dict[str, Built], candidate: str, incumbent: str = "right") -> Verdict:
    (verdict,) = bench.trials([trial(kernels[incumbent], kernels[candidate])])
    return verdict


def test_a_candidate_is_timed_and_checked_there(bench: RpcBench, kernels: dict[str, Built]) -> None:
    assert bench.name == "board-1"
    slow = judged(bench, kernels, "slow")
    assert slow.outcome == "right" and not slow.better and slow.ratio is not None and slow.ratio > 20
    assert judged(bench, kernels, "wrong").outcome == "wrong"
    assert judged(bench, kernels, "partial").outcome == "wrong", "results of the one before do not count"
    assert judged(bench, kernels, "right").outcome == "right"


def test_a_kernel_that_ends_the_session_costs_that_session(bench: RpcBench, kernels: dict[str, Built]) -> None:
    assert judged(bench, kernels, "right").outcome == "right"
    with pytest.raises(LostDeviceError, match="device board-1.*started again"):
        judged(bench, kernels, "crash")
    assert wait_for(lambda: reached(bench), START_S)
    assert judged(bench, kernels, "right").outcome == "right"


def reached(bench: RpcBench) -> bool:
    """One attempt; the server may not be back yet."""
    try:
        bench.open()
    except LostDeviceError:
        return False
    return True


@pytest.mark.large
def test_a_server_that_was_killed_is_named_and_reached_when_it_is_back(
    programs: Programs, bench: RpcBench, kernels: dict[str, Built]
) -> None:
    assert judged(bench, kernels, "right").outcome == "right"
    programs.end(programs.running[-1])
    with pytest.raises(LostDeviceError, match="device board-1"):
        judged(bench, kernels, "right")
    with pytest.raises(LostDeviceError, match="knows no server with key 'board'"):
        bench.open()
    programs.serve()
    bench.open()
    assert judged(bench, kernels, "right").outcome == "right"


@pytest.mark.large
def test_each_server_is_a_board(programs: Programs, tmp_path: Path) -> None:
    second = programs.serve()
    found = benches(programs.tracker, tmp_path, threads=1, cooling=Cooling())
    assert [each.name for each in found] == ["board-1", "board-2"]
    programs.end(second)


def test_nobody_there_is_named() -> None:
    port = free_port()
    with pytest.raises(LostDeviceError, match=f"no RPC tracker at 127.0.0.1:{port}.*rpc_tracker"):
        Tracker(host="127.0.0.1", port=port, key=KEY).servers()


def test_another_key_has_no_boards(programs: Programs) -> None:
    with pytest.raises(LostDeviceError, match="no server with key 'other'.*--key other"):
        Tracker(host="127.0.0.1", port=programs.port, key="other").servers()


ADDRESSES = {"host:9190": ("host", 9190), "[::1]:9190": ("::1", 9190)}
NO_ADDRESSES = ("host", "host:", ":9190", "host:port", "host:0", "host:65536")


@pytest.mark.parametrize(("address", "parts"), ADDRESSES.items(), ids=ADDRESSES)
def test_an_address(address: str, parts: tuple[str, int]) -> None:
    found = Tracker.parse(address, KEY)
    assert (found.host, found.port) == parts


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_no_address(address: str) -> None:
    with pytest.raises(InputError, match="write HOST:PORT"):
        Tracker.parse(address, KEY)
