"""What runs on a device runs in every shell that devices have, with as few programs as they have."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgevision.measure.telemetry import probe
from edgevision.measure.transport import LostDeviceError
from tests.measure.boards import QUICK, board

NEEDED = ("cat", "chmod", "date", "grep", "ls", "mkdir", "mv", "rm", "sleep", "touch", "uname", "wc")
USEFUL = ("df", "nproc", "setsid", "sha256sum", "tail")
TOOLS = (*NEEDED, *USEFUL)

DEVICES = {
    "dash": ("dash", TOOLS),
    "bash": ("bash", TOOLS),
    "mksh, Android's": ("mksh", TOOLS),
    "busybox": ("busybox", TOOLS),
    "bare busybox": ("busybox", (*NEEDED, "md5sum")),
    "bare mksh": ("mksh", (*NEEDED, "cksum")),
}


def programs(folder: Path, shell: str, tools: tuple[str, ...]) -> Path:
    """A folder of programs: all that the device has."""
    folder.mkdir()
    origin = shutil.which(shell)
    if origin is None:
        pytest.skip(f"{shell} not installed (apt-get install {shell})")
    (folder / "sh").symlink_to(origin)
    for tool in dict.fromkeys(tools):
        (folder / tool).symlink_to(origin if shell == "busybox" else str(shutil.which(tool)))
    return folder


@pytest.mark.parametrize(("shell", "tools"), DEVICES.values(), ids=DEVICES)
def test_a_session_in_this_shell(shell: str, tools: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(100_000))
    monkeypatch.setenv("PATH", str(programs(tmp_path / "bin", shell, tools)))
    with board("local", tmp_path) as device, device.transport(QUICK).open() as workspace:
        there = Path(workspace.push(file))
        assert there.read_bytes() == file.read_bytes() and workspace.push(file) == str(there)
        ran = workspace.run(["sh", "-c", "cat; echo $0 >&2; echo x >out; exit 7"], timeout_s=20, text="in")
        assert (ran.status, ran.stdout, ran.stderr) == (7, "in", "sh\n")
        workspace.pull("out", tmp_path / "out")
        with pytest.raises(LostDeviceError, match="timed out after 1 s"):
            workspace.run(["sh", "-c", "sleep 306 & sleep 307"], timeout_s=1)
        assert not device.processes("sleep\x0030")
        found = probe(workspace, "bare")
        assert found.kernel.startswith("Linux") and found.cores >= 1 and found.telemetry.memory_bytes
        assert (found.free_bytes is not None) == ("df" in tools)
        workspace.run(["sh", "-c", "sleep 308 & "], timeout_s=20)
    assert (tmp_path / "out").read_text() == "x\n" and device.is_clean(), device.left()


@pytest.mark.parametrize(
    ("tools", "what"), [(("cat", "sha256sum"), "no chmod, grep, ls"), (NEEDED, "no sha256sum")], ids=["grep", "digest"]
)
def test_a_device_without_what_is_needed_is_refused(
    tools: tuple[str, ...], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(programs(tmp_path / "bin", "dash", (*tools, "mkdir"))))
    with board("local", tmp_path) as device, pytest.raises(LostDeviceError, match=what), device.transport(QUICK).open():
        pass


def test_the_scripts_are_posix() -> None:
    shell = shutil.which("dash") or "sh"
    for script in Path("edgevision/measure").glob("*.sh"):
        subprocess.run([shell, "-n", script], check=True)
