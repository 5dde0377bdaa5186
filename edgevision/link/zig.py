"""zig: the C compiler and linker for every target, found and run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgevision import cache
from edgevision.errors import CompilerError, ToolchainError

# clang reads these and would mix the user's headers and libraries into the artifact.
_FOREIGN = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "SDKROOT", "CCC_OVERRIDE_OPTIONS")


def executable() -> Path:
    """The zig to run: $EDGEVISION_ZIG, else that of the PyPI package ziglang, else the first on $PATH.

    Raises: ToolchainError where there is none.
    """
    chosen = os.environ.get("EDGEVISION_ZIG")
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise ToolchainError(
                f"$EDGEVISION_ZIG is {chosen!r}, which is no program; unset it or name a zig executable"
            )
        return Path(found)
    package = importlib.util.find_spec("ziglang")
    for folder in (package.submodule_search_locations or ()) if package else ():
        program = Path(folder) / "zig"
        if os.access(program, os.X_OK):
            return program
    found = shutil.which("zig")
    if found is None:
        raise ToolchainError(
            "zig, the C compiler and linker, is not installed; `pip install ziglang` or set $EDGEVISION_ZIG"
        )
    return Path(found)


def version() -> str:
    """Of the zig that `executable` finds: "0.17.1"."""
    return run(["version"], purpose="asking for its version").strip()


def run(arguments: Sequence[str | Path], *, purpose: str, scratch: Path | None = None) -> str:
    """zig with ``arguments``; what it prints to stdout.

    Objects made on the way go to ``scratch`` where given, so that no model's weights pile up in zig's cache; the C
    libraries that zig builds stay in its cache.
    Raises: ToolchainError without a zig that starts; CompilerError when it fails ``purpose``, a participle phrase.
    """
    program = executable()
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    environment["ZIG_GLOBAL_CACHE_DIR"] = str(cache.zig_directory())
    if scratch is not None:
        environment["ZIG_LOCAL_CACHE_DIR"] = str(scratch)
    command = [str(program), *map(str, arguments)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except OSError as error:
        raise ToolchainError(
            f"{program} cannot be started: {error.strerror}; `pip install --force-reinstall ziglang`"
        ) from error
    if done.returncode != 0:
        raise CompilerError(purpose, done.returncode, done.stderr)
    return done.stdout
