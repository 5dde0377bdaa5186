"""Accuracy of a classifier by brightness, whose right answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevision.errors import InputError
from edgevision.measure.compare import Array
from edgevision.measure.dataset import open_dataset
from edgevision.measure.evaluate import Preprocessing, evaluate, evaluate_files, image_size
from edgevision.tensor import TensorSpec
from tests.measure.photographs import folder_of_images, grey, save_classifier
from tests.runtime.fake_artifact import SOURCE, build

IMAGE = TensorSpec(name="image", shape=(1, 3, 4, 4), layout="NCHW")
BRIGHTNESS = SOURCE.parent / "brightness.c"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of_images(tmp_path / "photos")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_classifier(tmp_path / "brightness.onnx")


def test_a_perfect_classifier(photos: Path, model: Path) -> None:
    result = evaluate_files(open_dataset(photos), model, None, Preprocessing())
    assert (result.images, result.classes, result.skipped, result.agreement) == (15, 6, (), None)
    assert [(n.network, n.top1, n.top5) for n in result.networks] == [("original", 1.0, 1.0)]


def test_preprocessing_matters(photos: Path, model: Path) -> None:
    """A third as bright: only class 0 stays what it is."""
    result = evaluate_files(open_dataset(photos), model, None, Preprocessing(std=(765.0,)))
    assert result.networks[0].top1 == 0.2


def test_original_and_artifact_side_by_side(tmp_path: Path, photos: Path, model: Path) -> None:
    same, biased = (
        build(tmp_path / f"{n}.so", d, source=BRIGHTNESS) for n, d in (("a", "BIAS=0.0f"), ("b", "BIAS=0.1f"))
    )
    result = evaluate_files(open_dataset(photos), model, same, Preprocessing())
    assert [n.top1 for n in result.networks] == [1.0, 1.0] and result.agreement == 1.0
    # The bias makes class 1 win where its distance to the right class is below 0.316: classes 0 and 2.
    result = evaluate_files(open_dataset(photos), model, biased, Preprocessing())
    assert [(n.network, n.top1) for n in result.networks] == [("original", 1.0), ("artifact", 0.6)]
    assert result.agreement == 0.6


def test_damaged_images_are_skipped_and_named(photos: Path, model: Path) -> None:
    (photos / "3" / "1.png").write_bytes(b"damaged")
    result = evaluate_files(open_dataset(photos), model, None, Preprocessing())
    assert result.images == 14 and result.networks[0].top1 == 1.0
    assert len(result.skipped) == 1 and "3/1.png: cannot identify image file" in result.skipped[0]


def test_nothing_but_damaged_images_is_an_error(photos: Path, model: Path) -> None:
    for path in photos.rglob("*.png"):
        path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="none of the 15 images can be read; the first: .*0/0.png"):
        evaluate_files(open_dataset(photos), model, None, Preprocessing())


@pytest.mark.parametrize("batch", [4, 15, 16, "N"])
def test_any_batch_size(tmp_path: Path, photos: Path, batch: int | str) -> None:
    (photos / "4" / "2.png").write_bytes(b"damaged")
    result = evaluate_files(open_dataset(photos), save_classifier(tmp_path / "b.onnx", batch), None, Preprocessing())
    assert result.images == 14 and result.networks[0].top1 == 1.0


def scorer(classes: int) -> dict[str, object]:
    return {"original": lambda images: np.zeros((len(images), classes), np.float32)}


def test_top5_counts_the_five_highest(photos: Path) -> None:
    def fixed(images: Array) -> Array:
        return np.array([[5, 4, 3, 2, 1, 0]], np.float32)

    result = evaluate(open_dataset(photos), IMAGE, {"original": fixed}, Preprocessing())
    assert (result.networks[0].top1, result.networks[0].top5) == (0.2, 1.0)
    result = evaluate(open_dataset(photos), IMAGE, {"original": lambda i: fixed(i)[:, ::-1]}, Preprocessing())
    assert (result.networks[0].top1, result.networks[0].top5) == (0.0, 0.8)
    assert evaluate(open_dataset(photos), IMAGE, scorer(5), Preprocessing()).networks[0].top5 is None  # type: ignore[arg-type]


def test_labels_must_fit_the_network(photos: Path) -> None:
    with pytest.raises(InputError, match="labels go up to 4, but the network scores 4 classes"):
        evaluate(open_dataset(photos), IMAGE, scorer(4), Preprocessing())  # type: ignore[arg-type]
    for path in sorted(photos.iterdir()):
        path.rename(photos / f"class{path.name}")
    with pytest.raises(InputError, match="5 class folders for a network of 1000 classes; name the folders by class"):
        evaluate(open_dataset(photos), IMAGE, scorer(1000), Preprocessing())  # type: ignore[arg-type]
    evaluate(open_dataset(photos), IMAGE, scorer(5), Preprocessing())  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 21, 4, 4), (1,), (1, 1), (2, 6)])
def test_what_is_no_classifier_is_refused(photos: Path, shape: tuple[int, ...]) -> None:
    networks = {"original": lambda _: np.zeros(shape, np.float32)}
    with pytest.raises(InputError, match=r"first output has shape .*; a classifier's has \(1, number of classes\)"):
        evaluate(open_dataset(photos), IMAGE, networks, Preprocessing())


def test_scores_with_axes_of_one_are_a_classifier(photos: Path) -> None:
    networks = {"original": lambda _: np.zeros((1, 6, 1, 1), np.float32)}
    assert evaluate(open_dataset(photos), IMAGE, networks, Preprocessing()).classes == 6


@pytest.mark.parametrize(
    ("shape", "layout", "size"),
    [
        ((1, 3, 5, 6), "NCHW", (5, 6, 3)),
        ((1, 5, 6, 3), "NHWC", (5, 6, 3)),
        ((1, 3, 5, 6), "", (5, 6, 3)),
        ((1, 5, 6, 1), "", (5, 6, 1)),
        ((1, 3, 5, 3), "NHWC", (3, 5, 3)),
    ],
)
def test_image_sizes(shape: tuple[int, ...], layout: str, size: tuple[int, ...]) -> None:
    assert image_size(TensorSpec(name="x", shape=shape, layout=layout)) == size


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 10), (1, 7, 8, 9)])
def test_other_inputs_are_no_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="is no batch of images"):
        image_size(TensorSpec(name="x", shape=shape))


def test_preprocessing_follows_dtype_and_layout() -> None:
    pixels = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(1, 2, 2, 3)
    by_channel = Preprocessing(mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
    nchw = by_channel.apply(pixels, TensorSpec(name="x", shape=(1, 3, 2, 2), layout="NCHW"))
    np.testing.assert_array_equal(nchw[0, 2], (pixels[0, :, :, 2] - np.float32(3)) / 8)
    assert nchw.dtype == np.float32 and nchw.flags["C_CONTIGUOUS"]
    raw = by_channel.apply(pixels, TensorSpec(name="x", shape=(1, 2, 2, 3), dtype="uint8", layout="NHWC"))
    np.testing.assert_array_equal(raw, pixels)


@pytest.mark.parametrize(
    ("preprocessing", "message"),
    [
        (Preprocessing(mean=(1.0, 2.0)), "--mean has 2 values for 3 channels"),
        (Preprocessing(std=(1.0,) * 4), "--std has 4 values for 3 channels"),
        (Preprocessing(std=(1.0, 0.0, 1.0)), "--std holds a 0"),
    ],
)
def test_wrong_preprocessing_is_refused(photos: Path, preprocessing: Preprocessing, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(open_dataset(photos), IMAGE, scorer(6), preprocessing)  # type: ignore[arg-type]


def test_networks_that_cannot_be_compared_are_refused(tmp_path: Path, photos: Path, model: Path) -> None:
    artifact = build(tmp_path / "a.so", source=BRIGHTNESS)
    with pytest.raises(InputError, match="evaluate them one by one"):
        evaluate_files(open_dataset(photos), save_classifier(tmp_path / "b.onnx", 2), artifact, Preprocessing())
    with pytest.raises(InputError, match="takes 2 inputs; evaluate takes networks with one image input"):
        evaluate_files(open_dataset(photos), model, build(tmp_path / "two.so"), Preprocessing())
    open_size = onnx.load(model)
    open_size.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(open_size, model)
    with pytest.raises(InputError, match=r"input 'image' has open dimensions \[1, 3, 'height', 4\]; compile it with"):
        evaluate_files(open_dataset(photos), model, None, Preprocessing())


def test_grey_photographs_of_any_size(tmp_path: Path, model: Path) -> None:
    photos = folder_of_images(tmp_path / "large", per_class=1, size=(50, 33))
    grey(2, (3, 9)).save(photos / "2" / "thin.jpg")
    assert evaluate_files(open_dataset(photos), model, None, Preprocessing()).networks[0].top1 == 1.0
