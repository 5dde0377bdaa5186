"""Networks of every family, pruned to three shares by every importance: exact, valid, multiples of 8, compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevision import ingest, zoo
from edgevision.model import Model
from edgevision.pipeline import Options, compile_model
from edgevision.pruned_model import scales_of
from edgevision.rewrite.prune import IMPORTANCES, prune
from edgevision.rewrite.prune.importance import MissingScaleError
from tests import graphs
from tests.graphs import trained
from tests.rewrite.prune.oracle import resized
from tests.rewrite.prune.styles import STYLES
from tests.rewrite.prune.test_networks import check

SHARES = (0.3, 0.5, 0.7)
ZOO = ("ghostnet-1.0", "parnet-s", "mobilenetv1-1.0", "mobilenetv2-1.0", "mobilenetv3-large", "repvgg-a0")
THEIRS = ("densenet-121", "convnext-tiny")
SMALL = ("shufflenet", "unet", "ssd")
FAMILIES = (*ZOO, *THEIRS, *SMALL)
SIDE = 64

pytestmark = [pytest.mark.large, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """A family's network, in training form, read once."""
    folder = tmp_path_factory.mktemp("networks")

    @cache
    def network(name: str) -> Model:
        if name in STYLES:
            return ingest.read(STYLES[name](), simplify=False)
        path = zoo.export(name, folder / f"{name}.onnx") if name in ZOO else graphs.cached(name)
        return resized(path, SIDE)

    return network


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_share_by_every_importance(name: str, importance: str, read: Callable[[str], Model]) -> None:
    model = read(name)
    if importance == "bn" and not scales_of(model):
        with pytest.raises(MissingScaleError):
            prune(model.proto, 0.5, importance=importance)
        return
    for share in SHARES:
        pruned = prune(model.proto, share, importance=importance, scales=scales_of(model))
        assert 0.5 * share < pruned.achieved <= share
        check(model.proto, pruned)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_share_by_taylor(name: str, read: Callable[[str], Model]) -> None:
    """On noise: what the gradient says does not matter here, that it reaches every layer does."""
    from edgevision.rewrite.prune.finetune.taylor import taylor
    from edgevision.rewrite.prune.finetune.torch_network import NotAClassifierError, TorchNetwork

    model = read(name)
    if name in ("unet", "ssd"):
        with pytest.raises(NotAClassifierError):
            TorchNetwork(model.proto)
        return
    network, random = TorchNetwork(model.proto), np.random.default_rng(0)
    shape = (4, *model.inputs[0].shape[1:])
    batches = [(random.standard_normal(shape).astype(np.float32), random.integers(0, network.classes, 4)) for _ in range(2)]
    importance = taylor(network, batches)
    for share in SHARES:
        check(model.proto, prune(model.proto, share, importance=importance))


@pytest.mark.parametrize(("name", "share"), [(name, SHARES[index % 3]) for index, name in enumerate(FAMILIES)])
def test_a_pruned_network_of_every_family_compiles(
    name: str, share: float, read: Callable[[str], Model], tmp_path: Path
) -> None:
    model = read(name)
    pruned = prune(model.proto, share)
    out = tmp_path / "pruned.onnx"
    onnx.save(ingest.to_onnx(pruned.proto), out)
    (outcome,) = compile_model(out, ["native"], Options(output=tmp_path / "built", measure=False)).outcomes
    assert outcome.verification.passed


def obtained(fetch: Callable[[Path], Path]) -> Path:
    try:
        return fetch(trained.cache_folder())
    except trained.NotObtainableError as error:
        pytest.skip(str(error))


@pytest.mark.trained
@pytest.mark.parametrize("name", trained.ONNX_MODELS)
def test_a_trained_network_is_exact(name: str) -> None:
    fetch, shape = trained.ONNX_MODELS[name]
    shapes = ingest.parse_input_shapes((shape,)) if shape else None
    model = ingest.read(obtained(fetch), input_shapes=shapes)
    for share, importance in zip(SHARES, ("fpgm", "l1", "random"), strict=True):
        check(model.proto, prune(model.proto, share, importance=importance))


@pytest.mark.trained
def test_mobilenetv2_with_imagenet_weights_is_exact(tmp_path: Path) -> None:
    weights = obtained(trained.mobilenetv2)
    model = ingest.read(zoo.export("mobilenetv2-1.0", tmp_path / "network.onnx", weights=weights))
    for share, importance in zip(SHARES, ("bn", "l2", "fpgm"), strict=True):
        check(model.proto, prune(model.proto, share, importance=importance, scales=scales_of(model)))
