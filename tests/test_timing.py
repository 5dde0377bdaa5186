"""What was timed is what selection pays for: workloads of a compiled network are those of its graph; the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgevision import ingest, timing, zoo
from edgevision.lower.phases import lower
from edgevision.pipeline import Options, read
from edgevision.rewrite.prune.network import Network
from edgevision.rewrite.prune.workloads import Workload, workload_of
from edgevision.timing import InterleavedTimer, NoFigureError
from tests.rewrite.prune.styles import STYLES


@pytest.mark.parametrize("name", ["mobilenetv3-small", "shufflenet", "densenet", "ssd"])
def test_every_layer_of_the_graph_is_found_among_what_was_timed(name: str, tmp_path: Path) -> None:
    source = zoo.export(name, tmp_path / "network.onnx", form="deploy") if name in zoo.names() else STYLES[name]()
    network = Network(ingest.read(source).proto)
    program = lower(read(ingest.to_onnx(network.proto), Options(reparam=False)))
    timed = {timing._workload(call) for call in program.calls} - {None}
    wanted = {workload_of(node, network) for node in network.nodes} - {None}
    assert wanted == timed and len(wanted) >= 5


def test_steps_add_up_to_the_run(tmp_path: Path) -> None:
    program = lower(ingest.read(STYLES["ghost"](), simplify=False))
    steps = [(call.step.name, 2.0) for call in program.calls]
    found = timing._timing(3.0, program, steps)
    calls = [timing._workload(call) for call in program.calls]
    in_workloads = sum(found.workloads[each] for each in calls if each is not None)
    assert in_workloads + found.rest_ms == pytest.approx(3.0) and found.rest_ms > 0
    assert list(found.workloads.values()) == pytest.approx([3.0 / len(steps)] * len(found.workloads))


def test_times_of_workloads_outlive_the_timer(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "figures.json"
    known = {Workload(pixels_in=4, pixels_out=1, taps=9, into=1, out=8, depthwise=flag): 0.25 + flag for flag in (True, False)}
    assert timing._load(path) == {}
    timing._save(path, known)
    assert timing._load(path) == known
    assert [each.name for each in path.parent.iterdir()] == ["figures.json"]


def test_figures_are_kept_apart_by_what_they_hang_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edgevision import target

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native = target.load("native")
    files = {timing._cache_file(native, 1), timing._cache_file(native, 2), timing._cache_file(target.load("native", cores=1), 1)}
    assert len(files) == 3 and all(tmp_path in file.parents for file in files)


def test_a_target_that_is_only_emulated_says_what_would_help() -> None:
    model = ingest.read(STYLES["ghost"](), simplify=False)
    with pytest.raises(NoFigureError, match="--latency 60%") as caught:
        InterleavedTimer(model, "arm64")
    assert caught.value.modelled and caught.value.exit_code == 2
    with pytest.raises(NoFigureError, match="prune by --macs"):
        InterleavedTimer(model, "armv7")
