"""Targets: the files that come with edgevision, a user's own, what is refused, and this machine."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import edgevision
from edgevision import host, target
from edgevision.errors import InputError, TargetFileError, UnknownNameError, UnsupportedError

NAMES = (
    "arm64", "arm64-android", "armv7", "cuda-sm86", "cuda-sm87", "cuda-sm89", "cuda-sm90", "native", "opencl", "opencl-adreno",
    "opencl-adreno-linux", "opencl-mali", "opencl-mali-linux", "x86_64",
)  # fmt: skip
WHOLE = """
description = "a board"
kind = "llvm"
triple = "aarch64-linux-gnu"
cpu = "cortex-a53"
features = ["+crc"]
cores = 4
vector_bits = 128
vector_registers = 32
l2_bytes = 131072
zig_target = "aarch64-linux-gnu.2.17"
bench_zig_target = "aarch64-linux-musl"
page_bytes = 65536
emulator = "qemu-aarch64-static"
emulator_cpu = "cortex-a53"
sysroot = "/usr/aarch64-linux-gnu"
"""


@pytest.fixture
def board(tmp_path):
    """Writes a target's file: WHOLE with lines replaced or added."""

    def write(*, name="board.toml", drop="", **changes):
        lines = [line for line in WHOLE.split("\n") if line.partition(" ")[0] not in {drop, *changes}]
        path = tmp_path / name
        path.write_text("\n".join([*(f"{key} = {value}" for key, value in changes.items()), *lines]))
        return str(path)

    return write


def on_a(monkeypatch, architecture, cpuinfo=""):
    monkeypatch.setattr(host, "arch", lambda: architecture)
    monkeypatch.setattr(host, "cpuinfo", lambda: cpuinfo)


def test_the_targets_that_come_with_edgevision():
    assert target.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_under_its_name(name):
    loaded = target.load(name)
    assert loaded.name == name
    assert loaded.description
    assert loaded.os == ("android" if name in ("arm64-android", "opencl-adreno", "opencl-mali") else "linux")


@pytest.mark.parametrize(
    ("name", "arch", "glibc", "page_bytes"),
    [
        ("x86_64", "x86_64", (2, 17), 4096),
        ("arm64", "aarch64", (2, 17), 65536),
        ("arm64-android", "aarch64", None, 16384),
        ("armv7", "arm", (2, 28), 65536),
    ],
)
def test_what_each_promises(name, arch, glibc, page_bytes):
    loaded = target.load(name)
    assert (loaded.arch, loaded.glibc, loaded.page_bytes) == (arch, glibc, page_bytes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"work_group": 0}, "work_group 0 is not a power of two"),
        ({"work_group": 48}, "work_group 48 is not a power of two"),
        ({"work_items": 0}, "work_items 0 is not positive"),
        ({"vector_bits": 1024}, "vector_bits 1024 is more than the 16 floats of OpenCL's widest vector"),
    ],
)
def test_a_device_that_cannot_be(change, reason):
    device = target.load("opencl")
    assert target.fault(replace(device, **change)) == reason
    assert target.fault(replace(target.load("x86_64"), **change)) == ""


@pytest.mark.parametrize(
    ("name", "capability"), [("cuda-sm87", ""), ("cuda-sm87", "87"), ("cuda-sm87", "8.7a"), ("opencl", "8.7"), ("x86_64", "8.7")]
)
def test_a_compute_capability_is_of_cuda_alone(name, capability):
    assert target.fault(target.load(name)) == ""
    reason = f"compute_capability {capability!r} must be a GPU's, such as '8.7', of kind cuda and no other"
    assert target.fault(replace(target.load(name), compute_capability=capability)) == reason


def test_an_unknown_name_gets_its_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown target 'arm46'; did you mean '(arm64|armv7)'") as caught:
        target.load("arm46")
    assert caught.value.exit_code == 2


# --- what is overridden ----------------------------------------------------------------------------------------------


def test_a_new_cpu_drops_the_old_features_and_is_emulated_whole(board):
    path = board()
    assert target.load(path).features == ("+crc",)
    changed = target.load(path, cpu="cortex-a76")
    assert (changed.cpu, changed.features) == ("cortex-a76", ())
    assert target.load("armv7", cpu="cortex-a9").emulator_cpu == "max"


def test_new_features_keep_the_cpu():
    changed = target.load("armv7", features=["+fp16", "-neon"])
    assert (changed.cpu, changed.features, changed.emulator_cpu) == ("cortex-a7", ("+fp16", "-neon"), "max")


def test_features_come_after_the_targets_own():
    assert target.load("arm64", features=["+dotprod"]).features == ("-aes", "-sha2", "+dotprod")
    assert target.load("arm64", cpu="cortex-a76", features=["+dotprod"]).features == ("+dotprod",)


def test_new_cores_change_nothing_else():
    kept, changed = target.load("armv7"), target.load("armv7", cores=2)
    assert changed.cores == 2
    assert (changed.cpu, changed.emulator_cpu, kept.cores) == (kept.cpu, kept.emulator_cpu, 4)


OVERRIDES = {
    "no cores": ({"cores": 0}, "cores 0 is not between 1 and 64"),
    "too many cores": ({"cores": 65}, "cores 65 is not between 1 and 64"),
    "feature without a sign": ({"features": ["fullfp16"]}, r"must each be \+name or -name"),
    "cpu with a space": ({"cpu": "cortex a72"}, "is no CPU's name"),
    "another's native": ({"cpu": "native"}, "for target native alone"),
}


@pytest.mark.parametrize(("override", "reason"), OVERRIDES.values(), ids=OVERRIDES)
def test_an_impossible_override_is_refused(override, reason):
    with pytest.raises(InputError, match=f"target arm64: .*{reason}"):
        target.load("arm64", **override)


# --- a user's own file -----------------------------------------------------------------------------------------------


def test_a_file_of_ones_own(board):
    loaded = target.load(board())
    assert (loaded.name, loaded.cpu, loaded.arch) == ("board", "cortex-a53", "aarch64")
    assert loaded.runner_zig_target == loaded.zig_target


def test_a_file_on_top_of_a_target(tmp_path):
    path = tmp_path / "pi5.toml"
    path.write_text('base = "arm64"\ncpu = "cortex-a76"\nfeatures = ["+fullfp16", "+dotprod"]\n')
    loaded, base = target.load(str(path)), target.load("arm64")
    assert (loaded.name, loaded.cpu, loaded.features) == ("pi5", "cortex-a76", ("+fullfp16", "+dotprod"))
    assert (loaded.triple, loaded.zig_cpu) == (base.triple, "cortex_a76+fullfp16+dotprod")


FAULTS = {
    "kind": ({"kind": '"opengl"'}, "kind 'opengl' is not one of llvm"),
    "triple": ({"triple": '"mips-linux-gnu"'}, "must begin with one of"),
    "zig_target": ({"zig_target": '"aarch64-linux-gnu"'}, "must be Android's, or end in -gnu.X.Y"),
    "cpu": ({"cpu": '""'}, "is no CPU's name"),
    "features": ({"features": '["crc"]'}, r"must each be \+name"),
    "cores": ({"cores": 0}, "cores 0 is not"),
    "page not a power of two": ({"page_bytes": 12288}, "page_bytes 12288 is not"),
    "page too small": ({"page_bytes": 2048}, "page_bytes 2048 is not"),
    "vector_bits": ({"vector_bits": 96}, "vector_bits 96 is not"),
    "vector_registers": ({"vector_registers": 0}, "vector_registers 0 is not"),
    "l2_bytes": ({"l2_bytes": 0}, "l2_bytes 0 is not"),
    "text for a number": ({"cores": '"4"'}, "field 'cores' must be a whole number, not '4'"),
    "truth for a number": ({"cores": "true"}, "field 'cores' must be a whole number, not True"),
    "number for text": ({"cpu": 7}, "field 'cpu' must be text, not 7"),
    "text for a list": ({"features": '"+crc"'}, "field 'features' must be a list of texts"),
    "numbers in a list": ({"features": "[1]"}, "field 'features' must be a list of texts"),
    "native where it means nothing": ({"page_bytes": '"native"'}, "must be a whole number, not 'native'"),
}


@pytest.mark.parametrize(("change", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_file_with_a_fault_is_refused(board, change, reason):
    with pytest.raises(TargetFileError, match=reason) as caught:
        target.load(board(**change))
    assert str(caught.value).startswith(caught.value.path)


@pytest.mark.parametrize("name", ["cpu", "zig_target", "sysroot"])
def test_a_missing_field_is_named(board, name):
    with pytest.raises(TargetFileError, match=f"field '{name}' is missing"):
        target.load(board(drop=name))


def test_an_unknown_field_gets_its_nearest(board):
    with pytest.raises(UnknownNameError, match="unknown field in .* 'page_byte'; did you mean 'page_bytes'"):
        target.load(board(page_byte=4096))


def test_a_base_must_be_a_target_of_edgevision(board):
    with pytest.raises(UnknownNameError, match="unknown base in .*'arm46'"):
        target.load(board(base='"arm46"'))


def test_a_base_for_other_hosts_is_refused(board, monkeypatch):
    on_a(monkeypatch, "riscv64")
    with pytest.raises(TargetFileError, match="has no base for riscv64 machines, only for x86_64, aarch64"):
        target.load("native")


def test_a_file_must_not_pose_as_a_target_of_edgevision(board):
    with pytest.raises(TargetFileError, match="'arm64' is a target that edgevision brings"):
        target.load(board(name="arm64.toml"))


def test_a_files_name_must_make_a_folder(board):
    with pytest.raises(TargetFileError, match="name 'my board' may hold"):
        target.load(board(name="my board.toml"))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TargetFileError, match=r"absent\.toml: no such file"):
        target.load(str(tmp_path / "absent.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("cpu = ")
    with pytest.raises(TargetFileError, match="cannot be read as TOML"):
        target.load(str(broken))
    broken.write_bytes(b'cpu = "\xff"')
    with pytest.raises(TargetFileError, match="cannot be read as TOML"):
        target.load(str(broken))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(TargetFileError, match="cannot be read as TOML"):
        target.load(str(tmp_path / "folder.toml"))


# --- this machine ----------------------------------------------------------------------------------------------------

V2 = "fpu cmov cx8 fxsr mmx sse sse2 cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"

HOSTS = {
    "x86-64-v4": ("x86_64", f"flags\t: {V4}", "x86-64-v4", ("-prefer-256-bit",), 512, 32),
    "v4 with dot products": (
        "x86_64",
        f"flags : {V4} avx512_vnni avx_vnni",
        "x86-64-v4",
        ("+avx512vnni", "+avxvnni", "-prefer-256-bit"),
        512,
        32,
    ),
    "x86-64-v3": ("x86_64", f"flags : {V3} avx_vnni", "x86-64-v3", ("+avxvnni",), 256, 16),
    "AVX-512 without its vector lengths": (
        "x86_64",
        f"flags : {V4.replace('avx512vl', '')} avx512_vnni",
        "x86-64-v3",
        (),
        256,
        16,
    ),
    "a hypervisor hides FMA": ("x86_64", f"flags : {V4.replace(' fma', '')}", "x86-64-v2", (), 128, 16),
    "x86-64-v2": ("x86_64", f"flags : {V2} avx_vnni", "x86-64-v2", (), 128, 16),
    "x86-64": ("x86_64", f"flags : {V2.replace('ssse3', '')}", "x86-64", (), 128, 16),
    "Raspberry Pi 4": ("aarch64", "Features\t: fp asimd evtstrm crc32 cpuid", "generic", (), 128, 32),
    "Raspberry Pi 5": (
        "aarch64",
        "processor\t: 0\nFeatures\t: fp asimd aes atomics fphp asimdhp asimddp\n",
        "generic",
        ("+dotprod", "+fullfp16", "+lse"),
        128,
        32,
    ),
}


@pytest.mark.parametrize(
    ("architecture", "cpuinfo", "cpu", "features", "vector_bits", "vector_registers"), HOSTS.values(), ids=HOSTS
)
def test_native_is_what_the_kernel_lists(
    monkeypatch, architecture, cpuinfo, cpu, features, vector_bits, vector_registers
):
    on_a(monkeypatch, architecture, cpuinfo)
    native = target.load("native")
    assert (native.name, native.arch, native.cpu, native.features) == ("native", architecture, cpu, features)
    assert (native.vector_bits, native.vector_registers) == (vector_bits, vector_registers)
    assert native.cores == host.cores()
    assert native.emulator == native.sysroot == ""


def test_native_where_the_kernel_lists_nothing(monkeypatch):
    on_a(monkeypatch, "x86_64")
    with pytest.raises(UnsupportedError, match="lists no x86-64 CPU; use --target x86_64"):
        target.load("native")
    with pytest.raises(UnsupportedError, match="no CPU names are known for riscv64"):
        host.cpu("", "riscv64")


def test_no_emulator_for_the_own_architecture_but_for_android(monkeypatch):
    on_a(monkeypatch, "aarch64", "Features : fp")
    assert target.load("arm64").emulator == ""
    assert target.load("arm64-android").emulator == "qemu-aarch64-static"
    assert target.load("x86_64").emulator == "qemu-x86_64-static"
    on_a(monkeypatch, "x86_64")
    assert target.load("arm64").emulator == "qemu-aarch64-static"
    assert target.load("x86_64").emulator == ""


def test_hardware_threads_of_one_core_count_once(tmp_path, monkeypatch):
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda _: {0, 1, 2, 5})
    for number, siblings in enumerate(["0-1", "0-1", "2-3", "2-3"]):
        topology = tmp_path / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(siblings)
    assert host.cores(tmp_path) == 3


def test_the_second_cache_is_found_by_its_level(tmp_path):
    assert host.l2_bytes(tmp_path) == host.L2_BYTES_UNTOLD
    for index, (level, size) in enumerate([("1", "32K"), ("2", "512K"), ("3", "4096K")]):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "level").write_text(level + "\n")
        (tmp_path / f"index{index}" / "size").write_text(size + "\n")
    assert host.l2_bytes(tmp_path) == 512 * 1024


@pytest.mark.parametrize(
    ("machine", "arch"), [("AMD64", "x86_64"), ("arm64", "aarch64"), ("armv7l", "arm"), ("riscv64", "riscv64")]
)
def test_architectures_as_triples_spell_them(monkeypatch, machine, arch):
    monkeypatch.setattr(host.platform, "machine", lambda: machine)
    assert host.arch() == arch


# --- installed -------------------------------------------------------------------------------------------------------


def test_an_installed_package_finds_its_targets(tmp_path):
    package = Path(edgevision.__file__).parent
    (tmp_path / "edgevision").mkdir()
    for module in ("__init__", "errors", "host", "target", "target_file"):
        shutil.copy(package / f"{module}.py", tmp_path / "edgevision")
    shutil.copytree(target.directory(), tmp_path / "edgevision" / "targets")
    show = "from edgevision import target; print(target.directory(), *target.names())"
    done = subprocess.run([sys.executable, "-c", show], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / "edgevision" / "targets"), *NAMES]
