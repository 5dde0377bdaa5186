"""Every network of the zoo in its training form, by name. Imports torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from edgevision.zoo import parnet
from edgevision.zoo.ghostnet import ghostnet
from edgevision.zoo.mobilenetv1 import mobilenetv1
from edgevision.zoo.mobilenetv2 import MobileNetV2
from edgevision.zoo.mobilenetv3 import mobilenetv3_large, mobilenetv3_small
from edgevision.zoo.repvgg import repvgg_a0, repvgg_a1, repvgg_b0

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ghostnet-0.5": partial(ghostnet, 0.5),
    "ghostnet-1.0": partial(ghostnet, 1.0),
    "ghostnet-1.3": partial(ghostnet, 1.3),
    "parnet-s": partial(parnet.ParNet, parnet.WIDTHS["s"]),
    "parnet-m": partial(parnet.ParNet, parnet.WIDTHS["m"]),
    "parnet-l": partial(parnet.ParNet, parnet.WIDTHS["l"]),
    "parnet-xl": partial(parnet.ParNet, parnet.WIDTHS["xl"]),
    "mobilenetv1-1.0": mobilenetv1,
    "mobilenetv2-1.0": MobileNetV2,
    "mobilenetv3-large": mobilenetv3_large,
    "mobilenetv3-small": mobilenetv3_small,
    "repvgg-a0": repvgg_a0,
    "repvgg-a1": repvgg_a1,
    "repvgg-b0": repvgg_b0,
}
