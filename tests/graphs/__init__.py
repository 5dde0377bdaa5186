"""Graphs for tests to run over: networks in training form, with random but live weights.

``NETWORKS[name](folder)`` writes ``folder/name.onnx`` unless it is there, and returns the path. The input is "input",
float32 [1, 3, size, size], the output "output". `cached` does the same in a folder that outlives the test run.
torch and timm are imported when a network is first built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

_TIMM = {
    "mobileone-s0": ("mobileone_s0", 224),
    "repghost-1.0": ("repghostnet_100", 224),
    "repvgg-a0": ("repvgg_a0", 224),
    "ghostnetv2-1.0": ("ghostnetv2_100", 224),
    "ghostnetv3-1.0": ("ghostnetv3_100", 224),
    "mobilenetv4-small": ("mobilenetv4_conv_small", 224),
    "fastvit-t8": ("fastvit_t8", 256),
    "repvit-m1": ("repvit_m1", 224),
    "convnext-atto": ("convnext_atto", 224),
    "convnext-tiny": ("convnext_tiny", 224),
    "densenet-121": ("densenet121", 224),
}


def from_timm(folder: Path, name: str) -> Path:
    """One of timm's networks."""
    from tests.graphs.exporting import export_training_form
    from tests.graphs.from_timm import timm_network

    theirs, size = _TIMM[name]
    path = folder / f"{name}.onnx"
    return path if path.is_file() else export_training_form(timm_network(theirs, size), size, path)


def replknet_31b(folder: Path) -> Path:
    """RepLKNet-31B, 320 MB: a 5x5 beside every large depthwise kernel."""
    from tests.graphs.exporting import export_training_form
    from tests.graphs.replknet import replknet_31b
    from tests.graphs.statistics import bring_to_life, calibration_images

    path = folder / "replknet-31b.onnx"
    if path.is_file():
        return path
    return export_training_form(bring_to_life(replknet_31b(), calibration_images(224)), 224, path)


def slak_t(folder: Path) -> Path:
    """SLaK-T, 203 MB: 51x5, 5x51 and 5x5 depthwise side by side, 40 % of the blocks' weights zero."""
    from tests.graphs.exporting import export_training_form
    from tests.graphs.slak import slak_t, zero_a_share
    from tests.graphs.statistics import bring_to_life, calibration_images

    path = folder / "slak-t.onnx"
    if path.is_file():
        return path
    network = bring_to_life(slak_t(), calibration_images(224), after_weights=zero_a_share)
    return export_training_form(network, 224, path)


NETWORKS: dict[str, Callable[[Path], Path]] = {name: partial(from_timm, name=name) for name in _TIMM} | {
    "replknet-31b": replknet_31b,
    "slak-t": slak_t,
}
# Hundreds of megabytes and seconds of convolution each.
LARGE = ("convnext-tiny", "replknet-31b", "slak-t")


def cached(name: str) -> Path:
    """The file of ``name`` under .cache/graphs, rebuilt when torch, timm or the sources that build it change."""
    here = Path(__file__).parent
    sources = [
        here / f"{source}.py" for source in ("__init__", "exporting", "from_timm", "replknet", "slak", "statistics")
    ]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources))
    digest.update(f"{version('torch')} {version('timm')}".encode())
    folder = here.parents[1] / ".cache" / "graphs" / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return NETWORKS[name](folder)
