"""A worker seen from the benchmark: started, asked one thing at a time, stopped while others run, and ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from benchmarks.peers.case import Case, Entrant

CHECKOUT = Path(__file__).parents[2]
QUIET_LOGS = {"GLOG_minloglevel": "3", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}


class WorkerError(Exception):
    """A runtime failed. ``reason``: the last thing it said, or how it ended."""

    def __init__(self, runtime: str, reason: str) -> None:
        self.runtime, self.reason = runtime, reason
        super().__init__(f"{runtime}: {reason}")


class Child:
    """One worker process; as a context, it is over when the context is. ``log`` receives what it prints."""

    def __init__(
        self, entrant: Entrant, verb: str, case: Case, threads: int, cores: Sequence[int], log: Path, nice: int = 0,
        environment: Mapping[str, str] = os.environ,
    ) -> None:  # fmt: skip
        self.runtime, self._log = entrant.runtime.name, log
        arguments = (
            verb,
            entrant.runtime.source,
            case.folder,
            entrant.folder,
            str(threads),
            ",".join(map(str, cores)),
            str(nice),
        )
        with log.open("wb") as errors:
            self._child = subprocess.Popen(
                [entrant.python, "-m", "benchmarks.peers.worker", *arguments],
                cwd=CHECKOUT, env={**environment, **QUIET_LOGS}, text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """The next answer.

        Raises:
            WorkerError: the process ended instead, or gave none within ``timeout_s``.
        """
        output = _pipe(self._child.stdout)
        if not select.select([output], [], [], timeout_s)[0]:
            self.end()
            raise WorkerError(self.runtime, f"no answer within {timeout_s:.0f} s")
        line = output.readline()
        if not line:
            status = self._child.wait()
            raise WorkerError(self.runtime, last_words(self._log) or f"ended with status {status}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, question: str, timeout_s: float) -> dict[str, Any]:
        source = _pipe(self._child.stdin)
        try:
            source.write(f"{question}\n")
            source.flush()
        except BrokenPipeError:
            self._child.wait()
            raise WorkerError(self.runtime, last_words(self._log)) from None
        return self.answer(timeout_s)

    def stop(self) -> None:
        """Returns when it has stopped: a process that waits for a core first has to get one to stop on."""
        self._signal(signal.SIGSTOP)
        if self._child.poll() is None:
            os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it with everything it started; nothing that it holds is worth keeping."""
        self._signal(signal.SIGKILL)
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            _pipe(pipe).close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def _signal(self, number: int) -> None:
        """To the whole session of the worker: compilers that it runs belong to it."""
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            return  # it has ended; the next answer says so


def last_words(log: Path) -> str:
    """The last line of ``log`` that says something, shortened: of a traceback, the error."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
