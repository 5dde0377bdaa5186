"""Networks of timm in training form: graphs that nobody here wrote. Importing timm takes seconds; it is done late."""

from __future__ import annotations

import torch
from torch import nn

from tests.graphs.statistics import bring_to_life, calibration_images
from tests.graphs.torchvision_schemas import declare_torchvision_operators


def timm_network(name: str, size: int = 224) -> nn.Module:
    """timm's ``name`` with live weights, in eval mode: [N, 3, size, size] -> [N, classes]."""
    declare_torchvision_operators()
    import timm

    torch.manual_seed(0)
    return bring_to_life(timm.create_model(name), calibration_images(size))
