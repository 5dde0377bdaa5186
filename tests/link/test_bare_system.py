"""The bench program where there is nothing but itself: no /proc, no /tmp, no libraries, no environment, nowhere to write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgevision import target as targets
from edgevision.link import elf
from edgevision.pipeline import Options, compile_model
from tests.pages import save_model

TARGETS = ["x86_64", pytest.param("arm64", marks=pytest.mark.qemu("arm64"))]


def bare(command: list[str], root: Path) -> subprocess.CompletedProcess[str]:
    """Run in ``root`` as if that were the whole file system, as any user who may make user namespaces."""
    if os.geteuid() != 0 and subprocess.run(["unshare", "-r", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system of its own for a process here: neither root nor user namespaces")
    words = [*([] if os.geteuid() == 0 else ["unshare", "-r"]), "chroot", str(root), *command]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}  # where chroot is
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", TARGETS)
def test_it_measures_with_nothing_around_it(name: str, tmp_path: Path) -> None:
    save_model(tmp_path / "model.onnx")
    options = Options(output=tmp_path / "out", input_shapes={"image": (1, 3, 32, 32)}, measure=False)
    artifact = compile_model(str(tmp_path / "model.onnx"), (name,), options).outcomes[0].artifact
    assert artifact.bench is not None
    assert artifact.bench.stat().st_size < artifact.weight_bytes + 1_000_000
    assert not elf.read(artifact.bench).needed

    root, command = tmp_path / "root", ["/bench", "--runs", "3", "--profile", "--threads", "2"]
    root.mkdir()
    shutil.copy(artifact.bench, root / "bench")
    emulator = targets.load(name).emulator
    if emulator:
        shutil.copy(str(shutil.which(emulator)), root / "emulator")
        command = ["/emulator", *command]
    root.chmod(0o555)
    ran = bare(command, root)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert len(said["samples_ns"]) == 3 and min(said["samples_ns"]) > 0 and len(said["steps"]) == len(artifact.steps)
    assert said["peak_rss_bytes"] is None and said["waited_ns"] == [], "only /proc tells these"
