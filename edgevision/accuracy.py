"""Accuracy: how often networks name the right class on the same labelled images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Share of images whose label is the highest score (``top1``), or among the five highest.

    ``top5`` is None for networks of five classes or fewer, where it would always be 1.
    """

    network: str
    top1: float
    top5: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The same ``images`` through every network; ``agreement`` is the share with the same top-1 class in all of them,
    None where there is one network. ``skipped`` are images that could not be read: "path: reason".
    """

    images: int
    classes: int
    networks: tuple[Accuracy, ...]
    agreement: float | None
    skipped: tuple[str, ...]
