"""Every file that cannot be read, and what the user is told."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision.errors import InputError, ModelFileError, UnsupportedError, UnsupportedOperatorError
from edgevision.ingest import read
from tests.ingest.nets import checked, network, random

RELU = network("(float[1,4] x) => (float[1,4] y) { y = Relu(x) }")


def message(source, error, exit_code=2, **options):
    with pytest.raises(error) as caught:
        read(source, simplify=False, **options)
    assert caught.value.exit_code == exit_code
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- files ---


def test_missing_file(tmp_path):
    assert message(tmp_path / "no.onnx", ModelFileError) == f"{tmp_path}/no.onnx: no such file; check the path"


def test_directory(tmp_path):
    assert "is a directory; name a file, such as model.onnx" in message(tmp_path, ModelFileError)
    onnx.save(RELU, tmp_path / "net.onnx")
    assert message(tmp_path, ModelFileError).endswith("is a directory; name a file in it: net.onnx")


def test_empty_file(tmp_path):
    (tmp_path / "a.onnx").touch()
    assert "is empty; export or copy it again" in message(tmp_path / "a.onnx", ModelFileError)


CONTENTS = {
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG image"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), "a JPEG image"),
    "torch checkpoint": (b"PK\x03\x04" + bytes(99), "a zip archive, perhaps a torch checkpoint"),
    "pickle": (b"\x80\x02}q\x00.", "a Python pickle"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(99), "a TensorFlow Lite model"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "text": (b"hello, world: this is a readme\n", "is not an ONNX model but text"),
    "garbage": (bytes(range(255, 0, -1)), "is not an ONNX model"),
    "protobuf of something else": (
        TensorProto(name="t", dims=[3], data_type=1).SerializeToString(),
        "is truncated or damaged",
    ),
}


@pytest.mark.parametrize(("content", "expected"), CONTENTS.values(), ids=CONTENTS)
def test_other_content(tmp_path, content, expected):
    (tmp_path / "a.onnx").write_bytes(content)
    assert expected in message(tmp_path / "a.onnx", ModelFileError)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_truncated_file(tmp_path, share):
    content = network("(float[1,4] x) => (float[1,64] y) { y = MatMul(x, w) }", w=random(4, 64)).SerializeToString()
    (tmp_path / "a.onnx").write_bytes(content[: int(len(content) * share)])
    assert "is truncated or damaged" in message(tmp_path / "a.onnx", ModelFileError)


def test_no_nodes_and_no_outputs(tmp_path):
    empty = onnx.ModelProto()
    empty.CopyFrom(RELU)
    del empty.graph.node[:]
    assert "the graph has no nodes: there is nothing to compile" in message(empty, ModelFileError)
    silent = onnx.ModelProto()
    silent.CopyFrom(RELU)
    del silent.graph.output[:]
    assert "the graph has no outputs" in message(silent, ModelFileError)


def test_a_file_over_the_limit_of_protobuf(tmp_path):
    with (tmp_path / "a.onnx").open("wb") as stream:
        stream.truncate(2**31)
    assert "save the weights as external data" in message(tmp_path / "a.onnx", ModelFileError)


def test_something_else_than_a_network():
    assert "a list is no network" in message([RELU], InputError)


INVALID = {
    "unknown tensor": "(float[1,4] x) => (float[1,4] y) { y = Add(x, nothing) }",
    "written twice": "(float[1,4] x) => (float[1,4] y) { y = Relu(x) y = Neg(x) }",
    "missing attribute": "(float[1,4,5,5] x) => (float[1,4,5,5] y) { y = MaxPool(x) }",
}


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID)
def test_what_the_checker_finds(body):
    assert message(network(body), ModelFileError).startswith("net: is not valid ONNX: ")


def test_shapes_that_disagree():
    body = "(float[1,4] x) => (float[1,5] y) { y = MatMul(x, w) }"
    assert "its shapes do not fit together" in message(network(body, w=random(3, 5)), ModelFileError)


# --- external data ---


def external(path, location="weights.bin", content=None):
    """A model whose only weight lies in another file."""
    weight = random(4, 400)
    proto = network("(float[1,4] x) => (float[1,400] y) { y = MatMul(x, w) }", w=weight)
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], location, offset=0, length=weight.nbytes)
    proto.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(proto.SerializeToString())
    data = path.parent / location
    if content is not None:
        data.write_bytes(content)
    return weight


def test_external_data_is_read(tmp_path):
    weight = external(tmp_path / "a.onnx")
    (tmp_path / "weights.bin").write_bytes(weight.tobytes())
    model = read(tmp_path / "a.onnx", simplify=False)
    np.testing.assert_array_equal(numpy_helper.to_array(model.proto.graph.initializer[0]), weight.T)
    assert model.original == tmp_path / "a.onnx"


def test_the_hash_covers_external_data(tmp_path):
    weight = external(tmp_path / "a.onnx")
    hashes = []
    for factor in (1, 2):
        (tmp_path / "weights.bin").write_bytes((weight * factor).tobytes())
        hashes.append(read(tmp_path / "a.onnx", simplify=False).sha256)
    assert hashes[0] != hashes[1]


def test_external_data_missing(tmp_path):
    external(tmp_path / "a.onnx")
    text = message(tmp_path / "a.onnx", ModelFileError)
    assert "external data 'weights.bin' of tensor 'w' is missing; put it beside the model" in text


def test_external_data_too_short(tmp_path):
    external(tmp_path / "a.onnx", content=bytes(100))
    assert "ends before byte 6400; it is truncated or belongs to another model" in message(
        tmp_path / "a.onnx", ModelFileError
    )


@pytest.mark.parametrize(
    "location", ["../outside.bin", "sub/../../outside.bin", "{absolute}", "..\\outside.bin", "C:\\outside.bin"]
)
def test_external_data_outside(tmp_path, location):
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "outside.bin").write_bytes(bytes(6400))
    external(tmp_path / "model" / "a.onnx", location.format(absolute=tmp_path / "outside.bin"))
    assert "points outside the model's folder; only files beside the model are read" in message(
        tmp_path / "model" / "a.onnx", ModelFileError
    )


def test_external_data_outside_by_a_link(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(6400))
    (tmp_path / "model" / "weights.bin").symlink_to(tmp_path / "outside.bin")
    external(tmp_path / "model" / "a.onnx")
    assert "points outside the model's folder" in message(tmp_path / "model" / "a.onnx", ModelFileError)


def test_external_data_in_a_folder_of_the_model_is_fine(tmp_path):
    (tmp_path / "sub").mkdir()
    external(tmp_path / "a.onnx", "sub/weights.bin", random(4, 400).tobytes())
    assert read(tmp_path / "a.onnx", simplify=False).name == "a"


def test_a_proto_with_external_data_says_so():
    proto = network("(float[1,4] x) => (float[1,400] y) { y = MatMul(x, w) }", w=random(4, 400))
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], "weights.bin")
    assert "external data" in message(proto, ModelFileError)


# --- models that are not supported ---


@pytest.mark.parametrize("opset", [7, 8, 24, 28])
def test_opsets_out_of_range(opset):
    proto = network("(float[1,4] x) => (float[1,4] y) { y = Relu(x) }", opset=opset)
    assert f"opset {opset} is outside 9 to 23" in message(proto, UnsupportedError, 3)


def test_custom_operator():
    proto = network("(float[1,4] x) => (float[1,4] y) { y = com.acme.Magic(x) }", opset=17)
    proto.opset_import.append(helper.make_opsetid("com.acme", 1))
    proto.graph.node[0].name = "wand"
    text = message(proto, UnsupportedOperatorError, 3)
    assert "no lowering for com.acme::Magic (opset 17) at node 'wand': custom operators have no definition here" in text


@pytest.mark.parametrize(
    ("op", "opset", "reason"),
    [("Mish", 17, "opset 17 has no such operator"), ("Upsample", 11, "withdrawn"), ("Magic", 17, "no such")],
)
def test_unknown_operator(op, opset, reason):
    proto = network(f"(float[1,4] x) => (float[1,4] y) {{ y = {op}(x) }}", opset=opset)
    with pytest.raises(UnsupportedOperatorError, match=reason) as caught:
        read(proto)
    assert (caught.value.op, caught.value.opset) == (op, opset)


NORM = "(float[2,4,3,3] x, float[4] s) => (float[2,4,3,3] y)"
TRAINING = {
    "training_mode": ("y, m, v = BatchNormalization<training_mode = 1>(x, s, s, s, s)", 15),
    "training_mode alone": ("y = BatchNormalization<training_mode = 1>(x, s, s, s, s)", 15),
    "outputs of old": ("y, m, v, sm, sv = BatchNormalization(x, s, s, s, s)", 9),
}


@pytest.mark.parametrize(("body", "opset"), TRAINING.values(), ids=TRAINING)
def test_batch_norm_in_training(body, opset):
    text = message(network(f"{NORM} {{ {body} }}", opset=opset), UnsupportedOperatorError, 3)
    assert "it is in training mode; call model.eval()" in text


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("float16", "float16"), ("bfloat16", "bfloat16"), ("string", "string"), ("float8e4m3fn", "float8e4m3fn")],
)
def test_other_number_types(dtype, name):
    proto = network(f"({dtype}[1,4] x) => ({dtype}[1,4] y) {{ y = Identity(x) }}", opset=19)
    text = message(proto, UnsupportedError, 3)
    assert text == f"tensor 'x' is {name}, which is not compiled yet; export the network in float32"


def test_half_precision_inside():
    proto = network("(float[1,4] x) => (float[1,4] y) { h = Cast<to = 10>(x) a = Relu(h) y = Cast<to = 1>(a) }")
    assert "tensor 'h' is float16" in message(proto, UnsupportedError, 3)


def test_half_precision_weights_that_fold_are_fine():
    body = "(float[1,4] x) => (float[1,5] y) { w = Cast<to = 1>(h) y = MatMul(x, w) }"
    assert checked(network(body, h=random(4, 5).astype(np.float16))).inputs[0].dtype == "float32"


QUANTIZED = {
    "QuantizeLinear": "(float[4] x) => (float[4] y) { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
    "DynamicQuantizeLinear": "(float[4] x) => (uint8[4] y) { y, a, b = DynamicQuantizeLinear(x) }",
    "MatMulInteger": "(uint8[1,4] x) => (int32[1,4] y) { y = MatMulInteger(x, m) }",
    "ConvInteger": "(uint8[1,4,3,3] x) => (int32 y) { y = ConvInteger(x, k) }",
}


@pytest.mark.parametrize("op", QUANTIZED)
def test_quantized_networks(op):
    weights = {
        "s": np.array(0.1, np.float32),
        "z": np.array(0, np.uint8),
        "m": np.eye(4, dtype=np.uint8),
        "k": np.ones((4, 4, 1, 1), np.uint8),
    }
    text = message(network(QUANTIZED[op], **weights), UnsupportedOperatorError, 3)
    assert f"no lowering for {op} (opset 17)" in text
    assert "quantized networks are not compiled yet, give the float32 network" in text


def branch(op, name):
    node = helper.make_node(op, ["x"], [f"{name}_y"], name=name)
    return helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [1, 4])])


def with_if(condition):
    node = helper.make_node(
        "If", ["c"], ["y"], name="which", then_branch=branch("Relu", "then"), else_branch=branch("Neg", "else")
    )
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    c = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    graph = helper.make_graph([node], "net", [x] if condition is not None else [x, c], [y])
    if condition is not None:
        graph.initializer.append(numpy_helper.from_array(np.array(condition), "c"))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_control_flow_on_run_time_values():
    text = message(with_if(None), UnsupportedOperatorError, 3)
    assert "no lowering for If (opset 17) at node 'which': control flow that depends on data is not compiled" in text


@pytest.mark.parametrize(("condition", "op"), [(True, "Relu"), (False, "Neg")])
def test_control_flow_on_constants_is_decided(condition, op):
    assert [node.op_type for node in checked(with_if(condition)).proto.graph.node] == [op]


def test_a_loop():
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Neg", ["h"], ["k"])],
        "body",
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, kind, shape in (
                ("i", TensorProto.INT64, []),
                ("go", TensorProto.BOOL, []),
                ("h", TensorProto.FLOAT, [4]),
            )
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("k", TensorProto.FLOAT, [4]),
        ],
    )
    proto = network("(float[4] x, int64 n) => (float[4] y) { y = Neg(x) }")
    proto.graph.node[0].CopyFrom(helper.make_node("Loop", ["n", "", "x"], ["y"], name="again", body=body))
    text = message(proto, UnsupportedOperatorError, 3)
    assert "no lowering for Loop (opset 17) at node 'again': control flow that depends on data" in text


def test_sparse_weights():
    proto = network("(float[4] x) => (float[4] y) { y = Add(x, w) }")
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])
    proto.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [3]), [4])
    )
    assert "holds sparse initializers" in message(proto, UnsupportedError, 3)


def test_quantized_weights_that_fold_are_fine():
    body = "(float[1,4] x) => (float[1,4] y) { w = DequantizeLinear(q, s) y = MatMul(x, w) }"
    weights = {"q": np.arange(16, dtype=np.int8).reshape(4, 4), "s": np.array(0.1, np.float32)}
    assert [node.op_type for node in checked(network(body, **weights)).proto.graph.node] == ["Gemm"]


def test_a_sequence():
    proto = network(
        "(float[4] x) => (float[4] y) { s = SequenceConstruct(x) i = Constant<value = int64 {0}>() y "
        "= SequenceAt(s, i) }"
    )
    assert (
        message(proto, UnsupportedError, 3)
        == "'s' is of type sequence, which is not compiled; only tensors of numbers are"
    )


def test_a_shape_that_depends_on_values():
    proto = network("(float[8] x) => (int64[1,n] y) { y = NonZero(x) }")
    text = message(proto, UnsupportedOperatorError, 3)
    assert "no lowering for NonZero (opset 17)" in text
    assert "the shape of its output 'y' depends on run-time values" in text


def test_a_string_constant():
    proto = network('(float[4] x) => (float[4] y) { s = Constant<value_string = "a">() y = Relu(x) }')
    assert "its value is given as value_string" in message(proto, UnsupportedOperatorError, 3)


def test_a_file_of_torch_export_that_is_none(tmp_path):
    (tmp_path / "a.pt2").write_bytes(b"PK\x03\x04" + bytes(99))
    assert "is not a file of torch.export.save" in message(tmp_path / "a.pt2", ModelFileError)


def test_reading_writes_nothing_to_the_console(capfd):
    read(RELU, simplify=False)
    assert capfd.readouterr() == ("", "")
