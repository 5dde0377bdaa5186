"""The networks of the zoo: names, papers, and sizes that the tests compare with the modules and with the papers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Learnable ``parameters`` and ``macs``: multiply-accumulates of Conv and Gemm at 224x224, batch 1."""

    parameters: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One network in its two forms."""

    name: str
    paper: str
    train: Size
    deploy: Size


def _entry(name: str, paper: str, train: tuple[int, int], deploy: tuple[int, int]) -> Entry:
    sizes = [Size(parameters=parameters, macs=macs) for parameters, macs in (train, deploy)]
    return Entry(name=name, paper=paper, train=sizes[0], deploy=sizes[1])


# name, paper, (parameters, MACs) in training form, the same in deploy form
CATALOG = (
    _entry("ghostnet-0.5", "GhostNet, CVPR 2020", (2_587_292, 42_328_152), (2_581_800, 42_328_152)),
    _entry("ghostnet-1.0", "GhostNet, CVPR 2020", (5_182_508, 141_150_512), (5_171_524, 141_150_512)),
    _entry("ghostnet-1.3", "GhostNet, CVPR 2020", (7_358_820, 227_003_256), (7_344_552, 227_003_256)),
    _entry("parnet-s", "Non-deep Networks, NeurIPS 2022", (20_930_936, 5_259_501_056), (19_132_228, 4_733_857_280)),
    _entry("parnet-m", "Non-deep Networks, NeurIPS 2022", (38_953_256, 9_534_824_640), (35_580_968, 8_581_882_048)),
    _entry("parnet-l", "Non-deep Networks, NeurIPS 2022", (60_180_008, 14_803_691_712), (54_920_264, 13_324_101_824)),
    _entry("parnet-xl", "Non-deep Networks, NeurIPS 2022", (93_176_168, 23_016_065_472), (84_969_584, 20_715_596_224)),
    _entry("mobilenetv1-1.0", "MobileNets, 2017", (4_231_976, 568_740_352), (4_221_032, 568_740_352)),
    _entry("mobilenetv2-1.0", "MobileNetV2, CVPR 2018", (3_504_872, 300_774_272), (3_487_816, 300_774_272)),
    _entry("mobilenetv3-large", "MobileNetV3, ICCV 2019", (5_483_032, 216_589_760), (5_470_832, 216_589_760)),
    _entry("mobilenetv3-small", "MobileNetV3, ICCV 2019", (2_542_856, 56_510_400), (2_536_800, 56_510_400)),
    _entry("repvgg-a0", "RepVGG, CVPR 2021", (9_108_968, 1_512_581_120), (8_309_384, 1_361_451_008)),
    _entry("repvgg-a1", "RepVGG, CVPR 2021", (14_092_264, 2_626_488_320), (12_789_864, 2_363_967_488)),
    _entry("repvgg-b0", "RepVGG, CVPR 2021", (15_817_960, 3_397_191_680), (14_339_048, 3_057_600_512)),
)
