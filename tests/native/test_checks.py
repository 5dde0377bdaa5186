"""The runtime through its C interface, each check a process of its own: see checks.c for what it asserts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.native.builds import ZIG, Checks, checks, library

CHECKS = (
    "threads", "models_differ", "concurrent", "busy", "failures", "profile", "float_mode",
    "arguments", "buffers", "options_versions", "abi",
    "pinning", "refused_pin", "cycles", "idle", "oversubscribed", "created_together", "fork", "fork_meanwhile",
    "no_threads", "no_keys", "allocates_nothing",
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Checks:
    return checks(ZIG, tmp_path_factory.mktemp("native"), "-DCOUNT_ALLOCATIONS")


@pytest.mark.parametrize("name", CHECKS)
def test_check(built: Checks, name: str) -> None:
    assert built.run(name, runs=1000) == ""


def test_a_check_that_does_not_hold_fails(built: Checks) -> None:
    """With one library for both networks, `models_differ` is not so."""
    with pytest.raises(AssertionError, match="not so: a.bright == b.bright && memcmp"):
        built.run("models_differ", runs=1, alpha=built.beta)


def test_an_arena_that_is_not_to_be_had(built: Checks, tmp_path: Path) -> None:
    assert built.run("no_memory", runs=1, alpha=library(ZIG, tmp_path / "huge.so", "FAKE_ARENA_BYTES=1u<<30")) == ""


def test_transformed_weights_that_are_not_to_be_had(built: Checks, tmp_path: Path) -> None:
    huge = library(ZIG, tmp_path / "huge.so", "FAKE_FILTERS", "FAKE_TRANSFORMED_BYTES=1u<<30")
    assert built.run("no_memory_for_weights", runs=1, alpha=huge) == ""


@pytest.mark.parametrize(
    "define", ["FAKE_ARENA_BYTES=SIZE_MAX-4096", "FAKE_WORKSPACE_BYTES=SIZE_MAX", "FAKE_WORKSPACE_BYTES=SIZE_MAX/2"]
)
def test_sizes_that_overflow(built: Checks, tmp_path: Path, define: str) -> None:
    assert built.run("overflow", runs=1, alpha=library(ZIG, tmp_path / "overflow.so", define)) == ""


def test_a_workspace_smaller_than_a_kernel_asks_for(built: Checks, tmp_path: Path) -> None:
    """The plan's workspace is enough to the byte (`threads` passes); 64 bytes fewer are not."""
    short = library(ZIG, tmp_path / "short.so", "FAKE_WORKSPACE_BYTES=ALIGNED(VALUES*4)+ALIGNED(ROW*4)-64")
    with pytest.raises(AssertionError, match="not so: infer"):
        built.run("threads", runs=1, alpha=short)
