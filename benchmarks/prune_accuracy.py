"""Accuracy of pruned networks on Fashion-MNIST: fine-tuned, from scratch, at random, and as Torch-Pruning prunes them.

    python -m benchmarks.prune_accuracy --data DIR [--networks ghostnet,mobilenetv3] [--seeds 3] [--table]

A teacher a network is trained once. Then, seed by seed, it is pruned to half its MACs in each way, and each result is
trained for the same number of epochs with the same recipe. Every row is appended to rows.jsonl in --folder as soon as
it is done; what is there is not done again, and a training that was killed continues from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx

import edgevision
from edgevision import ingest
from edgevision.counting import count
from edgevision.rewrite.prune.finetune.recipe import Recipe
from edgevision.rewrite.prune.select import Scope
from edgevision.rewrite.prune.widths import width_table

SHARE = 0.5
TEACHER = {"lr": 0.15, "weight_decay": 1e-4, "shift": 1}
STUDENT = {"lr": 0.1, "shift": 1}
TEACHER_EPOCHS = {"ghostnet": 6, "mobilenetv3": 10}
BATCH = 128
WEIGHT_DECAY = 1e-4
METHODS = ("l1", "uniform", "taylor", "scratch", "random", "torch-pruning")
"""l1, taylor, random: pruned by that importance and fine-tuned. uniform: by l1, the same share of every layer.
scratch: the architecture of l1 with fresh weights. torch-pruning: its group magnitude importance, within layers or across
them, whichever comes nearest below half the MACs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the idx files of Fashion-MNIST")
    parser.add_argument("--folder", type=Path, default=Path(".cache/prune_accuracy"), help="rows, networks, checkpoints")
    parser.add_argument("--networks", default="ghostnet,mobilenetv3")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of every student")
    parser.add_argument("--batch", type=int, default=BATCH, help="of every student")
    parser.add_argument("--weight-decay", type=float, default=WEIGHT_DECAY, help="of every student")
    parser.add_argument("--table", action="store_true", help="print what is there, train nothing")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(given.folder / "rows.jsonl")
    if not given.table:
        for name in given.networks.split(","):
            teach(name, given, rows)
        for seed in range(given.seeds):
            for name in given.networks.split(","):
                for method in given.methods.split(","):
                    student(name, method, seed, given, rows)
    how = {"epochs": given.epochs, "batch": given.batch, "weight_decay": given.weight_decay}
    print("\n".join(table(rows.all(), how)))


FORMERLY = {"batch": BATCH, "weight_decay": WEIGHT_DECAY}
"""Of rows that were made before these were written into them."""


class Rows:
    """The file of results."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def has(self, **key: object) -> bool:
        return any(all({**FORMERLY, **row}.get(name) == value for name, value in key.items()) for row in self.all())

    def add(self, row: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def teach(name: str, given: argparse.Namespace, rows: Rows) -> None:
    """The teacher: trained on labels alone, from fresh weights."""
    key = {"network": name, "method": "teacher", "seed": 0, "epochs": TEACHER_EPOCHS[name]}
    path = teacher_path(name, given.folder)
    if path.exists() and rows.has(**key):
        return
    fresh = given.folder / f"{name}.fresh.onnx"
    run("benchmarks.prune_accuracy_networks", name, fresh)
    rows.add(trained(fresh, path, key, given, Recipe(epochs=key["epochs"], **TEACHER), scratch=True))  # type: ignore[arg-type]


def teacher_path(name: str, folder: Path) -> Path:
    return folder / f"{name}.teacher.onnx"


def student(name: str, method: str, seed: int, given: argparse.Namespace, rows: Rows) -> None:
    """Prune, train, append a row."""
    how = {"epochs": given.epochs, "batch": given.batch, "weight_decay": given.weight_decay}
    key = {"network": name, "method": method, "seed": seed, **how}
    if rows.has(**key):
        return
    stem = ".".join(map(str, (name, method, seed, *how.values())))
    pruned = given.folder / f"{stem}.pruned.onnx"
    PRUNERS.get(method, by_importance)(teacher_path(name, given.folder), pruned, method, seed, given)
    recipe = Recipe(seed=seed, **how, **STUDENT)  # type: ignore[arg-type]
    output = given.folder / f"{stem}.onnx"
    rows.add(trained(pruned, output, key, given, recipe, teacher=teacher_path(name, given.folder), scratch=method == "scratch"))


def by_importance(teacher: Path, pruned: Path, method: str, seed: int, given: argparse.Namespace) -> None:
    more = {"data": given.data} if method == "taylor" else {}
    importance = "l1" if method in ("scratch", "uniform") else method
    scope: Scope = "uniform" if method == "uniform" else "global"
    edgevision.prune(teacher, pruned, macs=SHARE, importance=importance, scope=scope, seed=seed, **more)  # type: ignore[arg-type]


def by_torch_pruning(teacher: Path, pruned: Path, method: str, seed: int, given: argparse.Namespace) -> None:
    run("benchmarks.prune_accuracy_torch_pruning", teacher.name.partition(".")[0], teacher, pruned, SHARE)


PRUNERS: dict[str, Callable[..., None]] = {"torch-pruning": by_torch_pruning}


def trained(
    source: Path, output: Path, key: dict[str, Any], given: argparse.Namespace, recipe: Recipe, *,
    teacher: Path | None = None, scratch: bool,
) -> dict[str, Any]:  # fmt: skip
    """Train ``source`` into ``output`` on one thread; the row."""
    start = time.process_time()
    done = edgevision.finetune(
        source, output, data=given.data, teacher=teacher, recipe=recipe, fresh=scratch, threads=1, resume=True,
        progress=lambda name, step: say(key, step),
    )  # fmt: skip
    proto = ingest.read(onnx.load(output)).proto
    widths = list(width_table(proto).values())[:-1]
    counts = count(proto)
    return {
        **key, "macs": counts.macs, "parameters": counts.parameters, "correct": done.after.correct,
        "images": done.after.images, "before": done.before.correct, "cpu_s": round(time.process_time() - start),
        "odd_widths": sum(width % 8 > 0 for width in widths), "layers": len(widths), "widths": widths,
    }  # fmt: skip


def say(key: dict[str, Any], step: Any) -> None:
    if step.step % 200 == 0:
        print(key["network"], key["method"], key["seed"], f"{step.step}/{step.steps}", f"{step.loss:.3f}",
              file=sys.stderr, flush=True)  # fmt: skip


def run(module: str, *words: object) -> None:
    """In a process of its own: torch's exporter and Torch-Pruning keep state."""
    path = os.pathsep.join([*sys.path, ".cache/torch-pruning-1.6"])
    subprocess.run([sys.executable, "-W", "ignore", "-m", module, *map(str, words)], check=True,
                   env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})  # fmt: skip


def table(rows: list[dict[str, Any]], how: dict[str, Any]) -> Iterator[str]:
    """Markdown: mean accuracy of the seeds, the least and the highest, and what it lost against the teacher."""
    yield "| network | how | seeds | MACs | parameters | top-1 | lost | odd widths |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in dict.fromkeys(row["network"] for row in rows):
        (teacher,) = [row for row in rows if row["network"] == name and row["method"] == "teacher"] or [None]
        for method in ("teacher", *METHODS):
            same = [row for row in rows if (row["network"], row["method"]) == (name, method)]
            mine = [row for row in same if row is teacher or how.items() <= {**FORMERLY, **row}.items()]
            if not mine or teacher is None:
                continue
            tops = [100 * row["correct"] / row["images"] for row in mine]
            mean, lost = sum(tops) / len(tops), 100 * teacher["correct"] / teacher["images"] - sum(tops) / len(tops)
            spread = f" ({min(tops):.2f} to {max(tops):.2f})" if len(tops) > 1 else ""
            share, parameters = mine[0]["macs"] / teacher["macs"], mine[0]["parameters"]
            yield (f"| {name} | {method} | {len(mine)} | {share:.1%} | {parameters:,} | {mean:.2f} %{spread} | {lost:+.2f} | "
                   f"{mine[0]['odd_widths']} of {mine[0]['layers']} |")  # fmt: skip


if __name__ == "__main__":
    main()
