"""An artifact's sessions on a driver that checks every call and fails where it is told to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgevision import target
from edgevision.errors import VerificationError
from edgevision.link import elf, zig
from edgevision.link.cuda import RUNTIME
from edgevision.link.toolchain import NATIVE
from edgevision.measure import verify
from edgevision.measure.local import LocalDevice
from tests.opencl.test_sessions import counted, grown

REFUSED = {
    "cuDriverGetVersion": (6, "the driver does not tell its version"),
    "cuInit": (6, "CUDA's driver is here, but does not start"),
    "cuDeviceGetCount": (6, "CUDA's driver is here, but offers no device"),
    "cuDeviceGet": (6, "CUDA's driver is here, but offers no device"),
    "cuDeviceGetAttribute": (6, "CUDA's driver is here, but offers no device"),
    "cuDevicePrimaryCtxRetain": (6, "no context on the device"),
    "cuCtxPushCurrent_v2": (6, "the context is lost"),
    "cuStreamCreate": (6, "no stream"),
    "cuModuleLoadDataEx": (6, "the driver refused the kernels: CUDA_ERROR_LAUNCH_FAILED (719)"),
    "cuMemAlloc_v2": (6, "no memory for activations"),
    "cuMemHostAlloc": (6, "no pinned memory for inputs and outputs"),
    "cuMemcpyHtoDAsync_v2": (6, "the device did not take the weights"),
    "cuStreamSynchronize": (6, "the device did not take the weights"),
    "cuModuleGetFunction": (6, "no kernel k0_"),
}
"""What `create` says where the first call of a function fails."""

WHILE_RUNNING = {
    "cuCtxPushCurrent_v2:2": "the device is lost",
    "cuGraphLaunch:1": "the device did not take the run",
    "cuStreamSynchronize:2": "the device stopped",
}
PIECE_BY_PIECE = {
    "cuEventRecord:1": "the device records no time",
    "cuMemcpyHtoDAsync_v2:3": "the device did not take input image",
    "cuLaunchKernel:5": "the device did not take step ",
    "cuMemcpyDtoHAsync_v2:2": "the device did not give output ",
    "cuEventElapsedTime:1": "the device gave no times",
}
"""Of a timed run of `tiny`, which is queued without a graph; capturing the graph made the calls before."""


def with_another_runtime(pieces: Path, folder: Path, before: str, after: str) -> Path:
    """The library of ``pieces`` with ``after`` in the place of ``before`` in cuda_session.c and what it ends with."""
    shared = '#include "device_session.h"'
    source = (NATIVE / "cuda_session.c").read_text().replace(shared, (NATIVE / "device_session.h").read_text())
    assert source.count(before) == 1
    (folder / "cuda_session.c").write_text(source.replace(before, after))
    others = [NATIVE / part for part in (*RUNTIME, "entry.c") if part != "cuda_session.c"]
    made = sorted(pieces.rglob("*.c")) + sorted(pieces.rglob("*.s"))
    words = ["cc", "-shared", "-fPIC", "-O1", "-w", "-fno-sanitize=all", f"-I{NATIVE}", folder / "cuda_session.c", *others, *made]
    zig.run([*words, "-ldl", "-o", folder / "broken.so"], purpose="building a broken runtime", scratch=folder / "zig")
    return folder / "broken.so"


def nothing_is_left(stderr: str) -> bool:
    return all(made == freed for made, freed in counted(stderr).values())


def test_a_hundred_sessions_leave_no_object(built, on_fake):
    done = on_fake(built("small").library, 100)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    found = counted(done.stderr)
    assert nothing_is_left(done.stderr)
    assert found["contexts"] == found["modules"] == found["streams"] == found["pinned"] == found["execs"] == (100, 100)
    assert found["buffers"] == (200, 200)
    assert found["events"] == (0, 0)
    assert "graph launches: 100\n" in done.stderr


@pytest.mark.parametrize("words", [(), ("profile",)], ids=["plain", "timed"])
def test_a_session_gives_back_every_byte(words, built, on_fake):
    """Of a thousand sessions; the C library keeps some freed pieces of each size, which thirty sessions use up."""
    done = on_fake(built("tiny").library, 1000, *words, EV_SETTLE="30", EV_FAKE_FREES="1")
    assert done.returncode == 0, done.stderr
    assert grown(done.stdout)[1] < 1000


def test_a_session_that_is_kept_is_noticed(built, on_fake, tmp_path):
    released = "    free(session);\n"
    library = with_another_runtime(built("tiny").pieces, tmp_path, f"{released}}}\n\nstatic int run(", "}\n\nstatic int run(")
    assert grown(on_fake(library, 100, EV_SETTLE="30", EV_FAKE_FREES="1").stdout)[1] > 10_000


def test_a_timed_run_has_an_event_around_every_step(built, on_fake):
    done = on_fake(built("small").library, 2, "profile")
    assert done.returncode == 0, done.stderr
    steps = len(built("small").artifact.steps)
    assert counted(done.stderr)["events"] == (2 * (steps + 1), 2 * (steps + 1))
    assert done.stdout == f"{steps} steps, the first 2500 ns\ndone\n"
    assert "graph launches: 0\n" in done.stderr


@pytest.mark.parametrize("lasting", ["", "L"], ids=["once", "from then on"])
@pytest.mark.parametrize("function", REFUSED)
def test_what_create_is_refused_is_said_and_leaves_nothing(function, lasting, built, on_fake):
    status, text = REFUSED[function]
    done = on_fake(built("tiny").library, 2, fails=f"{lasting}{function}:1:719")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"create: {status}: {text}")
    assert "CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure\n" in done.stdout
    assert nothing_is_left(done.stderr)


@pytest.mark.parametrize("call", ["cuMemAlloc_v2:1", "cuMemAlloc_v2:2", "cuMemHostAlloc:1", "cuModuleLoadDataEx:1"])
def test_memory_that_is_not_there_is_another_error(call, built, on_fake):
    done = on_fake(built("tiny").library, 2, fails=f"{call}:2")
    assert re.match(r"create: 3: .*CUDA_ERROR_OUT_OF_MEMORY \(2\): out of memory\n", done.stdout)
    assert nothing_is_left(done.stderr)


@pytest.mark.parametrize("lasting", ["", "L"], ids=["once", "from then on"])
@pytest.mark.parametrize("call", [*WHILE_RUNNING, *PIECE_BY_PIECE])
def test_what_a_run_is_refused_is_said_and_leaves_nothing(call, lasting, built, on_fake):
    words = ["profile"] if call in PIECE_BY_PIECE else []
    done = on_fake(built("tiny").library, 2, *words, fails=f"{lasting}{call}:719")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"run: 5: {(WHILE_RUNNING | PIECE_BY_PIECE)[call]}")
    assert "CUDA_ERROR_LAUNCH_FAILED (719): unspecified launch failure\n" in done.stdout
    assert nothing_is_left(done.stderr)


WHILE_CAPTURING = (
    "cuStreamBeginCapture_v2:1", "cuStreamEndCapture:1", "cuGraphInstantiateWithFlags:1", "cuLaunchKernel:1",
    "cuMemcpyHtoDAsync_v2:2",
)


@pytest.mark.parametrize("call", WHILE_CAPTURING)
def test_a_run_that_no_graph_is_made_of_is_queued_piece_by_piece(call, built, on_fake):
    done = on_fake(built("tiny").library, 1, fails=f"{call}:900")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "graph launches: 0\n" in done.stderr
    assert nothing_is_left(done.stderr)


def test_events_that_cannot_be_made(built, on_fake):
    done = on_fake(built("tiny").library, 1, "profile", fails="cuEventCreate:2:2")
    assert done.stdout.startswith("run: 3: no event: CUDA_ERROR_OUT_OF_MEMORY (2)")
    assert nothing_is_left(done.stderr)


def test_the_drivers_own_words_on_kernels_it_refuses(built, on_fake):
    done = on_fake(built("tiny").library, 1, fails="cuModuleLoadDataEx:1:209")
    assert done.stdout == "create: 6: the driver refused the kernels: ptxas fatal: no such thing: CUDA error (209)\n"


@pytest.mark.parametrize(("form", "begins", "device"), [("cubin", b"\x7fELF", "9.0"), ("ptx", b".version", "10.0")])
def test_kernels_that_are_rubbish(form, begins, device, built, on_fake, tmp_path):
    content, kernels = built("tiny").library.read_bytes(), (built("tiny").pieces / f"kernels.{form}").read_bytes()
    assert content.count(kernels) == 1
    rubbish = kernels.replace(begins, bytes(reversed(begins)), 1)
    (tmp_path / "tiny.so").write_bytes(content.replace(kernels, rubbish))
    done = on_fake(tmp_path / "tiny.so", 1, EV_FAKE_CUDA_DEVICES=device)
    assert done.stdout == "create: 6: the driver refused the kernels: CUDA error (200)\n"
    assert nothing_is_left(done.stderr)


DEVICES = {
    "8.0": "create: 6: device fake has compute capability 8.0, tiny was compiled for 9.0 and later: compile for ",
    "8.9": "create: 6: device fake has compute capability 8.9, ",
    "9.0": "done\n",
    "10.0": "done\n",
    "8.6,12.0": "done\n",
    "": "create: 6: CUDA's driver is here, but offers no device: CUDA_ERROR_NO_DEVICE (100)\n",
}


@pytest.mark.parametrize("devices", DEVICES)
def test_which_devices_run_it(devices, built, on_fake):
    """The machine code where the device is the target's own, else PTX; the fake driver takes machine code from no other."""
    done = on_fake(built("tiny").library, 1, EV_FAKE_CUDA_DEVICES=devices)
    assert done.stdout.startswith(DEVICES[devices]), done.stderr
    assert nothing_is_left(done.stderr)


DRIVERS = {
    ("9.0", "11040"): "create: 6: the driver here is CUDA 11.4, tiny needs 12.0 or newer: install a newer driver, or compile with ",
    ("9.0", "12000"): "done\n",
    ("9.0", "13010"): "done\n",
    ("10.0", "12050"): "create: 6: the driver here is CUDA 12.5, tiny needs 12.6 or newer to compile for this GPU: install ",
    ("10.0", "12060"): "done\n",
}


@pytest.mark.parametrize(("device", "driver"), DRIVERS)
def test_which_drivers_run_it(device, driver, built, on_fake):
    done = on_fake(built("tiny").library, 1, EV_FAKE_CUDA_DEVICES=device, EV_FAKE_CUDA_DRIVER=driver)
    assert done.stdout.startswith(DRIVERS[device, driver]), done.stderr


def test_without_a_driver_the_error_is_clear(built, program, no_driver, tmp_path):
    alone = tmp_path / "cycles"
    shutil.copy(program("cuda-sm90"), alone)
    done = subprocess.run([alone, built("tiny").library, "1"], capture_output=True, text=True, check=False)
    assert done.stdout == "create: 6: there is no CUDA here: libcuda.so.1 cannot be opened; install NVIDIA's driver\n"


def test_a_driver_that_lacks_a_function_is_too_old(built, program, tmp_path):
    source = tmp_path / "old.c"
    source.write_text("int cuInit(unsigned flags) { return (int)flags; }\nint cuDriverGetVersion(int *v) { return *v = 0; }\n")
    zig.run(["cc", "-shared", source, "-o", tmp_path / "libcuda.so.1"], purpose="an old driver", scratch=tmp_path / "zig")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    command = [program("cuda-sm90"), built("tiny").library, "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("create: 6: libcuda.so.1 has no cuGetErrorName: the driver is older than CUDA 11.4")


BROKEN = {
    "leak": ("if (session->arena) cuda->cuMemFree(session->arena);", ";", "buffers"),
    "context": ("session->cuda.cuDevicePrimaryCtxRelease(session->device.device);", ";", "contexts"),
    "early": ("const CUresult finished = session->cuda.cuStreamSynchronize(session->stream);",
              "const CUresult finished = CUDA_SUCCESS;", "n_nodes == 0"),
    "block": ("step->group_size, 1, 1, 0,", "step->group_size + 1024, 1, 1, 0,", "bx <= f->most"),
    "pointer": ("session->arguments[n] = &session->pointers[plan->arguments[n]];", "session->arguments[n] = &session->arena + 5;",
                "block_of"),
    "popped": ("    status = make_in_context(session, error);\n    session->cuda.cuCtxPopCurrent(&mine);",
               "    session->cuda.cuCtxPopCurrent(&mine);\n    status = make_in_context(session, error);", "depth > 0"),
    "staging": ("cuMemcpyHtoDAsync(to, session->staging + at,", "cuMemcpyHtoDAsync(to, (unsigned char *)session + at,", "HOST"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_the_fake_driver_notices_leaks_and_misuse(fault, built, on_fake, tmp_path):
    """The checker is checked: with runtimes that forget something."""
    before, after, told = BROKEN[fault]
    done = on_fake(with_another_runtime(built("tiny").pieces, tmp_path, before, after), 1)
    assert told in done.stderr
    assert done.returncode == 70 or not nothing_is_left(done.stderr)


def test_the_library_needs_the_c_library_alone(built):
    library = elf.read(built("small").library)
    assert set(library.needed) <= {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"}
    assert library.exports == {"ev_get_api"}


@pytest.mark.qemu("arm64")
def test_a_hundred_sessions_of_a_jetsons_library_under_qemu(built, program):
    chosen, cycles = target.load("cuda-sm87"), program("cuda-sm87")
    search = f"LD_LIBRARY_PATH={cycles.parent}:{chosen.sysroot}/lib"
    emulator = [shutil.which(chosen.emulator), "-cpu", chosen.emulator_cpu, "-L", chosen.sysroot, "-E", search]
    command = [*emulator, "-E", "EV_FAKE_CUDA_DEVICES=8.7", cycles, built("small", "cuda-sm87").library, "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert counted(done.stderr)["execs"] == (100, 100)
    assert nothing_is_left(done.stderr)


def test_its_kernels_compute_the_network(built, on_cpu, program, monkeypatch):
    """The whole way of a run, with kernels that the CPU computes: inputs, launches, graph, outputs."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(program("cuda-sm90").parent))
    monkeypatch.setenv("EV_FAKE_CUDA_KERNELS", str(on_cpu("small")))
    record = verify.verify(built("small").artifact, LocalDevice(how="stand-in"), built("small").reference)
    assert record.max_error < 1e-5
    monkeypatch.delenv("EV_FAKE_CUDA_KERNELS")
    with pytest.raises(VerificationError):
        verify.verify(built("small").artifact, LocalDevice(how="stand-in"), built("small").reference)


TWO_THREADS = """
import pathlib, sys, threading, numpy as np
from edgevision import runtime, shared_object
library = shared_object.load(pathlib.Path(sys.argv[1]))
shape = runtime.describe(library).inputs[0].shape
images = [np.random.default_rng(n).standard_normal(shape).astype(np.float32) for n in range(2)]
with runtime.load(sys.argv[1]) as network:
    expected = [network.run(image)[0] for image in images]
assert not np.array_equal(*expected)
wrong = []
def work(number):
    with runtime.load(sys.argv[1]) as network:
        wrong.extend(number for _ in range(20) if not np.array_equal(network.run(images[number])[0], expected[number]))
threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
[t.start() for t in threads], [t.join() for t in threads]
assert wrong == [], wrong
"""


def test_two_sessions_on_two_threads_agree_with_one(built, on_cpu, program):
    environment = {
        **os.environ, "LD_LIBRARY_PATH": str(program("cuda-sm90").parent), "EV_FAKE_CUDA_KERNELS": str(on_cpu("tiny")),
    }  # fmt: skip
    command = [sys.executable, "-c", TWO_THREADS, str(built("tiny").library)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert nothing_is_left(done.stderr)
