"""Tuning log: what was measured for which workload, as lines of a file that grows and that nothing rewrites.

    <crc32, 8 hex digits> <JSON object>\n

One file holds the records of one instruction set. A line whose checksum does not hold, such as one that a power cut tore,
is left out and counted; every line before and after it is kept. Writers append whole lines under a lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

from edgevision.errors import InputError
from edgevision.target import Target

SCHEDULES = 2
"""Version of the templates. A higher one makes records stale: raise it when parameters of schedule/ mean something else than
before, or when their code is made so differently that what was the best need not be any more."""

FILE = "records.jsonl"
PROVENANCE = "provenance.toml"

How = Literal["measured", "modelled"]
Outcome = Literal["right", "wrong", "crashed", "hung", "uncompilable"]
OUTCOMES: tuple[Outcome, ...] = ("right", "wrong", "crashed", "hung", "uncompilable")
SIMD = {("x86_64", 512): "avx512", ("x86_64", 256): "avx2", ("aarch64", 128): "neon", ("arm", 128): "neon"}


class TuningLogError(InputError):
    """A tuning log that cannot be read or written."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}; give --tuning-logs a folder that `edgevision tune` wrote or may write")


@dataclass(frozen=True, slots=True)
class Choice:
    """A template and its parameters, in alphabetical order."""

    template: str
    parameters: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, template: str, parameters: Mapping[str, int]) -> Choice:
        return cls(template, tuple(sorted(parameters.items())))

    @property
    def mapping(self) -> dict[str, int]:
        return dict(self.parameters)

    def __str__(self) -> str:
        return " ".join((self.template, *(f"{name}={value}" for name, value in self.parameters)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a time holds for: the vector unit that schedules tile for, TVM's version, that of the templates, threads."""

    isa: str
    tvm: str
    schedules: int
    threads: int

    def differs(self, other: Setting) -> str:
        """Why a record made in ``other`` is no result here; "" where it is one."""
        if self.isa != other.isa:
            return "foreign"
        return "" if (self.tvm, self.schedules) == (other.tvm, other.schedules) else "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One trial. ``workload`` is its structural key, ``what`` the same in words.

    ``ratio`` is this choice's time over the default schedule's, both measured in turn, ``low`` to ``high`` its 95 %
    interval, ``us`` the median in microseconds. ``wins``: it was faster than the best until then, with 95 % confidence,
    or it is the default itself. Figures are None where the outcome is not "right". ``how``: "modelled" figures are cycles of
    an emulated core, as if it ran at 1 GHz. ``device``: its name and its core, "" where the run was on the machine itself.
    ``beside``: the default schedule that it was compared with, "" in records from before there was this field (see `compared`).
    """

    workload: str
    what: str
    setting: Setting
    choice: Choice
    outcome: Outcome
    wins: bool = False
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    us: float | None = None
    how: How = "measured"
    detail: str = ""
    seed: int = 0
    device: str = ""
    beside: str = ""

    @property
    def is_default(self) -> bool:
        """Of what the others of a workload are compared with."""
        return self.wins and self.ratio == 1.0 and self.low is None


def setting_of(target: Target, threads: int) -> Setting:
    """What a time measured now for ``target`` holds for."""
    return Setting(isa=isa(target), tvm=version("apache-tvm"), schedules=SCHEDULES, threads=threads)


def isa(target: Target) -> str:
    """The vector unit that schedules tile for: "x86_64 512-bit x32"."""
    return f"{target.arch} {target.vector_bits}-bit x{target.vector_registers}"


def folder_name(target: Target) -> str:
    """The folder of a target's records; targets with the same instruction set share one: "x86_64-avx512"."""
    return f"{target.arch}-{SIMD.get((target.arch, target.vector_bits), target.vector_bits)}"


def shipped() -> Path:
    """The logs that come with edgevision: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "tuning_logs"
    return installed if installed.is_dir() else package.parent / "tuning_logs"


# --- lines -----------------------------------------------------------------------------------------------------------


def encode(record: Record) -> str:
    """The line of a record. The same record gives the same bytes."""
    content = values(record)
    for name in ("device", "beside"):
        if not content[name]:
            del content[name]
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def decode(line: str) -> Record | None:
    """The record of a line; None where it is torn or of another form."""
    checksum, _, text = line.rstrip("\n").partition(" ")
    if checksum != f"{zlib.crc32(text.encode()):08x}":
        return None
    try:
        content = json.loads(text)
        chosen = {name: value for name, value in content.pop("choice").items() if name != "template"}
        template = json.loads(text)["choice"]["template"]
        return Record(
            setting=Setting(**content.pop("setting")), choice=Choice.of(template, chosen), **content
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file holds. ``damaged`` are the numbers of lines that are no records, counted from 1."""

    records: tuple[Record, ...] = ()
    damaged: tuple[int, ...] = ()


def read(path: Path) -> Content:
    """The records of a file, in the order in which they were made; none where there is no file.

    Raises: TuningLogError where it cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return Content()
    except OSError as error:
        raise TuningLogError(path, (error.strerror or str(error)).lower()) from error
    found, damaged = [], []
    for number, line in enumerate(lines, start=1):
        record = decode(line.decode(errors="replace")) if line else None
        if record is not None:
            found.append(record)
        elif line:
            damaged.append(number)
    return Content(records=tuple(found), damaged=tuple(damaged))


def append(path: Path, records: Sequence[Record]) -> None:
    """Add records to a file, which is made where there is none. Whole lines, one writer at a time.

    A torn last line of somebody else is ended first, so that it costs no record but itself.
    Raises: TuningLogError where it cannot be written.
    """
    text = "".join(map(encode, records)).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            whole = end == 0 or file.read(1) == b"\n"
            file.write(text if whole else b"\n" + text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TuningLogError(path, (error.strerror or str(error)).lower()) from error


def replace(path: Path, records: Sequence[Record]) -> None:
    """Write a file anew with ``records``: beside it, then renamed into its place."""
    beside = path.with_suffix(".new")
    try:
        beside.unlink(missing_ok=True)
        append(beside, records)
        beside.replace(path)
    except OSError as error:
        raise TuningLogError(path, (error.strerror or str(error)).lower()) from error


# --- choosing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A choice with the median of its ratios and of its times, and ``how`` these were found."""

    choice: Choice
    ratio: float
    us: float
    how: How = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The best choices of each workload in a setting, best first, the same by the default that they were compared with, and how
    many records were refused, by reason."""

    ranked: Mapping[str, tuple[Ranked, ...]] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, tuple[Ranked, ...]]] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)

    def choices(self, workload: str, default: Choice | None = None) -> tuple[Choice, ...]:
        """Compared with ``default``, if nobody knows otherwise; compared with whatever it was where that is None."""
        ranked = self.ranked.get(workload, ())
        if default is not None:
            found = self.beside.get(workload, {})
            ranked = found.get(str(default), found.get("", ()))
        return tuple(each.choice for each in ranked)

    def is_outdated(self, workload: str, default: Choice | None) -> bool:
        """Whether there are choices, but compared with other defaults, which may be worse than ``default``."""
        return bool(self.choices(workload)) and not self.choices(workload, default)

    def is_modelled(self, workload: str) -> bool:
        """Whether the best choice comes from a model (tune/modelled.py), since nobody measured one."""
        ranked = self.ranked.get(workload, ())
        return bool(ranked) and ranked[0].how == "modelled"


def tuned(records: Iterable[Record], setting: Setting, *, elsewhere: Iterable[Record] = ()) -> Tuned:
    """Rank what won, by median ratio and then by parameters: the same records, in any order, give the same choices.

    Records of another instruction set or version are refused. Of a workload's others those count that are nearest to the
    setting: measured before modelled, then ``records`` before those of other machines, ``elsewhere``, such as those that ship, then
    the setting's number of threads before another one.
    """
    results: dict[str, dict[tuple[bool, bool, bool], list[Record]]] = {}
    refused: dict[str, int] = {}
    for own, record in (*((True, record) for record in records), *((False, record) for record in elsewhere)):
        reason = setting.differs(record.setting)
        if reason:
            refused[reason] = refused.get(reason, 0) + 1
        elif record.wins and record.ratio is not None and record.us is not None:
            near = record.how == "measured", own, record.setting.threads == setting.threads
            results.setdefault(record.workload, {}).setdefault(near, []).append(record)
    nearest = {workload: found[max(found)] for workload, found in sorted(results.items())}
    return Tuned(
        ranked={workload: _ranked(found) for workload, found in nearest.items()},
        beside={workload: _by_default(found) for workload, found in nearest.items()},
        refused=refused,
    )


def compared(records: Sequence[Record]) -> list[str]:
    """The default that each of the ``records`` of one workload was compared with, "" where nobody knows: for those that do not say
    it, the one default among them."""
    defaults = {str(record.choice) for record in records if record.is_default and not record.beside}
    before = defaults.pop() if len(defaults) == 1 else ""
    return [record.beside or before for record in records]


def _by_default(records: Sequence[Record]) -> dict[str, tuple[Ranked, ...]]:
    groups: dict[str, list[Record]] = {}
    for record, default in zip(records, compared(records), strict=True):
        groups.setdefault(default, []).append(record)
    return {default: _ranked(found) for default, found in groups.items()}


def _ranked(found: Sequence[Record]) -> tuple[Ranked, ...]:
    of_choice: dict[Choice, list[Record]] = {}
    for record in found:
        of_choice.setdefault(record.choice, []).append(record)
    ranked = [
        Ranked(
            choice=choice,
            ratio=median(r.ratio for r in records if r.ratio is not None),
            us=median(r.us for r in records if r.us is not None),
            how=records[0].how,
        )
        for choice, records in of_choice.items()
    ]
    return tuple(sorted(ranked, key=lambda each: (each.ratio, each.choice.template, each.choice.parameters)))


def open_logs(folders: Sequence[Path], target: Target) -> tuple[Record, ...]:
    """The records for ``target`` in all ``folders``.

    Raises: TuningLogError where one is no folder or cannot be read.
    """
    found: list[Record] = []
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise TuningLogError(folder, "not a folder")
        found += read(folder / folder_name(target) / FILE).records
    return tuple(found)


def values(record: Record) -> dict[str, Any]:
    """A record as plain values, for JSON."""
    return {**asdict(record), "choice": {"template": record.choice.template, **record.choice.mapping}}
