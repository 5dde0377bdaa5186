"""Width tables: what a pruned network is rebuilt from."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from edgevision import ingest, zoo
from edgevision.cli.zoo import zoo as command
from edgevision.errors import InputError, UnknownNameError
from edgevision.rebuilding import WidthFileError, read_widths, rebuild
from edgevision.rewrite.prune import prune
from edgevision.rewrite.prune.widths import WidthTableError, to_widths, width_table
from tests.rewrite.prune.oracle import check_shapes
from tests.rewrite.prune.styles import STYLES, normal_form


def shapes(proto: onnx.ModelProto) -> dict[str, list[int]]:
    """Of every activation and initializer."""
    values = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in proto.graph.value_info}
    return values | {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}


@pytest.mark.parametrize("scope", ["global", "uniform"])
@pytest.mark.parametrize("name", STYLES)
def test_a_pruned_network_is_rebuilt_from_its_widths(name: str, scope: str) -> None:
    proto = normal_form(name)
    pruned = prune(proto, 0.6, importance="random", scope=scope, round_to=4)  # type: ignore[arg-type]
    table = width_table(pruned.proto)
    assert table == {width.layer: width.after for width in pruned.widths}
    rebuilt = to_widths(proto, table)
    check_shapes(rebuilt.proto)
    assert width_table(rebuilt.proto) == table
    assert len(rebuilt.changed) == len(pruned.changed) > 0


def test_the_whole_width_changes_nothing() -> None:
    proto = normal_form("ghost")
    assert shapes(to_widths(proto, width_table(proto)).proto) == shapes(proto)


def test_widths_that_cannot_be_are_refused() -> None:
    proto = normal_form("ghost")
    table = width_table(proto)
    first, *_, last = table
    with pytest.raises(UnknownNameError, match="unknown layer 'nowhere'"):
        to_widths(proto, {"nowhere": 3})
    for width in (0, table[first] + 1):
        with pytest.raises(WidthTableError, match=f"has {table[first]} channels, the table says {width}"):
            to_widths(proto, {first: width})
    with pytest.raises(WidthTableError, match="different number"):
        to_widths(proto, {last: table[last] - 1})


def test_layers_that_are_added_up_must_agree() -> None:
    proto = normal_form("shufflenet")
    table = width_table(proto)
    wide = [name for name, width in table.items() if width == 240]
    assert to_widths(proto, dict.fromkeys(wide, 120)).changed
    with pytest.raises(WidthTableError, match="different number"):
        to_widths(proto, {**dict.fromkeys(wide, 120), wide[0]: 60})


@pytest.mark.parametrize("name", ["mobilenetv3-small", pytest.param("ghostnet-0.5", marks=pytest.mark.large)])
def test_the_zoo_rebuilds_a_pruned_network(name: str, tmp_path: Path) -> None:
    proto = ingest.read(zoo.export(name, tmp_path / "whole.onnx")).proto
    pruned = prune(proto, 0.5, measure="macs")
    table = tmp_path / "widths.json"
    table.write_text(json.dumps({"layers": [{"layer": each.layer, "after": each.after} for each in pruned.widths]}))
    output = tmp_path / "rebuilt.onnx"
    arguments = ["export", name, "-o", str(output), "--seed", "1", "--widths", str(table)]
    command.main(arguments, standalone_mode=False)
    rebuilt = ingest.read(output).proto
    assert shapes(rebuilt) == shapes(ingest.read(ingest.to_onnx(pruned.proto)).proto)


def test_tables_are_read_in_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "widths.json"
    path.write_text('{"layers": {"a": 8}}')
    assert read_widths(path) == {"a": 8}
    path.write_text('{"layers": [{"layer": "a", "before": 16, "after": 8}]}')
    assert read_widths(path) == {"a": 8}


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no width table"), ("[]", "no width table"), ('{"layers": 3}', "no width table"),
     ('{"layers": {"a": "8"}}', "is '8', not a whole number"), ('{"layers": {"a": true}}', "is True, not a whole")],
)  # fmt: skip
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "widths.json"
    path.write_text(text)
    with pytest.raises(WidthFileError, match=message):
        read_widths(path)
    with pytest.raises(WidthFileError, match="cannot be read: No such file"):
        rebuild("ghostnet-0.5", tmp_path / "nowhere.json", tmp_path / "out.onnx")
    with pytest.raises(InputError):
        rebuild("no-network", path, tmp_path / "out.onnx")
