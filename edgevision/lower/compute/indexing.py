"""Index arithmetic that operators share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx


def broadcast(tensor: Any, at: Sequence[Any], shape: Sequence[int]) -> Any:
    """The element of ``tensor`` for output index ``at`` of ``shape``, aligned from the right as numpy does.

    An axis of extent 1 in both keeps the loop variable: FuseOps then sees an elementwise access.
    """
    lead = len(at) - len(tensor.shape)
    index = tuple(
        tirx.const(0, "int64") if int(n) == 1 and shape[lead + j] != 1 else at[lead + j] for j, n in enumerate(tensor.shape)
    )
    return tensor[index] if index else tensor()
