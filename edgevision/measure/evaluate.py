"""Top-1 and top-5 of networks on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgevision import runtime
from edgevision.accuracy import Accuracy, Evaluation
from edgevision.errors import InputError
from edgevision.measure.compare import Array
from edgevision.measure.dataset import Dataset, Example, Pixels, UnreadableImageError
from edgevision.measure.reference import open_session
from edgevision.tensor import TensorSpec

if TYPE_CHECKING:
    import onnxruntime

Scorer = Callable[[Array], Array]
"""A batch of images as the network takes them -> its scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """A float network is fed (pixel - mean) / std, one value a channel or one for all, in pixels of 0 to 255."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)

    def apply(self, pixels: Pixels, spec: TensorSpec) -> Array:
        """uint8 [N, H, W, C] -> an array of ``spec``; a uint8 network takes the pixels as they are."""
        images: Array = pixels
        if spec.dtype != "uint8":
            images = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        if channels_first(spec):
            images = images.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(images.astype(spec.dtype, copy=False))


def evaluate(
    dataset: Dataset, spec: TensorSpec, networks: Mapping[str, Scorer], preprocessing: Preprocessing
) -> Evaluation:
    """Feed every readable image to each of ``networks``, whose one input is ``spec``.

    Raises:
        InputError: ``spec`` is no image tensor, no image can be read, or the scores do not fit the labels.
    """
    batch, (height, width, channels) = spec.shape[0], image_size(spec)
    check_values(preprocessing, channels)
    labels: list[int] = []
    skipped: list[str] = []
    ranks: dict[str, list[NDArray[np.intp]]] = {name: [] for name in networks}
    classes = 0
    pending: list[tuple[Example, Pixels]] = []
    for number, example in enumerate(dataset.examples, 1):
        try:
            pending.append((example, example.pixels(height, width, channels)))
        except UnreadableImageError as error:
            skipped.append(str(error))
        if pending and (len(pending) == batch or number == len(dataset.examples)):
            labels += [each.label for each, _ in pending]
            fed = preprocessing.apply(_filled([pixels for _, pixels in pending], batch), spec)
            for name, score in networks.items():
                scores = class_scores(score(fed), batch)[: len(pending)]
                classes = check_classes(dataset, scores.shape[1])
                ranks[name].append(np.argsort(-scores, axis=1, kind="stable")[:, :5])
            pending = []
    if not labels:
        raise InputError(f"none of the {len(dataset.examples)} images can be read; the first: {skipped[0]}")
    return _evaluation(np.array(labels), {n: np.concatenate(r) for n, r in ranks.items()}, classes, skipped)


def channels_first(spec: TensorSpec) -> bool:
    """Whether the channels of an image tensor come before its rows; where no layout is given, 1 or 3 are channels."""
    return spec.layout == "NCHW" if spec.layout else spec.shape[1] in (1, 3)


def image_size(spec: TensorSpec) -> tuple[int, int, int]:
    """Height, width and channels of an image tensor.

    Raises:
        InputError: it has other axes.
    """
    if len(spec.shape) == 4 and (spec.layout or 1 in spec.shape[1::2] or 3 in spec.shape[1::2]):
        _, *rest = spec.shape
        return (rest[1], rest[2], rest[0]) if channels_first(spec) else (rest[0], rest[1], rest[2])
    raise InputError(f"input {spec} is no batch of images; evaluate takes networks with one image input")


def check_values(preprocessing: Preprocessing, channels: int) -> None:
    for option, values in (("--mean", preprocessing.mean), ("--std", preprocessing.std)):
        if len(values) not in (1, channels):
            raise InputError(f"{option} has {len(values)} values for {channels} channels; give one, or one a channel")
    if 0 in preprocessing.std:
        raise InputError("--std holds a 0; pixels are divided by it")


def class_scores(output: Array, batch: int) -> NDArray[np.float64]:
    """An output as [batch, classes]; axes of length 1 behind the classes are dropped.

    Raises:
        InputError: the network is no classifier.
    """
    if output.ndim < 2 or output.shape[0] != batch or output.size != batch * output.shape[1] or output.shape[1] < 2:
        raise InputError(
            f"the network's first output has shape {output.shape}; a classifier's has ({batch}, number of classes)"
        )
    return output.reshape(batch, -1).astype(np.float64)


def check_classes(dataset: Dataset, classes: int) -> int:
    """``classes``, when the labels fit that many scores.

    Raises:
        InputError: they do not.
    """
    if max(dataset.labels) >= classes:
        raise InputError(f"the labels go up to {max(dataset.labels)}, but the network scores {classes} classes")
    if not dataset.numbered and len(dataset.labels) != classes:
        raise InputError(
            f"{len(dataset.labels)} class folders for a network of {classes} classes; "
            "name the folders by class number (0, 1, ...) to evaluate on some of them"
        )
    return classes


def evaluate_files(
    dataset: Dataset, model: Path, artifact: Path | None, preprocessing: Preprocessing, threads: int = 0
) -> Evaluation:
    """`evaluate` with onnxruntime on ``model`` ("original") and, where there is one, the ``artifact`` beside it.

    Raises:
        InputError: one of them takes more than one input, or they take different ones.
    """
    session = open_session(model, max(threads, 1))
    spec = _only(_session_inputs(session, model), model)
    networks: dict[str, Scorer] = {"original": lambda images: session.run(None, {spec.name: images})[0]}
    if artifact is None:
        return evaluate(dataset, spec, networks, preprocessing)
    with runtime.load(artifact, threads=threads) as network:
        taken = _only(network.inputs, artifact)
        if (taken.shape, taken.dtype) != (spec.shape, spec.dtype):
            raise InputError(f"{artifact} takes {taken}, but {model} takes {spec}; evaluate them one by one")
        networks["artifact"] = lambda images: network.run(images)[0]
        return evaluate(dataset, taken, networks, preprocessing)


def _session_inputs(session: onnxruntime.InferenceSession, model: Path) -> list[TensorSpec]:
    specs = []
    for given in session.get_inputs():
        batch, *rest = given.shape if given.shape else [None]
        shape = [1 if not isinstance(batch, int) else batch, *rest]
        if not all(isinstance(extent, int) for extent in shape):
            raise InputError(
                f"{model}: input {given.name!r} has open dimensions {given.shape}; "
                "compile it with --input-shape, and evaluate the artifact"
            )
        dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(given.type, given.type[7:-1])
        specs.append(TensorSpec(name=given.name, shape=tuple(shape), dtype=dtype))
    return specs


def _only(inputs: Sequence[TensorSpec], network: Path) -> TensorSpec:
    if len(inputs) != 1:
        raise InputError(f"{network} takes {len(inputs)} inputs; evaluate takes networks with one image input")
    return inputs[0]


def _filled(images: Sequence[Pixels], batch: int) -> Pixels:
    """A whole batch: the last image again where there are too few."""
    return np.stack([*images, *[images[-1]] * (batch - len(images))])


def _evaluation(
    labels: NDArray[np.int64], ranks: Mapping[str, NDArray[np.intp]], classes: int, skipped: Sequence[str]
) -> Evaluation:
    first = np.stack([rank[:, 0] for rank in ranks.values()])
    networks = [
        Accuracy(
            network=name,
            top1=float(np.mean(rank[:, 0] == labels)),
            top5=float(np.mean((rank == labels[:, None]).any(axis=1))) if classes > 5 else None,
        )
        for name, rank in ranks.items()
    ]
    agreement = float(np.mean((first == first[0]).all(axis=0))) if len(ranks) > 1 else None
    return Evaluation(
        images=len(labels), classes=classes, networks=tuple(networks), agreement=agreement, skipped=tuple(skipped)
    )
