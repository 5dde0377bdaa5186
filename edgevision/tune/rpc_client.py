"""What native/trial.c does, on a board with Python: by TVM's RPC server there, which a tracker leads to.

    python -m edgevision.tune.rpc_client HOST PORT KEY THREADS FLUSHED_BYTES

A process of its own, because TVM's client waits without end for a network that went silent. It takes trial.c's commands load,
outputs, compare and promote, and `hello`, which asks the tracker for a server. TVM's own clock (time_evaluator) times; before each
sample FLUSHED_BYTES are written there. A write outside the results is not noticed, unless it ends the server. Ends with status
LOST when the board is gone, with REFUSED when a kernel says why it failed; the reason is the last line on stderr.
"""

from __future__ import annotations

from edgevision import tvm_without_torch as tvm_without_torch  # isort: skip  # before TVM is imported

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import rpc

LOST = "lost: "
SESSION_LIMIT_S = 180
"""After which the server ends a session by itself: a kernel that hangs would keep it for ever."""
ANSWER_S = 10.0
DIRT = 0xFF
KINDS = {0: "int", 1: "uint", 2: "float", 6: "bool"}


class LostError(Exception):
    """There is no such board, or it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    role: str
    there: Any


@dataclass(slots=True, kw_only=True)
class Kernel:
    """One that lies on the server, with its arguments."""

    module: Any
    tensors: list[Tensor]
    evaluators: dict[int, Callable[..., Any]]

    @property
    def arguments(self) -> list[Any]:
        return [tensor.there for tensor in self.tensors]


def servers(host: str, port: int, key: str) -> int:
    """How many servers with ``key`` the tracker knows. Raises: LostError, where there is no tracker."""
    tracker = _tracker(host, port)
    try:
        listed = tracker.summary()["server_info"]
    finally:
        tracker.close()
    return sum(1 for each in listed if each["key"] == f"server:{key}")


def _tracker(host: str, port: int) -> Any:
    """TVM's own client would ask for a minute. Raises: LostError."""
    try:
        socket.create_connection((host, port), ANSWER_S).close()
        return rpc.connect_tracker(host, port)
    except (OSError, RuntimeError) as error:
        raise LostError(f"no RPC tracker at {host}:{port}: {error}") from error


class Client:
    """Answers commands. Two slots, as in trial.c."""

    def __init__(self, host: str, port: int, key: str, threads: int, flushed_bytes: int) -> None:
        self._place, self._threads, self._flushed_bytes = (host, port, key), threads, flushed_bytes
        self._session: Any = None
        self._slots: list[Kernel | None] = [None, None]

    def obey(self, verb: str, words: Sequence[str], lines: Iterator[str]) -> dict[str, Any]:
        """The answer. Raises: LostError; RuntimeError, in which a kernel says why it failed."""
        if verb == "hello":
            self._reach()
        elif verb == "load":
            slot, _, library, count = words
            self._load(int(slot), Path(library), [next(lines) for _ in range(int(count))])
        elif verb == "outputs":
            slot, _, path = words
            Path(path).write_bytes(self._outputs(self._kernel(int(slot))))
            return {"guarded": True}
        elif verb == "compare":
            return self._compare(int(words[1]))
        elif verb == "promote":
            self._slots = [self._slots[1], None]
        else:
            raise ValueError(f"no such command: {verb}")
        return {}

    def alive(self) -> bool:
        """Whether the server still answers."""
        try:
            self._session.get_function("tvm.rpc.server.workpath")("here")
        except RuntimeError:
            return False
        return True

    def _reach(self) -> None:
        """Take the first server that is free."""
        host, port, key = self._place
        if not servers(host, port, key):
            raise LostError(f"the RPC tracker at {host}:{port} knows no server with key {key!r}")
        try:
            self._session = _tracker(host, port).request(key, session_timeout=SESSION_LIMIT_S, max_retry=3)
            self._session.get_function("runtime.config_threadpool")(1, self._threads)
        except (RuntimeError, OSError) as error:
            raise LostError(last_line(error)) from error

    def _load(self, slot: int, library: Path, lines: Sequence[str]) -> None:
        self._slots[slot] = None
        self._session.upload(str(library))
        module = self._session.load_module(library.name)
        self._session.remove(library.name)
        self._slots[slot] = Kernel(module=module, tensors=[self._tensor(line) for line in lines], evaluators={})

    def _tensor(self, line: str) -> Tensor:
        role, code, bits, offset, file, _, *extents = line.split("\t")
        dtype, shape = np.dtype(KINDS[int(code)] + ("" if code == "6" else bits)), tuple(map(int, extents))
        if file == "-":
            here = _dirty(shape, dtype)
        else:
            here = np.fromfile(file, dtype, int(np.prod(shape)), offset=int(offset)).reshape(shape)
        return Tensor(role=role, there=tvm.runtime.tensor(here, self._session.cpu(0)))

    def _kernel(self, slot: int) -> Kernel:
        kernel = self._slots[slot]
        assert kernel is not None, "nothing was loaded"
        return kernel

    def _outputs(self, kernel: Kernel) -> bytes:
        for tensor in kernel.tensors:
            if tensor.role in "os":
                tensor.there.copyfrom(_dirty(tensor.there.shape, np.dtype(tensor.there.dtype)))
        kernel.module["kernel"](*kernel.arguments)
        return b"".join(tensor.there.numpy().tobytes() for tensor in kernel.tensors if tensor.role == "o")

    def _compare(self, blocks: int) -> dict[str, list[int]]:
        """The slots 0 1 1 0, ``blocks`` times: what follows each other in one slot is one call."""
        found: tuple[list[int], list[int]] = ([], [])
        for slot, repeat in ((0, 1), *((1, 2), (0, 2)) * (blocks - 1), (1, 2), (0, 1)):
            found[slot].extend(self._sample(self._kernel(slot), repeat))
        return {"a": found[0], "b": found[1]}

    def _sample(self, kernel: Kernel, repeat: int) -> list[int]:
        if repeat not in kernel.evaluators:
            kernel.evaluators[repeat] = kernel.module.time_evaluator(
                "kernel", self._session.cpu(0), number=1, repeat=repeat, cache_flush_bytes=self._flushed_bytes
            )
        return [max(1, round(1e9 * seconds)) for seconds in kernel.evaluators[repeat](*kernel.arguments).results]


def _dirty(shape: Sequence[int], dtype: np.dtype[Any]) -> Any:
    extents = tuple(map(int, shape))
    return np.frombuffer(bytes([DIRT]) * (int(np.prod(extents)) * dtype.itemsize), dtype).reshape(extents)


def last_line(error: BaseException) -> str:
    """TVM's errors are pages."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what TVM prints must not mix with answers
    host, port, key, threads, flushed_bytes = sys.argv[1:]
    client = Client(host, int(port), key, int(threads), int(flushed_bytes))
    lines = (line.rstrip("\n") for line in sys.stdin)
    for line in lines:
        verb, *words = line.split("\t")
        try:
            answer = client.obey(verb, words, lines)
        except LostError as error:
            sys.exit(f"{LOST}{error}")
        except RuntimeError as error:
            sys.exit(last_line(error) if client.alive() else f"{LOST}{last_line(error)}")
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
