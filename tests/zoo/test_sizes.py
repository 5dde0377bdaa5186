"""Parameters and MACs of every network, in both forms, against the papers and against other people's code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgevision import zoo
from edgevision.counting import count
from edgevision.zoo.building import skeleton
from edgevision.zoo.exporting import to_onnx
from edgevision.zoo.networks import NETWORKS
from tests.graphs.torchvision_schemas import declare_torchvision_operators

# Parameters in millions and MACs in millions as published: (form, parameters, MACs), with the digits that were printed.
# Papers cut digits off as often as they round (MobileNet V2's 300.8 M is "300M"), so both are accepted.
PUBLISHED = {
    "ghostnet-0.5": ("train", "2.6", "42"),
    "ghostnet-1.0": ("train", "5.18", "141"),
    "ghostnet-1.3": ("train", "7.36", "227"),
    "parnet-s": ("deploy", "19.13", "4734"),
    "parnet-m": ("deploy", "35.58", "8582"),
    "parnet-l": ("deploy", "54.92", "13324"),
    "parnet-xl": ("deploy", "84.97", "20716"),
    "mobilenetv1-1.0": ("train", "4.23", "569"),
    "mobilenetv2-1.0": ("train", "3.50", "300"),
    "mobilenetv3-large": ("train", "5.4", "217"),
    "mobilenetv3-small": ("train", "2.54", "56.5"),
    "repvgg-a0": ("train", "9.11", "1513"),
    "repvgg-a1": ("train", "14.09", "2626"),
    "repvgg-b0": ("train", "15.82", "3397"),
}
PUBLISHED_FUSED_REPVGG = {"repvgg-a0": ("8.31", "1361"), "repvgg-a1": ("12.79", "2364"), "repvgg-b0": ("14.34", "3058")}
TIMM_NAMES = {
    "ghostnet-0.5": "ghostnet_050",
    "ghostnet-1.0": "ghostnet_100",
    "ghostnet-1.3": "ghostnet_130",
    "mobilenetv1-1.0": "mobilenetv1_100",
    "mobilenetv2-1.0": "mobilenetv2_100",
    "mobilenetv3-large": "mobilenetv3_large_100",
    "mobilenetv3-small": "mobilenetv3_small_100",
    "repvgg-a0": "repvgg_a0",
    "repvgg-a1": "repvgg_a1",
    "repvgg-b0": "repvgg_b0",
}


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _macs(network: nn.Module) -> int:
    """Summed while a meta tensor passes through the real module."""
    per_layer = []

    def note(layer, _inputs, output):
        per_layer.append(output.numel() * layer.weight[0].numel())

    hooks = [
        layer.register_forward_hook(note)
        for layer in network.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.weight.device.type == "meta"
    ]
    network(torch.empty(1, 3, 224, 224, device="meta"))
    for hook in hooks:
        hook.remove()
    return sum(per_layer)


def _entry(name: str) -> zoo.Entry:
    return next(entry for entry in zoo.entries() if entry.name == name)


def _agrees(exact: int, printed: str) -> bool:
    """``printed`` is ``exact`` in millions, rounded or cut to the digits printed."""
    digits = len(printed.partition(".")[2])
    unit = 10**6 // 10**digits
    return round(float(printed) * 10**digits) in ((exact + unit // 2) // unit, exact // unit)


def test_agreement_with_a_printed_figure_is_strict():
    assert _agrees(300_774_272, "300") and _agrees(300_774_272, "301")
    assert not _agrees(300_774_272, "299") and not _agrees(300_774_272, "302")
    assert not _agrees(5_182_508, "5.17") and not _agrees(5_182_508, "5.19")


def test_the_catalog_names_every_network_and_no_other():
    assert zoo.names() == tuple(NETWORKS) == tuple(PUBLISHED)


@pytest.mark.parametrize("name", zoo.names())
def test_the_catalog_is_what_the_modules_are(name):
    for form in ("train", "deploy"):
        network = skeleton(name, form)
        size = getattr(_entry(name), form)
        assert (_parameters(network), _macs(network)) == (size.parameters, size.macs), form


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name):
    form, parameters, macs = PUBLISHED[name]
    size = getattr(_entry(name), form)
    assert _agrees(size.parameters, parameters)
    assert _agrees(size.macs, macs)


@pytest.mark.parametrize("name", PUBLISHED_FUSED_REPVGG)
def test_fused_repvgg_has_nine_tenths_of_the_convolutions(name):
    entry = _entry(name)
    parameters, macs = PUBLISHED_FUSED_REPVGG[name]
    assert _agrees(entry.deploy.parameters, parameters) and _agrees(entry.deploy.macs, macs)
    classifier = 1280 * 1000
    assert 10 * (entry.deploy.macs - classifier) == 9 * (entry.train.macs - classifier)


def test_timm_builds_networks_of_the_same_size():
    declare_torchvision_operators()
    import timm

    for name, theirs in TIMM_NAMES.items():
        with torch.device("meta"):
            network = timm.create_model(theirs).eval()
        entry = _entry(name)
        assert _parameters(network) == entry.train.parameters, name
        assert _macs(network) == entry.train.macs, name


@pytest.mark.parametrize(
    "name", ["ghostnet-0.5", "mobilenetv1-1.0", "mobilenetv2-1.0", "mobilenetv3-small", "repvgg-a0"]
)
@pytest.mark.parametrize("form", ["train", "deploy"])
def test_the_exported_graph_has_the_same_size(name, form, built):
    counts = count(to_onnx(built(name, form), name, 1))
    size = getattr(_entry(name), form)
    assert (counts.parameters, counts.macs, counts.uncounted) == (size.parameters, size.macs, ())


def test_the_exported_parnet_has_the_same_size(built):
    counts = count(to_onnx(built("parnet-s", "deploy"), "parnet-s", 1))
    size = _entry("parnet-s").deploy
    assert (counts.parameters, counts.macs, counts.uncounted) == (size.parameters, size.macs, ())
