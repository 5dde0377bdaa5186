"""The first words to a device, before any file of ours is there: where things go, which programs it lacks, what its CPU is."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

PROGRAMS = ("cat", "chmod", "grep", "ls", "mkdir", "mv", "rm", "sleep", "touch", "wc")
"""What a device needs beside a shell; and one of `DIGESTS`."""

DIGESTS = ("sha256sum", "md5sum", "cksum")

SHARED_LOCK = "/tmp/edgevision.lock"
"""One for all users of a device, where it has a /tmp."""

# FOLDER, LOCK, SCRIPT, NONCE are put in; each line but the last is one of the answer's.
TEXT = """echo; echo EV:NONCE
mkdir -p FOLDER && cd FOLDER && pwd && LOCK && {
l=; for p in PROGRAMS; do command -v $p >/dev/null 2>&1 || l=$l,$p; done; { FOUND; } >/dev/null || l=$l,DIGEST; echo lacking$l
[ -f SCRIPT ] && { d=$(FOUND); echo ${d##*/} $($d <SCRIPT); } || echo none
nproc 2>/dev/null || echo 0
cat /proc/cpuinfo
echo EV:NONCE end; } || echo EV:NONCE refused"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """``script``: program and digest of the script that is there; ``cores`` is 0 where it does not say."""

    folder: str
    lock: str
    lacking: tuple[str, ...]
    script: str
    cores: int
    cpuinfo: str


def command(nonce: str, folder: str, lock: str, script: str) -> str:
    """For the device's login shell, whatever that is. ``lock`` "" leaves its place to the device."""
    shared = f"if [ -d /tmp ] && [ -w /tmp ]; then echo {SHARED_LOCK}; else echo $PWD/lock; fi"
    values = {
        "FOLDER": shlex.quote(folder),
        "LOCK": f"echo {shlex.quote(lock)}" if lock else shared,
        "PROGRAMS": " ".join(PROGRAMS),
        "FOUND": " || ".join(f"command -v {each}" for each in DIGESTS),
        "DIGEST": DIGESTS[0],
        "SCRIPT": script,
        "NONCE": nonce,
    }
    lines = TEXT.replace("{\n", "{ ").replace("\n", "; ")
    for name, value in values.items():
        lines = lines.replace(name, value)
    return f"sh -c {shlex.quote(lines)}"


def parse(nonce: str, printed: str) -> Answer | None:
    """What a device answered; None where it was cut off. Raises: ValueError, when the folder cannot be made."""
    _, _, answer = printed.partition(f"\nEV:{nonce}\n")
    if f"EV:{nonce} refused\n" in answer:
        raise ValueError("refused")
    answer, whole, _ = answer.partition(f"EV:{nonce} end\n")
    if not whole:
        return None
    folder, lock, lacking, script, cores, cpuinfo = answer.split("\n", 5)
    return Answer(
        folder=folder, lock=lock, lacking=tuple(lacking.split(",")[1:]), script=" ".join(script.split()[:2]), cores=int(cores),
        cpuinfo=cpuinfo,
    )  # fmt: skip
