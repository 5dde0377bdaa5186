"""The checks under the address, undefined-behaviour, leak and thread sanitizers, which stop at the first finding."""

from __future__ import annotations

import shutil

import pytest

from tests.native.builds import GCC, Checks, checks

# Not here: checks of memory limits and allocation counts, which the sanitizers' own memory breaks.
CHECKS = (
    "threads", "concurrent", "busy", "failures", "profile", "float_mode",
    "arguments", "buffers", "options_versions", "abi", "refused_pin", "cycles", "oversubscribed", "created_together", "no_keys",
)  # fmt: skip
pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc, whose sanitizers are used, is not installed")


@pytest.fixture(scope="module", params=["address,undefined", "thread"])
def sanitized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checks:
    options = ("-g", f"-fsanitize={request.param}", "-fno-sanitize-recover=all")
    return checks((*GCC, *options), tmp_path_factory.mktemp("sanitized"))


@pytest.mark.parametrize("name", CHECKS)
def test_sanitizers_find_nothing(sanitized: Checks, name: str) -> None:
    assert sanitized.run(name, runs=300) == ""
