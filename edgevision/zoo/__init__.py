"""The networks that edgevision is measured on, written from their papers. Only `build` and `export` need torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from edgevision.errors import InputError, ToolchainError, UnknownNameError
from edgevision.zoo.catalog import CATALOG, Entry, Size
from edgevision.zoo.saving import OutputError, check_output, save

if TYPE_CHECKING:
    import torch

__all__ = ["Entry", "Form", "MissingTorchError", "OutputError", "Size", "build", "entries", "export", "names"]

Form = Literal["train", "deploy"]


class MissingTorchError(ToolchainError):
    """The zoo builds torch modules, and torch is not installed."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"building {name} needs torch, which is not installed; pip install 'edgevision[torch]'")


def entries() -> tuple[Entry, ...]:
    """Every network with its parameters and MACs."""
    return CATALOG


def names() -> tuple[str, ...]:
    """The names that `build` and `export` take."""
    return tuple(entry.name for entry in CATALOG)


def build(name: str, *, form: Form = "train", seed: int = 0, weights: Path | None = None) -> torch.nn.Module:
    """The network as a torch module in eval mode: float32 [N, 3, 224, 224] -> logits [N, 1000].

    ``form`` "train" has the branches and BatchNorms of training, "deploy" the same function without them (equal in
    exact arithmetic; merged in float64, then rounded to float32). Weights come from the state dict in the file
    ``weights`` (training form; for mobilenetv2-1.0 torchvision's names too), else from ``seed``.

    Raises: UnknownNameError, InputError, MissingTorchError; ModelFileError when ``weights`` does not fit.
    """
    _check(name, form, seed)
    from edgevision.zoo import building

    return building.build(name, form, seed, weights)


def export(
    name: str, output: Path, *, form: Form = "train", seed: int = 0, weights: Path | None = None, batch: int = 1
) -> Path:
    """Write the network as ONNX opset 17, "input" [batch, 3, 224, 224] to "output" [batch, 1000].

    Returns ``output``. The same arguments give the same bytes. The file appears whole or not at all.

    Raises: what `build` raises, and OutputError when ``output`` cannot be written.
    """
    _check(name, form, seed)
    if batch < 1:
        raise InputError(f"batch {batch}: give at least 1")
    check_output(output)
    from edgevision.zoo import building

    save(building.export(name, form, seed, weights, batch), output)
    return output


def _check(name: str, form: str, seed: int) -> None:
    if name not in names():
        raise UnknownNameError("network", name, names())
    if form not in get_args(Form):
        raise UnknownNameError("form", form, get_args(Form))
    if seed < 0:
        raise InputError(f"seed {seed}: give 0 or a positive number")
    if find_spec("torch") is None:
        raise MissingTorchError(name)
