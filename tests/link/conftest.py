"""The toy library of each target, and the way to run it here."""

import shutil
from pathlib import Path

import pytest

from edgevision import target
from edgevision.link import toolchain
from edgevision.measure.emulator import why_absent, why_no_runner
from tests.link.toy import link

RUNNER = Path(__file__).parent / "runner"


@pytest.fixture(scope="session")
def libraries(tmp_path_factory):
    """The toy library of each target, linked once."""
    folder = tmp_path_factory.mktemp("libraries")
    linked = {}

    def library(name):
        if name not in linked:
            linked[name] = link(name, folder / name)
        return linked[name]

    return library


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    """The command that has this machine open a library of a target and call it: prints the sum of its weights."""

    def build(name, library, *, page_bytes=None):
        chosen = target.load(name)
        runner = toolchain.link_runner(chosen, native=RUNNER)
        if not chosen.emulator:
            return [runner, library]
        if reason := why_absent(chosen) or why_no_runner(chosen):
            pytest.skip(reason)
        found = Path(chosen.sysroot) / "lib"
        if chosen.os == "android":
            bionic = tmp_path_factory.mktemp("bionic")
            for stand_in, glibc in {"libc.so": "libc.so.6", "libm.so": "libm.so.6", "libdl.so": "libdl.so.2"}.items():
                (bionic / stand_in).symlink_to(found / glibc)
            found = bionic
        pages = ("-p", str(page_bytes)) if page_bytes else ()
        emulator = [shutil.which(chosen.emulator), "-cpu", chosen.emulator_cpu, *pages, "-L", chosen.sysroot]
        return [*emulator, "-E", f"LD_LIBRARY_PATH={found}", runner, library]

    return build
