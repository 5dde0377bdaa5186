"""With the same weights, the networks compute what timm's and torchvision's of the same name do.

The weights travel by position: both sides list their tensors in the order of the forward pass. ParNet has no peer.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from edgevision.zoo.repvgg import RepVGGBlock
from tests.graphs.torchvision_schemas import declare_torchvision_operators

# float64 through 50 layers.
TOLERANCE = 1e-11


def _timm(name: str, **options: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm

        return timm.create_model(name, **options)

    return make


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from torchvision import models

        return getattr(models, name)()

    return make


PEERS = {
    "ghostnet-0.5": _timm("ghostnet_050"),
    "ghostnet-1.3": _timm("ghostnet_130"),
    "mobilenetv1-1.0": _timm("mobilenetv1_100", pad_type="same"),
    "mobilenetv2-1.0": _timm("mobilenetv2_100"),
    "mobilenetv3-large": _torchvision("mobilenet_v3_large"),
    "mobilenetv3-small": _torchvision("mobilenet_v3_small"),
    "repvgg-a0": _timm("repvgg_a0"),
}


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}


def _identity_first(key: str) -> tuple[str, bool]:
    """timm's RepVGG lists the identity branch of a block before the convolutions."""
    block = key.partition(".")[0]
    return block.zfill(2), ".identity." not in key


def _give_weights(ours: nn.Module, theirs: nn.Module) -> None:
    mine = _tensors(ours)
    keys = (
        sorted(mine, key=_identity_first)
        if any(isinstance(layer, RepVGGBlock) for layer in ours.children())
        else list(mine)
    )
    for key, value in zip(keys, _tensors(theirs).values(), strict=True):
        assert mine[key].squeeze().shape == value.squeeze().shape, key  # a 1x1 convolution may be a linear layer there
        value.copy_(mine[key].reshape(value.shape))


@pytest.mark.parametrize("name", PEERS)
def test_same_weights_same_function(name, built):
    declare_torchvision_operators()
    ours, theirs = built(name), PEERS[name]().eval()
    with torch.no_grad():
        _give_weights(ours, theirs)
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        got, expected = ours.double()(x), theirs.double()(x)
    assert float((got - expected).abs().max() / expected.abs().max()) < TOLERANCE
    assert float((got[0] - got[1]).abs().max() / expected.abs().max()) > 0.01


def test_the_padding_of_mobilenet_v1_is_that_of_tensorflow(built):
    declare_torchvision_operators()
    ours, theirs = built("mobilenetv1-1.0"), _timm("mobilenetv1_100")().eval()
    with torch.no_grad():
        _give_weights(ours, theirs)
    x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert float((ours(x) - theirs(x)).abs().max() / theirs(x).abs().max()) > 0.01
