"""The rows: multiply-accumulates as stated, the blocks as described."""

from __future__ import annotations

import pytest
import torch

from benchmarks.peers import blocks
from benchmarks.peers.networks import NETWORKS
from edgevision import zoo


def test_macs_of_zoo_networks_are_the_catalogs() -> None:
    catalog = {entry.name: round(entry.deploy.macs / 1e6) for entry in zoo.entries()}
    rows = {name: network.macs for name, network in NETWORKS.items() if name in catalog}
    assert len(rows) == 6
    assert rows == {name: catalog[name] for name in rows}


@pytest.mark.parametrize(("name", "block"), [("slak-block", blocks.SlakBlock), ("replknet-block", blocks.RepLKNetBlock)])
def test_a_block_keeps_its_shape_and_counts_as_stated(name: str, block: type) -> None:
    network = blocks.build(block)
    shape = NETWORKS[name].shape
    weights = sum(each.numel() for key, each in network.named_parameters() if key.endswith("weight"))
    assert NETWORKS[name].macs == round(weights * shape[2] * shape[3] / 1e6)
    with torch.device("meta"):
        assert block()(torch.empty(shape)).shape == shape


def test_the_same_weights_every_time() -> None:
    first, second = (blocks.build(blocks.SlakBlock).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
