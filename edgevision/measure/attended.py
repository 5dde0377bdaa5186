"""A session on a device, over any line: its lock, its folder, its files by hash, its processes. device.sh is its other half.

One process on the device (`edgevision.measure.keeper`) holds the lock and the folder while a line comes from here every few
seconds. When the lines end, however that came about, it kills what the session started, removes its folder and gives up the
lock. So a cut connection, a killed client or a host that lost its power leaves nothing behind but the store.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shlex
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from edgevision.latency import DeviceInfo
from edgevision.measure import bounded_call, greeting
from edgevision.measure.bounded_call import Ended
from edgevision.measure.cpuinfo import clusters, cpu_name
from edgevision.measure.frame import Frame, FrameError, digests, reply, unframe
from edgevision.measure.greeting import Answer
from edgevision.measure.keeper import Keeper
from edgevision.measure.line import CLOSED, NO_SPACE, Cause, Line
from edgevision.measure.transport import NO_VARIABLES, LostDeviceError, Ran

SCRIPT = Path(__file__).parent / "device.sh"
MOST_BYTES = 256 << 20
"""Of output of one command, and of a file that is pulled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Time-outs and bounds. ``answer_s``: for anything that takes the device no work; ``slowest``: bytes a second of a
    transfer that still counts as alive; ``watch_s``: after how long without a sign the device gives a session up."""

    answer_s: float = 30.0
    lock_s: float = 1800.0
    slowest: float = 50_000.0
    beat_s: float = 10.0
    watch_s: float = 40.0
    store_bytes: int = 1 << 30


TERMS = Terms()


def say_nothing(_: str) -> None:
    """Takes what a user would be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a session needs to know of a device. ``lock`` is a folder there; "" takes /tmp/edgevision.lock, which all users
    of the device share, or one in the device's folder where there is no /tmp."""

    device: str
    transport: str
    lock: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    terms: Terms = TERMS
    told: Callable[[str], None] = say_nothing


@contextmanager
def attended(line: Line, site: Site) -> Iterator[Attended]:
    """A session, and its end. Raises: LostDeviceError."""
    session = Attended(line, site)
    try:
        session.begin()
        yield session
    finally:
        session.end()


class Attended:
    """`edgevision.measure.transport.Workspace` on a device whose shell ``line`` reaches."""

    def __init__(self, line: Line, site: Site) -> None:
        self._line, self._site, self._terms = line, site, site.terms
        self._id = secrets.token_hex(8)
        self._folder = self._lock = self._script = ""
        self._info = DeviceInfo(name=site.device, cpu="", cores=0, transport=site.transport)
        self._keeper: Keeper | None = None
        self._pushed: dict[str, str] = {}  # place there -> name here

    @property
    def info(self) -> DeviceInfo:
        return self._info

    @property
    def folder(self) -> str:
        """Where this session's commands run."""
        return f"{self._folder}/sessions/{self._id}"

    # --- begin and end -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Raises: LostDeviceError."""
        self._meet()
        owner = f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()})"
        words = self._line.words(self._command("hold", f"{self._terms.watch_s:g}", owner))
        self._keeper = Keeper(words)
        why = self._keeper.wait(self._terms.answer_s, self._terms.lock_s, self._tell)
        if why == "ended":
            raise self._lost("opening a session", self._line.explain(self._keeper.stderr))
        if why == "silent":
            raise self._lost("opening a session", _late(self._terms.answer_s))
        if why:
            raise self._lost("waiting for its lock", Cause(what=why, then="repeat when that has ended"))
        self._keeper.beat(self._terms.beat_s)

    def end(self) -> None:
        if self._keeper is not None:
            self._keeper.close(self._terms.answer_s if self._keeper.alive else 0.0)

    def _tell(self, owner: str) -> None:
        self._site.told(f"device {self._site.device} is in use by {owner}; waiting")

    def _meet(self) -> None:
        """Find out where things are there, and have device.sh there."""
        doing, script = "connecting", SCRIPT.read_bytes()
        file = f"device-{sha256(script).hexdigest()[:16]}.sh"
        here = self._hello(file)
        right = [f"{program} {value}" for program, value in digests(script).items()]
        if here.script not in right:
            part = f"{here.folder}/{file}.part"
            ended = self._send(SCRIPT, part, f"cat >{shlex.quote(part)}", doing)
            moved = self._call(f"mv {shlex.quote(part)} {shlex.quote(f'{here.folder}/{file}')}", doing)
            here = self._hello(file)
            if here.script not in right:
                raise self._lost(doing, self._full_or(ended.stderr + moved.stderr, None, "files arrive changed"))
        self._folder, self._lock, self._script = here.folder, here.lock, f"{here.folder}/{file}"
        cores = here.cores or sum(map(len, clusters(here.cpuinfo, {})))
        self._info = DeviceInfo(
            name=self._site.device, cpu=cpu_name(here.cpuinfo), cores=cores, transport=self._site.transport
        )

    def _hello(self, script: str) -> Answer:
        nonce = secrets.token_hex(8)
        ended = self._call(greeting.command(nonce, self._line.folder, self._site.lock, script), "connecting")
        said = " ".join(_text(ended.stderr).strip().splitlines()[-1:])
        try:
            answer = greeting.parse(nonce, _text(ended.stdout))
        except ValueError as error:
            then = f"name another one, folder = ..., in its entry: {said}"
            raise self._lost("connecting", Cause(what=f"no folder {self._line.folder}", then=then)) from error
        if answer is None:
            raise self._lost("connecting", self._line.explain(_text(ended.stderr)))
        if answer.lacking:
            raise self._lost("connecting", Cause(what=f"no {', '.join(answer.lacking)}", then="its shell needs these programs"))
        return answer

    # --- Workspace -----------------------------------------------------------------------------------------------

    def push(self, path: Path) -> str:
        """See `edgevision.measure.transport.Workspace`."""
        doing, content = f"sending {path.name}", path.read_bytes()
        known = digests(content)
        name = f"{max(1, -(-len(content) // 1024))}-{known['sha256sum']}"
        there = f"{self._folder}/store/{name}"
        if there in self._pushed:
            return there
        if self._reply(doing, "check", name) in [list(each) for each in known.items()]:
            self._pushed[there] = path.name
            return there
        cause = Cause(what="files arrive changed", then="see its cable, its disk and its memory")
        for _ in range(2):
            sent = self._put(path, "part", doing)
            bound = str(self._terms.store_bytes >> 10)
            kept = self._reply(doing, "keep", name, *known.values(), bound)
            if kept == ["kept"]:
                self._pushed[there] = path.name
                return there
            cause = self._full_or(sent.stderr, _kib(kept[-1:]), cause.what, len(content))
            if cause.what == NO_SPACE:
                self._reply(doing, "make_room")
        raise self._lost(doing, cause)

    def run(
        self, command: Sequence[str], *, timeout_s: float, variables: Mapping[str, str] = NO_VARIABLES, text: str = ""
    ) -> Ran:
        """See `edgevision.measure.transport.Workspace`."""
        program = self._pushed.get(command[0], Path(command[0]).name)
        doing, nonce, feed = f"running {program}", secrets.token_hex(8), "/dev/null"
        if text:
            feed = f"in.{nonce}"
            with tempfile.NamedTemporaryFile() as file:
                file.write(text.encode())
                file.flush()
                self._put(Path(file.name), feed, doing)
        exports = "".join(f"export {k}={shlex.quote(v)}; " for k, v in {**self._site.environment, **variables}.items())
        frame = self._frame(doing, nonce, timeout_s, "run", feed, f"{exports}exec {shlex.join(command)}")
        if frame.status and (frame.free_kib == 0 or b"No space left" in frame.stderr):
            raise self._lost(doing, _full(frame.free_kib))
        if frame.status == 128 + signal.SIGXFSZ:
            endless = f"more than {MOST_BYTES >> 20} MiB of output"
            raise self._lost(doing, Cause(what=endless, then="see what it prints and why"))
        return Ran(status=frame.status, stdout=_text(frame.stdout), stderr=_text(frame.stderr))

    def pull(self, name: str, into: Path) -> None:
        """See `edgevision.measure.transport.Workspace`."""
        doing = f"fetching {name}"
        frame = self._frame(doing, secrets.token_hex(8), MOST_BYTES / self._terms.slowest, "fetch", name)
        if frame.status:
            raise self._lost(doing, Cause(what="no such file", then=f"the command was to write {name} into its folder"))
        part = into.with_name(f".{into.name}.{self._id}")
        part.write_bytes(frame.stdout)
        part.replace(into)

    # --- calls ---------------------------------------------------------------------------------------------------

    def _command(self, verb: str, *words: str) -> str:
        return shlex.join(["sh", self._script, verb, self._folder, self._lock, self._id, *words])

    def _call(self, command: str, doing: str, timeout_s: float | None = None, feed: Path | None = None) -> Ended:
        if self._keeper is not None and not self._keeper.alive:
            raise self._lost(doing, self._line.explain(self._keeper.stderr))
        words = self._line.words(command)
        return self._checked(words, doing, self._terms.answer_s if timeout_s is None else timeout_s, feed)

    def _checked(self, words: Sequence[str], doing: str, timeout_s: float, feed: Path | None = None) -> Ended:
        ended = bounded_call.call(words, timeout_s=timeout_s, most_bytes=MOST_BYTES, feed=feed)
        if ended.ended:
            late = ended.ended.startswith("timed out")
            raise self._lost(doing, _late(timeout_s) if late else Cause(what=ended.ended, then="see what it prints and why"))
        return ended

    def _send(self, path: Path, there: str, command: str, doing: str) -> Ended:
        """``path`` to ``there``, by ``command`` where the line has no way of its own."""
        timeout_s = self._terms.answer_s + path.stat().st_size / self._terms.slowest
        words = self._line.sending(path, there)
        if words is None:
            return self._call(command, doing, timeout_s, path)
        ended = self._checked(words, doing, timeout_s)
        said = ended.stderr + ended.stdout  # adb push complains on its standard output
        if ended.status and b"No space left" not in said:
            raise self._lost(doing, self._line.explain(_text(said)))
        return replace(ended, stderr=said)

    def _put(self, path: Path, name: str, doing: str) -> Ended:
        nonce = secrets.token_hex(8)
        ended = self._send(path, f"{self.folder}/{name}", self._command("receive", nonce, name), doing)
        if self._line.sending(path, name) is None:
            self._words_of(ended, nonce, doing)
        return ended

    def _reply(self, doing: str, verb: str, *words: str) -> list[str]:
        nonce = secrets.token_hex(8)
        return self._words_of(self._call(self._command(verb, nonce, *words), doing), nonce, doing)

    def _words_of(self, ended: Ended, nonce: str, doing: str) -> list[str]:
        try:
            return reply(nonce, ended.stdout)
        except FrameError as error:
            raise self._lost(doing, self._why_silent(ended)) from error

    def _frame(self, doing: str, nonce: str, timeout_s: float, verb: str, *words: str) -> Frame:
        try:
            ended = self._call(self._command(verb, nonce, *words), doing, timeout_s)
        except LostDeviceError:
            self._stop()
            raise
        try:
            return unframe(nonce, ended.stdout)
        except FrameError as error:
            garbled = Cause(what="garbled output", then=f"{error}; see its cable and its memory")
            raise self._lost(doing, self._why_silent(ended) if error.cut else garbled) from error

    def _stop(self) -> None:
        """Kill what runs there; a device that does not answer does that itself when it misses our lines."""
        with_s = min(self._terms.answer_s, 10.0)
        words = self._line.words(self._command("stop", secrets.token_hex(8)))
        bounded_call.call(words, timeout_s=with_s, most_bytes=MOST_BYTES)

    # --- causes --------------------------------------------------------------------------------------------------

    def _why_silent(self, ended: Ended) -> Cause:
        if self._keeper is not None and not self._keeper.alive:
            return self._line.explain(self._keeper.stderr + _text(ended.stderr))
        return self._line.explain(_text(ended.stderr))

    def _full_or(self, said: bytes, free_kib: int | None, otherwise: str, needed: int = 0) -> Cause:
        if b"No space left" in said or (free_kib is not None and free_kib << 10 < needed):
            return _full(free_kib)
        return Cause(what=otherwise, then="see its cable, its disk and its memory")

    def _lost(self, doing: str, cause: Cause) -> LostDeviceError:
        return LostDeviceError(self._site.device, doing, cause.what, cause.then)


def _late(timeout_s: float) -> Cause:
    return Cause(what=f"timed out after {timeout_s:g} s", then="it was stopped there; see what else the device does")


def _full(free_kib: int | None) -> Cause:
    left = "" if free_kib is None else f", {free_kib} KiB are free"
    return Cause(what=NO_SPACE, then=f"make room on its disk{left}, or name another folder in its entry")


def _kib(words: Sequence[str]) -> int | None:
    return int(words[0]) if words and words[0].isdecimal() else None


def _text(printed: bytes) -> str:
    return printed.decode(errors="replace")


__all__ = ["CLOSED", "NO_SPACE", "TERMS", "Attended", "Site", "Terms", "attended", "say_nothing"]
