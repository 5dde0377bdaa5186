"""TensorSpec: what crosses a model's border."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

ITEMSIZE_BYTES = {"float32": 4, "float64": 8, "float16": 2, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2,
                  "int32": 4, "uint32": 4, "int64": 8, "uint64": 8, "bool": 1}  # fmt: skip


class TensorSpec(NamedTuple):
    """Name, static shape, dtype (numpy's name) and layout of one input or output.

    ``layout`` is "NCHW" or "NHWC" for image tensors whose axes are known, "" for everything else.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    layout: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes, dense and without padding."""
        return self.size * ITEMSIZE_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{','.join(map(str, self.shape))}]"
