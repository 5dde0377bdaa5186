"""What device.sh sends back: a line with a number that only this call knows, lengths and checksums, then the bytes.

So neither a login banner before, nor a connection cut in the middle, nor a byte that changed on the way is taken for output.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from hashlib import md5, sha256

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class FrameError(ValueError):
    """Something else came than what the device sent; ``cut``: its beginning is there, its end is not."""

    def __init__(self, why: str, *, cut: bool = False) -> None:
        self.cut = cut
        super().__init__(why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """``free_kib`` of the device's disk is None where it cannot tell."""

    status: int
    stdout: bytes
    stderr: bytes
    free_kib: int | None


def unframe(nonce: str, received: bytes) -> Frame:
    """The frame of the call ``nonce`` in ``received``.

    Raises: FrameError.
    """
    part = rb"(\w+) (\w+) (\d+)"
    header = re.search(rb"^EV:%s (\d+) %s %s (\w+)\n" % (nonce.encode(), part, part), received, re.MULTILINE)
    if not header:
        raise FrameError("no answer", cut=True)
    status, out_by, out_sum, out_bytes, err_by, err_sum, err_bytes, free = (each.decode() for each in header.groups())
    out_end, end = int(out_bytes), int(out_bytes) + int(err_bytes)
    body = received[header.end() :]
    if len(body) < end:
        raise FrameError(f"{len(body)} of {end} bytes", cut=True)
    out, err = body[:out_end], body[out_end:end]
    if len(body) > end or digests(out).get(out_by) != out_sum or digests(err).get(err_by) != err_sum:
        raise FrameError("other bytes than were sent")
    return Frame(status=int(status), stdout=out, stderr=err, free_kib=int(free) if free.isdecimal() else None)


def reply(nonce: str, received: bytes) -> list[str]:
    """The words of the one-line answer to the call ``nonce``.

    Raises: FrameError.
    """
    line = re.search(rb"^EV:%s ([ \w]+)\n" % nonce.encode(), received, re.MULTILINE)
    if not line:
        raise FrameError("no answer", cut=True)
    return line[1].decode("ascii").split()


def digests(content: bytes) -> dict[str, str]:
    """What the programs print that a device may have for it, strongest first."""
    return {
        "sha256sum": sha256(content).hexdigest(),
        "md5sum": md5(content, usedforsecurity=False).hexdigest(),
        "cksum": str(cksum(content)),
    }


def cksum(content: bytes) -> int:
    """The CRC that the program cksum prints: zlib's polynomial, most significant bit first, the length appended.

    Source: POSIX.1-2017, cksum.
    """
    length, size = bytearray(), len(content)
    while size:
        length.append(size & 0xFF)
        size >>= 8
    mirrored = zlib.crc32((content + length).translate(_REVERSED), 0xFFFFFFFF)
    return int(f"{mirrored:032b}"[::-1], 2)
