"""Graph and the specification of the normal form."""

import onnx
import pytest
from onnx import helper

from edgevision.ingest import ACCEPTED_BY_REWRITING, read
from edgevision.ingest.legal import flaws
from edgevision.ingest.normalise.rule import Rule, run
from edgevision.ingest.spelling import spell, to_proto
from tests.ingest.nets import checked, network, random

NET = "(float[1,4,5,5] x) => (float[1,6,5,5] y) { h = Conv(x, w) i = Clip(h, low, high) y = Add(i, c) }"


def legal():
    import numpy as np

    bounds = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    return read(network(NET, w=random(6, 4, 1, 1), c=random(5, 5), **bounds), simplify=False).proto


def remove_attribute(node, name):
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def edit(change):
    proto = legal()
    change(proto.graph, proto)
    return flaws(proto)


ILLEGAL = {
    "opset": (lambda g, p: setattr(p.opset_import[0], "version", 17), "it imports"),
    "initializer as input": (
        lambda g, p: g.input.append(helper.make_tensor_value_info(g.initializer[0].name, 1, [1])),
        "is an input",
    ),
    "unnamed": (lambda g, p: setattr(g.node[0], "name", ""), "names are not unique"),
    "twins": (lambda g, p: setattr(g.node[0], "name", g.node[1].name), "names are not unique"),
    "unsorted": (lambda g, p: g.node.append(g.node.pop(0)), "before anything writes them"),
    "no type": (lambda g, p: g.value_info.pop(), "has no static type"),
    "open shape": (lambda g, p: g.value_info[0].type.tensor_type.shape.dim[0].Clear(), "has no static type"),
    "output not written": (lambda g, p: setattr(g.output[0], "name", "x"), "output 'x' is not written by a node"),
    "unread initializer": (
        lambda g, p: g.initializer.append(helper.make_tensor("z", 1, [1], [0.0])),
        "'z' is not read",
    ),
    "foreign operator": (
        lambda g, p: setattr(g.node[1], "domain", "edgevision"),
        "no operator Clip in domain edgevision",
    ),
    "Identity inside": (lambda g, p: setattr(g.node[1], "op_type", "Identity"), "Identity has another spelling"),
    "Flatten": (lambda g, p: setattr(g.node[1], "op_type", "Flatten"), "Flatten has another spelling"),
    "default left out": (lambda g, p: remove_attribute(g.node[0], "group"), "attributes ['group'] are not written out"),
    "auto_pad": (
        lambda g, p: g.node[0].attribute.append(helper.make_attribute("auto_pad", "VALID")),
        "['auto_pad'] are not resolved",
    ),
    "bound as input": (lambda g, p: g.node[1].input.append(g.initializer[0].name), "should be an attribute"),
    "all constant": (lambda g, p: g.node[2].input.__setitem__(0, g.node[2].input[1]), "all inputs are constant"),
    "constant first": (lambda g, p: g.node[2].input.insert(0, g.node[2].input.pop()), "the constant comes first"),
}


def test_what_read_returns_is_legal():
    assert flaws(legal()) == []


@pytest.mark.parametrize(("change", "flaw"), ILLEGAL.values(), ids=ILLEGAL)
def test_what_is_not_legal_is_found(change, flaw):
    assert any(flaw in found for found in edit(change))


REWRITTEN = {
    "Attention": "r = Constant<value = int64[4] {1, 1, 2, 2}>() q = Reshape(x, r) y = Attention(q, q, q)",
    "CastLike": "y = CastLike(x, w)",
    "CenterCropPad": "s = Constant<value = int64[2] {3, 2}>() y = CenterCropPad(x, s)",
    "Constant": "c = Constant<value = float {2.0}>() y = Mul(x, c)",
    "ConstantOfShape": "s = Shape(x) o = ConstantOfShape(s) y = Max(x, o)",
    "Dropout": "y = Dropout(x)",
    "Flatten": "y = Flatten(x)",
    "Identity": "h = Identity(x) y = Neg(h)",
    "Mean": "h = Neg(x) y = Mean(h, x, w)",
    "MeanVarianceNormalization": (
        "r = Constant<value = int64[4] {1, 2, 1, 2}>() h = Reshape(x, r) y = MeanVarianceNormalization(h)"
    ),
    "Range": (
        "z = Constant<value = int64 {0}>() n = Size(w) o = Constant<value = int64 {1}>() "
        "r = Range(z, n, o) y = Gather(x, r)"
    ),
    "Scatter": "i = Constant<value = int64[1,1] {0}>() u = Constant<value = float[1,1] {1.0}>() y = Scatter(x, i, u)",
    "Shape": "s = Shape(x) y = Reshape(x, s)",
    "Size": "n = Size(x) f = Cast<to = 1>(n) y = Mul(x, f)",
    "Squeeze": "a = Constant<value = int64[1] {0}>() y = Squeeze(x, a)",
    "Sum": "y = Sum(x, w, x)",
    "Unsqueeze": "a = Constant<value = int64[1] {0}>() y = Unsqueeze(x, a)",
    "Upsample": "f = Constant<value = float[2] {1.0, 2.0}>() y = Upsample(x, f)",
}


@pytest.mark.parametrize("op", ACCEPTED_BY_REWRITING)
def test_what_ingest_promises_to_do_away_with_is_gone(op):
    opset = {"Scatter": 10, "Upsample": 9, "CenterCropPad": 18, "Attention": 23}.get(op, 17)
    proto = network(f"(float[1,4] x) => (float y) {{ {REWRITTEN[op]} }}", opset=opset, w=random(1))
    assert op in [node.op_type for node in proto.graph.node]
    left = [node.op_type for node in checked(proto).proto.graph.node]
    assert op not in left or left == ["Identity"]


def spelled(body):
    proto = network(body)
    return spell(onnx.shape_inference.infer_shapes(proto))


def test_bypass_keeps_an_output_that_comes_from_outside():
    graph = spelled("(float[4] x) => (float[4] y) { y = Identity(x) }")
    (node,) = graph.nodes()
    assert not graph.bypass(node, "x")
    assert node in graph


def test_bypass_keeps_two_outputs_apart():
    graph = spelled("(float[4] x) => (float[4] y, float[4] z) { y = Neg(x) z = Identity(y) }")
    (node,) = graph.nodes("Identity")
    assert not graph.bypass(node, "y")


def test_bypass_hands_the_name_of_an_output_on():
    graph = spelled("(float[4] x) => (float[4] y, float[4] z) { h = Neg(x) y = Identity(h) z = Exp(h) }")
    (node,) = graph.nodes("Identity")
    assert graph.bypass(node, "h")
    assert graph.producer("y").op == "Neg"
    assert [reader.op for reader in graph.readers("y")] == ["Exp"]


def test_what_nothing_reads_any_more_goes_with_what_it_read():
    graph = spelled("(float[4] x) => (float[4] y) { a = Exp(x) b = Neg(a) c = Abs(x) y = Add(b, c) }")
    (add,) = graph.nodes("Add")
    graph.set_inputs(add, ["x", "c"])
    assert [node.op for node in graph.in_order()] == ["Abs", "Add"]


def test_order_holds_when_a_node_in_front_comes_to_need_one_behind():
    graph = spelled("(float[4] x) => (float[4] y, float[4] z) { y = Neg(x) z = Exp(x) }")
    neg, exp = graph.nodes("Neg", "Exp")
    graph.set_inputs(neg, [exp.output])
    assert [node.op for node in graph.in_order()] == ["Exp", "Neg"]


def test_names_stay_unique():
    graph = spelled("(float[4] x) => (float[4] y) { y = Neg(x) }")
    (node,) = graph.nodes()
    names = {graph.add("Abs", ["x"], (4,), at=node) for _ in range(3)}
    assert len(names) == 3


def test_rules_that_undo_each_other_are_a_bug(monkeypatch):
    monkeypatch.setattr("edgevision.ingest.normalise.rule.ROUND_LIMIT", 5)
    graph = spelled("(float[4] x) => (float[4] y) { y = Neg(x) }")
    forever = Rule(name="forever", anchors=("Neg",), apply=lambda graph, node: True)
    with pytest.raises(AssertionError, match="no fixed point"):
        run(graph, ((forever,),))


def test_a_written_graph_reads_itself_back():
    graph = spelled("(float[4] x) => (float[4] y) { a = Exp(x) y = Neg(a) }")
    assert flaws(to_proto(graph, "net")) == []
