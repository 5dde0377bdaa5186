"""Linking for every target: what comes out runs, is the same bytes twice, and appears whole or not at all."""

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from edgevision import cache, target
from edgevision.errors import CompilerError, InputError, LibraryGateError, ToolchainError, UnknownNameError
from edgevision.link import toolchain, zig
from tests.link.conftest import RUNNER
from tests.link.toy import TOY, link, weights_source

TARGETS = ("native", "x86_64", "arm64", "arm64-android", "armv7")
SUM = sum(range(256))


def output_of(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def link_source(name, folder, code, **arguments):
    source, output = folder / "source.c", folder / "libx.so"
    source.write_text(code)
    given = {"objects": (), "sources": [source], "exported": ["ev_get_api"], "soname": "libx.so"} | arguments
    toolchain.link_library(target.load(name), output=output, **given)
    return output


# --- what comes out --------------------------------------------------------------------------------------------------


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["arm64", "armv7"])
def test_a_library_runs_under_qemu(libraries, command, name):
    assert output_of(command(name, libraries(name))) == [str(SUM)]


@pytest.mark.parametrize("name", ["native", "x86_64"])
def test_a_library_runs_here(libraries, command, name):
    assert output_of(command(name, libraries(name))) == [str(SUM)]


@pytest.mark.parametrize("name", TARGETS)
def test_the_same_input_gives_the_same_bytes_wherever_it_lies(libraries, tmp_path, name):
    again = link(name, tmp_path / "some, where" / "else")
    assert again.read_bytes() == libraries(name).read_bytes()


def test_a_name_may_have_a_comma(tmp_path):
    with link_source("native", tmp_path, f"{ENTRY} {{ return 1; }}", soname="a,b.so").open("rb") as file:
        assert [tag.soname for tag in ELFFile(file).get_section_by_name(".dynamic").iter_tags("DT_SONAME")] == ["a,b.so"]


def test_other_weights_give_other_bytes(libraries, tmp_path):
    assert link("arm64", tmp_path, payload=bytes(256)).read_bytes() != libraries("arm64").read_bytes()


@pytest.mark.parametrize("name", TARGETS)
def test_no_path_of_this_machine_gets_into_a_library(libraries, name):
    content = libraries(name).read_bytes()
    for path in (libraries(name).parent, TOY.parent, Path.home(), zig.executable().parent):
        assert str(path).encode() not in content


LARGE_BYTES = (
    110_000_000  # ParNet-XL's weights are 340 MB, a Cortex-A's longest branch 128 MiB: more than two thirds of it
)


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["native", "arm64", "arm64-android", "armv7"])
def test_large_weights_are_reached_from_end_to_end(command, tmp_path, name):
    payload = bytearray(LARGE_BYTES)
    payload[0], payload[LARGE_BYTES // 2], payload[-2] = 1, 20, 100
    library = link(name, tmp_path, payload=payload)
    assert library.stat().st_size < LARGE_BYTES + 200_000
    assert output_of([*command(name, library), "0", "2", str(LARGE_BYTES // 2)]) == ["21"]
    assert output_of([*command(name, library), str(LARGE_BYTES - 2), "2", "1"]) == ["100"]


def test_weights_do_not_pile_up_in_zigs_cache(tmp_path, monkeypatch):
    """An Android library needs no C library of zig's, so an empty cache is soon filled."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "zig"))
    link("arm64-android", tmp_path / "out", payload=os.urandom(2_000_000))
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []
    kept = sum(path.stat().st_size for path in (tmp_path / "zig").rglob("*") if path.is_file())
    assert kept < 1_000_000


DIVISION = """
#include <stdint.h>
int __divsi3(int, int);
int __modsi3(int, int);
unsigned __udivsi3(unsigned, unsigned);
unsigned __umodsi3(unsigned, unsigned);
__attribute__((visibility("default"))) double ev_get_api(uint32_t a, uint32_t b, uint32_t sign) {
    int s = sign ? -(int)a : (int)a;
    return __divsi3(s, (int)b) * 1e6 + __modsi3(s, (int)b) * 1e4 + __udivsi3(a, b) * 100.0 + __umodsi3(a, b);
}
"""


@pytest.mark.qemu
def test_an_arm_without_a_divider_divides(command, tmp_path):
    library = link_source("armv7", tmp_path, DIVISION)
    assert output_of([*command("armv7", library), "17", "5", "0"]) == [f"{3_000_000 + 20_000 + 300 + 2}"]
    assert output_of([*command("armv7", library), "17", "5", "1"]) == [f"{-3_000_000 - 20_000 + 300 + 2}"]


# --- what fails ------------------------------------------------------------------------------------------------------

ENTRY = '__attribute__((visibility("default"))) int ev_get_api(void)'


def test_an_undefined_symbol_is_named_and_nothing_is_left(tmp_path):
    with pytest.raises(CompilerError, match=r"linking libx\.so for arm64; it said:\n(.|\n)*absent_kernel") as caught:
        link_source("arm64", tmp_path, f"int absent_kernel(void); {ENTRY} {{ return absent_kernel(); }}")
    assert (caught.value.exit_code, caught.value.status) == (4, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["source.c"]


def test_c_that_does_not_compile_is_quoted(tmp_path):
    with pytest.raises(CompilerError, match="expected ';'"):
        link_source("arm64", tmp_path, f"{ENTRY} {{ return 1 }}")


def test_a_library_that_the_gate_stops_does_not_appear(libraries, tmp_path):
    with pytest.raises(LibraryGateError, match=r"it needs libtoy\.so"):
        link_source(
            "arm64",
            tmp_path,
            f"int toy_get_api(void); {ENTRY} {{ return toy_get_api(); }}",
            objects=[libraries("arm64")],
        )
    assert [path.name for path in tmp_path.iterdir()] == ["source.c"]


def test_what_was_there_stays_when_linking_fails(libraries, tmp_path):
    before = Path(shutil.copy(libraries("arm64"), tmp_path / "libx.so")).read_bytes()
    with pytest.raises(CompilerError):
        link_source("arm64", tmp_path, "#error no")
    assert (tmp_path / "libx.so").read_bytes() == before


@pytest.mark.parametrize("name", ["9lives_get_api", "a-b_get_api", "", "x; } evil {"])
def test_a_prefix_that_c_would_not_take_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="not a C identifier; choose another --symbol-prefix"):
        link_source("arm64", tmp_path, f"{ENTRY} {{ return 1; }}", exported=["ev_get_api", name])


def test_the_users_headers_stay_out(tmp_path, monkeypatch):
    (tmp_path / "math.h").write_text("#error the user's own math.h\n")
    monkeypatch.setenv("CPATH", str(tmp_path))
    link_source("arm64", tmp_path, f"#include <math.h>\n{ENTRY} {{ return 1; }}")


# --- zig -------------------------------------------------------------------------------------------------------------


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_zig_of_the_package_is_found():
    assert zig.executable().parent.name == "ziglang"
    assert zig.version().count(".") == 2


def test_zig_is_searched_where_the_user_says_then_in_the_package_then_on_the_path(tmp_path, monkeypatch):
    mine = program(tmp_path / "zig", "#!/bin/sh\necho 9.9.9\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert zig.version() != "9.9.9"
    monkeypatch.setattr(zig.importlib.util, "find_spec", lambda _: None)
    assert zig.executable() == mine
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolchainError, match="not installed; `pip install ziglang`"):
        zig.executable()
    monkeypatch.setenv("EDGEVISION_ZIG", str(mine))
    assert zig.version() == "9.9.9"


def test_a_zig_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEVISION_ZIG", str(tmp_path / "absent"))
    with pytest.raises(ToolchainError, match=r"\$EDGEVISION_ZIG is '.*absent', which is no program") as caught:
        zig.version()
    assert caught.value.exit_code == 4


BROKEN = {
    "silent": (
        "#!/bin/sh\nexit 3\n",
        r"failed with status 3 while asking for its version; it said:\n\(it printed nothing",
    ),
    "talkative": ("#!/bin/sh\nseq 1 50 >&2\nexit 1\n", "said:\n39\n(.|\n)*50$"),
    "killed": ("#!/bin/sh\nkill -9 $$\n", "was ended by signal 9"),
    "no program": ("not a program", "cannot be started: Exec format error"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_zig_that_fails(monkeypatch, tmp_path, text, message):
    monkeypatch.setenv("EDGEVISION_ZIG", str(program(tmp_path / "zig", text)))
    with pytest.raises(ToolchainError, match=message):
        zig.version()


@pytest.mark.parametrize("name", TARGETS)
def test_zig_knows_the_cpus_of_the_targets(name):
    toolchain.check_cpu(target.load(name))


def test_a_cpu_that_nobody_knows_gets_its_nearest():
    with pytest.raises(UnknownNameError, match="unknown cpu of aarch64 'cortex-a67'; did you mean 'cortex-a7"):
        toolchain.check_cpu(target.load("arm64", cpu="cortex-a67"))
    with pytest.raises(UnknownNameError, match="unknown CPU feature of aarch64 'dotprot'; did you mean 'dotprod'"):
        toolchain.check_cpu(target.load("arm64", features=["+dotprot"]))
    toolchain.check_cpu(target.load("arm64", cpu="cortex-a57", features=["+dotprod", "-crc"]))


def test_a_target_that_zig_does_not_know():
    with pytest.raises(CompilerError, match="looking up cortex-a72 for target arm64"):
        toolchain.check_cpu(replace(target.load("arm64"), zig_target="aarch64-linux-gnux.2.17"))


# --- programs --------------------------------------------------------------------------------------------------------

MAIN = """
#include <stdint.h>
#include <stdio.h>
double ev_get_api(uint32_t from, uint32_t count, uint32_t step);
int main(void) { return printf("%.0f\\n", ev_get_api(0, 256, 1)) < 0; }
"""


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["native", "arm64", "armv7"])
def test_a_bench_is_static_and_runs_alone(tmp_path, name):
    chosen, main, bench = target.load(name), tmp_path / "main.c", tmp_path / "toy-bench"
    main.write_text(MAIN)
    sources = (main, TOY, weights_source(tmp_path, bytes(range(256))))
    toolchain.build_libc(chosen)
    started = time.monotonic()
    toolchain.link_bench(chosen, objects=(), sources=sources, output=bench)
    assert (
        time.monotonic() - started < 20
    )  # 0.3 s, or 40 s and more when zig builds another C library than build_libc's
    with bench.open("rb") as file:
        assert not list(ELFFile(file).iter_segments("PT_INTERP"))
    emulator = [chosen.emulator, "-cpu", chosen.emulator_cpu] if chosen.emulator else []
    if emulator and not shutil.which(chosen.emulator):
        pytest.skip(f"{chosen.emulator} is not installed")
    assert output_of([*emulator, bench]) == [str(SUM)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["main.c", "toy-bench", "weights.S", "weights.bin"]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache of edgevision's, but the C libraries that zig has built already."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(cache.zig_directory()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgevision"


def test_a_runner_is_linked_once(own_cache):
    first = toolchain.link_runner(target.load("arm64"), native=RUNNER)
    linked_ns = first.stat().st_mtime_ns
    assert toolchain.link_runner(target.load("arm64-android"), native=RUNNER) == first
    assert first.stat().st_mtime_ns == linked_ns
    assert [path for path in own_cache.rglob("*") if path.is_file()] == [first]
    assert toolchain.link_runner(target.load("x86_64"), native=RUNNER) != first


@pytest.mark.parametrize("name", ["bench.c", "runner.h"])
def test_a_runner_is_linked_anew_when_its_source_changes(own_cache, tmp_path, name):
    native = Path(shutil.copytree(RUNNER, tmp_path / "native"))
    first = toolchain.link_runner(target.load("x86_64"), native=native)
    with (native / name).open("a") as file:
        file.write("/* changed */\n")
    assert toolchain.link_runner(target.load("x86_64"), native=native) != first


def test_runners_may_be_linked_at_the_same_time(own_cache, libraries):
    with ThreadPoolExecutor(4) as pool:
        runners = set(pool.map(lambda _: toolchain.link_runner(target.load("x86_64"), native=RUNNER), range(4)))
    (runner,) = runners
    assert list(runner.parent.iterdir()) == [runner]
    assert output_of([runner, libraries("x86_64")]) == [str(SUM)]
