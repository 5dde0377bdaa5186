"""Inputs of a graph to compare on: random ones, and those that a caller gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgevision.errors import InputError
from edgevision.rewrite.reparam.interpreter import Array

OPEN_EXTENT = 32


def inputs_of(proto: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """The inputs that a caller has to give: those that are no initializers."""
    overridable = {tensor.name for tensor in proto.graph.initializer}
    return (value for value in proto.graph.input if value.name not in overridable)


def check_feed(proto: onnx.ModelProto, feed: Mapping[str, Array]) -> None:
    """Raises:
    InputError: an array is missing, or of another type or shape than its input.
    """
    for value in inputs_of(proto):
        if value.name not in feed:
            raise InputError(f"no array for the input {value.name!r}; there are {', '.join(map(repr, feed)) or 'none'}")
        array, dtype = feed[value.name], _dtype(value)
        dims = value.type.tensor_type.shape.dim
        fits = len(dims) == array.ndim and all(d.dim_value in (0, n) for d, n in zip(dims, array.shape, strict=True))
        if array.dtype != dtype or not fits:
            wanted = [d.dim_value or d.dim_param or "?" for d in dims]
            raise InputError(f"the array for the input {value.name!r} is {array.dtype} {list(array.shape)}; "
                             f"it takes {dtype} [{', '.join(map(str, wanted))}]")  # fmt: skip


def random_feeds(
    proto: onnx.ModelProto, seed: int, count: int, like: Mapping[str, Array] | None = None
) -> list[dict[str, Array]]:
    """``count`` inputs: normal floats, small integers; open extents as in ``like``, else a batch of 1 and 32 elsewhere.

    Raises:
        InputError: an input is no tensor.
    """
    generator = np.random.default_rng(seed)
    feeds = []
    for _ in range(count):
        feed: dict[str, Array] = {}
        for value in inputs_of(proto):
            dims = value.type.tensor_type.shape.dim
            shape = [d.dim_value or (OPEN_EXTENT if axis else 1) for axis, d in enumerate(dims)]
            if like is not None:
                shape = list(like[value.name].shape)
            feed[value.name] = _random(generator, shape, _dtype(value))
        feeds.append(feed)
    return feeds


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    if value.type.WhichOneof("value") != "tensor_type":
        raise InputError(f"the input {value.name!r} is no tensor, so that nothing can be compared on it; "
                         "leave the comparison out with --no-prove")  # fmt: skip
    return helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def _random(generator: np.random.Generator, shape: list[int], dtype: np.dtype[Any]) -> Array:
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2 if dtype == np.bool_ else 8, shape).astype(dtype)
