"""Accuracy: how often networks name the right class on the same labelled images."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

Z_95 = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TopOne:
    """``correct`` of ``images`` whose highest score is their label."""

    correct: int
    images: int

    @property
    def share(self) -> float:
        """correct / images"""
        return self.correct / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Where the share of all such images lies with 95 % confidence (Wilson, 1927)."""
        p, n, z = self.share, self.images, Z_95
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)
