"""An artifact's sessions on a driver that checks every call, and on the device."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edgevision import runtime, shared_object
from edgevision.elf import machine_of
from edgevision.errors import DeviceError
from edgevision.link import elf, zig
from edgevision.link.opencl import RUNTIME
from edgevision.link.toolchain import NATIVE

HERE = Path(__file__).parent
UNIFIED = {"EV_FAKE_UNIFIED": "1"}
"""The fake driver's device shares the host's memory."""
MEMORIES = pytest.mark.parametrize("memory", [{}, UNIFIED], ids=["own memory", "the host's memory"])
FAILURES = {
    "no-platform": "create: 6: OpenCL is here, but no driver",
    "no-device": "create: 6: OpenCL's drivers offer no device",
    "small-groups": "create: 6: device fake allows work groups of 1, tiny needs ",
    "wide-alignment": "create: 6: device fake wants buffers aligned to 4096, tiny needs 512",
    "small-buffers": "create: 6: device fake allows buffers of 64, tiny needs ",
    "no-context": "create: 6: no context on the device: CL_DEVICE_NOT_AVAILABLE (-2)",
    "no-queue": "create: 3: no command queue: CL_OUT_OF_HOST_MEMORY (-6)",
    "no-memory": "create: 3: no memory for activations: CL_MEM_OBJECT_ALLOCATION_FAILURE (-4)",
    "no-part": "create: 3: no part of a buffer: CL_MEM_OBJECT_ALLOCATION_FAILURE (-4)",
    "no-program": "create: 3: no program: CL_OUT_OF_HOST_MEMORY (-6)",
    "build": "create: 6: the device's compiler refused the kernels: kernels.cl:7:3: error: no such thing\n",
    "build-silent": "create: 6: the device's compiler refused the kernels: CL_BUILD_PROGRAM_FAILURE (-11)",
    "no-kernel": "create: 6: no kernel k0_",
    "argument": "create: 6: an argument is refused by kernel k0_",
    "no-timing": "run: 3: no command queue: CL_OUT_OF_HOST_MEMORY (-6)",
    "write": "run: 5: the device did not take input image: CL_OUT_OF_RESOURCES (-5)",
    "launch": "run: 5: the device did not take step fused_conv_add_relu: CL_OUT_OF_RESOURCES (-5)",
    "read": "run: 5: the device did not give output ",
    "finish": "run: 5: the device stopped: CL_OUT_OF_RESOURCES (-5)",
    "times": "run: 5: the device gave no times",
}


def counted(stderr: str) -> dict[str, tuple[int, int]]:
    """The fake driver's last line: kind -> (made, released)."""
    return {kind: (int(made), int(freed)) for kind, made, freed in re.findall(r"(\w+) (\d+)-(\d+)", stderr)}


@MEMORIES
def test_a_hundred_sessions_leave_no_object(memory, artifact, on_fake):
    done = on_fake(artifact("small"), 100, **memory)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    found = counted(done.stderr)
    assert all(made == freed for made, freed in found.values())
    assert found["contexts"] == found["queues"] == found["programs"] == (100, 100)
    assert found["buffers"] == (200, 200)
    assert found["parts"][0] > 1000 < found["kernels"][0]
    assert found["events"] == (0, 0)
    assert found["mappings"] == ((200, 200) if memory else (0, 0))  # the image and the scores


def test_a_timed_run_has_one_event_a_step(artifact, on_fake):
    done = on_fake(artifact("small"), 2, "profile")
    assert done.returncode == 0, done.stderr
    found = counted(done.stderr)
    steps = found["kernels"][0] // 2
    assert found["events"] == (2 * steps, 2 * steps)
    assert found["queues"] == (4, 4)
    assert done.stdout == f"{steps} steps, the first 2500 ns\ndone\n"


@MEMORIES
@pytest.mark.parametrize("failure", FAILURES)
def test_what_fails_is_said_and_leaves_nothing(failure, memory, artifact, on_fake):
    done = on_fake(artifact("tiny"), 2, "profile", fails=failure, **memory)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(FAILURES[failure])
    assert all(made == freed for made, freed in counted(done.stderr).values())


def test_a_mapping_that_does_not_end_is_said(artifact, on_fake):
    done = on_fake(artifact("tiny"), 1, fails="unmap", **UNIFIED)
    assert done.stdout.startswith("run: 5: the device did not take input image: CL_OUT_OF_RESOURCES (-5)")
    assert counted(done.stderr)["mappings"] == (1, 1)


def broken_runtime(folder: Path, before: str, after: str, part: str = "opencl_session.c") -> Path:
    """The library of one_kernel.c on a runtime that has ``after`` in the place of ``before``; both "": on ours."""
    shared = '#include "device_session.h"'
    source = (NATIVE / part).read_text().replace(shared, (NATIVE / "device_session.h").read_text())
    assert not before or source.count(before) == 1
    (folder / part).write_text(source.replace(before, after) if before else source)
    library = folder / "one_kernel.so"
    others = [NATIVE / other for other in RUNTIME if other != part]
    sources = [NATIVE / "entry.c", *others, HERE / "one_kernel.c"]
    words = ["cc", "-shared", "-fPIC", "-O1", "-fno-sanitize=all", f"-I{NATIVE}", folder / part, *sources]
    zig.run([*words, "-ldl", "-o", library], purpose="building a broken runtime", scratch=folder / "zig")
    return library


def test_the_fake_driver_notices_a_leak_and_a_misuse(artifact, program, tmp_path):
    """The checker is checked: a runtime that forgets to release kernels, and one that asks for another group size."""
    broken = {
        "leak": ("cl->clReleaseKernel(session->kernels[i]);", ";"),
        "group": ("local = step->group_size,", "local = step->group_size + 1,"),
        "early": ("const cl_int finished = session->cl.clFinish(session->queue);", "const cl_int finished = CL_SUCCESS;"),
        "argument": ("n < step->n_arguments; n++", "n < step->n_arguments - 1; n++"),
    }
    told = {}
    for name, (before, after) in broken.items():
        folder = tmp_path / name
        folder.mkdir()
        library = broken_runtime(folder, before, after)
        cycles = program("opencl")
        environment = {**os.environ, "LD_LIBRARY_PATH": str(cycles.parent)}
        done = subprocess.run([cycles, library, "1"], env=environment, capture_output=True, text=True, check=False)
        told[name] = (done.returncode, done.stderr)
    assert told["leak"][0] == 0
    assert counted(told["leak"][1])["kernels"] == (1, 0)
    assert all(status == 70 for name, (status, _) in told.items() if name != "leak"), told
    assert "local[0] == k->group" in told["group"][1]
    assert "pending == 0" in told["early"][1]
    assert "a != NULL" in told["argument"][1]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("const cl_int status = unmap(t, t->mapped[i]);", "const cl_int status = CL_SUCCESS;", "!o->mapped[at]"),
        ("return unmap(t, to);", "return CL_SUCCESS;", "alive[MAPPING] == 0"),
    ],
    ids=["output", "input"],
)
def test_the_fake_driver_notices_what_stays_mapped(before, after, told, program, tmp_path):
    library = broken_runtime(tmp_path, before, after, "opencl_transfer.c")
    environment = {**os.environ, **UNIFIED, "LD_LIBRARY_PATH": str(program("opencl").parent)}
    done = subprocess.run([program("opencl"), library, "1"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 70 and told in done.stderr


def test_the_library_needs_the_c_library_alone(artifact):
    library = elf.read(artifact("small"))
    assert set(library.needed) <= {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"}
    assert library.exports == {"ev_get_api"}


def test_without_a_loader_the_error_is_clear(artifact, tmp_path):
    """dlopen finds no library called OpenCL or mali, as on a machine without drivers."""
    source = tmp_path / "hide.c"
    source.write_text(
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <string.h>\n"
        "void *dlopen(const char *name, int mode) {\n"
        '    if (name && (strstr(name, "OpenCL") || strstr(name, "mali"))) return 0;\n'
        '    return ((void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen"))(name, mode);\n}\n'
    )
    hiding = tmp_path / "hide.so"
    zig.run(["cc", "-shared", "-fPIC", source, "-ldl", "-o", hiding], purpose="hiding OpenCL", scratch=tmp_path / "zig")
    code = f"import edgevision.runtime as r\nr.load({str(artifact('tiny'))!r})"
    environment = {**os.environ, "LD_PRELOAD": str(hiding)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "there is no OpenCL here: libOpenCL.so.1 cannot be opened; install the device's driver" in done.stderr
    assert "DeviceError" in done.stderr


def test_without_a_driver_the_error_is_clear(artifact, pocl, tmp_path):
    code = f"import edgevision.runtime as r\nr.load({str(artifact('tiny'))!r})"
    environment = {**os.environ, "OCL_ICD_VENDORS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "OpenCL is here, but no driver of a device" in done.stderr


def test_two_sessions_on_two_threads_agree_with_one(artifact, pocl):
    library = shared_object.load(artifact("small"))
    model = runtime.describe(library)
    generator = np.random.default_rng(3)
    images = [generator.standard_normal(model.inputs[0].shape).astype(np.float32) for _ in range(2)]
    with runtime.load(artifact("small")) as network:
        expected = [network.run(image)[0] for image in images]
    assert not np.array_equal(*expected)
    wrong: list[int] = []

    def work(number: int) -> None:
        session = library.create()
        bound = runtime.BoundArrays([images[number]], [np.empty_like(expected[number])])
        for _ in range(200):
            bound.outputs[0].fill(np.nan)
            bound.run(session)
            if not np.array_equal(bound.outputs[0], expected[number]):
                wrong.append(number)
        session.destroy()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_profile_names_every_step(artifact, pocl):
    with runtime.load(artifact("small")) as network:
        image = np.zeros(network.inputs[0].shape, np.float32)
        profile = network.profile(image, runs=3)
    assert len(profile) == network.model.steps
    assert all((times > 0).all() for _, times in profile)


def grown(stdout: str) -> tuple[int, int]:
    """By how much the sessions after $EV_SETTLE let their process grow: resident memory in kB, its heap in bytes."""
    found = re.search(r"^grew: (-?\d+) kB resident, (-?\d+) bytes of heap$", stdout, re.MULTILINE)
    assert found, stdout
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("words", [(), ("profile",)], ids=["plain", "timed"])
@MEMORIES
def test_a_session_gives_back_every_byte(words, memory, artifact, on_fake):
    done = on_fake(artifact("tiny"), 100, *words, EV_SETTLE="3", EV_FAKE_FREES="1", **memory)
    assert grown(done.stdout)[1] == 0


def test_a_session_that_is_kept_is_noticed(program, tmp_path):
    broken = broken_runtime(tmp_path, "    free(session);\n}\n\nstatic int run(", "}\n\nstatic int run(")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(program("opencl").parent), "EV_SETTLE": "3", "EV_FAKE_FREES": "1"}
    done = subprocess.run([program("opencl"), broken, "100"], env=environment, capture_output=True, text=True, check=True)
    assert grown(done.stdout)[1] > 100 * 300


@pytest.mark.large
def test_a_thousand_sessions_grow_a_process_no_more_than_the_driver_does(artifact, program, driver_alone, pocl, tmp_path):
    """What PoCL keeps is subtracted: the same calls without edgevision. A session that is kept is 300 bytes of heap at least;
    the looks at one program differ by 40,000 bytes."""
    settle, count = "250", "1000"
    alone = subprocess.run([driver_alone, count, settle], capture_output=True, text=True, check=True)
    environment = {**os.environ, "EV_SETTLE": settle}
    found = {}
    for name, library in (("copy", broken_runtime(tmp_path, "", "")), ("tiny", artifact("tiny"))):
        done = subprocess.run([program("opencl"), library, count], env=environment, capture_output=True, text=True, check=True)
        found[name] = grown(done.stdout)
    assert found["copy"][1] - grown(alone.stdout)[1] < 100_000
    assert max(resident for resident, _ in found.values()) < 512 + grown(alone.stdout)[0]


def test_an_artifact_of_another_machine_is_refused(artifact):
    library = artifact("tiny", "opencl-mali-linux")
    assert machine_of(library) == "aarch64"
    with pytest.raises(DeviceError, match="compiled for aarch64"):
        runtime.load(library)
