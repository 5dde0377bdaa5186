"""`edgevision devices`: which devices there are, what they are, and one more of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgevision.device_file import DeviceEntry
    from edgevision.telemetry import Probe

DEVICES_FILE = click.option(
    "--devices", "devices_file", type=click.Path(path_type=Path), metavar="FILE",
    help="The file that lists devices [default: $EDGEVISION_DEVICES, ./devices.toml, ~/.config/edgevision/devices.toml].",
)  # fmt: skip
DEVICE_EXIT = 4


@click.group()
def devices() -> None:
    """Devices that artifacts run on, by ssh, adb, under qemu or here (docs/devices.md)."""


@devices.command(name="list")
@DEVICES_FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of a table.")
def list_(devices_file: Path | None, as_json: bool) -> None:
    """The devices that are listed; nothing is connected."""
    from edgevision.devices import entries
    from edgevision.report import console
    from edgevision.report.device import devices_report, devices_view
    from edgevision.report.json import dumps

    known = entries(devices_file)
    if as_json:
        click.echo(dumps(devices_report(known)), nl=False)
        return
    console.stdout().print(devices_view(known))


@devices.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@DEVICES_FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md) instead of tables.")
def probe(names: tuple[str, ...], devices_file: Path | None, as_json: bool) -> int:
    """Connect to devices NAME (all that are listed) and say what each is and whether a time from it can be trusted."""
    from edgevision.devices import each, entries, entry
    from edgevision.errors import EdgevisionError
    from edgevision.report import console
    from edgevision.report.device import probe_view, probes_report
    from edgevision.report.json import dumps

    known = tuple(entry(name, devices_file) for name in dict.fromkeys(names)) or entries(devices_file)
    found = dict(zip([device.name for device in known], each(known, _probe), strict=True))
    if as_json:
        click.echo(dumps(probes_report(found)), nl=False)
    for result in found.values():
        if isinstance(result, EdgevisionError):
            click.echo(f"edgevision: {result}", err=True)
        elif not as_json:
            console.stdout().print(probe_view(result))
    return max((result.exit_code for result in found.values() if isinstance(result, EdgevisionError)), default=0)


def _probe(device: DeviceEntry) -> Probe:
    from edgevision.devices import transport
    from edgevision.measure.telemetry import probe as look_at

    with transport(device, told=_tell).open() as workspace:
        return look_at(workspace, device.name)


def _tell(text: str) -> None:
    click.echo(text, err=True)


@devices.command()
@click.argument("name")
@click.option("--transport", type=click.Choice(("local", "emulator", "ssh", "adb")), required=True)
@click.option("--address", default="", help="Host name or address, for ssh or adb over TCP.")
@click.option("--port", type=click.IntRange(1, 65535), default=None)
@click.option("--user", default="", help="Who logs in, for ssh.")
@click.option("--jump", default="", help="Hosts on the way, as for ssh -J.")
@click.option("--identity", default="", metavar="FILE", help="Private key, for ssh.")
@click.option("--ssh-config", default="", metavar="FILE", help="In the place of ~/.ssh/config.")
@click.option("--serial", default="", help="As `adb devices` lists it.")
@click.option("--target", default="", help="What is compiled for it.")
@click.option("--folder", default="", help="Where files go there.")
@click.option("--label", "labels", multiple=True, help="May be repeated.")
@DEVICES_FILE
def add(
    name: str, transport: str, address: str, port: int | None, user: str, jump: str, identity: str, ssh_config: str, serial: str,
    target: str, folder: str, labels: tuple[str, ...], devices_file: Path | None,
) -> None:  # fmt: skip
    """Write device NAME into the file that lists devices; the file is made where there is none."""
    import os

    from edgevision import device_file
    from edgevision.device_file import DeviceEntry
    from edgevision.target import load

    if target:
        load(target)
    named = devices_file or (Path(os.environ[device_file.VARIABLE]) if os.environ.get(device_file.VARIABLE) else None)
    path = named or device_file.find() or device_file.home()
    entry = DeviceEntry(
        name=name, transport=transport, address=address, port=port or 0, user=user, jump=jump, identity=identity,
        ssh_config=ssh_config, serial=serial, target=target, folder=folder, labels=labels,
    )  # fmt: skip
    device_file.write(path, device_file.added(path, entry))
    click.echo(f"{path}: device {name}; `edgevision devices probe {name}` connects to it")
