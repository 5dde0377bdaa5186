"""Answers of devices: whole, after noise, cut off, changed."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256

import pytest

from edgevision.measure.frame import FrameError, cksum, digests, reply, unframe

OUT, ERR = b"out\n\x00\xff", b"EV:0123 1 cksum 0 0 cksum 0 0 9\n"


def framed(out: bytes = OUT, err: bytes = ERR, by: str = "cksum", free: str = "77") -> bytes:
    parts = " ".join(f"{by} {digests(each)[by]} {len(each)}" for each in (out, err))
    return f"\nEV:0123 3 {parts} {free}\n".encode() + out + err


@pytest.mark.parametrize("by", ["cksum", "md5sum", "sha256sum"])
def test_a_whole_frame(by: str) -> None:
    found = unframe("0123", b"Welcome!\nEV:9999 0 cksum 1 1 cksum 1 1 1\n" + framed(by=by))
    assert (found.status, found.stdout, found.stderr, found.free_kib) == (3, OUT, ERR, 77)
    assert unframe("0123", framed(free="unknown")).free_kib is None


@pytest.mark.parametrize("length", range(len(framed())))
def test_a_frame_that_breaks_off(length: int) -> None:
    with pytest.raises(FrameError) as raised:
        unframe("0123", framed()[:length])
    assert raised.value.cut


@pytest.mark.parametrize("at", range(len(framed()) - len(OUT + ERR), len(framed())))
def test_a_byte_that_changes(at: int) -> None:
    spoiled = bytearray(framed())
    spoiled[at] ^= 1
    with pytest.raises(FrameError) as raised:
        unframe("0123", bytes(spoiled))
    assert not raised.value.cut


def test_more_than_was_sent() -> None:
    with pytest.raises(FrameError):
        unframe("0123", framed() + b"x")


def test_replies() -> None:
    assert reply("0123", b"motd\n\nEV:0123 kept 12\n") == ["kept", "12"]
    for printed in (b"", b"EV:0123 kept", b"EV:0124 kept\n", b"x EV:0123 kept\n"):
        with pytest.raises(FrameError):
            reply("0123", printed)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65536, 100_001])
def test_checksums_are_those_of_the_programs(size: int) -> None:
    content = bytes((7 * n + n // 256) % 256 for n in range(size))
    assert digests(content)["sha256sum"] == sha256(content).hexdigest()
    if shutil.which("cksum"):
        assert int(subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout.split()[0]) == cksum(content)
