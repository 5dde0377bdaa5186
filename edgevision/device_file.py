"""The file that lists devices: which there are and how each is reached. Data only.

    [devices.pi5]
    transport = "ssh"
    address = "pi5.local"
    target = "arm64"
    cores = { big = [2, 3] }
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from edgevision.errors import InputError, UnknownNameError

VARIABLE = "EDGEVISION_DEVICES"
TRANSPORTS = ("local", "emulator", "ssh", "adb")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Cores = Mapping[str, tuple[int, ...]]
Texts = Mapping[str, str]


class DeviceFileError(InputError):
    """A file of devices that cannot be read, or an entry that describes none."""

    def __init__(self, path: Path | str, entry: str, reason: str) -> None:
        self.path, self.entry, self.reason = str(path), entry, reason
        super().__init__(f"{path}: {f'devices.{entry}: ' if entry else ''}{reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEntry:
    """``address``: what ssh or adb connects to, with ``port``; ``serial``: an adb device on USB. ``jump``: hosts that ssh goes
    through; ``identity``: a private key; ``ssh_config``: a file in the place of ~/.ssh/config. ``cores``: named sets of
    cores; ``environment``: variables of every command; ``folder``: where files go there; ``lock``: a folder there that
    says who uses it; ``target``: what is compiled for it. Fields are "", 0 or empty where the file is silent.
    """

    name: str
    transport: str
    address: str = ""
    port: int = 0
    user: str = ""
    jump: str = ""
    identity: str = ""
    ssh_config: str = ""
    serial: str = ""
    cores: Cores = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    environment: Texts = field(default_factory=dict)
    folder: str = ""
    lock: str = ""
    target: str = ""


_SSH = {"address", "port", "user", "jump", "identity", "ssh_config"}
_MEANT_FOR = {"local": set(), "emulator": {"target"}, "ssh": _SSH, "adb": {"address", "port", "serial"}}
_NEEDED = {"local": (), "emulator": ("target",), "ssh": ("address",), "adb": ()}
_FOR_ALL = {"transport", "cores", "labels", "environment", "folder", "lock", "target"}


def find(chosen: Path | None = None) -> Path | None:
    """The file ``chosen``, else $EDGEVISION_DEVICES, ./devices.toml, or ~/.config/edgevision/devices.toml: the first there is.

    Raises: DeviceFileError, when a file that was named is not there.
    """
    named = chosen or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        if not named.is_file():
            why = "no such file" if chosen else f"no such file; ${VARIABLE} names it"
            raise DeviceFileError(named, "", f"{why}; `edgevision devices add` writes one")
        return named
    return next((path for path in (Path("devices.toml"), home()) if path.is_file()), None)


def home() -> Path:
    """$XDG_CONFIG_HOME/edgevision/devices.toml, in ~/.config without that variable."""
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".config") / "edgevision" / "devices.toml"


def read(path: Path) -> tuple[DeviceEntry, ...]:
    """The devices of the file ``path``, in its order.

    Raises: DeviceFileError, UnknownNameError.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DeviceFileError(path, "", f"cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        twice = " (a name that stands there twice? each device needs its own)" if "twice" in str(error) else ""
        raise DeviceFileError(path, "", f"cannot be read as TOML: {error}{twice}") from error
    for key in table:
        if key != "devices":
            raise UnknownNameError(f"table in {path}", key, ("devices",))
    devices = table.get("devices", {})
    if not isinstance(devices, dict):
        raise DeviceFileError(path, "", "devices must be tables: [devices.NAME]")
    return tuple(_entry(path, name, fields_of) for name, fields_of in devices.items())


def check(path: Path | str, entry: DeviceEntry) -> None:
    """Raises: DeviceFileError, when what ``entry`` says does not go together."""
    if not NAME.fullmatch(entry.name):
        raise DeviceFileError(path, entry.name, "a name is made of letters, digits, '.', '_' and '-'")
    if entry.transport not in TRANSPORTS:
        raise UnknownNameError(f"transport of devices.{entry.name} in {path}", entry.transport, TRANSPORTS)
    given = {each.name for each in fields(entry) if each.name != "name" and getattr(entry, each.name)}
    foreign = sorted(given - _FOR_ALL - _MEANT_FOR[entry.transport])
    if foreign:
        raise DeviceFileError(path, entry.name, f"{foreign[0]!r} has no meaning for transport {entry.transport!r}; leave it out")
    for key in _NEEDED[entry.transport]:
        if key not in given:
            raise DeviceFileError(path, entry.name, f"transport {entry.transport!r} needs {key!r}")
    if entry.transport == "adb" and entry.address and entry.serial:
        raise DeviceFileError(path, entry.name, "'address' (TCP) and 'serial' (USB) exclude each other; leave one out")
    if not 0 <= entry.port <= 65535:
        raise DeviceFileError(path, entry.name, f"'port' must be 1 to 65535, not {entry.port}")
    for key in ("address", "user", "jump", "serial"):
        if getattr(entry, key).startswith("-") or re.search(r"\s", getattr(entry, key)):
            raise DeviceFileError(path, entry.name, f"{key!r} must neither begin with '-' nor hold blanks")


def added(path: Path, entry: DeviceEntry) -> str:
    """The text of ``path`` with ``entry`` at its end.

    Raises: DeviceFileError, when one of that name is there.
    """
    check(path, entry)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if path.exists() and entry.name in [each.name for each in read(path)]:
        raise DeviceFileError(path, entry.name, "is there already; choose another name or edit the file")
    lines = [f"[devices.{_key(entry.name)}]"]
    lines += [
        f"{each.name} = {_toml(getattr(entry, each.name))}"
        for each in fields(entry)
        if each.name != "name" and getattr(entry, each.name)
    ]
    return (before.rstrip("\n") + "\n\n" if before.strip() else "") + "\n".join(lines) + "\n"


def _entry(path: Path, name: str, table: object) -> DeviceEntry:
    if not isinstance(table, dict):
        raise DeviceFileError(path, name, "must be a table of fields, [devices.NAME]")
    kinds = get_type_hints(DeviceEntry)
    del kinds["name"]
    for key in table:
        if key not in kinds:
            raise UnknownNameError(f"field of devices.{name} in {path}", key, tuple(kinds))
    for each in fields(DeviceEntry):
        if each.name != "name" and each.default is MISSING and each.default_factory is MISSING and each.name not in table:
            raise DeviceFileError(path, name, f"field {each.name!r} is missing ({', '.join(TRANSPORTS)})")
    entry = DeviceEntry(name=name, **{key: _value(path, name, key, value, kinds[key]) for key, value in table.items()})
    check(path, entry)
    return entry


def _value(path: Path, name: str, key: str, value: Any, kind: object) -> Any:
    if kind in (str, int) and type(value) is kind:  # not isinstance: true is no number
        return value
    if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind == Texts and isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return value
    if kind == Cores and isinstance(value, dict) and all(map(_is_cores, value.values())):
        return {each: tuple(numbers) for each, numbers in value.items()}
    wanted = {
        str: "text", int: "a whole number", tuple[str, ...]: "a list of texts", Texts: "a table of texts",
        Cores: "a table of lists of core numbers, { big = [4, 5] }",
    }[kind]  # type: ignore[index]  # fmt: skip
    raise DeviceFileError(path, name, f"field {key!r} must be {wanted}, not {value!r}")


def _is_cores(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and item >= 0 for item in value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _toml(value: Any) -> str:
    """JSON's texts, numbers and lists are TOML's too; a table becomes an inline one."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def write(path: Path, text: str) -> None:
    """Raises: DeviceFileError, when the file cannot be written; then it is as it was."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DeviceFileError(path, "", f"cannot be written: {(error.strerror or str(error)).lower()}") from error
