"""How a network is fine-tuned: numbers only, so that the same recipe, images and seed give the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi

from edgevision.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Stochastic gradient descent with Nesterov momentum; the learning rate rises linearly over the share ``warmup`` of
    all steps and falls along a cosine to 0 (Loshchilov & Hutter, 2017).

    The loss with a teacher is (1 - distillation) * cross-entropy + distillation * T^2 * KL(teacher || student), both
    softened by the temperature T (Hinton et al., 2015). ``shift`` in pixels and ``flip`` vary the images.
    ``checkpoint_steps``: a checkpoint so often, and after every epoch.
    """

    epochs: int
    batch: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: float = 0.05
    temperature: float = 4.0
    distillation: float = 0.9
    shift: int = 2
    flip: bool = True
    seed: int = 0
    checkpoint_steps: int = 200

    def __post_init__(self) -> None:
        for option, value, least in (("--epochs", self.epochs, 1), ("--batch", self.batch, 2), ("--seed", self.seed, 0)):
            if value < least:
                raise InputError(f"{option} {value}: give {least} or more")
        if not 0 < self.lr < 10:
            raise InputError(f"--lr {self.lr:g}: give a learning rate above 0, for instance 0.1")

    def lr_at(self, step: int, steps: int) -> float:
        """The learning rate of step 0 <= ``step`` < ``steps``."""
        rise = max(1, round(self.warmup * steps))
        if step < rise:
            return self.lr * (step + 1) / rise
        return self.lr * (1 + cos(pi * (step - rise) / max(1, steps - rise))) / 2
