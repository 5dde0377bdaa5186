"""Whole networks: exact in float64, valid for onnxruntime, widths that are multiples."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgevision import ingest, zoo
from edgevision.counting import count
from edgevision.rewrite.prune import IMPORTANCES, Pruned, prune
from edgevision.rewrite.prune.channels import analyse
from edgevision.rewrite.prune.cost import macs, parameters
from edgevision.rewrite.prune.network import Network
from tests import graphs
from tests.rewrite.prune.oracle import EXACT, check_shapes, error, resized
from tests.rewrite.prune.styles import STYLES, normal_form

SHARES = (0.3, 0.5, 0.7)
NAMES = sorted(IMPORTANCES.keys() - {"bn"})
FAMILIES = ("ghostnet-0.5", "mobilenetv1-1.0", "mobilenetv2-1.0", "mobilenetv3-small", "repvgg-a0", "parnet-s")
THEIRS = ("densenet-121", "convnext-atto", "mobileone-s0", "repghost-1.0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


def check(proto: onnx.ModelProto, pruned: Pruned, round_to: int = 8) -> None:
    network = Network(proto)
    assert pruned.changed
    assert [width for width in pruned.changed if width.after % round_to] == []
    check_shapes(pruned.proto)
    assert error(pruned.proto, network, analyse(network), pruned.removed) <= EXACT
    _run(pruned.proto)


def _run(proto: onnx.ModelProto) -> None:
    plain = ingest.to_onnx(proto)
    onnx.checker.check_model(plain, full_check=True)
    session = onnxruntime.InferenceSession(plain.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {each.name: np.ones(each.shape, np.float32) for each in session.get_inputs()}
    assert all(np.isfinite(each).all() for each in session.run(None, feeds))


@cache
def style(name: str) -> onnx.ModelProto:
    return normal_form(name)


@pytest.mark.parametrize(("share", "importance"), zip((*SHARES, 0.6), NAMES, strict=True))
@pytest.mark.parametrize("name", STYLES)
def test_a_network_in_this_style_is_exact(name: str, share: float, importance: str) -> None:
    check(style(name), prune(style(name), share, importance=importance, round_to=4), 4)


@pytest.mark.large
@pytest.mark.parametrize("importance", NAMES)
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", STYLES)
def test_every_importance_and_share_is_exact_in_this_style(name: str, share: float, importance: str) -> None:
    for scope in ("global", "uniform"):
        pruned = prune(style(name), share, importance=importance, scope=scope, round_to=4)  # type: ignore[arg-type]
        check(style(name), pruned, 4)


def test_a_zoo_network_is_exact(folder: Path) -> None:
    proto = resized(zoo.export("mobilenetv3-small", folder / "network.onnx"), 32, simplify=False).proto
    check(proto, prune(proto, 0.5, measure="macs"))


@pytest.mark.large
@pytest.mark.parametrize("name", FAMILIES)
def test_every_importance_and_share_is_exact_for_zoo_networks(name: str, folder: Path) -> None:
    proto = resized(zoo.export(name, folder / f"{name}.onnx"), 64).proto
    for importance in NAMES:
        for share in SHARES:
            check(proto, prune(proto, share, importance=importance))


@pytest.mark.large
@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in FAMILIES])
def test_every_zoo_network_is_exact(name: str, folder: Path) -> None:
    proto = resized(zoo.export(name, folder / f"{name}.onnx"), 64).proto
    check(proto, prune(proto, 0.5, measure="macs", scope="uniform"))


@pytest.mark.large
@pytest.mark.parametrize("name", [*THEIRS, "convnext-tiny"])
def test_networks_that_nobody_here_wrote_are_exact(name: str) -> None:
    proto = resized(graphs.cached(name), 64).proto
    for share, importance in zip((*SHARES, 0.5), NAMES, strict=True):
        check(proto, prune(proto, share, importance=importance))


@pytest.mark.parametrize("name", STYLES)
def test_predicted_costs_are_those_of_the_pruned_graph(name: str) -> None:
    proto = style(name)
    network = Network(proto)
    channels = analyse(network)
    pruned = prune(proto, 0.6, measure="macs", round_to=4)
    keep = ~np.isin(channels.root, pruned.removed)
    for kept, graph in ((np.ones_like(keep), proto), (keep, pruned.proto)):
        counted = count(graph)
        assert macs(network, channels).total(kept) == counted.macs
        assert parameters(network, channels).total(kept) == pytest.approx(counted.parameters, abs=0.5)
    assert pruned.achieved == pytest.approx(count(pruned.proto).macs / count(proto).macs)
    assert pruned.achieved <= 0.6


def test_shufflenets_groups_do_not_collapse() -> None:
    """240 channels in 3 groups: 240 classes of one identity each, tied only in number."""
    network = Network(style("shufflenet"))
    channels = analyse(network)
    first = next(layer for layer in channels.layers if len(layer.ids) == 240)
    classes = channels.classes(first.ids)
    assert len(set(classes.tolist())) == 240
    assert not set(classes.tolist()) & channels.frozen.keys()
    pruned = prune(style("shufflenet"), 0.5, round_to=1)
    keep = ~np.isin(channels.root, pruned.removed)
    halves = [tuple(keep[block].tolist()) for balance in channels.balances for block in balance.blocks]
    assert len({len(half) for half in halves}) > 1 and len(set(halves)) > 6
    for balance in channels.balances:
        assert len({int(keep[block].sum()) for block in balance.blocks}) == 1
