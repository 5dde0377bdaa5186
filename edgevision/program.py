"""Program: a model lowered to one PrimFunc a workload, on static shapes, in the order they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edgevision.artifact import Step
from edgevision.filter_transform import Transformed
from edgevision.tensor import TensorSpec
from edgevision.tvm_without_torch import tvm

GROUPS, GROUP_SIZE = "ev.groups", "ev.group_size"
"""Attributes of a function that is a device kernel: how many work groups it is launched with, and how many work items each has."""


Place = tuple[str, int]
"""Kind and index of a `Value`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One tensor of the program: where it lives and its dense row-major shape.

    kind "input"/"output": the caller's tensor number ``index``; "weight": constant number ``index``;
    "scratch": activation number ``index``, placed in the arena by the memory plan. Two values of the same kind and
    index with other shapes are views of the same bytes. With ``first`` the call reads or writes only some channels of
    them, from that one on; how many, its function knows. The last ``padding`` channels are nobody's.
    """

    kind: Literal["input", "output", "weight", "scratch"]
    index: int
    shape: tuple[int, ...]
    dtype: str
    first: int | None = None
    padding: int = 0

    @property
    def place(self) -> Place:
        return self.kind, self.index


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Run PrimFunc ``function`` of the module on ``args``: inputs first, the result (or results) last."""

    function: str
    args: tuple[Value, ...]
    outputs: int
    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A module of PrimFuncs plus the calls that make one run of the network. ``dtype``: what weights and activations that are
    float32 in the network are stored in. ``transformed`` tells from what the artifact may make a weight, by its number, when it
    is loaded."""

    module: tvm.IRModule
    calls: tuple[Call, ...]
    weights: tuple[np.ndarray, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    model_sha256: str
    dtype: str = "float32"
    transformed: Mapping[int, Transformed] = field(default_factory=dict)
