"""torchvision's wheel is built for CUDA; beside CPU torch its import asks for two operators that no library defines."""

from __future__ import annotations

from functools import cache

import torch


@cache
def declare_torchvision_operators() -> torch.library.Library | None:
    """Give nms and qnms a schema, so that torchvision and timm can be imported. Nothing here calls either operator."""
    if hasattr(torch.ops.torchvision, "nms"):
        return None
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
