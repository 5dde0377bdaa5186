"""The phones' and boards' targets: their kernels on the device here, their libraries under qemu on the fake driver."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import onnx
import pytest

from edgevision import target
from edgevision.costing import cost
from edgevision.errors import CpuOnlyError
from edgevision.link import elf
from edgevision.measure.emulator import BIONIC_LIBRARIES
from edgevision.pipeline import Options, compile_model, tune_model
from tests.opencl import networks
from tests.opencl.test_sessions import counted

HOSTS = ("opencl-adreno", "opencl-mali", "opencl-adreno-linux", "opencl-mali-linux")


@pytest.mark.qemu("arm64")
@pytest.mark.parametrize("name", ["opencl-mali", "opencl-adreno-linux"])
def test_a_hundred_sessions_leave_no_object_under_qemu(name, artifact, program, tmp_path):
    """Linux's library under glibc, Android's under glibc in bionic's place."""
    chosen, cycles = target.load(name), program(name)
    for stand_in, file in BIONIC_LIBRARIES.items():
        (tmp_path / stand_in).symlink_to(Path(chosen.sysroot, "lib", file))
    search = f"LD_LIBRARY_PATH={tmp_path}:{cycles.parent}:{chosen.sysroot}/lib"
    pages = ["-p", str(chosen.page_bytes)] if chosen.os == "android" else []
    emulator = [shutil.which(chosen.emulator), "-cpu", chosen.emulator_cpu, *pages, "-L", chosen.sysroot, "-E", search]
    done = subprocess.run([*emulator, cycles, artifact("small", name), "100"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    found = counted(done.stderr)
    assert found["contexts"] == (100, 100)
    assert all(made == freed for made, freed in found.values())


@pytest.mark.qemu("arm64")
def test_without_opencl_an_emulated_library_says_so(artifact, program, tmp_path):
    chosen, cycles = target.load("opencl-mali-linux"), program("opencl-mali-linux")
    alone = tmp_path / "cycles"
    shutil.copy(cycles, alone)
    emulator = [shutil.which(chosen.emulator), "-cpu", chosen.emulator_cpu, "-L", chosen.sysroot]
    done = subprocess.run([*emulator, alone, artifact("small", chosen.name), "1"], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("create: 6: there is no OpenCL here: libOpenCL.so.1 cannot be opened")


def test_an_android_library_passes_the_gate(artifact):
    """`link` holds every library against it; this is what it saw."""
    library = elf.read(artifact("small", "opencl-mali"))
    assert set(library.needed) <= {"libc.so", "libm.so", "libdl.so"}
    assert {alignment for kind, _, alignment in library.segments if kind == "PT_LOAD"} == {16384}
    assert {"DT_HASH", "DT_GNU_HASH"} <= library.tags


@pytest.mark.parametrize("name", ["opencl-mali"])
def test_kernels_for_a_phone_compute_the_network(name, pocl, tmp_path):
    onnx.save(networks.small(), tmp_path / "small.onnx")
    result = compile_model(tmp_path / "small.onnx", (name,), Options(output=tmp_path / "out"))
    record = result.outcomes[0].verification
    assert record.how == "host-build"
    assert record.max_error < 1e-5
    assert result.outcomes[0].latency is None


@pytest.mark.parametrize("name", HOSTS)
def test_a_work_item_keeps_what_sixteen_vectors_of_four_hold(name):
    chosen = target.load(name)
    assert (chosen.kind, chosen.arch, chosen.vector_bits) == ("opencl", "aarch64", 128)
    assert chosen.os == ("linux" if name.endswith("-linux") else "android")


def test_what_is_for_cpus_is_refused(tmp_path):
    onnx.save(networks.tiny(), tmp_path / "tiny.onnx")
    with pytest.raises(CpuOnlyError, match="`edgevision tune` is for CPUs; the kernels of target opencl run on opencl devices"):
        tune_model(tmp_path / "tiny.onnx", "opencl")
    with pytest.raises(CpuOnlyError, match="--tune is for CPUs"):
        compile_model(tmp_path / "tiny.onnx", ("opencl",), Options(output=tmp_path / "out", tune=1))
    with pytest.raises(CpuOnlyError, match="`edgevision cost` is for CPUs") as refusal:
        cost(tmp_path / "tiny.onnx", "opencl-mali-linux")
    assert refusal.value.exit_code == 3
