"""A camera's preprocessing in front of the network, and what verification feeds the original."""

import dataclasses
import operator

import numpy as np
import onnx
import pytest

from edgevision.errors import InputError
from edgevision.ingest import fold_camera, infer, read, to_onnx
from edgevision.ingest.legal import flaws
from tests.ingest.nets import network, random, relative_error, run

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
NCHW = network("(float[N,3,6,7] image) => (float y) { h = Conv(image, w) y = Relu(h) }", w=random(4, 3, 3, 3))
NHWC = network(
    "(float[N,6,7,3] image) => (float y) { t = Transpose<perm = [0, 3, 1, 2]>(image) h = Conv(t, w) y = Relu(h) }",
    w=random(4, 3, 3, 3),
)
SOURCES = {"NCHW": NCHW, "NHWC": NHWC}


def pixels(model, seed=0):
    spec = model.inputs[0]
    values = np.random.default_rng(seed).integers(0, 256, spec.shape)
    return values.astype(spec.dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("own", SOURCES)
def test_the_network_with_a_camera_sees_what_the_original_is_fed(own, layout, dtype):
    model = fold_camera(read(SOURCES[own], simplify=False), input_layout=layout, input_dtype=dtype, mean=MEAN, std=STD)
    spec = model.inputs[0]
    assert spec.shape == ((1, 6, 7, 3) if layout == "nhwc" else (1, 3, 6, 7))
    assert (spec.dtype, spec.layout) == (dtype, layout.upper())
    assert flaws(model.proto) == []
    key = operator.attrgetter("name")
    assert sorted(infer(model.proto).graph.value_info, key=key) == sorted(model.proto.graph.value_info, key=key)
    plain = to_onnx(model.proto)
    onnx.checker.check_model(plain, full_check=True)
    x = pixels(model)
    fed = model.camera.to_original(x)
    assert fed.dtype == np.float32
    assert fed.shape == model.original_inputs[0].shape
    (ours,), (theirs,) = run(plain, {"image": x}), run(model.original, {"image": fed})
    assert relative_error(ours, theirs) == 0.0


def test_to_original_by_hand():
    model = fold_camera(read(NCHW, simplify=False), input_layout="nhwc", input_dtype="uint8", mean=MEAN, std=STD)
    x = pixels(model)
    by_hand = (x.astype(np.float64).transpose(0, 3, 1, 2) - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(
        STD, (1, 3, 1, 1)
    )
    np.testing.assert_allclose(model.camera.to_original(x), by_hand, rtol=0, atol=1e-6)


def test_one_value_serves_all_channels():
    model = fold_camera(read(NCHW, simplify=False), mean=(127.5,), std=(128,))
    assert (model.camera.mean, model.camera.std) == ((127.5,) * 3, (128,) * 3)


def test_only_what_changes_something_is_added():
    before = read(NCHW, simplify=False)
    assert fold_camera(before).proto == before.proto
    added = [node.op_type for node in fold_camera(before, input_dtype="uint8").proto.graph.node]
    assert added == ["Cast", "Conv", "Relu"]


def test_the_model_that_was_given_is_not_touched():
    before = read(NCHW, simplify=False)
    copy = onnx.ModelProto()
    copy.CopyFrom(before.proto)
    fold_camera(before, input_dtype="uint8", input_layout="nhwc", mean=MEAN, std=STD)
    assert before.proto == copy


def test_an_image_that_goes_out_goes_out_preprocessed():
    model = fold_camera(
        read(network("(float[1,3,2,2] image) => (float y) { y = Identity(image) }"), simplify=False), mean=(5,)
    )
    (out,) = run(to_onnx(model.proto), {"image": np.full((1, 3, 2, 2), 7, np.float32)})
    assert (out == 2).all()


WRONG = {
    "layout": ({"input_layout": "hwc"}, "a camera cannot deliver 'hwc'; choose from nchw, nhwc"),
    "dtype": ({"input_dtype": "int8"}, "a camera cannot deliver 'int8'; choose from float32, uint8"),
    "mean of two": ({"mean": (1, 2)}, "--mean has 2 values, but the image has 3 channels"),
    "std of four": ({"std": (1, 2, 3, 4)}, "--std has 4 values"),
    "std of zero": ({"std": (1, 0, 1)}, "--std 1,0,1: every value must be finite, and not 0"),
    "mean not finite": ({"mean": (float("nan"),)}, "--mean nan: every value must be finite"),
}


@pytest.mark.parametrize(("options", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_options(options, reason):
    with pytest.raises(InputError, match=reason.replace("(", r"\(")):
        fold_camera(read(NCHW, simplify=False), **options)


NO_IMAGE = {
    "a vector": "(float[1,3] x) => (float y) { y = Relu(x) }",
    "two images": "(float[1,3,2,2] x, float[1,3,2,2] z) => (float y) { y = Add(x, z) }",
    "integers": "(int64[1,3,2,2] x) => (int64 y) { y = Neg(x) }",
}


@pytest.mark.parametrize("body", NO_IMAGE.values(), ids=NO_IMAGE)
def test_networks_without_one_image(body):
    with pytest.raises(InputError, match="need exactly one image input"):
        fold_camera(read(network(body), simplify=False), input_dtype="uint8")


def test_a_second_camera():
    model = fold_camera(read(NCHW, simplify=False), input_dtype="uint8")
    with pytest.raises(InputError, match="has a camera already"):
        fold_camera(dataclasses.replace(model, inputs=model.original_inputs), input_dtype="uint8")


LAYOUTS = {
    "conv": (NCHW, "NCHW"),
    "transposed": (NHWC, "NHWC"),
    "after elementwise": (network("(float[1,3,4,4] x) => (float y) { h = Relu(x) y = GlobalAveragePool(h) }"), "NCHW"),
    "after a pad": (
        network(
            ("(float[1,3,4,4] x) => (float y) { h = Pad(x, p, one) y = MaxPool<kernel_shape = [2, 2]>(h) }"),
            p=np.array([0, 0, 1, 1] * 2),
            one=np.array(1, np.float32),
        ),
        "NCHW",
    ),
    "as a kernel": (network("(float[1,3,4,4] k) => (float y) { y = Conv(w, k) }", w=random(1, 3, 5, 5)), ""),
    "a matrix product": (network("(float[1,3,4,4] x) => (float y) { y = MatMul(x, w) }", w=random(4, 4)), ""),
    "three dimensions": (network("(float[1,3,4] x) => (float y) { y = Conv(x, w) }", w=random(2, 3, 1)), ""),
}


@pytest.mark.parametrize(("source", "layout"), LAYOUTS.values(), ids=LAYOUTS)
def test_the_layout_of_inputs(source, layout):
    assert read(source, simplify=False).inputs[0].layout == layout
