"""Labelled images: a folder with one subfolder a class, or the four files of (Fashion-)MNIST."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevision.errors import InputError

Pixels = NDArray[np.uint8]

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}

CROPPED = 0.875
"""Share of the shorter side that stays: 224 of 256, as ImageNet networks are evaluated."""

DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""What Pillow raises for files that are damaged or no image."""

IDX_HELD_OUT = ("t10k", "test")
FOLDERS_HELD_OUT = ("val", "valid", "validation", "test")
"""Beside a folder "train", the first of these that exists is what accuracy is measured on."""

ByClass = dict[int, list["Example"]]


class UnreadableImageError(InputError):
    """An image file that is damaged, or no image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """``pixels(height, width, channels)`` reads the image as uint8 [height, width, channels]."""

    name: str
    label: int
    pixels: Callable[[int, int, int], Pixels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """``numbered``: the folders' names are class numbers, so they may be some of the network's classes only."""

    examples: tuple[Example, ...]
    labels: tuple[int, ...]
    numbered: bool


def open_dataset(folder: Path, limit: int | None = None) -> Dataset:
    """The examples under ``folder``; the first ``limit``, taken from all classes in turn.

    Folders that are all named by numbers have these as labels; others are numbered in order of name, as ImageNet's are.
    Where there is a part for training and one that is held out, the latter.

    Raises:
        InputError: no such folder, neither layout, no image, or a single class.
    """
    check_folder(folder)
    images = idx_images(folder, IDX_HELD_OUT) or idx_images(folder, ("train",))
    by_class, numbered = (idx_classes(images), True) if images else folder_classes(held_out_folder(folder) or folder)
    return dataset_of(by_class, numbered=numbered, folder=folder, limit=limit)


def check_folder(folder: Path) -> None:
    """Raises: InputError, when ``folder`` is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with a subfolder of images for each class")


def idx_images(folder: Path, splits: Sequence[str]) -> Path | None:
    """The idx file with the images of the first of ``splits`` that lies in ``folder``."""
    return next((path for split in splits for path in sorted(folder.glob(f"{split}-images*"))), None)


def held_out_folder(folder: Path) -> Path | None:
    """The subfolder that is held out of training, where there is one for training too."""
    if not (folder / "train").is_dir():
        return None
    return next((folder / name for name in FOLDERS_HELD_OUT if (folder / name).is_dir()), None)


def dataset_of(by_class: ByClass, *, numbered: bool, folder: Path, limit: int | None = None) -> Dataset:
    """The first ``limit`` examples, taken from all classes in turn.

    Raises:
        InputError: fewer than two classes.
    """
    if len(by_class) < 2:
        raise InputError(
            f"{folder}: images of {len(by_class)} class{'es' if not by_class else ''}; "
            "accuracy needs at least two, each in a subfolder of its own"
        )
    turns = chain.from_iterable(zip_longest(*by_class.values()))
    examples = [example for example in turns if example is not None][:limit]
    return Dataset(examples=tuple(examples), labels=tuple(by_class), numbered=numbered)


def folder_classes(folder: Path) -> tuple[ByClass, bool]:
    """Label -> examples, and whether the folders are named by class numbers.

    Raises:
        InputError: a class without images.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    numbered = all(path.name.isdecimal() for path in classes)
    by_class: ByClass = {}
    for place, path in enumerate(classes):
        label = int(path.name) if numbered else place
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise InputError(f"{path}: no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in this class's folder")
        by_class[label] = [_file_example(file, label) for file in files]
    return by_class, numbered


def _file_example(path: Path, label: int) -> Example:
    return Example(name=str(path), label=label, pixels=lambda *size: read_image(path, *size))


def read_image(path: Path, height: int, width: int, channels: int) -> Pixels:
    """uint8 [height, width, channels]: scaled (bilinear) until the crop covers `CROPPED` of it, cropped in the middle.

    An image that has the network's size already is taken as it is.

    Raises:
        UnreadableImageError: damaged, or no image.
    """
    from PIL import Image

    if channels not in (1, 3):
        raise InputError(f"the network takes {channels} channels; images have 1 (grey) or 3 (red, green, blue)")
    try:
        with Image.open(path) as file:
            image = file.convert("L" if channels == 1 else "RGB")
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise UnreadableImageError(f"{path}: {error}") from error
    if image.size == (width, height):
        return np.asarray(image, np.uint8).reshape(height, width, channels)
    scale = max(height / image.height, width / image.width) / CROPPED
    size = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)), np.uint8).reshape(height, width, channels)


def idx_classes(images: Path) -> ByClass:
    """Label -> examples. Source of the format: yann.lecun.com/exdb/mnist, "the idx file format".

    Raises:
        InputError: no labels beside it, or not as many; a file that is truncated or of another format.
    """
    split = images.name.partition("-")[0]
    labels_path = next(iter(sorted(images.parent.glob(f"{split}-labels*"))), None)
    if labels_path is None:
        raise InputError(f"{images}: no {split}-labels file lies beside it")
    pictures, labels = _read_idx(images, 3), _read_idx(labels_path, 1)
    if len(pictures) != len(labels):
        raise InputError(f"{images}: {len(pictures)} images, but {labels_path.name} has {len(labels)} labels")
    by_class: ByClass = {int(label): [] for label in np.unique(labels)}
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        by_class[int(label)].append(_idx_example(f"{images}[{number}]", int(label), picture))
    return by_class


def _idx_example(name: str, label: int, picture: Pixels) -> Example:
    def pixels(height: int, width: int, channels: int) -> Pixels:
        if picture.shape != (height, width):
            raise InputError(
                f"the images are {picture.shape[0]}x{picture.shape[1]}, but the network takes {height}x{width}; "
                f"compile it with an input shape of {picture.shape[0]}x{picture.shape[1]}"
            )
        return np.repeat(picture[:, :, None], channels, axis=2)

    return Example(name=name, label=label, pixels=pixels)


def _read_idx(path: Path, rank: int) -> Pixels:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    header = 4 + 4 * rank
    if len(content) < header or struct.unpack_from(">I", content)[0] != 0x0800 + rank:
        raise InputError(f"{path}: not an idx file of {rank} dimensions of bytes")
    shape: Sequence[int] = struct.unpack_from(f">{rank}I", content, 4)
    if len(content) - header != np.prod(shape, dtype=np.int64):
        raise InputError(f"{path}: truncated ({len(content)} bytes for shape {tuple(shape)}); fetch it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
