"""Workers that compile candidates side by side, and stay alive from one to the next."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from edgevision.tune.child import Child, ChildCrashedError, ChildHungError
from edgevision.tune.request import Built, Request
from edgevision.tuning_log import Outcome

LIMIT_S = 60.0
"""A usual candidate takes 0.1 to 1 s; a worker that starts needs 3 s more to import TVM, or 20 s on a busy machine."""


class CandidateError(Exception):
    """A candidate that does not become a library. ``outcome`` says how, ``reason`` why."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        self.outcome, self.reason = outcome, reason
        super().__init__(reason)


Build = Callable[[Request], "Future[Built]"]


class Builder:
    """``jobs`` workers. The future of a candidate that cannot be compiled raises CandidateError."""

    def __init__(self, jobs: int, folder: Path, *, limit_s: float = LIMIT_S) -> None:
        command = [sys.executable, "-P", "-m", "edgevision.tune.worker", str(folder)]
        self._limit_s, self.jobs = limit_s, jobs
        self._children = [Child(command, environment=worker_environment()) for _ in range(jobs)]
        self._free: SimpleQueue[Child] = SimpleQueue()
        for child in self._children:
            self._free.put(child)
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="build")

    def __call__(self, request: Request) -> Future[Built]:
        return self._threads.submit(self._build, request)

    def _build(self, request: Request) -> Built:
        child = self._free.get()
        try:
            built = Built.load(child.ask(request.dump(), self._limit_s))
        except ChildCrashedError as error:
            raise CandidateError("uncompilable", error.reason) from None
        except ChildHungError:
            raise CandidateError("uncompilable", f"it compiled for more than {self._limit_s:.0f} s") from None
        finally:
            self._free.put(child)
        if built is None:
            raise CandidateError("uncompilable", "it is not in the space of the workload")
        return built

    def close(self) -> None:
        """Ends the workers; what they were doing is lost."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.interrupt()
        self._threads.shutdown()
        for child in self._children:
            child.close()


def worker_environment() -> dict[str, str]:
    """One thread each, the same edgevision as here, and nothing that makes torch build an extension."""
    return {
        **os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1", "TVM_NUM_THREADS": "1", "TVM_FFI_DISABLE_TORCH_C_DLPACK": "1",
    }  # fmt: skip
