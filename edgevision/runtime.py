"""Load a compiled artifact in Python and run it on numpy arrays: ctypes on the C interface of native/edgevision.h.

    with edgevision.runtime.load("ghostnet.so", threads=2) as network:
        (scores,) = network.run(image)

Needs numpy and the standard library, nothing else; a start costs what it imports, so of the library little more than numpy does.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from _thread import allocate_lock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgevision import shared_object
from edgevision.errors import InputError
from edgevision.shared_object import FALLBACKS, EvOptions, Processor, Session, SharedObject
from edgevision.tensor import TensorSpec

if TYPE_CHECKING:
    from threading import Condition

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.generic]


class Description(NamedTuple):
    """What an artifact says about itself. Sizes in bytes; ``steps`` counts fused operators."""

    name: str
    target: str
    compiler_version: str
    abi: int
    model_sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weight_bytes: int
    arena_bytes: int
    steps: int


def load(
    path: str | os.PathLike[str], *, threads: int = 0, cores: Sequence[int] | None = None,
    cache_directory: str | os.PathLike[str] | None = None, fallback: str = "never", shared: bool = False,
) -> LoadedModel:  # fmt: skip
    """Open the artifact at ``path``.

    ``threads``: how many compute one run, the caller's included; 0 takes one a core this process may use, at most what
    the model was compiled for. ``cores``: pin thread i to core ``cores[i % len(cores)]`` while it runs. ``cache_directory``: an
    existing folder that keeps what a GPU's driver compiles, for artifacts that run on one. ``fallback``, for those that were
    compiled with a CPU version too: "if-needed" runs it where the GPU is missing, refused or lost, "always" runs nothing else;
    `LoadedModel.processor` says which ran.
    The file's contents are those of now: what is written to ``path`` later is not seen, and does no harm. ``shared``: map the file
    itself instead, as dlopen does: processes share its memory and a start is faster, but the file must not be written to while it
    is loaded; one that is renamed to ``path`` may take its place.

    Raises:
        InputError: there is no such file, or it is not an edgevision artifact, or an option is out of range.
        DeviceError: it is an artifact for another processor, or this one cannot run it.
    """
    if threads < 0:
        raise InputError(f"threads is {threads}; give a number of threads, or 0 for one a core")
    if fallback not in FALLBACKS:
        raise InputError(f"fallback is {fallback!r}; give one of {', '.join(FALLBACKS)}")
    options = shared_object.options(threads=threads, cores=cores or (), cache_directory=cache_directory, fallback=fallback)
    return LoadedModel(shared_object.load(path, shared=shared), options)


class LoadedModel:
    """A loaded network. Any number of Python threads may call `run` at the same time.

    Each run that is under way has a session (arena and worker threads) of its own. Sessions are made when they are
    first needed, as many as the cores hold without oversubscription: cores / `threads`, or one that is pinned to cores.
    Callers beyond that wait their turn.
    """

    def __init__(self, library: SharedObject, options: EvOptions) -> None:
        self._sessions = SessionPool(library, options)
        self._release = weakref.finalize(self, self._sessions.close)
        self._release.atexit = False  # daemon threads may still be running it; the system frees everything
        self.model = describe(library)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.model.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.model.outputs

    @property
    def threads(self) -> int:
        """How many compute one run, the caller's included."""
        return self._sessions.threads

    @property
    def processor(self) -> Processor:
        """What computed the last run, and before the first one will compute it; of several sessions, one that the CPU took over."""
        return self._sessions.processor

    def run(self, *arrays: ArrayLike) -> list[Array]:
        """One inference: an array for each of `inputs`, in order; new arrays for `outputs`.

        Arrays may have any alignment and strides. Nothing is converted: another shape or dtype is an error.

        Raises:
            InputError: wrong count, shape or dtype, or the model is closed.
            DeviceError: the artifact reported a failure.
        """
        bound = self.bind(*arrays)
        with self._sessions.borrowed() as session:
            bound.run(session)
        return bound.outputs

    def bind(self, *arrays: ArrayLike) -> BoundArrays:
        """Check ``arrays`` against `inputs` and allocate the outputs: what a timed run does beforehand."""
        checked = checked_inputs(self.model.name, self.inputs, arrays)
        return BoundArrays(checked, [np.empty(spec.shape, spec.dtype) for spec in self.outputs])

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session for the caller alone, for repeated runs of a `BoundArrays`."""
        with self._sessions.borrowed() as session:
            yield session

    def profile(self, *arrays: ArrayLike, runs: int = 10) -> list[tuple[str, NDArray[np.uint64]]]:
        """Each fused operator's name and its time in ``runs`` timed runs, in nanoseconds, in the order they run."""
        bound = self.bind(*arrays)
        with self._sessions.fresh() as session:
            session.profile()
            bound.run(session)
            profiles: list[list[tuple[str, int]]] = []
            while len(profiles) < runs:
                bound.run(session)
                taken = session.profile()
                if profiles and len(taken) != len(profiles[0]):
                    profiles.clear()  # the CPU version took over
                profiles.append(taken)
        names = [name for name, _ in profiles[0]]
        columns = zip(*([time for _, time in profile] for profile in profiles), strict=True)
        return [(name, np.array(times, np.uint64)) for name, times in zip(names, columns, strict=True)]

    def close(self) -> None:
        """Wait for the runs under way, then free arenas, threads and weights. Closing twice is allowed."""
        self._release()

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class BoundArrays:
    """Checked inputs with the outputs of one run; running it again overwrites ``outputs``."""

    def __init__(self, inputs: list[Array], outputs: list[Array]) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._in, self._out = pointers(inputs), pointers(outputs)

    def run(self, session: Session) -> None:
        session.run(self._in, self._out)


class SessionPool:
    """The sessions of one loaded model: idle ones are kept, none more than ``limit`` exist."""

    def __init__(self, library: SharedObject, options: EvOptions) -> None:
        self._library: SharedObject | None = library
        self._idle = [library.create(options)]
        self._made = 1
        self.threads = self._idle[0].threads
        self._options = options
        if self._idle[0].processor.name != "gpu":  # its one thread is not how many the CPU version would have
            options.threads = self.threads
        self._limit = 1 if options.cores else max(1, len(os.sched_getaffinity(0)) // self.threads)
        self._lock = allocate_lock()
        self._changed: Condition | None = None

    @property
    def processor(self) -> Processor:
        """Waits for a session that is not running."""
        with self._lock:
            self._wait_for(lambda: self._library is None or self._idle)
            self._open()
            return min((session.processor for session in self._idle), key=lambda each: each.name)

    @contextmanager
    def borrowed(self) -> Iterator[Session]:
        session = self._take()
        try:
            yield session
        finally:
            with self._lock:
                self._idle.append(session)
                self._notify()

    @contextmanager
    def fresh(self) -> Iterator[Session]:
        """A new session in place of one of the pool's: what is switched on in it leaves no trace."""
        with self.borrowed():
            session = self._open().create(self._options)
            try:
                yield session
            finally:
                session.destroy()

    def close(self) -> None:
        with self._lock:
            self._library = None
            self._notify()
            self._wait_for(lambda: len(self._idle) == self._made)
            for session in self._idle:
                session.destroy()
            self._idle.clear()
            self._made = 0

    def _wait_for(self, ready: Callable[[], object]) -> None:
        """Give up the lock until somebody notified, as often as it takes."""
        if not ready() and self._changed is None:
            from threading import Condition

            self._changed = Condition(self._lock)
        if self._changed is not None:
            self._changed.wait_for(ready)

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.notify_all()

    def _open(self) -> SharedObject:
        if self._library is None:
            raise InputError("this model is closed; load it again to run it")
        return self._library

    def _take(self) -> Session:
        with self._lock:
            self._wait_for(lambda: self._library is None or self._idle or self._made < self._limit)
            library = self._open()
            if self._idle:
                return self._idle.pop()
            session = library.create(self._options)
            self._made += 1
            return session


def checked_inputs(model: str, specs: Sequence[TensorSpec], arrays: Sequence[ArrayLike]) -> list[Array]:
    """``arrays`` as contiguous memory.

    Raises:
        InputError: another number of them than of ``specs``, or one has another dtype or shape.
    """
    if len(arrays) != len(specs):
        wanted = ", ".join(map(str, specs))
        raise InputError(f"{model} takes {len(specs)} inputs ({wanted}), but {len(arrays)} were given")
    return [checked_input(spec, array) for spec, array in zip(specs, arrays, strict=True)]


def checked_input(spec: TensorSpec, array: ArrayLike) -> Array:
    """``array`` as contiguous memory.

    Raises:
        InputError: it has another dtype or shape than ``spec``.
    """
    given = np.asarray(array)
    if given.dtype != np.dtype(spec.dtype):
        raise InputError(f"input {spec.name!r} is {spec.dtype}, but the array is {given.dtype}; convert it first")
    if given.shape != spec.shape:
        raise InputError(f"input {spec.name!r} has shape {spec.shape}, but the array has {given.shape}")
    return np.asarray(given, order="C")


def pointers(arrays: Sequence[Array]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def describe(library: SharedObject) -> Description:
    model = library.model
    return Description(
        name=model.name.decode(),
        target=model.target.decode(),
        compiler_version=model.compiler_version.decode(),
        abi=model.abi,
        model_sha256=model.model_sha256.decode(),
        inputs=tuple(model.inputs[i].spec() for i in range(model.n_inputs)),
        outputs=tuple(model.outputs[i].spec() for i in range(model.n_outputs)),
        weight_bytes=model.weight_bytes,
        arena_bytes=model.arena_bytes,
        steps=model.n_steps,
    )
