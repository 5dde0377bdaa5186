"""The recipe, the variations, the loop and its checkpoints."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgevision import ingest
from edgevision.errors import InputError
from edgevision.rewrite.prune.finetune.augment import varied
from edgevision.rewrite.prune.finetune.checkpoint import Checkpoint, CheckpointError
from edgevision.rewrite.prune.finetune.recipe import Recipe
from edgevision.rewrite.prune.finetune.torch_network import TorchNetwork, scores
from edgevision.rewrite.prune.finetune.training import DivergedError, Step, Training, _optimizer, threads, train
from tests.rewrite.nets import Net

RECIPE = Recipe(epochs=2, batch=16, lr=0.05, shift=1, checkpoint_steps=3, seed=3)
CLASSES = 4


class Blobs:
    """[1, 8, 8] images of noise with one bright quarter: its place is the class."""

    def __init__(self, count: int = 96, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.labels = np.arange(count, dtype=np.int64) % CLASSES
        self.images = random.uniform(0, 0.5, (count, 1, 8, 8)).astype(np.float32)
        for image, label in zip(self.images, self.labels, strict=True):
            row, column = divmod(int(label), 2)
            image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 0.5

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.images[chosen], self.labels[chosen]


def proto(width: int = 8) -> onnx.ModelProto:
    net = Net(dtype=np.float32)
    x = net.node("Relu", net.conv(net.input([1, 1, 8, 8]), 1, width, 3, bias=True, pads=[1] * 4, strides=[2, 2]))
    x = net.node("Relu", net.conv(x, width, width, 3, bias=True, pads=[1] * 4, group=width))
    x = net.node("Flatten", net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    return ingest.read(net.model(net.node("Gemm", x, net.normal(width * 4, CLASSES))), simplify=False).proto


def run(recipe: Recipe = RECIPE, checkpoint: Checkpoint | None = None, **more: object) -> Training:
    given = {"teacher": None, "scratch": True, **more}
    return Training(network=TorchNetwork(proto()), images=Blobs(), recipe=recipe, checkpoint=checkpoint, **given)  # type: ignore[arg-type]


def accuracy(network: TorchNetwork) -> float:
    held_out = Blobs(seed=1)
    return float((scores(network, held_out.images).argmax(1) == held_out.labels).mean())


@pytest.fixture(autouse=True)
def one_thread() -> object:
    with threads(1):
        yield


def test_a_network_learns_from_labels_and_from_a_teacher() -> None:
    recipe = dataclasses.replace(RECIPE, epochs=8, shift=0, flip=False)
    teacher = run(recipe)
    train(teacher)
    assert accuracy(teacher.network) > 0.95
    wrong = Blobs()
    wrong.labels = (wrong.labels + 1) % CLASSES
    student = Training(
        network=TorchNetwork(proto()), images=wrong, recipe=dataclasses.replace(recipe, distillation=1.0),
        teacher=teacher.network.eval(), checkpoint=None, scratch=True,
    )  # fmt: skip
    train(student)
    assert accuracy(student.network) > 0.9


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    files = []
    for seed in (3, 3, 4):
        training = run(dataclasses.replace(RECIPE, seed=seed))
        train(training)
        files.append(training.network.to_proto().SerializeToString(deterministic=True))
    assert files[0] == files[1] != files[2]


class KilledError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("killed_after", [1, 3, 4, 6, 11])
def test_a_run_that_was_killed_ends_in_the_same_bits(killed_after: int, tmp_path: Path) -> None:
    whole = run()
    train(whole)
    checkpoint = Checkpoint(path=tmp_path / "checkpoint", run={"seed": 3})

    def kill(step: Step) -> None:
        if step.step == killed_after:
            raise KilledError

    with pytest.raises(KilledError):
        train(run(checkpoint=checkpoint), kill)
    assert checkpoint.path.exists() == (killed_after >= 3)
    again, steps = run(checkpoint=checkpoint), []
    train(again, lambda step: steps.append(step.step), resume=True)
    assert steps[0] == killed_after // 3 * 3 + 1 and steps[-1] == 12
    assert again.network.to_proto() == whole.network.to_proto()


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    checkpoint = Checkpoint(path=tmp_path / "checkpoint", run={})
    first = run(checkpoint=checkpoint)
    train(first)
    steps: list[Step] = []
    second = run(checkpoint=checkpoint)
    train(second, steps.append, resume=True)
    assert steps == [] and second.network.to_proto() == first.network.to_proto()


def test_without_resume_a_checkpoint_is_not_read(tmp_path: Path) -> None:
    checkpoint = Checkpoint(path=tmp_path / "checkpoint", run={})
    checkpoint.path.write_bytes(b"damaged")
    train(run(checkpoint=checkpoint))
    assert checkpoint.load() is not None


def test_a_checkpoint_says_whose_it_is(tmp_path: Path) -> None:
    checkpoint = Checkpoint(path=tmp_path / "checkpoint", run={"--lr": 0.1, "--seed": 1})
    assert checkpoint.load() is None
    checkpoint.save({"step": 1})
    assert checkpoint.load() == {"step": 1}
    others = (({"--lr": 0.2, "--seed": 1}, "--lr"), ({"--lr": 0.1}, "--seed"), ({**checkpoint.run, "x": 0}, "x"))
    for other, named in others:
        with pytest.raises(CheckpointError, match=f"a run with another {named}; start anew"):
            Checkpoint(path=checkpoint.path, run=other).load()
    for content in (b"", b"hello", checkpoint.path.read_bytes()[:200]):
        checkpoint.path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
            checkpoint.load()
    checkpoint.remove()
    assert not checkpoint.path.exists()


def test_a_loss_that_is_no_number_is_said() -> None:
    images = Blobs()
    images.images[5] = np.nan
    training = run()
    with pytest.raises(DivergedError, match="diverged at step"):
        train(dataclasses.replace(training, images=images))


def test_an_epoch_shows_every_image_at_most_once() -> None:
    seen: list[int] = []

    class Counted(Blobs):
        def batch(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            seen.extend(chosen.tolist())
            return super().batch(chosen)

    training = dataclasses.replace(run(dataclasses.replace(RECIPE, epochs=1)), images=Counted(100))
    train(training)
    first_epoch = seen[:96]
    assert training.epoch_steps == 6 and len(set(first_epoch)) == 96 and first_epoch != sorted(first_epoch)


def test_the_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(epochs=1, lr=0.1, warmup=0.1)
    rates = [recipe.lr_at(step, 100) for step in range(100)]
    assert rates[:3] == pytest.approx([0.01, 0.02, 0.03]) and max(rates) == rates[10] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True) and 0 < rates[-1] < 1e-4
    assert rates[55] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"epochs": 0}, "--epochs 0: give 1"), ({"batch": 1}, "--batch 1: give 2"), ({"lr": 0.0}, "--lr 0: give"),
     ({"seed": -1}, "--seed -1: give 0")],
)  # fmt: skip
def test_recipes_that_cannot_be_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(RECIPE, **change)  # type: ignore[arg-type]


def test_only_filters_and_matrices_decay() -> None:
    network = TorchNetwork(proto())
    network.normalise(None)
    decaying, rest = _optimizer(network, RECIPE).param_groups
    assert decaying["weight_decay"] == RECIPE.weight_decay and rest["weight_decay"] == 0
    assert sorted(weight.ndim for weight in decaying["params"]) == [2, 4, 4]
    assert {weight.ndim for weight in rest["params"]} == {1}
    assert len(decaying["params"]) + len(rest["params"]) == len(list(network.parameters()))


@pytest.mark.parametrize("channels_first", [True, False])
def test_images_are_shifted_and_mirrored(channels_first: bool) -> None:
    """A single bright pixel moves by at most the shift, on both axes; mirrored about half the time."""
    planes = np.zeros((200, 2, 9, 9), np.float32)
    planes[:, :, 4, 2] = (1, 2)
    given = planes if channels_first else np.moveaxis(planes, 1, -1)
    moved = varied(given, np.random.default_rng(0), shift=1, flip=True, channels_first=channels_first)
    assert moved.shape == given.shape and moved.dtype == np.float32
    moved = moved if channels_first else np.moveaxis(moved, -1, 1)
    places = [tuple(np.argwhere(image == 2)[0]) for image in moved]
    assert {place[0] for place in places} == {2 - 1}
    assert {place[1] for place in places} == {3, 4, 5}
    columns = [int(place[2]) for place in places]
    assert set(columns) == {1, 2, 3, 5, 6, 7} and 60 < sum(column > 4 for column in columns) < 140
    assert all((image[0] * 2 == image[1]).all() for image in moved)
    same = varied(given, np.random.default_rng(0), shift=0, flip=False, channels_first=channels_first)
    np.testing.assert_array_equal(same, given)


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
