"""The loop: the same recipe, images, weights and number of threads end in the same bits, however often it is killed.

Nothing random is carried from step to step: the order of an epoch and the variations of a batch come from the seed and
their number alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgevision.errors import EdgevisionError
from edgevision.rewrite.prune.finetune.augment import varied
from edgevision.rewrite.prune.finetune.checkpoint import Checkpoint
from edgevision.rewrite.prune.finetune.fresh import draw
from edgevision.rewrite.prune.finetune.recipe import Recipe
from edgevision.rewrite.prune.finetune.torch_network import TorchNetwork

CALIBRATION_BATCHES = 32
"""Batches whose statistics BatchNormalizations start from and end with: 4096 images at 128 a batch."""


class Images(Protocol):
    """Labelled images that any of can be asked for."""

    def __len__(self) -> int: ...

    def batch(self, chosen: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Images as the network takes them [n, ..], float32, and labels [n]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far a run is: ``step`` of ``steps``; ``loss`` of the last batch."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch on ``count`` threads while open; 0: as many as it chooses."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class DivergedError(EdgevisionError):
    """The loss is no longer a number."""

    exit_code = 1

    def __init__(self, step: int, lr: float) -> None:
        self.step, self.lr = step, lr
        super().__init__(f"training diverged at step {step}: the loss is not finite; give a lower --lr than {lr:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One run. ``teacher`` None: labels alone. ``scratch``: weights are drawn anew first.

    ``channels_first``: the layout of the images.
    """

    network: TorchNetwork
    images: Images
    recipe: Recipe
    teacher: TorchNetwork | None
    checkpoint: Checkpoint | None
    scratch: bool = False
    normalise: bool = True
    channels_first: bool = True

    @property
    def epoch_steps(self) -> int:
        """Batches of an epoch; what is left over after the last whole one waits for another epoch's order."""
        return max(1, len(self.images) // self.recipe.batch)


def train(run: Training, progress: Callable[[Step], None] = lambda _: None, *, resume: bool = False) -> None:
    """Train ``run.network`` in place, from the checkpoint's state where ``resume`` is given and there is one.

    Raises: DivergedError; CheckpointError and OutputError, for the checkpoint.
    """
    recipe, steps = run.recipe, run.epoch_steps * run.recipe.epochs
    _prepare(run)
    optimizer = _optimizer(run.network, recipe)
    state = run.checkpoint.load() if run.checkpoint and resume else None
    start = _restored(state, run.network, optimizer) if state else 0
    for step in range(start, steps):
        loss = _step(run, optimizer, step, steps)
        done = step + 1
        if not np.isfinite(loss):
            raise DivergedError(done, recipe.lr)
        if run.checkpoint and (done % recipe.checkpoint_steps == 0 or done % run.epoch_steps == 0 or done == steps):
            run.checkpoint.save(
                {"step": done, "network": run.network.state_dict(), "optimizer": optimizer.state_dict()}
            )
        progress(Step(step=done, steps=steps, epoch=step // run.epoch_steps + 1, epochs=recipe.epochs, loss=loss))
    run.network.recalibrate(_calibration(run))


def _prepare(run: Training) -> None:
    network = run.network
    if run.normalise:
        network.normalise(None if run.scratch else _calibration(run))
    if run.scratch:
        draw(network, run.recipe.seed)
    # Depthwise layers take half the time or less in this layout (measured).
    for each in (network, run.teacher):
        if each is not None:
            each.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _calibration(run: Training) -> Iterator[Tensor]:
    """Training images as they are, the same ones each time."""
    random = np.random.default_rng([run.recipe.seed, 1])
    order, size = random.permutation(len(run.images)), run.recipe.batch
    for start in range(0, min(len(order), CALIBRATION_BATCHES * size), size):
        chosen = order[start : start + size]
        if len(chosen) > 1:
            yield torch.from_numpy(run.images.batch(chosen)[0])


def _optimizer(network: TorchNetwork, recipe: Recipe) -> torch.optim.SGD:
    """Only filters and matrices decay: shrinking a bias, a scale or a slope helps nothing."""
    decaying = [weight for weight in network.weights if weight.ndim > 1 and weight.numel() > max(weight.shape)]
    chosen = {id(weight) for weight in decaying}
    rest = [weight for weight in network.parameters() if id(weight) not in chosen and weight.requires_grad]
    groups = [{"params": decaying, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def _restored(state: dict[str, Any], network: TorchNetwork, optimizer: torch.optim.SGD) -> int:
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _step(run: Training, optimizer: torch.optim.SGD, step: int, steps: int) -> float:
    recipe = run.recipe
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr_at(step, steps)
    epoch, number = divmod(step, run.epoch_steps)
    order = np.random.default_rng([recipe.seed, 2, epoch]).permutation(len(run.images))
    pixels, labels = run.images.batch(order[number * recipe.batch : (number + 1) * recipe.batch])
    random = np.random.default_rng([recipe.seed, 3, step])
    images = torch.from_numpy(
        varied(pixels, random, shift=recipe.shift, flip=recipe.flip, channels_first=run.channels_first)
    )
    run.network.train()
    optimizer.zero_grad(set_to_none=True)
    loss = _loss(run, images, torch.from_numpy(labels))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def _loss(run: Training, images: Tensor, labels: Tensor) -> Tensor:
    scores = run.network(images)
    loss = functional.cross_entropy(scores, labels)
    if run.teacher is None:
        return loss
    share, heat = run.recipe.distillation, run.recipe.temperature
    with torch.no_grad():
        taught = functional.log_softmax(run.teacher(images) / heat, 1)
    learned = functional.log_softmax(scores / heat, 1)
    apart = functional.kl_div(learned, taught, reduction="batchmean", log_target=True)
    return (1 - share) * loss + share * heat**2 * apart
