"""`edgevision zoo`: what it prints and writes."""

from __future__ import annotations

import json

import onnx
import pytest
from click.testing import CliRunner

from edgevision import zoo as networks
from edgevision.cli.zoo import zoo
from edgevision.errors import UnknownNameError


def test_the_list_shows_every_network():
    result = CliRunner().invoke(zoo, ["list"], env={"COLUMNS": "160"})
    assert result.exit_code == 0
    for name in networks.names():
        assert name in result.stdout
    assert "5.18 M" in result.stdout and "141 M" in result.stdout


def test_the_json_list_carries_the_exact_sizes():
    result = CliRunner().invoke(zoo, ["list", "--json"])
    listed = {entry["name"]: entry for entry in json.loads(result.stdout)["networks"]}
    assert tuple(listed) == networks.names()
    assert listed["mobilenetv2-1.0"]["train"] == {"parameters": 3504872, "macs": 300774272}


def test_export_writes_the_file_and_prints_its_path(tmp_path):
    output = tmp_path / "net.onnx"
    arguments = ["export", "mobilenetv3-small", "-o", str(output), "--form", "deploy", "--seed", "2"]
    result = CliRunner().invoke(zoo, arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{output}\n", "")
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(output).graph.node}
    expected = networks.export("mobilenetv3-small", tmp_path / "other.onnx", form="deploy", seed=2)
    assert output.read_bytes() == expected.read_bytes()


def test_an_unknown_name_is_a_usage_error_with_neighbours(tmp_path):
    result = CliRunner().invoke(zoo, ["export", "ghostnet", "-o", str(tmp_path / "net.onnx")])
    assert isinstance(result.exception, UnknownNameError) and "ghostnet-1.0" in str(result.exception)


@pytest.mark.parametrize("option", [["--form", "fused"], ["--seed", "-1"], ["--batch", "0"]])
def test_a_bad_option_exits_with_2(option, tmp_path):
    result = CliRunner().invoke(zoo, ["export", "ghostnet-1.0", "-o", str(tmp_path / "net.onnx"), *option])
    assert result.exit_code == 2 and option[0] in result.stderr
