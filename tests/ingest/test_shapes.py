"""--input-shape, and what a file leaves open."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevision.errors import ShapeError, UnknownNameError
from edgevision.ingest import parse_input_shapes, read
from tests.ingest.nets import checked, network

POOL = "{ y = GlobalAveragePool(x) }"


def net(dims, body=POOL):
    return network(f"(float[{dims}] x) => (float y) {body}")


def shape_of(source, **shapes):
    return (
        read(source, input_shapes={("" if k == "only" else k): v for k, v in shapes.items()} or None, simplify=False)
        .inputs[0]
        .shape
    )


# --- the option ---


def test_parse():
    assert parse_input_shapes(["1,3,224,224"]) == {"": (1, 3, 224, 224)}
    assert parse_input_shapes(["a:1,3", "b:0:7"]) == {"a": (1, 3), "b:0": (7,)}


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters=":"), min_size=1),
        st.lists(st.integers(1, 9999), min_size=1),
        max_size=4,
    )
)
def test_parse_undoes_writing(shapes):
    texts = [f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items()]
    assert parse_input_shapes(texts) == {name: tuple(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("text", ["", "1,3,x", "1,,3", "a:", "1x3"])
def test_parse_rejects(text):
    with pytest.raises(ShapeError, match=r"is not a list of sizes; write 1,3,224,224 or name:1,3,224,224"):
        parse_input_shapes([text])


@pytest.mark.parametrize("texts", [["1,2", "1,3"], ["a:1", "a:1"]])
def test_parse_rejects_one_twice(texts):
    with pytest.raises(ShapeError, match="twice"):
        parse_input_shapes(texts)


# --- the file ---


def test_batch_is_one():
    assert shape_of(net("N,3,8,8")) == (1, 3, 8, 8)
    assert shape_of(net("N,3,8,8"), only=(4, 3, 8, 8)) == (4, 3, 8, 8)


def test_the_name_of_the_batch_is_one_everywhere():
    source = network("(float[N,3] x, float[3,N] z) => (float y) { y = MatMul(x, z) }")
    assert [spec.shape for spec in read(source, simplify=False).inputs] == [(1, 3), (3, 1)]


def test_given_names_reach_other_inputs():
    source = network("(float[N,3,H,H] x, float[N,3,H,H] z) => (float y) { y = Add(x, z) }")
    model = checked(source, input_shapes={"x": (2, 3, 5, 5)})
    assert [spec.shape for spec in model.inputs] == [(2, 3, 5, 5)] * 2


def test_a_scalar_input_is_complete():
    source = network("(float[3] x, float z) => (float y) { y = Add(x, z) }")
    source.graph.input[1].type.tensor_type.shape.SetInParent()
    assert read(source, simplify=False).inputs[1].shape == ()


def test_a_question_mark_is_no_name():
    source = net("N,3,8,8")
    for dim in source.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_param = "?"
    assert shape_of(source, only=(1, 3, 8, 9)) == (1, 3, 8, 9)
    with pytest.raises(
        ShapeError, match=r"leaves dimensions open: \[\?,\?,\?,\?\]; give them with --input-shape x:1,SIZE,SIZE,SIZE"
    ):
        read(source, simplify=False)


def test_sizes_below_one_in_the_file_are_open():
    source = net("N,3,8,8")
    source.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -1
    with pytest.raises(ShapeError, match=r"leaves dimensions open: \[N,3,\?,8\]"):
        read(source, simplify=False)
    assert shape_of(source, only=(1, 3, 5, 8)) == (1, 3, 5, 8)


def test_initializers_among_the_inputs_are_constants():
    """As IR version 3 wants them."""
    source = network("(float[N,4] x, float[4] c) => (float y) { y = Add(x, c) }", c=np.ones(4, np.float32))
    source.ir_version = 3
    assert [spec.name for spec in checked(source).inputs] == ["x"]


def test_shapes_that_the_file_declared_for_another_batch_are_forgotten():
    source = network("(float[N,3,8,8] x) => (float[1,3,1,1] y) { y = GlobalAveragePool(x) }")
    assert read(source, input_shapes={"": (5, 3, 8, 8)}, simplify=False).outputs[0].shape == (5, 3, 1, 1)


OPEN = {
    "spatial": (
        "N,3,H,W",
        {},
        r"input 'x' leaves dimensions open: \[N,3,H,W\]; give them with --input-shape x:1,3,H,W",
    ),
    "too few": ("N,3,8,8", {"": (1, 3, 8)}, r"input 'x' has 4 dimensions \[N,3,8,8\], but --input-shape 1,3,8 gives 3"),
    "zero": ("N,3,8,8", {"": (1, 3, 0, 8)}, "holds a size below 1; every size must be positive"),
    "negative": ("N,3,H,W", {"x": (1, 3, -8, 8)}, "holds a size below 1"),
    "contradiction": (
        "N,3,8,8",
        {"": (1, 4, 8, 8)},
        r"axis 1 is 3 in the file \[N,3,8,8\], but --input-shape 1,4,8,8 gives 4",
    ),
    "fixed batch": ("1,3,8,8", {"": (2, 3, 8, 8)}, "export the network with that dimension open"),
    "two sizes of one name": ("N,3,H,H", {"": (1, 3, 8, 9)}, "dimension 'H' cannot be both 8 and 9"),
    "given twice": ("N,3,8,8", {"": (1, 3, 8, 8), "x": (1, 3, 8, 8)}, "gives input 'x' twice"),
}


@pytest.mark.parametrize(("dims", "shapes", "reason"), OPEN.values(), ids=OPEN)
def test_shapes_that_cannot_be(dims, shapes, reason):
    with pytest.raises(ShapeError, match=reason) as caught:
        read(net(dims), input_shapes=shapes, simplify=False)
    assert caught.value.exit_code == 2


def test_an_unknown_input():
    with pytest.raises(UnknownNameError, match="unknown input 'images'; did you mean 'image'"):
        read(
            network("(float[1,3,4,4] image) => (float y) { y = GlobalAveragePool(image) }"),
            input_shapes={"images": (1, 3, 4, 4)},
        )


def test_one_shape_for_two_inputs():
    source = network("(float[1,3] x, float[1,3] z) => (float y) { y = Add(x, z) }")
    with pytest.raises(ShapeError, match=r"has 2 inputs \(x, z\); give each as --input-shape NAME:SIZES"):
        read(source, input_shapes={"": (1, 3)}, simplify=False)


def test_no_rank_at_all():
    source = net("N,3,8,8")
    source.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ShapeError, match="has no shape in the file; give it with --input-shape x:SIZES"):
        read(source, simplify=False)
    assert shape_of(source, only=(1, 3, 8, 8)) == (1, 3, 8, 8)
