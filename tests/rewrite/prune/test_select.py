"""Selection: widths, budgets, importances, and what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgevision import ingest
from edgevision.counting import count
from edgevision.errors import InputError, UnknownNameError
from edgevision.rewrite.prune import Filters, prune
from edgevision.rewrite.prune.channels import analyse
from edgevision.rewrite.prune.importance import MissingScaleError, bn, fpgm, l1, l2, randomly, score_classes
from edgevision.rewrite.prune.ladder import ladders
from edgevision.rewrite.prune.network import Network
from edgevision.rewrite.prune.pruning import NothingPrunableError
from edgevision.rewrite.prune.select import BudgetError
from tests.rewrite.nets import Net
from tests.rewrite.prune.styles import normal_form


def chain(*widths: int, scale: dict[int, float] | None = None) -> onnx.ModelProto:
    """Convolutions of these widths one after the other; ``scale`` multiplies the weights of layer i."""
    net = Net(dtype=np.float32)
    x, inputs = net.input([1, 3, 6, 6]), 3
    for index, width in enumerate((*widths, 4)):
        weight = net.random.standard_normal((width, inputs, 1, 1)) * (scale or {}).get(index, 1.0)
        x, inputs = net.node("Conv", x, net.constant(weight)), width
        if index < len(widths):
            x = net.node("Relu", x)
    return ingest.read(net.model(x), simplify=False).proto


def filters(weight: list[list[float]], scale: list[float] | None = None) -> Filters:
    gamma = None if scale is None else np.array(scale)
    return Filters(node="n", op="Conv", output="y", weight=np.array(weight), scale=gamma)


def test_importances_are_what_they_say() -> None:
    rows = filters([[3, -4], [1, 0], [0, 0]], [-2.0, 0.5, 1.0])
    assert l1(rows).tolist() == [7, 1, 0]
    assert l2(rows).tolist() == [5, 1, 0]
    assert bn(rows).tolist() == [2, 0.5, 1]
    assert bn(filters([[3, -4]])).tolist() == [7]
    a, b, c = np.hypot(2, 4), 5.0, 1.0
    assert fpgm(rows) == pytest.approx([a + b, a + c, b + c])
    assert randomly(1)(rows).tolist() == randomly(1)(rows).tolist() != randomly(2)(rows).tolist()


def test_the_least_important_channels_go() -> None:
    proto = chain(16)
    network = Network(proto)
    norms = np.abs(network.constant(network.nodes[0].inputs[1])).sum((1, 2, 3))
    pruned = prune(proto, 0.5)
    channels = analyse(network)
    gone = np.isin(channels.classes(channels.layers[0].ids), pruned.removed)
    assert gone.sum() == 8
    assert norms[gone].max() < norms[~gone].min()


def test_a_class_scores_the_mean_of_its_layers() -> None:
    network = Network(normal_form("ghost"))
    channels = analyse(network)
    score = score_classes(network, channels, lambda each: np.full(len(each.weight), 7.0))
    assert set(score.values()) == {1.0}


def test_a_layers_scale_does_not_matter() -> None:
    small, same = prune(chain(32, 32, scale={0: 1e-3}), 0.5), prune(chain(32, 32), 0.5)
    assert small.widths == same.widths


def test_global_takes_from_where_little_is_lost() -> None:
    def second_matters(each: Filters) -> np.ndarray:  # type: ignore[type-arg]
        rows = np.arange(len(each.weight), dtype=float)
        return 1000.0 + rows if each.weight.shape[1] == 32 else rows

    spread = prune(chain(32, 32), 0.75, importance=second_matters)
    assert [(w.before, w.after) for w in spread.widths[:2]] == [(32, 16), (32, 32)]
    even = prune(chain(32, 32), 0.5, importance=second_matters, scope="uniform")
    assert [(w.before, w.after) for w in even.widths[:2]] == [(32, 16), (32, 16)]


def test_global_does_not_empty_the_layers_with_dear_channels() -> None:
    """A channel of the wide layers saves a quarter of a narrow one's, and is a quarter of the loss."""
    pruned = prune(chain(64, 16, 64, 16, 64), 0.4, measure="macs", importance=lambda each: np.ones(len(each.weight)))
    assert [width.after for width in pruned.widths[:5]] == [56, 8, 32, 8, 56]


def test_importance_decides_how_wide_a_layer_stays() -> None:
    def one_filter_matters(each: Filters) -> np.ndarray:  # type: ignore[type-arg]
        rows = np.ones(len(each.weight))
        rows[0] = 1.0 if each.weight.shape[1] == 3 else 1000.0
        return rows

    first, second = (width.after for width in prune(chain(32, 32, 32), 0.6, importance=one_filter_matters).widths[:2])
    assert second < first


@pytest.mark.parametrize("scope", ["global", "uniform"])
@pytest.mark.parametrize("measure", ["macs", "params", "keep"])
def test_a_budget_is_kept(measure: str, scope: str) -> None:
    proto = normal_form("densenet")
    pruned = prune(proto, 0.6, measure=measure, scope=scope)  # type: ignore[arg-type]
    before, after = count(proto), count(pruned.proto)
    shares = {"macs": after.macs / before.macs, "params": after.parameters / before.parameters,
              "keep": pruned.achieved}  # fmt: skip
    assert shares[measure] == pytest.approx(pruned.achieved)
    assert 0.45 < pruned.achieved <= 0.6


def test_narrow_layers_stay_and_others_become_multiples() -> None:
    widths = {width.layer: width for width in prune(chain(8, 30, 64), 0.4).widths}
    before_after = [(each.before, each.after) for each in widths.values()][:3]
    assert before_after[0] == (8, 8)
    assert all(after % 8 == 0 or after == before for before, after in before_after)
    assert before_after[2][1] < 64


def test_a_floor_holds_whatever_the_budget() -> None:
    with pytest.raises(BudgetError) as caught:
        prune(chain(64, 64), 0.01, measure="macs", round_to=1)
    assert 0.01 < caught.value.least < 0.2
    assert f"{caught.value.least:.3g}" in str(caught.value)
    assert prune(chain(64, 64), caught.value.least, measure="macs", round_to=1).changed[0].after == 7


def test_rungs_are_nested_and_feasible() -> None:
    network = Network(normal_form("shufflenet"))
    channels = analyse(network)
    score = score_classes(network, channels, l1)
    found = ladders(channels, score, round_to=6)
    assert any(len(ladder.cells) > 4 for ladder in found)
    for ladder in found:
        for rung in range(1, len(ladder.rungs)):
            assert set(ladder.removed(rung - 1)) < set(ladder.removed(rung))
            keep = ~np.isin(channels.root, ladder.removed(rung))
            for balance in channels.balances:
                assert len({int(keep[block].sum()) for block in balance.blocks}) == 1
            for layer in channels.layers:
                kept = int(keep[layer.ids].sum())
                assert kept == len(layer.ids) or kept % 6 == 0


def test_pieces_keep_a_channel() -> None:
    """Slice takes 2 of 16 channels: one of them stays even where they matter least."""
    net = Net(dtype=np.float32)
    weight = net.random.standard_normal((16, 3, 1, 1))
    weight[:2] *= 1e-3
    x = net.node("Conv", net.input([1, 3, 6, 6]), net.constant(weight))
    piece = net.node("Slice", x, *(net.constant([value]) for value in (0, 2, 1)))
    proto = ingest.read(net.model(net.conv(x, 16, 2, 1), net.conv(piece, 2, 2, 1)), simplify=False).proto
    pruned = prune(proto, 0.5, round_to=1)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in pruned.proto.graph.value_info}
    assert shapes[piece][1] == 1


def test_a_frozen_name_stays() -> None:
    proto = chain(32, 32)
    first = proto.graph.node[0].name
    assert [w.after for w in prune(proto, 0.6, frozen=[first]).widths[:2]] == [32, 16]
    assert [w.after for w in prune(proto, 0.6, frozen=[proto.graph.node[0].output[0]]).widths[:2]] == [32, 16]


def test_the_same_bytes_every_time() -> None:
    once, again = (prune(normal_form("shufflenet"), 0.5).proto.SerializeToString() for _ in range(2))
    assert once == again


def test_the_given_graph_is_left_alone() -> None:
    proto = chain(32)
    before = proto.SerializeToString()
    prune(proto, 0.5)
    assert proto.SerializeToString() == before


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_a_share_outside_0_and_1(share: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        prune(chain(32), share)


def test_nothing_prunable_says_why() -> None:
    with pytest.raises(NothingPrunableError, match="output"):
        prune(chain(), 0.5)
    with pytest.raises(NothingPrunableError, match="layer of 8 channels or fewer"):
        prune(chain(8), 0.5)


def test_names_that_do_not_exist() -> None:
    with pytest.raises(UnknownNameError, match="freeze"):
        prune(chain(32), 0.5, frozen=["Conv_9"])
    with pytest.raises(UnknownNameError, match="importance"):
        prune(chain(32), 0.5, importance="l3")
    with pytest.raises(UnknownNameError, match="measure"):
        prune(chain(32), 0.5, measure="mac")
    with pytest.raises(InputError, match="round-to"):
        prune(chain(32), 0.5, round_to=0)


def test_an_importance_of_the_wrong_shape_or_not_finite() -> None:
    for wrong in (lambda each: np.zeros(3), lambda each: np.full(len(each.weight), np.nan)):
        with pytest.raises(InputError, match="one finite number for each"):
            prune(chain(32), 0.5, importance=wrong)


def test_bn_without_batch_normalization() -> None:
    with pytest.raises(MissingScaleError):
        prune(chain(32), 0.5, importance="bn")
    scales = {chain(32).graph.node[0].output[0]: np.linspace(1, 2, 32)}
    proto = chain(32)
    channels = analyse(Network(proto))
    removed = prune(proto, 0.5, importance="bn", scales=scales).removed
    assert np.flatnonzero(np.isin(channels.classes(channels.layers[0].ids), removed)).tolist() == list(range(16))
