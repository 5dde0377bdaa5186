"""MobileNet V2: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2."""

from __future__ import annotations

from torch import Tensor, nn

from edgevision.zoo.blocks import ConvBN, Head

_ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Module):
    """1x1 that expands, depthwise 3x3, linear 1x1 that projects; the input added where the shapes allow."""

    def __init__(self, inputs: int, expansion: int, outputs: int, stride: int) -> None:
        super().__init__()
        expanded = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.expand = ConvBN(inputs, expanded, 1, activation=nn.ReLU6) if expansion > 1 else nn.Identity()
        self.depthwise = ConvBN(expanded, expanded, 3, stride=stride, groups=expanded, activation=nn.ReLU6)
        self.project = ConvBN(expanded, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, O, H/stride, W/stride]."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """[N, 3, 224, 224] -> [N, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBN(3, 32, 3, stride=2, activation=nn.ReLU6)
        channels = 32
        blocks: list[nn.Module] = []
        for expansion, outputs, repeats, first_stride in _ROWS:
            for at in range(repeats):
                blocks.append(InvertedResidual(channels, expansion, outputs, 1 if at else first_stride))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.last = ConvBN(channels, 1280, 1, activation=nn.ReLU6)
        self.head = Head(1280)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.last(self.blocks(self.stem(x))))
        return logits


def torchvision_prefixes() -> dict[str, str]:
    """Each prefix of torchvision's state dict -> the module of `MobileNetV2` (training form) that it names."""
    prefixes = {"features.0.0": "stem.conv", "features.0.1": "stem.bn"}
    expansions = [expansion for expansion, _, repeats, _ in _ROWS for _ in range(repeats)]
    for at, expansion in enumerate(expansions):
        theirs, ours = f"features.{at + 1}.conv", f"blocks.{at}"
        inner = ["expand", "depthwise"] if expansion > 1 else ["depthwise"]
        for position, name in enumerate(inner):
            prefixes[f"{theirs}.{position}.0"] = f"{ours}.{name}.conv"
            prefixes[f"{theirs}.{position}.1"] = f"{ours}.{name}.bn"
        prefixes[f"{theirs}.{len(inner)}"] = f"{ours}.project.conv"
        prefixes[f"{theirs}.{len(inner) + 1}"] = f"{ours}.project.bn"
    last = len(expansions) + 1
    return prefixes | {
        f"features.{last}.0": "last.conv",
        f"features.{last}.1": "last.bn",
        "classifier.1": "head.classifier",
    }
