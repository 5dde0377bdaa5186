"""Labelled images and a classifier for them: an image of class k is an even grey of brightness k / 4."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from PIL import Image

CLASSIFIER = """<ir_version: 8, opset_import: ["" : 17]>
brightness (float[{batch},3,4,4] image) => (float[{batch},6] scores) {{
    axes = Constant <value_ints = [1, 2, 3]> ()
    shape = Constant <value_ints = [-1, 1]> ()
    mean = ReduceMean <axes = [1, 2, 3], keepdims = 0> (image)
    column = Reshape(mean, shape)
    classes = Constant <value = float[6] {{0.0, 0.25, 0.5, 0.75, 1.0, 1.25}}> ()
    off = Sub(column, classes)
    square = Mul(off, off)
    scores = Neg(square)
}}"""


def save_classifier(path: Path, batch: int | str = 1) -> Path:
    onnx.save(onnx.parser.parse_model(CLASSIFIER.format(batch=batch)), path)
    return path


def grey(label: int, size: tuple[int, int] = (4, 4)) -> Image.Image:
    return Image.new("RGB", size, (round(255 * label / 4),) * 3)


def folder_of_images(folder: Path, per_class: int = 3, classes: int = 5, size: tuple[int, int] = (4, 4)) -> Path:
    """Class folders "0" to "4", each with images of its brightness."""
    for label in range(classes):
        (folder / str(label)).mkdir(parents=True)
        for number in range(per_class):
            grey(label, size).save(folder / str(label) / f"{number}.png")
    return folder


def write_idx(path: Path, array: np.ndarray) -> None:
    content = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
