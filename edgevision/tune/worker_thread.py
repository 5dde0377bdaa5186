"""A thread for one bench, from its first batch to its last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class WorkerThread:
    """Does one thing after another. Two reasons for not being an executor's: native/trial.c is ended by the kernel with the thread
    that started it (PR_SET_PDEATHSIG), so that must stay; and it must not keep this process alive, since a device that hears
    nothing more cleans up itself."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def begin(self, work: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        future: Future[Result] = Future()

        def complete() -> None:
            try:
                future.set_result(work(argument))
            except BaseException as error:  # noqa: BLE001 - raised again by whoever asks for the result
                future.set_exception(error)

        self._work.put(complete)
        return future

    def end(self) -> None:
        """After what it was given."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
