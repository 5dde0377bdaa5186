"""Labelled images in two parts: which image lands where, what a batch holds, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevision.accuracy import TopOne
from edgevision.errors import InputError
from edgevision.measure import labelled
from edgevision.measure.evaluate import Preprocessing
from edgevision.measure.labelled import Splits, open_splits, top_one
from edgevision.tensor import TensorSpec
from tests.measure.photographs import folder_of_images, grey, save_classifier, write_idx

SPEC = TensorSpec(name="image", shape=(1, 3, 4, 4), layout="NCHW")
GREY = TensorSpec(name="image", shape=(1, 1, 4, 4))


def idx(folder: Path, split: str, count: int, *, classes: int = 3) -> None:
    folder.mkdir(exist_ok=True)
    pictures = np.arange(count * 16).reshape(count, 4, 4) % 251
    write_idx(folder / f"{split}-images-idx3-ubyte.gz", pictures)
    write_idx(folder / f"{split}-labels-idx1-ubyte.gz", np.arange(count) % classes)


def test_idx_files_come_in_two_parts(tmp_path: Path) -> None:
    idx(tmp_path, "train", 9)
    idx(tmp_path, "t10k", 6)
    splits = open_splits(tmp_path, GREY)
    assert (len(splits.train), len(splits.held_out), splits.classes, splits.numbered) == (9, 6, 3, True)
    images, labels = splits.train.batch(slice(0, 2))
    assert images.shape == (2, 1, 4, 4) and images.dtype == np.float32 and labels.dtype == np.int64
    np.testing.assert_allclose(images[1, 0], np.arange(16, 32).reshape(4, 4) / 255, rtol=1e-6)


def keys(splits: Splits) -> tuple[set[bytes], set[bytes]]:
    parts = (splits.train.pixels, splits.held_out.pixels)
    first, second = ({image.tobytes() for image in pixels} for pixels in parts)
    return first, second


def test_one_part_is_divided_the_same_way_each_time(tmp_path: Path) -> None:
    idx(tmp_path, "train", 60)
    splits = open_splits(tmp_path, GREY)
    train, held_out = keys(splits)
    assert (len(splits.train), len(splits.held_out)) == (54, 6) and not train & held_out
    assert sorted(splits.held_out.labels) == [0, 0, 1, 1, 2, 2]
    assert keys(open_splits(tmp_path, GREY)) == (train, held_out)


def test_folders_named_train_and_val_are_the_parts(tmp_path: Path) -> None:
    folder_of_images(tmp_path / "train", per_class=4)
    folder_of_images(tmp_path / "val", per_class=2)
    splits = open_splits(tmp_path, SPEC, Preprocessing(mean=(0.0, 10.0, 0.0), std=(1.0,)))
    assert (len(splits.train), len(splits.held_out)) == (20, 10)
    images, labels = next(splits.held_out.batches(3))
    assert labels.tolist() == [0, 1, 2] and images[2, :, 0, 0].tolist() == [128.0, 118.0, 128.0]
    assert [len(labels) for _, labels in splits.train.batches(8, limit=10)] == [8, 2]


def test_class_folders_are_divided(tmp_path: Path) -> None:
    splits = open_splits(folder_of_images(tmp_path / "images", per_class=3), SPEC)
    assert (len(splits.train), len(splits.held_out)) == (10, 5)


def test_a_damaged_image_is_named_and_skipped(tmp_path: Path) -> None:
    images = folder_of_images(tmp_path / "images")
    (images / "2" / "0.png").write_bytes(b"no image")
    splits = open_splits(images, SPEC)
    assert len(splits.skipped) == 1 and "0.png" in splits.skipped[0]
    assert splits.train.labels.tolist() == [0, 1, 3, 4, 0, 1, 2, 3, 4] and len(splits.train.pixels) == 9
    for path in images.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="none of the 10 images can be read"):
        open_splits(images, SPEC)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    idx(tmp_path / "idx", "train", 9)
    with pytest.raises(InputError, match="images are 4x4, but the network takes 28x28"):
        open_splits(tmp_path / "idx", TensorSpec(name="x", shape=(1, 1, 28, 28)))
    with pytest.raises(InputError, match="is no batch of images"):
        open_splits(tmp_path / "idx", TensorSpec(name="x", shape=(1, 10)))
    images = folder_of_images(tmp_path / "images")
    with pytest.raises(InputError, match="takes 4 channels; images have 1"):
        open_splits(images, TensorSpec(name="x", shape=(1, 4, 8, 8), layout="NCHW"))
    with pytest.raises(InputError, match="--mean has 2 values for 3 channels"):
        open_splits(images, SPEC, Preprocessing(mean=(1.0, 2.0)))


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_splits(tmp_path / "nowhere", SPEC)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="images of 0 classes"):
        open_splits(tmp_path / "empty", SPEC)
    with pytest.raises(InputError, match="images of 1 class"):
        open_splits(folder_of_images(tmp_path / "one", classes=1), SPEC)
    idx(tmp_path / "idx", "train", 4, classes=3)
    with pytest.raises(InputError, match="class 1 has one image"):
        open_splits(tmp_path / "idx", GREY)


def test_parts_with_different_classes_are_refused(tmp_path: Path) -> None:
    folder_of_images(tmp_path / "train", classes=3)
    folder_of_images(tmp_path / "test", classes=2)
    with pytest.raises(InputError, match="have different classes: 2"):
        open_splits(tmp_path, SPEC)
    (tmp_path / "test" / "2").mkdir()
    grey(2).save(tmp_path / "test" / "2" / "0.png")
    assert open_splits(tmp_path, SPEC).classes == 3


def test_many_images_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = folder_of_images(tmp_path / "images")
    whole = open_splits(images, SPEC)
    monkeypatch.setattr(labelled, "IN_MEMORY_BYTES", 10)
    mapped = open_splits(images, SPEC)
    assert isinstance(mapped.train.pixels, np.memmap) and not isinstance(whole.train.pixels, np.memmap)
    np.testing.assert_array_equal(mapped.train.pixels, whole.train.pixels)


@pytest.mark.parametrize("batch", [1, 4])
def test_right_answers_are_counted(batch: int, tmp_path: Path) -> None:
    """One class of five is called by another's name; the last batch is not whole."""
    images = folder_of_images(tmp_path / "images", per_class=4)
    for path in (images / "3").iterdir():
        grey(1).save(path)
    model = save_classifier(tmp_path / "model.onnx", batch)
    spec = TensorSpec(name="image", shape=(batch, 3, 4, 4), layout="NCHW")
    splits = open_splits(images, spec)
    assert top_one(splits.train, model) == TopOne(correct=12, images=15)
    assert top_one(splits.held_out, model) == TopOne(correct=4, images=5)
    splits.check_scores(6)
    with pytest.raises(InputError, match="labels go up to 4, but the network scores 4"):
        splits.check_scores(4)


def test_the_interval_is_wilsons() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    table = ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718))
    for correct, images, low, high in table:
        assert TopOne(correct=correct, images=images).interval == pytest.approx((low, high), abs=5e-5)
