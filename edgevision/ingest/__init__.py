"""Ingest: a network from a file, a torch module or the zoo, checked, static and in one spelling.

`spelling` documents the normal form that `read` returns, `normalise` the rules that lead there.
"""

from edgevision.ingest.camera import fold_camera
from edgevision.ingest.legal import ACCEPTED_BY_REWRITING
from edgevision.ingest.shapes import parse_input_shapes
from edgevision.ingest.source import read
from edgevision.ingest.spelling import infer, to_onnx

__all__ = ["ACCEPTED_BY_REWRITING", "fold_camera", "infer", "parse_input_shapes", "read", "to_onnx"]
