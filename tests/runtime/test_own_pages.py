"""Constants of an artifact in memory of its process: those of the file, read-only; other libraries have theirs as ever."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgevision import elf, own_pages
from edgevision.errors import InputError
from edgevision.runtime import load
from tests.native.builds import ZIG
from tests.native.builds import library as compiled_runtime
from tests.runtime.fake_artifact import ARM64, build

COUNT = 1_500_000
CONSTANTS = f"CONSTANTS={COUNT}"
X, K = np.ones((1, 3, 4, 5), np.float32), np.array([3, 4], np.int64)
TARGETS = {"this machine": {}, "arm64": {"target": ARM64}, "32 bits": {"target": "arm-linux-gnueabihf.2.17"}}

needs_huge_pages = pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="this kernel has no transparent huge pages"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("constants") / "constants.so", CONSTANTS)


def constants_of(path: Path) -> range:
    with path.open("rb") as file:
        return elf.constants(file.fileno(), file.read(elf.HEADER_BYTES))


def advised(process: int | str = "self") -> list[int]:
    """Sizes in bytes of the mappings of a process that ask for huge pages."""
    return [len(mapping) for mapping in advised_mappings(process)]


def advised_mappings(process: int | str = "self") -> list[range]:
    """Their addresses."""
    each = Path(f"/proc/{process}/smaps").read_text().split("VmFlags:")
    places = [re.findall(r"^([0-9a-f]+)-([0-9a-f]+) ", text, re.MULTILINE)[-1] for text in each[:-1]]
    return [
        range(int(start, 16), int(end, 16))
        for (start, end), after in zip(places, each[1:], strict=True)
        if " hg" in after.splitlines()[0]
    ]


@pytest.mark.parametrize("how", TARGETS.values(), ids=TARGETS)
def test_the_constants_of_a_file_are_found(tmp_path: Path, how: dict[str, str]) -> None:
    path = build(tmp_path / "some.so", CONSTANTS, **how)
    place = constants_of(path)
    found = np.frombuffer(path.read_bytes()[place.start : place.stop].rpartition(b"\0\0\xc0\x3f")[0], np.uint8)
    assert 4 * COUNT <= len(place) < 4 * COUNT + 4096
    assert bytes(found).count(b"\0\0\xc0\x3f") >= COUNT - 1


def test_the_network_computes_with_them(library: Path) -> None:
    with load(library, threads=1) as network:
        y, total = network.run(X, K)
    np.testing.assert_array_equal(y, 5.5 * X)
    assert total == 7


@needs_huge_pages
def test_they_ask_for_huge_pages_and_go_with_the_library(library: Path) -> None:
    before = advised()
    with load(library, threads=1) as network:
        network.run(X, K)
        (size,) = set(advised()) - set(before)
        assert 4 * COUNT - 2 * 4096 < size <= 4 * COUNT
    del network
    assert advised() == before


def test_they_are_read_only(library: Path) -> None:
    with load(library, threads=1):
        lines = Path("/proc/self/maps").read_text().splitlines()
        at = [number for number, line in enumerate(lines) if "memfd:constants.so" in line]
        (inside,) = [line for line in lines[at[0] : at[-1]] if "memfd" not in line and " 00:00 0 " in line][:1]
        assert inside.split()[1] == "r--p"


@pytest.mark.parametrize("how", ["overwritten", "cut off"])
def test_what_happens_to_the_file_later_does_no_harm(library: Path, tmp_path: Path, how: str) -> None:
    own = tmp_path / "own.so"
    own.write_bytes(library.read_bytes())
    with load(own, threads=1) as network:
        own.write_bytes(bytes(own.stat().st_size) if how == "overwritten" else b"")
        np.testing.assert_array_equal(network.run(X, K)[0], 5.5 * X)


def test_a_library_that_runs_code_while_it_is_loaded_has_its_constants_then(tmp_path: Path) -> None:
    path = build(tmp_path / "constructed.so", CONSTANTS, "CONSTRUCTED")
    assert constants_of(path) == range(0)
    with load(path, threads=1) as network:
        np.testing.assert_array_equal(network.run(X, K)[0], 6 * X)


def test_few_constants_are_copied_with_the_rest(tmp_path: Path) -> None:
    path = build(tmp_path / "small.so", "CONSTANTS=400000")
    with path.open("rb") as file:
        assert 1_600_000 <= len(constants_of(path)) < own_pages.HUGE_PAGE_BYTES
        assert not own_pages.constants(file.fileno(), file.read(elf.HEADER_BYTES))


def test_a_file_that_became_shorter_while_it_is_read(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, fill = tmp_path / "own.so", own_pages.fill
    own.write_bytes(library.read_bytes())

    def cut_first(*arguments: object) -> None:
        os.truncate(own, 1 << 20)
        fill(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(own_pages, "fill", cut_first)
    with pytest.raises(InputError, match=r"own.so: it ends after 1048576 bytes; copy or compile it again"):
        load(own)
    assert "memfd:own.so" not in Path("/proc/self/maps").read_text()


def test_a_table_of_sections_behind_the_end_is_none(library: Path, tmp_path: Path) -> None:
    content = bytearray(library.read_bytes())
    content[40:48] = b"\xff" * 8
    own = tmp_path / "own.so"
    own.write_bytes(content)
    assert constants_of(own) == range(0)
    with load(own, threads=1) as network:
        np.testing.assert_array_equal(network.run(X, K)[0], 5.5 * X)


@needs_huge_pages
def test_an_arena_asks_for_huge_pages(tmp_path: Path) -> None:
    """In a process of its own: this one may have memory with the same advice to spare."""
    path = compiled_runtime(ZIG, tmp_path / "large.so", "FAKE_ARENA_BYTES=5u<<20")
    program = f"""
from edgevision.runtime import load
from tests.runtime.test_own_pages import advised
before = sum(advised())
with load({str(path)!r}, threads=1):
    print(sum(advised()) - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
    assert 5 << 20 <= grown < 6 << 20
