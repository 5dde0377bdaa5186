"""edgevision.h is what others compile: plain C99, and C++; and its own example works."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.native.builds import NATIVE, ZIG, library

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wc++-compat", "-Werror", "-c")


@pytest.mark.parametrize(("language", "standard"), [("c", "c99"), ("c", "c11"), ("c++", "c++11"), ("c++", "c++20")])
def test_it_compiles_without_a_warning(tmp_path: Path, language: str, standard: str) -> None:
    source = tmp_path / "user.c"
    source.write_text('#include "edgevision.h"\nint main(void) { return ev_get_api(EV_ABI) == 0; }\n')
    command = [
        *ZIG,
        f"-I{NATIVE}",
        *STRICT,
        f"-std={standard}",
        "-x",
        language,
        str(source),
        "-o",
        str(tmp_path / "user.o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_example_in_its_first_comment(tmp_path: Path) -> None:
    lines = re.findall(r"^ \*   (.+)$", (NATIVE / "edgevision.h").read_text(), re.MULTILINE)
    assert lines[0] == '#include "edgevision.h"'
    source = tmp_path / "user.c"
    buffers = "unsigned char image[1440] = {0}; float scores[10] = {9};"
    body = "\n    ".join(lines[1:])
    start = f"#include <stdio.h>\n{lines[0]}\nint main(void) {{\n"
    source.write_text(f"{start}    {buffers}\n    {body}\n    return scores[0] != 0;\n}}\n")
    network = library(ZIG, tmp_path / "alpha.so", "FAKE_IMAGE_ONLY", "FAKE_ONE_OUTPUT")
    program = tmp_path / "user"
    command = [*ZIG, f"-I{NATIVE}", "-std=c99", str(source), str(network), f"-Wl,-rpath,{tmp_path}", "-o", str(program)]
    subprocess.run(command, check=True, timeout=60)
    assert subprocess.run([str(program)], timeout=60).returncode == 0
