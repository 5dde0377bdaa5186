"""A target's TOML file as a table of checked types: what the file says, on top of what its base says."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from edgevision import host
from edgevision.errors import TargetFileError, UnknownNameError

# What `field = "native"` stands for.
_NATIVE: dict[str, Callable[[], object]] = {
    "cpu": lambda: _host_cpu().cpu,
    "features": lambda: list(_host_cpu().features),
    "vector_bits": lambda: _host_cpu().vector_bits,
    "vector_registers": lambda: _host_cpu().vector_registers,
    "cores": host.cores,
    "l2_bytes": host.l2_bytes,
}


def read(path: Path, directory: Path, record: type) -> dict[str, Any]:
    """The fields of ``record`` (all but its name) from the file at ``path``.

    ``base`` in the file names a file in ``directory`` whose fields hold where this file is silent, or is a table from
    the host's architecture to such a name. "native", as the value of a field that describes a CPU, is this machine's.
    Raises: TargetFileError, UnknownNameError, UnsupportedError.
    """
    table = _with_base(path, directory)
    table.setdefault("runner_zig_target", table.get("zig_target"))
    for each in fields(record):
        if each.default is not MISSING:
            table.setdefault(each.name, each.default)
    kinds = get_type_hints(record)
    del kinds["name"]
    for key in table:
        if key not in kinds:
            raise UnknownNameError(f"field in {path}", key, tuple(kinds))
    missing = [key for key in kinds if table.get(key) is None]
    if missing:
        raise TargetFileError(path, f"field {missing[0]!r} is missing")
    return {key: _value(path, key, table[key], kind) for key, kind in kinds.items()}


def _with_base(path: Path, directory: Path) -> dict[str, Any]:
    table = _parsed(path)
    if "base" not in table:
        return table
    base = table.pop("base")
    if isinstance(base, dict):
        if host.arch() not in base:
            raise TargetFileError(path, f"has no base for {host.arch()} machines, only for {', '.join(base)}")
        base = base[host.arch()]
    known = [file.stem for file in sorted(directory.glob("*.toml")) if file.resolve() != path.resolve()]
    if base not in known:
        raise UnknownNameError(f"base in {path}", str(base), known)
    return _with_base(directory / f"{base}.toml", directory) | table


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TargetFileError(path, "no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TargetFileError(path, f"cannot be read as TOML: {error}") from error


def _value(path: Path, key: str, value: object, kind: object) -> object:
    if value == "native" and key in _NATIVE:
        value = _NATIVE[key]()
    if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if type(value) is kind:  # not isinstance: true is no number
        return value
    wanted = {str: "text", int: "a whole number"}.get(kind, "a list of texts")  # type: ignore[call-overload]
    raise TargetFileError(path, f"field {key!r} must be {wanted}, not {value!r}")


def _host_cpu() -> host.HostCpu:
    return host.cpu(host.cpuinfo(), host.arch())
