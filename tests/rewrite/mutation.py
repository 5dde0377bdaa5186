"""Mutation testing of edgevision/rewrite/reparam: python -m tests.rewrite.mutation [MODULE...]

Each mutant is one change of one module; the tests run over it in a forked child and should fail. A guard is an `if`
whose body only leaves (return, continue, break); its mutant never takes it.
"""

from __future__ import annotations

import ast
import copy
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import hypothesis  # noqa: F401  (imported once here, not in every child)
import numpy  # noqa: F401
import onnx.reference  # noqa: F401
import onnxruntime  # noqa: F401
import pytest

PACKAGE = "edgevision.rewrite.reparam"
FOLDER = Path(__file__).parents[2] / "edgevision" / "rewrite" / "reparam"
QUICK = ("test_algebra.py", "test_near_misses.py", "test_blocks.py")
THOROUGH = ("test_whole.py", "test_certificate.py", "test_property.py", "test_backend_nodes.py")
MODULES = ("adding", "composing", "shrinking", "linear_form", "windows", "arithmetic", "wires", "moves", "search", "emit",
           "spelling", "reading", "constants", "extents", "certificate", "rewriting")  # fmt: skip
TIMEOUT_S = 120
SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """``kind``: "guard", "operand" (one of an and/or left out) or "comparison"."""

    module: str
    line: int
    kind: str
    text: str
    source: str


def mutants(module: str, kinds: Sequence[str]) -> Iterator[Mutant]:
    """Every mutant of a module, in order."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    places = [(at, node) for at, node in enumerate(ast.walk(tree))]
    for at, node in places:
        for kind, text, change in _changes(node):
            if kind in kinds:
                changed = copy.deepcopy(tree)
                change(next(each for i, each in enumerate(ast.walk(changed)) if i == at))
                yield Mutant(module=module, line=getattr(node, "lineno", 0), kind=kind, text=text, source=ast.unparse(changed))


def _changes(node: ast.AST):  # type: ignore[no-untyped-def]
    if isinstance(node, ast.If) and not node.orelse and isinstance(node.body[-1], ast.Return | ast.Continue | ast.Break):
        yield "guard", ast.unparse(node.test), lambda n: setattr(n, "test", ast.Constant(False))
    if isinstance(node, ast.BoolOp):
        for i, value in enumerate(node.values):
            yield "operand", ast.unparse(value), lambda n, i=i: n.values.pop(i)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield "comparison", ast.unparse(node), lambda n: n.ops.__setitem__(0, SWAPPED[type(n.ops[0])]())


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, mutant: Mutant) -> None:
        self.mutant, self.name = mutant, f"{PACKAGE}.{mutant.module}"

    def find_spec(self, fullname: str, path: object, target: object = None) -> object:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.source, f"<{self.name}, mutated>", "exec"), module.__dict__)


def survives(mutant: Mutant | None) -> bool:
    """True if every test passes with the mutant, or with none."""
    return _passes(mutant, QUICK) and _passes(mutant, THOROUGH)


def _passes(mutant: Mutant | None, tests: Sequence[str]) -> bool:
    child = os.fork()
    if child == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if mutant is not None:
            sys.meta_path.insert(0, _Loader(mutant))
        paths = [str(Path(__file__).parent / name) for name in tests]
        os._exit(int(pytest.main([*paths, "-x", "-q", "-n0", "-p", "no:cacheprovider", "-m", "not large"])))
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def survivors(chosen: Sequence[Mutant], workers: int = 2) -> list[Mutant]:
    """Those that no test notices."""
    with ThreadPoolExecutor(workers) as pool:
        return [mutant for mutant, alive in zip(chosen, pool.map(survives, chosen), strict=True) if alive]


def main() -> None:
    if not survives(None):
        raise SystemExit("the tests fail without any mutant")
    for module in sys.argv[1:] or MODULES:
        chosen = list(mutants(module, ("guard", "operand", "comparison")))
        alive = survivors(chosen)
        print(f"{module}: {len(chosen) - len(alive)} of {len(chosen)} mutants found", flush=True)
        for mutant in alive:
            print(f"  {module}.py:{mutant.line} {mutant.kind} survives: {mutant.text}", flush=True)


if __name__ == "__main__":
    main()
