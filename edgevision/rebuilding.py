"""A network of the zoo with the widths of a pruned one, and fresh weights."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from edgevision import ingest, zoo
from edgevision.errors import InputError
from edgevision.rewrite.prune import Pruned
from edgevision.rewrite.prune.widths import to_widths
from edgevision.zoo.saving import check_output, save


class WidthFileError(InputError):
    """A file that holds no width table."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"{path}: {reason}; give what `edgevision finetune` writes beside its output, or `edgevision prune --json` prints"
        )


def read_widths(path: Path) -> dict[str, int]:
    """Layer -> channels, from {"layers": {name: width}} or {"layers": [{"layer": name, "after": width}]}.

    Raises: WidthFileError.
    """
    try:
        layers = json.loads(path.read_text())["layers"]
        table = layers if isinstance(layers, dict) else {entry["layer"]: entry["after"] for entry in layers}
    except OSError as error:
        raise WidthFileError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WidthFileError(path, "no width table") from error
    for name, width in table.items():
        if not isinstance(width, int) or isinstance(width, bool):
            raise WidthFileError(path, f"the width of {name!r} is {width!r}, not a whole number")
    return {str(name): int(width) for name, width in table.items()}


def rebuild(
    name: str, widths: Path, output: Path, *, form: zoo.Form = "train", seed: int = 0, weights: Path | None = None, batch: int = 1
) -> Pruned:
    """Write the zoo's network ``name`` with its layers as wide as the file ``widths`` says.

    The table names layers as `edgevision prune` does in the network that `zoo.export` writes with the same ``form``.
    The graph is plain ONNX, opset 23, with BatchNormalizations folded, as pruned graphs are. Which channels stay is not
    what the pruned network kept: the weights are to be trained.

    Raises: what `zoo.export` raises; WidthFileError, WidthTableError, UnknownNameError.
    """
    table = read_widths(widths)
    check_output(output)
    with tempfile.TemporaryDirectory() as folder:
        whole = zoo.export(name, Path(folder) / "whole.onnx", form=form, seed=seed, weights=weights, batch=batch)
        rebuilt = to_widths(ingest.read(whole).proto, table)
    save(ingest.to_onnx(rebuilt.proto), output)
    return rebuilt
