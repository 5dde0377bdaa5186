"""Labelled images: what is read, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision.errors import InputError
from edgevision.measure.dataset import UnreadableImageError, open_dataset, read_image
from tests.measure.photographs import folder_of_images, grey, write_idx

PICTURES = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([1, 0, 1, 2, 2, 0], np.uint8)


def test_numbered_folders_are_labels(tmp_path: Path) -> None:
    images = folder_of_images(tmp_path / "photos", per_class=2, classes=3)
    (images / "1").rename(images / "17")
    (images / "17" / "notes.txt").write_text("not an image")
    dataset = open_dataset(images)
    assert sorted(e.label for e in dataset.examples) == [0, 0, 2, 2, 17, 17] and dataset.numbered
    assert set(dataset.labels) == {0, 2, 17}


def test_named_folders_are_numbered_in_order(tmp_path: Path) -> None:
    for name in ("zebra", "cat", ".hidden"):
        (tmp_path / name).mkdir()
        grey(1).save(tmp_path / name / "a.png")
    dataset = open_dataset(tmp_path)
    assert [(e.label, Path(e.name).parent.name) for e in dataset.examples] == [(0, "cat"), (1, "zebra")]
    assert not dataset.numbered


def test_a_limit_takes_from_all_classes_in_turn(tmp_path: Path) -> None:
    dataset = open_dataset(folder_of_images(tmp_path / "photos", per_class=3, classes=3), limit=5)
    assert [e.label for e in dataset.examples] == [0, 1, 2, 0, 1]


def test_an_image_of_the_right_size_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 6, 5, 3), pixels)


@pytest.mark.parametrize("size", [(100, 60), (60, 100), (40, 41), (2000, 30)], ids=str)
def test_other_sizes_keep_their_middle(tmp_path: Path, size: tuple[int, int]) -> None:
    """A white disc in the middle of black stays in the middle, and as wide as it is high."""
    x, y = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size))
    disc = np.where(x**2 + y**2 < (min(size) / 4) ** 2, 255, 0).astype(np.uint8)
    Image.fromarray(disc).save(tmp_path / "a.png")
    [image] = np.moveaxis(read_image(tmp_path / "a.png", 32, 32, 1), 2, 0) / 255
    rows, columns = image.sum(axis=1), image.sum(axis=0)
    assert image[16, 16] > 0.99 and image[0].max() < 0.01 and image[:, 0].max() < 0.01
    centre = [float(np.average(np.arange(32), weights=w)) for w in (rows, columns)]
    assert centre == pytest.approx([15.5, 15.5], abs=1.0) and rows.max() == pytest.approx(columns.max(), rel=0.2)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_follow_the_network(tmp_path: Path, channels: int) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 10)).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png", 4, 4, channels)
    assert pixels.shape == (4, 4, channels)
    assert pixels[0, 0].tolist() == ([255, 0, 0] if channels == 3 else [76])
    with pytest.raises(InputError, match="takes 4 channels; images have 1"):
        read_image(tmp_path / "a.png", 4, 4, 4)


def test_damaged_images_are_named(tmp_path: Path) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for suffix in ("png", "jpg", "gif", "webp", "bmp", "tiff"):
        photo.save(tmp_path / f"whole.{suffix}")
        whole = (tmp_path / f"whole.{suffix}").read_bytes()
        for name, content in (("cut", whole[: len(whole) // 2]), ("text", b"hello"), ("empty", b"")):
            path = tmp_path / f"{name}.{suffix}"
            path.write_bytes(content)
            with pytest.raises(UnreadableImageError, match=f"{name}.{suffix}: "):
                read_image(path, 8, 8, 3)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files(tmp_path: Path, suffix: str) -> None:
    write_idx(tmp_path / f"t10k-images-idx3-ubyte{suffix}", PICTURES)
    write_idx(tmp_path / f"t10k-labels-idx1-ubyte{suffix}", LABELS)
    dataset = open_dataset(tmp_path)
    assert [e.label for e in dataset.examples] == [0, 1, 2, 0, 1, 2] and dataset.numbered
    np.testing.assert_array_equal(dataset.examples[0].pixels(4, 4, 3)[..., 2], PICTURES[1])
    with pytest.raises(InputError, match="images are 4x4, but the network takes 28x28; compile it with an input shape"):
        dataset.examples[0].pixels(28, 28, 1)


def test_the_test_split_comes_before_the_training_split(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("t10k", 4)):
        write_idx(tmp_path / f"{split}-images-idx3-ubyte", PICTURES[:count])
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte", LABELS[:count])
    assert len(open_dataset(tmp_path).examples) == 4


def test_broken_idx_files_are_refused(tmp_path: Path) -> None:
    images, labels = tmp_path / "t10k-images-idx3-ubyte", tmp_path / "t10k-labels-idx1-ubyte"
    write_idx(images, PICTURES)
    with pytest.raises(InputError, match="no t10k-labels file lies beside it"):
        open_dataset(tmp_path)
    write_idx(labels, LABELS[:5])
    with pytest.raises(InputError, match="6 images, but t10k-labels-idx1-ubyte has 5 labels"):
        open_dataset(tmp_path)
    write_idx(labels, LABELS * 0)
    with pytest.raises(InputError, match="images of 1 class; accuracy needs at least two"):
        open_dataset(tmp_path)
    write_idx(labels, LABELS)
    for content, message in [
        (images.read_bytes()[:-1], "truncated"),
        (b"", "not an idx file of 3 dimensions"),
        (labels.read_bytes(), "not an idx file of 3 dimensions"),
    ]:
        images.write_bytes(content)
        with pytest.raises(InputError, match=message):
            open_dataset(tmp_path)
    images.unlink()
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="ubyte.gz: cannot be read"):
        open_dataset(tmp_path)


def test_folders_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: no such folder"):
        open_dataset(tmp_path / "gone")
    (tmp_path / "cats").mkdir()
    with pytest.raises(InputError, match=r"cats: no images \(.bmp, .gif"):
        open_dataset(tmp_path)
    grey(0).save(tmp_path / "cats" / "a.png")
    with pytest.raises(InputError, match="images of 1 class; accuracy needs at least two, each in a subfolder"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="images of 0 classes"):
        open_dataset(tmp_path / "cats")


def test_the_folder_that_is_held_out_is_evaluated(tmp_path: Path) -> None:
    folder_of_images(tmp_path / "train", per_class=3)
    with pytest.raises(InputError, match="no images"):
        open_dataset(tmp_path)
    folder_of_images(tmp_path / "val", per_class=2)
    assert len(open_dataset(tmp_path).examples) == 10
