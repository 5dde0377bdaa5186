"""Android without its NDK: the stand-ins, 16 KiB pages, and what a library may call."""

import subprocess

import pytest

from edgevision import target
from edgevision.errors import CompilerError
from edgevision.link import android, toolchain
from edgevision.link.elf import read
from tests.link.toy import link_wrongly

PAGE_BYTES = 16384


def test_the_triple_is_the_targets():
    assert target.load("arm64-android").zig_target == android.TRIPLE


def test_a_library_asks_for_bionic_by_name(libraries):
    library = read(libraries("arm64-android"))
    assert set(library.needed) == {"libc.so", "libm.so"}
    assert library.versions == ()


def test_a_stand_in_is_named_as_on_the_phone(tmp_path):
    android.link_against(tmp_path)
    for name, functions in android.functions().items():
        stand_in = read(tmp_path / f"{name}.so")
        assert (stand_in.soname, stand_in.exports) == (f"{name}.so", frozenset(functions))


def test_no_function_is_in_two_libraries():
    listed = [name for functions in android.functions().values() for name in functions]
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("name", ["aligned_alloc", "__errno", "pthread_mutex_lock", "sysconf", "mremap"])
def test_what_android_24_lacks_or_glibc_does_otherwise_cannot_be_called(tmp_path, name):
    source = tmp_path / "source.c"
    source.write_text(
        f'void {name}(void); __attribute__((visibility("default"))) void ev_get_api(void) {{ {name}(); }}'
    )
    with pytest.raises(CompilerError, match=f"undefined symbol: {name}"):
        toolchain.link_library(
            target.load("arm64-android"),
            objects=(),
            sources=[source],
            output=tmp_path / "libx.so",
            exported=["ev_get_api"],
            soname="libx.so",
        )


@pytest.mark.qemu
@pytest.mark.parametrize("page_bytes", [4096, PAGE_BYTES])
def test_a_library_runs_with_pages_of_either_size(libraries, command, page_bytes):
    done = subprocess.run(
        command("arm64-android", libraries("arm64-android"), page_bytes=page_bytes), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(sum(range(256)))), done.stderr


@pytest.mark.qemu
def test_a_library_for_small_pages_is_refused_where_they_are_large(tmp_path, command):
    control = link_wrongly("arm64-android", tmp_path, flags=["-Wl,-z,max-page-size=4096"])
    small = subprocess.run(command("arm64-android", control, page_bytes=4096), capture_output=True, text=True)
    assert small.returncode == 0, small.stderr
    large = subprocess.run(command("arm64-android", control, page_bytes=PAGE_BYTES), capture_output=True, text=True)
    assert large.returncode == 1
    assert "page-aligned" in large.stderr
