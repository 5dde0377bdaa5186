"""State dicts from a file into a network: every key and shape fits, or an error says which do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from edgevision.errors import ModelFileError
from edgevision.zoo.mobilenetv2 import torchvision_prefixes

# A counter of training steps that BatchNorm keeps and inference does not read; older files lack it.
_IGNORED = "num_batches_tracked"


class WeightsMismatchError(ModelFileError):
    """A state dict that is not this network's."""

    def __init__(
        self, path: Path, network: str, missing: Sequence[str], unexpected: Sequence[str], shapes: Sequence[str]
    ) -> None:
        self.network, self.missing, self.unexpected, self.shapes = network, missing, unexpected, shapes
        parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
        told = "; ".join(f"{len(keys)} {what}: {_first(keys)}" for what, keys in parts if keys)
        super().__init__(
            path, f"these weights are not for {network}: {told}. The file must hold its training form's state dict"
        )


def load_weights(network: nn.Module, name: str, path: Path) -> None:
    """Copy the state dict in ``path`` into ``network`` (training form) in place.

    The keys are the network's own, or torchvision's for MobileNet V2.

    Raises: ModelFileError when the file cannot be read, WeightsMismatchError when it does not fit.
    """
    given = _own_names(_read(path), name)
    wanted = {key: value for key, value in network.state_dict().items() if not key.endswith(_IGNORED)}
    missing = [key for key in wanted if key not in given]
    unexpected = [key for key in given if key not in wanted]
    shapes = [
        f"{key} {list(given[key].shape)} instead of {list(value.shape)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    if missing or unexpected or shapes:
        raise WeightsMismatchError(path, name, missing, unexpected, shapes)
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(given[key])


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelFileError(path, "no such file; --weights takes a torch state dict (.pth)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelFileError(path, f"cannot be read as a torch state dict: {reason}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelFileError(path, "holds something else than a torch state dict (names to tensors)")
    return {str(key): value for key, value in state.items() if not str(key).endswith(_IGNORED)}


def _own_names(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    if name != "mobilenetv2-1.0" or "features.0.0.weight" not in state:
        return state
    prefixes = torchvision_prefixes()
    renamed = {}
    for key, value in state.items():
        prefix, _, leaf = key.rpartition(".")
        renamed[f"{prefixes[prefix]}.{leaf}" if prefix in prefixes else key] = value
    return renamed


def _first(keys: Sequence[str], most: int = 3) -> str:
    return ", ".join(keys[:most]) + (", ..." if len(keys) > most else "")
