"""The light_* networks of the onnx package compile and agree with onnxruntime, with their own weights and with live ones."""

from __future__ import annotations

import numpy as np
import pytest

from tests import executor
from tests.conformance.light import NAMES, alive, image, light

# Seconds to compile. The others: 20 s, or 250 MB of weights and more.
QUICK = ("shufflenet", "squeezenet")
MARKED = [pytest.param(name, marks=[pytest.mark.large] * (name not in QUICK)) for name in NAMES]


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", MARKED)
def test_a_light_network_with_live_weights_agrees(name: str) -> None:
    model = alive(name)
    one, other = (image(model, seed) for seed in (1, 2))
    wanted, changed = (executor.onnxruntime_outputs(model, [x]) for x in (one, other))
    logits = relative_error(changed[-1], wanted[-1])
    assert logits > 5e-4, "the network does not answer its input"
    _, program = executor.compiled(model)
    errors = [relative_error(*pair) for pair in zip(executor.execute(program, [one]), wanted, strict=True)]
    assert errors[-1] < min(1e-5, logits / 50)
    assert max(errors) < 1e-4


@pytest.mark.parametrize("name", MARKED)
def test_a_light_network_as_it_is_agrees(name: str) -> None:
    model = light(name)
    (found,) = executor.run(model, [image(model, 1)])
    (wanted,) = executor.onnxruntime_outputs(model, [image(model, 1)])
    assert relative_error(found, wanted) < 1e-5
