"""Every network that must compile: the zoo's, the exported ones that nobody here wrote, the trained ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgevision import zoo
from edgevision.ingest import parse_input_shapes
from tests import graphs
from tests.graphs import trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """``path()`` gives what `compile_model` takes; it may have to be exported or downloaded first."""

    name: str
    path: Callable[[], str | Path]
    input_shapes: Mapping[str, tuple[int, ...]] | None = None


def _zoo(name: str) -> Subject:
    return Subject(name=name, path=lambda: f"zoo:{name}")


def _graph(name: str) -> Subject:
    return Subject(name=f"timm or paper: {name}", path=lambda: graphs.cached(name))


def _trained(name: str) -> Subject:
    fetch, shape = trained.ONNX_MODELS[name]
    shapes = parse_input_shapes((shape,)) if shape else None
    return Subject(name=f"trained: {name}", path=lambda: fetch(trained.cache_folder()), input_shapes=shapes)


LARGE_ZOO = ("parnet-s", "parnet-m", "parnet-l", "parnet-xl", "repvgg-a1", "repvgg-b0")

SMALL = (
    *(_zoo(name) for name in zoo.names() if name not in LARGE_ZOO),
    *(_trained(name) for name in trained.ONNX_MODELS if name != "ppocr-detector"),
)
LARGE = (
    *(_zoo(name) for name in LARGE_ZOO),
    *(_graph(name) for name in graphs.NETWORKS),
    Subject(
        name="trained: ppocr-detector",
        path=lambda: trained.text_detector_logits(trained.cache_folder()),
        input_shapes=parse_input_shapes((trained.ONNX_MODELS["ppocr-detector"][1],)),
    ),
)

TOO_COARSE_AS_HALF = "trained: ppocr-recogniser"
"""Rounding its weights alone moves its probabilities by 2.8e-2, in onnxruntime too: 6,625 classes behind twelve attentions."""
