"""The programs in which a tuner runs its candidates: native/trial.c, which opens them, or is linked with them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgevision import cache
from edgevision.link import codegen, zig
from edgevision.link.toolchain import NATIVE, build_libc
from edgevision.target import Target

SOURCES = ("trial.c", "threads.c")
INCLUDED = ("tvm_calls.c",)
OPTIONS = ("-O2", "-std=gnu11", "-fno-sanitize=all")
LIBRARIES = ("-lm", "-ldl", "-lpthread")


def link_trial(target: Target) -> Path:
    """The program that opens candidates, for a target that this machine is. Kept under a hash of all that goes into it.

    Raises: CompilerError, ToolchainError.
    """
    arguments = ["cc", "-target", target.runner_zig_target, *OPTIONS, "-s"]
    return _kept("trial", arguments, target.runner_zig_target, (*map(str, _sources()), *LIBRARIES))


def link_trials(target: Target, objects: Mapping[str, Path], output: Path) -> None:
    """A static executable at ``output`` that holds candidates, for any Linux of the target's architecture, Android included.

    ``objects``: the name of a kernel, by which it was compiled (`codegen.compile_function`) -> its object file. Their places are
    the numbers that the program knows them by. Raises: CompilerError, ToolchainError.
    """
    static = ["cc", "-target", target.bench_zig_target, *OPTIONS, "-DEV_TRIAL_STATIC", "-r"]
    build_libc(target)
    runtime = _kept("trials", static, f"{target.bench_zig_target}.o", tuple(map(str, _sources())))
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        scratch = Path(folder)
        table, linked = scratch / "table.c", scratch / output.name
        table.write_text(_table(list(objects)))
        arguments: list[str | Path] = ["cc", "-target", target.bench_zig_target, *OPTIONS, "-s", "-static", f"-I{NATIVE}"]
        arguments += [table, runtime, *objects.values(), *LIBRARIES, "-o", linked]
        zig.run(arguments, purpose=f"linking {len(objects)} candidates for {target.name}", scratch=scratch / "zig")
        linked.replace(output)


def _table(names: Sequence[str]) -> str:
    symbols = [codegen.SYMBOL_PREFIX + name for name in names]
    declared = "".join(f"int32_t {symbol}(void *, ev_any *, int32_t, ev_any *);\n" for symbol in symbols)
    return (
        f'#include "plan.h"\n{declared}'
        f"const ev_kernel trial_kernels[] = {{{', '.join(symbols)}}};\nconst int trial_n_kernels = {len(symbols)};\n"
    )


def _sources() -> list[Path]:
    return [NATIVE / name for name in SOURCES]


def _kept(what: str, arguments: Sequence[str], name: str, inputs: Sequence[str]) -> Path:
    """What zig makes of ``inputs``, in the cache."""
    digest = hashlib.sha256("\0".join((zig.version(), *arguments)).encode())
    for source in (*_sources(), *(NATIVE / each for each in INCLUDED), *sorted(NATIVE.glob("*.h"))):
        digest.update(source.read_bytes())
    program = cache.directory() / "runner" / f"{what}-{digest.hexdigest()[:16]}-{name}"
    if not program.is_file():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as folder:
            linked = Path(folder) / program.name
            command = [*arguments, f"-I{NATIVE}", *inputs, "-o", str(linked)]
            zig.run(command, purpose="linking the trial program", scratch=Path(folder) / "zig")
            linked.replace(program)
    return program
