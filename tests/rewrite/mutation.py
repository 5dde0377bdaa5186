"""Mutation testing of edgevision/rewrite/reparam: python -m tests.rewrite.mutation [--operands] [MODULE...]

A mutant is one condition less: a guard (an `if` whose body only leaves: return, continue, break) that is never taken,
or one operand of an `and` or `or` left out. The tests run once, traced, to learn which lines each of them reaches.
Then, mutant by mutant, a forked child puts the mutant's code into the functions that are already imported and runs the
tests that reach its line, the quickest first, until one fails. A mutant that no test notices survives.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

PACKAGE = "edgevision.rewrite.reparam"
FOLDER = Path(__file__).parents[2] / Path(*PACKAGE.split("."))
TESTS = ("algebra", "guards", "near_misses", "near_misses_around", "blocks", "price", "spelling", "extents",
         "interpreter", "certificate", "whole", "property")  # fmt: skip
MODULES = tuple(sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__"))
KINDS = ("guard", "operand")
TEST_TIMEOUT_S = 60  # of one test: a mutant may never come to an end
WORKERS = 2
LEAVING = (ast.Return, ast.Continue, ast.Break, ast.Raise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """``lines`` are those of the condition in the original; ``changed`` is the whole module's source without it."""

    module: str
    lines: range
    kind: str
    text: str
    changed: str

    def __str__(self) -> str:
        return f"{self.module}.py:{self.lines.start} {self.kind}: {self.text}"


def mutants(module: str, kinds: Sequence[str]) -> Iterator[Mutant]:
    """Every mutant of a module, in order."""
    source = (FOLDER / f"{module}.py").read_text(encoding="utf-8")
    for at, node in enumerate(ast.walk(ast.parse(source))):
        for kind, text, change in _changes(node):
            if kind not in kinds:
                continue
            tree = ast.parse(source)
            change(next(each for i, each in enumerate(ast.walk(tree)) if i == at))
            last = node.test if isinstance(node, ast.If) else node
            yield Mutant(module=module, lines=range(node.lineno, last.end_lineno + 1), kind=kind, text=text,
                         changed=ast.unparse(tree))  # fmt: skip


def _changes(node: ast.AST) -> Iterator[tuple[str, str, Callable[[Any], object]]]:
    if isinstance(node, ast.If) and not node.orelse and isinstance(node.body[-1], LEAVING):
        yield "guard", ast.unparse(node.test), lambda n: setattr(n, "test", ast.Constant(False))
    if isinstance(node, ast.BoolOp):
        for i, value in enumerate(node.values):
            text = f"{ast.unparse(value)} [in: {ast.unparse(node)}]"
            yield "operand", text, lambda n, i=i: n.values.pop(i)


def swap_in(mutant: Mutant) -> None:
    """Give the imported module's functions the mutant's code."""
    codes = dict(_codes(compile(mutant.changed, mutant.module, "exec")))
    module = importlib.import_module(f"{PACKAGE}.{mutant.module}")
    for value in vars(module).values():
        if getattr(value, "__module__", None) == module.__name__:
            for function in _functions(value):
                function.__code__ = codes[function.__qualname__]


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _functions(value: object) -> Iterator[FunctionType]:
    """A function; of a class, those written in it, not what `dataclass` generated."""
    members = vars(value).values() if inspect.isclass(value) else [value]
    for member in members:
        function = member.fget if isinstance(member, property) else member
        if isinstance(function, FunctionType) and Path(function.__code__.co_filename).parent == FOLDER:
            yield function


@dataclass(slots=True)
class MutationRun:
    """A pytest plugin that runs the collected tests over every mutant of ``modules``, in place of running them."""

    modules: Sequence[str]
    kinds: Sequence[str]
    survivors: list[Mutant] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    reached: dict[pytest.Item, set[tuple[str, int]]] = field(default_factory=dict)
    seconds: dict[pytest.Item, float] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for item in session.items:
            self._trace(item)
        if self.failed:
            return True
        session.items.sort(key=self.seconds.__getitem__)
        for module in self.modules:
            chosen = list(mutants(module, self.kinds))
            alive = self._survivors(chosen, session)
            self.counts[module] = len(chosen)
            self.survivors += alive
            lines = [f"{module}: {len(chosen) - len(alive)} of {len(chosen)} mutants found", *(f"  survives: {m}" for m in alive)]
            print(*lines, sep="\n", file=sys.stderr, flush=True)
        return True

    def _trace(self, item: pytest.Item) -> None:
        lines: set[tuple[str, int]] = set()

        def inside(frame: FrameType, event: str, argument: object) -> Any:
            lines.add((frame.f_code.co_filename, frame.f_lineno))
            return inside

        def outside(frame: FrameType, event: str, argument: object) -> Any:
            return inside if frame.f_code.co_filename.startswith(f"{FOLDER}{os.sep}") else None

        started = time.perf_counter()
        sys.settrace(outside)
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        finally:
            sys.settrace(None)
        self.reached[item], self.seconds[item] = lines, time.perf_counter() - started

    def _survivors(self, chosen: Sequence[Mutant], session: pytest.Session) -> list[Mutant]:
        running: dict[int, Mutant] = {}
        alive = []
        for mutant in (*chosen, *[None] * WORKERS):
            if running and (mutant is None or len(running) == WORKERS):
                pid, status = os.wait()
                done = running.pop(pid)
                if status == 0:
                    alive.append(done)
            if mutant is not None:
                path = str(FOLDER / f"{mutant.module}.py")
                near = [i for i in session.items if any((path, line) in self.reached[i] for line in mutant.lines)]
                running[self._start(mutant, near, session.config.pluginmanager)] = mutant
        return alive

    def _start(self, mutant: Mutant, items: Sequence[pytest.Item], manager: pytest.PytestPluginManager) -> int:
        """A child that leaves with 1 as soon as a test fails, with 0 where none does."""
        child = os.fork()
        if child:
            return child
        swap_in(mutant)
        manager.unregister(name="terminalreporter")
        for item in items:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            if self.failed:
                os._exit(1)
        os._exit(0)


def run(modules: Sequence[str], kinds: Sequence[str]) -> MutationRun:
    """Every mutant of ``modules`` under the tests of this folder that reach it."""
    found = MutationRun(modules=modules, kinds=kinds)
    paths = [str(path) for name in TESTS if (path := Path(__file__).parent / f"test_{name}.py").exists()]
    options = ["-q", "-n0", "-p", "no:cacheprovider", "-m", "not large", "-o", f"timeout={TEST_TIMEOUT_S}"]
    pytest.main([*paths, *options], plugins=[found])
    if found.failed:
        raise SystemExit(f"these fail without any mutant: {', '.join(found.failed)}")
    return found


def main() -> None:
    chosen = [name for name in sys.argv[1:] if name in MODULES]
    found = run(chosen or MODULES, KINDS if "--operands" in sys.argv else KINDS[:1])
    total = sum(found.counts.values())
    print(f"{total - len(found.survivors)} of {total} mutants found")


if __name__ == "__main__":
    main()
