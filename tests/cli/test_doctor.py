"""`edgevision doctor`: what is found is shown, what is missing has a cost and a remedy, and looking imports nothing."""

import json
import subprocess
import sys
from importlib import metadata

import pytest
from click.testing import CliRunner

from edgevision import doctor, host
from edgevision.cli.doctor import doctor as command
from edgevision.errors import ToolchainError
from edgevision.link import cuda_compiler


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """No zig, no emulator, no adb, no C libraries, no packages, empty caches."""

    def not_installed(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    monkeypatch.setattr(doctor, "why_no_runner", lambda target: f"no C library for {target.arch}")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("EDGEVISION_ZIG", "absent")
    cuda_compiler.library.cache_clear()
    monkeypatch.setenv("EDGEVISION_NVRTC", "absent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    monkeypatch.setattr(host, "arch", lambda: "riscv64")
    return tmp_path


def found(name):
    (finding,) = [each for each in doctor.examine() if each.name == name]
    return finding


def test_this_machine_has_what_the_tests_run_on():
    for name in ("python", "cores", "memory", "zig", "apache-tvm", "onnxruntime", "numpy"):
        assert found(name).found, name
    assert found("zig").detail.startswith("0.")
    assert found("apache-tvm").detail == metadata.version("apache-tvm")
    assert found("NVRTC").detail == "12.6, for compute capabilities 5.0 to 9.0"


def test_everything_that_can_be_missing_is_said_to_be_with_its_cost_and_remedy(bare_machine):
    findings = doctor.examine()
    missing = {each.name for each in findings if not each.found}
    assert {each.name for each in findings} - missing == {
        "python", "cores", "memory", "cache of edgevision", "cache of zig"
    }  # fmt: skip
    assert {
        "target native",
        "zig",
        "torch",
        "qemu-aarch64-static",
        "qemu-arm-static",
        "C library for arm",
        "adb",
        "NVRTC",
    } < missing
    for each in findings:
        assert each.detail
        assert bool(each.cost) == bool(each.remedy) == (not each.found), each


def test_the_c_library_to_install_is_that_of_the_architecture(bare_machine):
    assert found("C library for aarch64").remedy == "apt-get install libc6-arm64-cross"
    assert found("C library for arm").remedy == "apt-get install libc6-armhf-cross"
    assert "arm64, arm64-android" in found("C library for aarch64").cost


@pytest.mark.parametrize(
    ("version", "good"), [("0.1.14.post1", True), ("0.1.15.post1", False), ("0.2.0", False), ("0.1.9", True)]
)
def test_a_tvm_ffi_that_crashes_counts_as_missing(monkeypatch, version, good):
    monkeypatch.setattr(metadata, "version", lambda _: version)
    finding = found("apache-tvm-ffi")
    assert finding.found == good
    assert ("apache-tvm-ffi<0.1.15" in finding.remedy) == (not good)


def test_adb_is_found_on_the_path(bare_machine, monkeypatch):
    program = bare_machine / "adb"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(bare_machine))
    assert (found("adb").found, found("adb").detail) == (True, str(program))


def test_a_cache_is_measured(bare_machine):
    assert found("cache of edgevision").detail.endswith("edgevision (0.0 MiB)")
    folder = bare_machine / "cache" / "edgevision" / "runner"
    folder.mkdir(parents=True)
    (folder / "runner").write_bytes(bytes(3 << 20))
    (folder / "gone").symlink_to("nowhere")
    assert found("cache of edgevision").detail.endswith("edgevision (3.0 MiB)")


# --- the command ------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_no_failure_unless_strict(bare_machine):
    done = CliRunner().invoke(command)
    assert done.exit_code == 0
    assert "5 found, " in done.stdout
    assert "without adb: nothing runs on a phone" in done.stdout
    strict = CliRunner().invoke(command, ["--strict"])
    assert isinstance(strict.exception, ToolchainError)
    assert strict.exception.exit_code == 4
    assert "adb" in str(strict.exception)


def test_strict_passes_where_nothing_is_missing(monkeypatch):
    whole = (doctor.Finding(name="zig", found=True, detail="0.17.1"),)
    monkeypatch.setattr(doctor, "examine", lambda: whole)
    done = CliRunner().invoke(command, ["--strict"])
    assert (done.exit_code, done.exception) == (0, None)
    assert "1 found, 0 missing" in done.stdout


def test_json_holds_every_finding(bare_machine):
    done = CliRunner().invoke(command, ["--json"])
    told = json.loads(done.stdout)
    assert set(told) == {"edgevision", "findings"}
    assert [each["name"] for each in told["findings"]] == [each.name for each in doctor.examine()]
    assert all(set(each) == {"name", "found", "detail", "cost", "remedy"} for each in told["findings"])


def test_looking_imports_none_of_the_packages():
    show = "import sys; from edgevision import doctor; doctor.examine(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert not {"tvm", "tvm_ffi", "torch", "onnx", "onnxruntime", "onnxsim", "PIL"} & set(done.stdout.split())
