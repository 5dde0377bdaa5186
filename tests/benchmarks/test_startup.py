"""What starting costs: what is not the network's own is left."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from benchmarks.startup import Start, onnx_weight_bytes, overhead, typical
from tests.ingest.nets import network, random


def start(load_ms: float, peak_bytes: float) -> Start:
    return Start(load_ms=load_ms, first_ms=2.0, later_ms=50.0, peak_bytes=peak_bytes)


def test_the_overhead_is_neither_a_run_nor_what_the_network_needs() -> None:
    found = overhead(start(5.0, 1000.0), bare_bytes=100, weight_bytes=600, arena_bytes=50)
    assert (found.ms, found.bytes) == (7.0, 250.0)


def test_each_figure_has_its_own_median() -> None:
    assert typical([start(1.0, 30.0), start(9.0, 10.0), start(2.0, 20.0)]) == start(2.0, 20.0)


@pytest.mark.parametrize("channels", [4, 5])
def test_the_weights_of_a_network_are_counted_as_they_are_stored(channels: int, tmp_path: Path) -> None:
    body = f"(float[1,3,8,8] x) => (float[1,{channels},8,8] y) {{ y = Conv(x, w, b) }}"
    onnx.save(network(body, w=random(channels, 3, 1, 1), b=random(channels)), tmp_path / "layer.onnx")
    assert onnx_weight_bytes(tmp_path / "layer.onnx") == 4 * (3 * channels + channels)
