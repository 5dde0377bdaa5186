"""Reads the examples of a Markdown page, runs them as a reader would, and compares what they print.

A fence's first word is its language, the rest says how to treat it:

```console          each line that begins with "$ " is a command, the lines after it are all it prints; it must succeed
```console exit=2   it must end with this status
```python           must run to its end
```c file=main.c    is written to a file for the examples after it; any language
... large           takes minutes: run by `make test-all`
... elsewhere       is for another machine or another program: not run
```

The examples of a page run in order, in one folder, which holds model.onnx to begin with. In what is printed "..."
stands for any text, any number matches any other, and lines, frames and the width of blanks do not matter.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

TIMEOUT_S = 600
RUN_LANGUAGES = ("console", "python")
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?")
_FRAME = re.compile(r"[\u2500-\u257f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One fence. ``line``: of its page, 1-based. ``file`` is "" for what is run."""

    line: int
    language: str
    text: str
    file: str = ""
    status: int = 0
    large: bool = False


class PageError(AssertionError):
    """An example does not do what its page says."""


def examples(page: str) -> Iterator[Example]:
    """The examples of ``page`` (Markdown) that can be run here.

    Raises:
        PageError: a word after a fence's language means nothing, so a typing error would leave an example out.
    """
    for match in _FENCE.finditer(page):
        language, words, text = match[1], match[2].split(), match[3]
        line = page.count("\n", 0, match.start()) + 1
        options = dict(word.partition("=")[::2] for word in words)
        unknown = options.keys() - {"file", "exit", "large", "elsewhere"}
        if unknown:
            raise PageError(f"line {line}: no meaning for {', '.join(sorted(unknown))}")
        if "elsewhere" in options or (language not in RUN_LANGUAGES and "file" not in options):
            continue
        yield Example(
            line=line, language=language, text=text, file=options.get("file", ""),
            status=int(options.get("exit", 0)), large="large" in options,
        )  # fmt: skip


def run(example: Example, folder: Path) -> None:
    """Raises: PageError, when the example fails or prints something else than it says."""
    if example.file:
        (folder / example.file).write_text(example.text, encoding="utf-8")
    elif example.language == "python":
        status, printed = _call([sys.executable, "-c", example.text], folder)
        _check(status == example.status, example, f"status {status}", printed)
    else:
        for command, expected in commands(example.text):
            status, printed = _call(["bash", "-euc", command], folder)
            _check(status == example.status, example, f"{command!r}: status {status}", printed)
            _check(matches(expected, printed), example, f"{command!r} does not print\n{expected}", printed)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, output) pairs of a console; a command goes on after a line that ends in a backslash."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = re.sub(r"\\\n\s*", "", part).partition("\n")
        yield command, output


def matches(expected: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(_shape(piece)) for piece in expected.split("..."))
    return re.fullmatch(pattern, _shape(printed), re.DOTALL) is not None


def _shape(text: str) -> str:
    """What is compared of a text: its words in order, each number as "#"."""
    return " ".join(_NUMBER.sub("#", _FRAME.sub(" ", text)).split())


def _call(command: list[str], folder: Path) -> tuple[int, str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "100"}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=TIMEOUT_S,
    )  # fmt: skip
    return done.returncode, done.stdout


def _check(holds: bool, example: Example, what: str, printed: str) -> None:
    if not holds:
        raise PageError(f"example at line {example.line}: {what}\nIt printed:\n{printed}")


def save_model(path: Path) -> None:
    """The network that the pages call model.onnx: a classifier of 32x32 images, [batch, 3, 32, 32] to [batch, 10]."""
    random = np.random.default_rng(0)
    shapes = {"stem": (16, 3, 3, 3), "depthwise": (16, 1, 3, 3), "pointwise": (32, 16, 1, 1), "classes": (10, 32)}
    weights = [
        numpy_helper.from_array(
            random.normal(scale=np.sqrt(2 / np.prod(shape[1:])), size=shape).astype(np.float32), name
        )
        for name, shape in shapes.items()
    ]
    nodes = [
        make_node("Conv", ["image", "stem"], ["s"], strides=[2, 2], pads=[1, 1, 1, 1]),
        make_node("Relu", ["s"], ["sr"]),
        make_node("Conv", ["sr", "depthwise"], ["d"], pads=[1, 1, 1, 1], group=16),
        make_node("Conv", ["d", "pointwise"], ["p"]),
        make_node("Relu", ["p"], ["pr"]),
        make_node("GlobalAveragePool", ["pr"], ["g"]),
        make_node("Flatten", ["g"], ["f"]),
        make_node("Gemm", ["f", "classes"], ["scores"], transB=1),
    ]
    image = make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 32, 32])
    scores = make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])
    graph = make_graph(nodes, "model", [image], [scores], weights)
    onnx.save(make_model(graph, opset_imports=[make_opsetid("", 17)], ir_version=8), path)
