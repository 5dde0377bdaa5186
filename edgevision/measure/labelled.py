"""Labelled images in memory, in two parts: what a network is trained on, and what its accuracy is measured on.

A batch holds what `Preprocessing` makes of the pixels: (pixel - mean) / std, pixels from 0 to 255, as the network takes it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevision.accuracy import TopOne
from edgevision.errors import InputError
from edgevision.measure.compare import Array
from edgevision.measure.dataset import (
    IDX_HELD_OUT,
    ByClass,
    Dataset,
    Pixels,
    UnreadableImageError,
    check_folder,
    dataset_of,
    folder_classes,
    held_out_folder,
    idx_classes,
    idx_images,
)
from edgevision.measure.evaluate import Preprocessing, check_classes, check_values, class_scores, image_size
from edgevision.measure.reference import open_session
from edgevision.tensor import TensorSpec

EVERY = 10
"""Where nothing says what is held out of training: of each class, every tenth image in order of name."""

IN_MEMORY_BYTES = 1 << 30
"""More than that lies in an unnamed temporary file that is mapped into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """``pixels`` uint8 [N, H, W, C], ``labels`` int64 [N]; ``skipped``: files that could not be read, "path: reason".

    ``spec`` is the input of the network that the batches are for; its first extent does not matter.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    spec: TensorSpec
    preprocessing: Preprocessing
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, chosen: NDArray[np.intp] | slice) -> tuple[Array, NDArray[np.int64]]:
        """What the network takes for these images ([n, C, H, W] for an NCHW input, float32), and their labels [n]."""
        return self.preprocessing.apply(self.pixels[chosen], self.spec), self.labels[chosen]

    def batches(self, size: int, limit: int | None = None) -> Iterator[tuple[Array, NDArray[np.int64]]]:
        """All images, or the first ``limit``, ``size`` at a time, all classes in turn; the last batch may be smaller."""
        end = min(len(self), limit or len(self))
        for start in range(0, end, size):
            yield self.batch(slice(start, min(start + size, end)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """``train`` to learn from, ``held_out`` to measure on; no image is in both. ``numbered``: see `Dataset`."""

    train: Labelled
    held_out: Labelled
    numbered: bool

    @property
    def skipped(self) -> tuple[str, ...]:
        """The files of both that could not be read."""
        return self.train.skipped + self.held_out.skipped

    @property
    def classes(self) -> int:
        """One more than the highest label."""
        return 1 + max(self._labels)

    def check_scores(self, classes: int) -> None:
        """Raises: InputError, when a network that scores ``classes`` classes does not fit the labels."""
        check_classes(Dataset(examples=(), labels=self._labels, numbered=self.numbered), classes)

    @property
    def _labels(self) -> tuple[int, ...]:
        return tuple(np.union1d(self.train.labels, self.held_out.labels).tolist())


def top_one(images: Labelled, model: Path | bytes, threads: int = 1) -> TopOne:
    """How many of ``images`` the network in ``model`` names right, in onnxruntime.

    Raises: InputError, where the network is no classifier of such images.
    """
    session = open_session(model, threads)
    (name, *_), size = (each.name for each in session.get_inputs()), images.spec.shape[0]
    correct = 0
    for batch, labels in images.batches(size):
        fed = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
        scores = class_scores(session.run(None, {name: fed})[0], size)[: len(labels)]
        correct += int((scores.argmax(1) == labels).sum())
    return TopOne(correct=correct, images=len(images))


def open_splits(
    folder: Path, spec: TensorSpec, preprocessing: Preprocessing | None = None, limit: int | None = None
) -> Splits:
    """The images under ``folder`` for a network with the one input ``spec``.

    train-* and t10k-* (or test-*) idx files; or folders train/ and val/ (valid/, validation/, test/) with a subfolder a
    class; or one of them alone, or a subfolder a class, of which every tenth image is held out. ``limit``: the first so
    many of each part, taken from all classes in turn.

    Raises:
        InputError: no such folder, no image, a single class, images that do not fit ``spec``, classes that differ.
    """
    preprocessing = preprocessing or Preprocessing()
    check_values(preprocessing, image_size(spec)[2])
    train, held_out = _datasets(folder, limit)
    parts = [_read(dataset, spec, preprocessing) for dataset in (train, held_out)]
    return Splits(train=parts[0], held_out=parts[1], numbered=train.numbered)


def _datasets(folder: Path, limit: int | None) -> tuple[Dataset, Dataset]:
    check_folder(folder)
    images = [idx_images(folder, ("train",)), idx_images(folder, IDX_HELD_OUT)]
    given = [path for path in images if path]
    if given:
        parts, numbered = [idx_classes(path) for path in given], True
    else:
        held_out = held_out_folder(folder)
        opened = [folder_classes(path) for path in ((folder / "train", held_out) if held_out else (folder,))]
        parts, numbered = [by_class for by_class, _ in opened], opened[0][1]
        if held_out:
            _check_same_classes(folder / "train", held_out)
    if len(parts) == 1:
        parts = _halves(parts[0], folder)
    first, second = (dataset_of(part, numbered=numbered, folder=folder, limit=limit) for part in parts)
    return first, second


def _check_same_classes(train: Path, held_out: Path) -> None:
    names = [{path.name for path in part.iterdir() if path.is_dir() and path.name[0] != "."} for part in (train, held_out)]
    if names[0] != names[1]:
        odd = ", ".join(sorted(names[0] ^ names[1])[:5])
        raise InputError(f"{train} and {held_out} have different classes: {odd}; give both the same subfolders")


def _halves(by_class: ByClass, folder: Path) -> list[ByClass]:
    """Every tenth example of a class, and the last one of a class that has fewer, is held out."""
    train: ByClass = {}
    held_out: ByClass = {}
    for label, examples in by_class.items():
        if len(examples) < 2:
            raise InputError(f"{folder}: class {label} has one image; it needs one to learn from and one to measure on")
        taken = set(range(EVERY - 1, len(examples), EVERY)) or {len(examples) - 1}
        train[label] = [each for place, each in enumerate(examples) if place not in taken]
        held_out[label] = [each for place, each in enumerate(examples) if place in taken]
    return [train, held_out]


def _read(dataset: Dataset, spec: TensorSpec, preprocessing: Preprocessing) -> Labelled:
    height, width, channels = image_size(spec)
    pixels = _empty((len(dataset.examples), height, width, channels))
    labels: list[int] = []
    skipped: list[str] = []
    for example in dataset.examples:
        try:
            pixels[len(labels)] = example.pixels(height, width, channels)
        except UnreadableImageError as error:
            skipped.append(str(error))
        else:
            labels.append(example.label)
    if not labels:
        raise InputError(f"none of the {len(dataset.examples)} images can be read; the first: {skipped[0]}")
    return Labelled(
        pixels=pixels[: len(labels)], labels=np.array(labels, np.int64), spec=spec, preprocessing=preprocessing,
        skipped=tuple(skipped),
    )  # fmt: skip


def _empty(shape: tuple[int, ...]) -> Pixels:
    if np.prod(shape, dtype=np.int64) <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    return np.memmap(tempfile.TemporaryFile(), np.uint8, "w+", shape=shape)  # noqa: SIM115 (the mapping keeps it open)
