"""The rows of the table: each network as ONNX and as a torch.export program with the same weights."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.peers.case import Array, Case
from edgevision import zoo
from edgevision.measure.reference import open_session

if TYPE_CHECKING:
    from torch import nn

SEED = 0
IMAGE = (1, 3, 224, 224)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """``macs``: millions of multiply-accumulates of one run."""

    name: str
    macs: int
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = IMAGE


def from_zoo(name: str) -> nn.Module:
    return zoo.build(name, form="deploy")


def convnext_atto() -> nn.Module:
    from tests.graphs.from_timm import timm_network

    return timm_network("convnext_atto").requires_grad_(False)


def slak_block() -> nn.Module:
    from benchmarks.peers import blocks

    return blocks.build(blocks.SlakBlock)


def replknet_block() -> nn.Module:
    from benchmarks.peers import blocks

    return blocks.build(blocks.RepLKNetBlock)


def _zoo(name: str, macs: int) -> Network:
    return Network(name=name, macs=macs, build=partial(from_zoo, name))


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        _zoo("mobilenetv2-1.0", 301),
        _zoo("ghostnet-1.0", 141),
        _zoo("mobilenetv3-large", 217),
        _zoo("mobilenetv1-1.0", 569),
        _zoo("repvgg-a0", 1361),
        Network(name="convnext-atto", macs=547, build=convnext_atto),
        _zoo("parnet-s", 4734),
        Network(name="slak-block", macs=594, build=slak_block, shape=(1, 124, 56, 56)),
        Network(name="replknet-block", macs=489, build=replknet_block, shape=(1, 128, 56, 56)),
    )
}


def case_of(network: Network, folder: Path) -> Case:
    """The case of ``network`` in ``folder``, written there unless it is there already."""
    case = Case(folder=folder / network.name)
    if not case.folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _write(network, Case(folder=Path(scratch)))
            Path(scratch).rename(case.folder)
            Path(scratch).mkdir()  # the context removes it
    return case


def _write(network: Network, case: Case) -> None:
    import torch

    module = network.build()
    array = _image(network.shape)
    sample = torch.from_numpy(array)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module, (sample,)), case.program)
        torch.onnx.export(
            module, (sample,), case.onnx, dynamo=False, opset_version=17, input_names=["input"],
            output_names=["output"],
        )  # fmt: skip
    session = open_session(case.onnx, 1)
    np.save(case.folder / "input.npy", array)
    np.save(case.folder / "reference.npy", session.run(None, {"input": array})[0])


def _image(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(SEED).normal(size=shape).astype(np.float32)
