"""Compile, push, run, time: over each transport, for x86-64 and for 64-bit ARM, as a user calls it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from edgevision import device_file
from edgevision.measure.reference import inputs_for
from edgevision.report.json import SCHEMA
from edgevision.report.manifest import artifact_of
from tests.cli.conftest import Command
from tests.measure.adb_phone import adb_phone, adb_server
from tests.measure.boards import ABSENT
from tests.measure.ssh_server import ssh_server
from tests.pages import save_model

TARGETS = ("x86_64", "arm64")
SOURCE = Path(__file__).parent.parent / "measure" / "foreign.c"
REACHED = {
    "x86_64": ("here", "board", "phone"),
    "arm64": ("pretend", "board", "phone"),
}
CASES = tuple(
    pytest.param(target, name, id=f"{target}-{name}", marks=pytest.mark.skipif(bool(why), reason=why))
    for target, names in REACHED.items()
    for name in names
    for why in (ABSENT[{"board": "ssh", "phone": "adb"}.get(name, "local")],)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """``file`` lists the devices; a target's library is in ``libraries``."""

    file: Path
    libraries: Mapping[str, Path]


def emulation(folder: Path) -> Mapping[str, str]:
    """Variables with which a shell starts ARM programs too."""
    qemu = shutil.which("qemu-aarch64-static") or "/nowhere"
    library = folder / "foreign.so"
    subprocess.run(["gcc", "-shared", "-fPIC", f'-DQEMU="{qemu}"', "-o", library, SOURCE, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    save_model(folder / "model.onnx")
    words = [word for target in TARGETS for word in ("--target", target)]
    subprocess.run(
        ["edgevision", "compile", "--quiet", "--no-measure", "--no-verify", *words, "-o", "out", "model.onnx"],
        cwd=folder, check=True, capture_output=True, env={**os.environ, "PATH": path_with_us()},
    )  # fmt: skip
    variables = emulation(folder) if "arm64" in TARGETS else {}
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        lines = [local("here", "local", folder), local("pretend", "emulator", folder) + 'target = "arm64"\n']
        if not ABSENT["ssh"]:
            server = stack.enter_context(ssh_server(folder / "server", variables))
            lines.append(
                f'[devices.board]\ntransport = "ssh"\naddress = "board"\nssh_config = "{server.config}"\n'
                f'folder = "{folder}/board"\nlock = "{folder}/board/lock"\nlabels = ["far"]\ncores = {{ first = [0] }}\n'
            )
        if not ABSENT["adb"]:
            for key, value in stack.enter_context(adb_server(folder / "home")).items():
                patch.setenv(key, value)
            phone = stack.enter_context(adb_phone(folder / "phone", variables))
            lines.append(
                f'[devices.phone]\ntransport = "adb"\naddress = "127.0.0.1"\nport = {phone.port}\nfolder = "{folder}/there"\n'
                'labels = ["far"]\n'
            )
        file = folder / "devices.toml"
        file.write_text("\n".join(lines))
        patch.setenv(device_file.VARIABLE, str(file))
        yield Desk(file=file, libraries={t: folder / "out" / f"model.{t}" / "model.so" for t in TARGETS})


def path_with_us() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def local(name: str, transport: str, folder: Path) -> str:
    return f'[devices.{name}]\ntransport = "{transport}"\nfolder = "{folder}/{name}"\nlock = "{folder}/{name}/lock"\n'


def fits(document: Mapping[str, object]) -> None:
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)


@pytest.mark.qemu
@pytest.mark.parametrize(("target", "name"), CASES)
def test_outputs_from_a_device_are_this_machines(target: str, name: str, desk: Desk, command: Command, tmp_path: Path) -> None:
    artifact = artifact_of(desk.libraries[target])
    [inputs] = inputs_for(artifact.inputs, seed=3, count=1)
    np.save(tmp_path / "in.npy", inputs[0])
    command("run", desk.libraries[target], "-i", tmp_path / "in.npy", "-o", tmp_path / "there.npy", "--device", name)
    command("run", desk.libraries["x86_64"], "-i", tmp_path / "in.npy", "-o", tmp_path / "here.npy", "--device", "here")
    here, there = np.load(tmp_path / "here.npy"), np.load(tmp_path / "there.npy")
    assert np.abs(here).max() > 0 and np.abs(here - there).max() <= 1e-5 * np.abs(here).max()


@pytest.mark.qemu
@pytest.mark.parametrize(("target", "name"), [case for case in CASES if "pretend" not in case.values])
def test_a_figure_from_a_device(target: str, name: str, desk: Desk, command: Command) -> None:
    library = desk.libraries[target]
    out, progress = command("bench", library, "--device", name, "--threads", 1, "--seconds", 0.5, "--json")
    document = json.loads(out)
    fits(document)
    latency, around = document["latency"], document["measurement"]
    assert latency["how"] == "measured" and latency["median_ms"] > 0 and len(latency["samples_ms"]) == latency["samples"]
    assert latency["device"]["name"] == name and latency["threads"] == 1
    assert [step["name"] for step in latency["steps"]] == [step.name for step in artifact_of(library).steps]
    assert around["target"] == target and around["library_sha256"] == artifact_of(library).sha256
    assert around["starts"] >= 1 and len(around["telemetry"]) == around["starts"] + 1
    assert f"{name}: warming up" in progress


@pytest.mark.qemu
@pytest.mark.large
@pytest.mark.parametrize(("target", "name"), [case for case in CASES if "pretend" not in case.values])
def test_the_gate_over_a_device(target: str, name: str, desk: Desk, command: Command) -> None:
    """An artifact beside itself, with room for any noise."""
    library = desk.libraries[target]
    out, _ = command("check", "--baseline", library, library, "--device", name, "--allow", "100%", "--limit", 30)
    assert "PASS" in out


def test_tables(desk: Desk, command: Command) -> None:
    out, _ = command("bench", desk.libraries["x86_64"], "--device", "here", "--seconds", 0.2, "--top", 2)
    assert "cold start" in out and "the 2 longest of 6 operators" in out
    out, _ = command("devices", "list")
    assert "pretend" in out and "emulator" in out and "this machine" in out
    out, _ = command("devices", "probe", "here")
    assert f"({platform.machine()})" in out and "a time from it" in out


def test_documents(desk: Desk, command: Command) -> None:
    for words in (("devices", "list"), ("devices", "probe", "here", "pretend")):
        fits(json.loads(command(*words, "--json")[0]))


def test_an_emulator_gives_no_time(desk: Desk, command: Command) -> None:
    out, err = command("bench", desk.libraries["arm64"], "--device", "pretend", status=4)
    assert out == "" and "device pretend is emulated" in err and "`edgevision cost`" in err


def test_an_artifact_for_another_device(desk: Desk, command: Command) -> None:
    _, err = command("bench", desk.libraries["arm64"], "--device", "here", status=4)
    assert "it is compiled for target arm64; `edgevision devices probe here` names the one that fits" in err


def test_several_devices_and_one_that_is_gone(desk: Desk, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    gone = '\n[devices.gone]\ntransport = "ssh"\naddress = "127.0.0.1"\nport = 1\nlabels = ["all"]\n'
    file.write_text(local("here", "local", tmp_path) + 'labels = ["all"]\n' + gone)
    words = ("bench", desk.libraries["x86_64"], "--label", "all", "--devices", file, "--seconds", 0.2)
    out, err = command(*words, "--json", status=4)
    document = json.loads(out)
    fits(document)
    assert [each["name"] for each in document["devices"]] == ["here"]
    assert [(each["name"], each["cause"]) for each in document["lost"]] == [("gone", "connection refused")]
    assert "device gone: connection refused while connecting" in err
    out, _ = command("devices", "probe", "--devices", file, status=4)
    assert "here" in out


def test_cores(desk: Desk, command: Command) -> None:
    out, _ = command("bench", desk.libraries["x86_64"], "--device", "here", "--cores", "0", "--seconds", 0.2, "--json")
    document = json.loads(out)
    assert document["measurement"]["cores"] == [0] and document["latency"]["threads"] == 1
    _, err = command("bench", desk.libraries["x86_64"], "--device", "here", "--cores", "big", status=2)
    assert "device here names no sets of cores" in err
    _, err = command("bench", desk.libraries["x86_64"], "--cores", "0", status=2)
    assert "--cores needs --device" in err


def test_add_writes_what_list_reads(desk: Desk, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "devices.toml"
    words = ("--transport", "ssh", "--address", "pi.local", "--port", 2222, "--user", "pi", "--target", "arm64", "--label", "a")
    out, _ = command("devices", "add", "pi", *words, "--devices", file)
    assert "`edgevision devices probe pi` connects to it" in out
    [_, pi] = json.loads(command("devices", "list", "--json", "--devices", file)[0])["devices"]
    assert (pi["where"], pi["target"], pi["labels"]) == ("pi@pi.local:2222", "arm64", ["a"])
    _, err = command("devices", "add", "pi", *words, "--devices", file, status=2)
    assert "is there already" in err
    _, err = command("devices", "add", "x", "--transport", "ssh", "--devices", file, status=2)
    assert "needs 'address'" in err
    _, err = command("devices", "add", "x", "--transport", "local", "--target", "arm46", "--devices", file, status=2)
    assert "unknown target 'arm46'" in err


def test_a_wrong_number_of_arrays(desk: Desk, command: Command, tmp_path: Path) -> None:
    _, err = command("run", desk.libraries["x86_64"], "--device", "here", status=2)
    assert "takes 1 inputs" in err


def test_a_bench_of_another_compile_is_not_sent(desk: Desk, command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "model.x86_64"
    shutil.copytree(desk.libraries["x86_64"].parent, folder)
    shutil.copy(desk.libraries["arm64"].with_name("model-bench"), folder / "model-bench")
    _, err = command("bench", folder / "model.so", "--device", "here", status=2)
    assert "model-bench is not the one that was compiled with" in err
    (folder / "model-bench").unlink()
    _, err = command("bench", folder / "model.so", "--device", "here", status=2)
    assert "model-bench: no such file" in err
