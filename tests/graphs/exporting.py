"""A torch network to an ONNX file in its training form."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn


def export_training_form(network: nn.Module, size: int, path: Path, opset: int = 17) -> Path:
    """Write ``network`` (eval mode) for "input" [1, 3, size, size]: branches and BatchNorms stay. Returns ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        beside = Path(folder) / "network.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, size, size),),
            beside,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            opset_version=opset,
            input_names=["input"],
            output_names=["output"],
        )
        beside.replace(path)
    return path
