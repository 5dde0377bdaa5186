"""Forms trained on Fashion-MNIST keep every prediction. The pictures are Debian's dataset-fashion-mnist."""

from __future__ import annotations

import gzip
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgevision.rewrite.reparam import reparameterize
from tests.rewrite.nets import ops

INSTALLED = Path("/usr/share/datasets/fashion-mnist")
IMAGES_TRAINED, BATCH = 9_600, 64


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Branches(nn.Module):
    """relu of the sum of its branches."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        return torch.relu(total)


def repvgg_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    same = [nn.BatchNorm2d(inputs)] if inputs == outputs and stride == 1 else []
    return Branches(conv_bn(inputs, outputs, 3, stride), conv_bn(inputs, outputs, 1, stride), *same)


def mobileone_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    depthwise = [conv_bn(inputs, inputs, 3, stride, inputs) for _ in range(3)] + [conv_bn(inputs, inputs, 1, stride, inputs)]
    depthwise += [nn.BatchNorm2d(inputs)] if stride == 1 else []
    pointwise = [conv_bn(inputs, outputs, 1) for _ in range(3)] + ([nn.BatchNorm2d(inputs)] if inputs == outputs else [])
    return nn.Sequential(Branches(*depthwise), Branches(*pointwise))


class RepGhostBlock(nn.Module):
    """1x1, then a depthwise 3x3 beside a BatchNorm on the same tensor, then 1x1, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.enter = conv_bn(inputs, outputs, 1, stride)
        self.cheap = Branches(conv_bn(outputs, outputs, 3, groups=outputs), nn.BatchNorm2d(outputs))
        self.leave = conv_bn(outputs, outputs, 1)
        self.shortcut = nn.Identity() if inputs == outputs and stride == 1 else conv_bn(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.leave(self.cheap(torch.relu(self.enter(x)))) + self.shortcut(x)
        return y


BLOCKS: dict[str, tuple[Callable[[int, int, int], nn.Module], int]] = {
    "repvgg": (repvgg_block, 5),
    "mobileone": (mobileone_block, 10),
    "repghost": (RepGhostBlock, 18),
}
"""Block, and convolutions left of five of them: 1; 2; 3 and three shortcuts where the shape changes."""


def network(block: Callable[[int, int, int], nn.Module]) -> nn.Module:
    layers = [block(1, 16, 1), block(16, 16, 1), block(16, 32, 2), block(32, 32, 1), block(32, 64, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


@pytest.fixture(scope="module")
def pictures() -> Callable[[str], tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    folder = _folder()

    def load(part: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        images = np.frombuffer(_content(folder / f"{part}-images-idx3-ubyte"), np.uint8, offset=16)
        labels = np.frombuffer(_content(folder / f"{part}-labels-idx1-ubyte"), np.uint8, offset=8)
        return images.reshape(-1, 1, 28, 28).astype(np.float32) / 255 - 0.5, labels.astype(np.int64)

    return load


def _folder() -> Path:
    """The installed package, else the files of the package, fetched once into .cache."""
    found = [path.parent for path in INSTALLED.parent.rglob("t10k-images*")] if INSTALLED.parent.exists() else []
    if found:
        return found[0]
    cache = Path(__file__).parents[2] / ".cache" / "dataset-fashion-mnist"
    if not cache.exists():
        cache.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
            fetched = subprocess.run(["apt-get", "download", "dataset-fashion-mnist"], cwd=folder, capture_output=True, text=True)
            packages = list(Path(folder).glob("*.deb"))
            if fetched.returncode or not packages:
                pytest.skip(f"dataset-fashion-mnist cannot be downloaded: {fetched.stderr.strip()[-200:]}")
            subprocess.run(["dpkg-deb", "-x", packages[0], Path(folder, "content")], check=True)
            Path(folder, "content").rename(cache)
    return next(cache.rglob("t10k-images*")).parent


def _content(path: Path) -> bytes:
    packed = path.with_name(path.name + ".gz")
    return gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()


def trained(net: nn.Module, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> nn.Module:
    torch.set_num_threads(1)  # on a shared machine its threads wait for one another longer than they work
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    for start in range(0, IMAGES_TRAINED, BATCH):
        x, y = torch.from_numpy(images[start : start + BATCH]), torch.from_numpy(labels[start : start + BATCH])
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


@pytest.mark.large
@pytest.mark.timeout(3600)  # a minute of training each, more than ten on a busy machine
@pytest.mark.parametrize("name", BLOCKS)
def test_every_prediction_is_kept(name: str, tmp_path: Path, pictures) -> None:  # type: ignore[no-untyped-def]
    block, convolutions = BLOCKS[name]
    torch.manual_seed(0)
    net = trained(network(block), *pictures("train"))
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(1, 1, 28, 28),), path, dynamo=False, input_names=["x"], output_names=["y"],
                          dynamic_axes={"x": {0: "n"}}, training=torch.onnx.TrainingMode.PRESERVE)  # fmt: skip
    proto = onnx.load(path)
    images, labels = pictures("t10k")
    result = reparameterize(proto, feeds=[{"x": images[:16]}])
    assert ops(result.proto)["Conv"] == convolutions
    assert "BatchNormalization" not in ops(result.proto)
    assert result.certificate is not None
    assert result.certificate.holds
    before, after = (
        np.concatenate([session.run(None, {"x": images[at : at + 500]})[0] for at in range(0, 10_000, 500)])
        for session in (onnxruntime.InferenceSession(m.SerializeToString()) for m in (proto, result.proto))
    )
    accuracy = float((before.argmax(1) == labels).mean())
    print(f"{name}: {accuracy:.2%} before and after, {ops(proto)['Conv']} -> {convolutions} convolutions")
    assert accuracy > 0.5  # ten classes; the nets are hardly trained
    assert (before.argmax(1) == after.argmax(1)).all()
