"""The program in which a tuner runs its candidates: native/trial.c, linked once and kept in the cache."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from edgevision import cache
from edgevision.link import zig
from edgevision.link.toolchain import NATIVE
from edgevision.target import Target

SOURCES = ("trial.c", "threads.c")
INCLUDED = ("tvm_calls.c",)


def link_trial(target: Target) -> Path:
    """The program, for a target that this machine is. Kept under a hash of all that goes into it.

    Raises: CompilerError, ToolchainError.
    """
    arguments = ["cc", "-target", target.runner_zig_target, "-O2", "-std=gnu11", "-fno-sanitize=all", "-s"]
    digest = hashlib.sha256("\0".join((zig.version(), *arguments)).encode())
    for source in (*(NATIVE / name for name in (*SOURCES, *INCLUDED)), *sorted(NATIVE.glob("*.h"))):
        digest.update(source.read_bytes())
    program = cache.directory() / "runner" / f"trial-{target.runner_zig_target}-{digest.hexdigest()[:16]}"
    if not program.is_file():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            linked = Path(folder) / program.name
            arguments += [f"-I{NATIVE}", *(str(NATIVE / name) for name in SOURCES), "-lm", "-ldl", "-lpthread"]
            zig.run([*arguments, "-o", linked], purpose="linking the trial program", scratch=Path(folder) / "zig")
            linked.replace(program)
    return program
