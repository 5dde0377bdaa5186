"""Random chains of operators: whatever ingest makes of them is legal and computes the same."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgevision.ingest import read, to_onnx
from edgevision.ingest.legal import flaws
from tests.ingest.nets import feed_for, network, relative_error, run

# Eight operators in another order than the file's, with cancellation in sums: at most 3.6e-6 over 3,000 networks.
CHAIN_RTOL = 2e-5
UNARY = ("Relu", "Sigmoid", "Neg", "Abs", "HardSwish", "LeakyRelu", "Identity", "Dropout", "Softplus", "Tanh")
BINARY = ("Add", "Mul", "Sub", "Div", "Max", "Min")


class Chain:
    """ONNX text that grows by one operator at a time."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape, self.lines = (1, 4, 5, 6), list[str]()
        self.weights: dict[str, np.ndarray] = {}
        self.shapes = {"x": self.shape}

    @property
    def tensor(self) -> str:
        return f"t{len(self.lines)}" if self.lines else "x"

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = self.rng.uniform(0.5, 2, shape).astype(np.float32)
        return name

    def ints(self, *values: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.array(values, np.int64)
        return name

    def append(self, expression: str, shape: tuple[int, ...] | None = None) -> None:
        self.shape = shape or self.shape
        self.lines.append(f"t{len(self.lines) + 1} = {expression}")
        self.shapes[self.tensor] = self.shape


def unary(chain: Chain, pick: int) -> None:
    chain.append(f"{UNARY[pick % len(UNARY)]}({chain.tensor})")


def constant(chain: Chain, pick: int) -> None:
    n, c, h, w = chain.shape
    value = chain.weight(*[(), (1,), (c, 1, 1), (1, c, 1, 1), (w,), (1, 1, h, w)][pick % 6])
    operands = [chain.tensor, value] if pick % 4 else [value, chain.tensor]
    op = BINARY[pick % len(BINARY)]
    chain.append(f"{op}({', '.join(operands if op != 'Div' else [chain.tensor, value])})")


def join(chain: Chain, pick: int) -> None:
    alike = [name for name, shape in chain.shapes.items() if shape == chain.shape]
    chain.append(f"{('Add', 'Mul', 'Max')[pick % 3]}({alike[pick % len(alike)]}, {chain.tensor})")


def clip(chain: Chain, pick: int) -> None:
    low, high = chain.weight(), chain.weight()
    chain.weights[low], chain.weights[high] = np.float32(pick % 3 - 1), np.float32(3 + pick % 4)
    chain.append(f"Clip({chain.tensor}, {low}, {high})")


def transpose(chain: Chain, pick: int) -> None:
    perm = [(0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 3, 2)][pick % 3]
    chain.append(f"Transpose<perm = {list(perm)}>({chain.tensor})", tuple(chain.shape[axis] for axis in perm))


def convolution(chain: Chain, pick: int) -> None:
    n, c, h, w = chain.shape
    outputs, size = 2 + pick % 4, 1 + 2 * (pick % 2)
    pads = [size // 2] * 4
    kernel = chain.weight(outputs, c, size, size)
    chain.weights[kernel] = (chain.weights[kernel] - np.float32(1.2)) / np.float32(c)
    chain.append(f"Conv<pads = {pads}>({chain.tensor}, {kernel})", (n, outputs, h, w))


def batch_norm(chain: Chain, pick: int) -> None:
    parameters = ", ".join(chain.weight(chain.shape[1]) for _ in range(4))
    chain.append(f"BatchNormalization({chain.tensor}, {parameters})")


def layer_norm(chain: Chain, pick: int) -> None:
    chain.append(f"LayerNormalization<axis = -1>({chain.tensor}, {chain.weight(chain.shape[3])})")


def matmul(chain: Chain, pick: int) -> None:
    width = 2 + pick % 3
    chain.append(f"MatMul({chain.tensor}, {chain.weight(chain.shape[3], width)})", (*chain.shape[:3], width))


def reshape(chain: Chain, pick: int) -> None:
    n, c, h, w = chain.shape
    shape = [(n, c, 1, h * w), (n, c * h, w, 1), (n, h, c, w)][pick % 3]
    chain.append(f"Reshape({chain.tensor}, {chain.ints(*shape)})", shape)


def pad(chain: Chain, pick: int) -> None:
    n, c, h, w = chain.shape
    chain.append(
        f"Pad({chain.tensor}, {chain.ints(0, 0, pick % 2, 1, 0, 0, 0, pick % 3)})",
        (n, c, h + pick % 2, w + 1 + pick % 3),
    )


def cut(chain: Chain, pick: int) -> None:
    axis = 1 + pick % 3
    extent = chain.shape[axis]
    start = pick % 2 if extent > 1 else 0
    shape = tuple(size - start if i == axis else size for i, size in enumerate(chain.shape))
    chain.append(f"Slice({chain.tensor}, {chain.ints(start)}, {chain.ints(9999)}, {chain.ints(axis)})", shape)


def pool(chain: Chain, pick: int) -> None:
    n, c, h, w = chain.shape
    if pick % 2:
        chain.append(f"ReduceMean<axes = [2, 3]>({chain.tensor})", (n, c, 1, 1))
    else:
        chain.append(f"MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>({chain.tensor})")


STEPS = (unary, constant, join, clip, transpose, convolution, batch_norm, layer_norm, matmul, reshape, pad, cut, pool)


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 99), st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 11)), min_size=1, max_size=8))
def test_a_random_chain(seed, steps):
    chain = Chain(seed)
    for step, pick in steps:
        step(chain, pick)
    body = f"(float[1,4,5,6] x) => (float[a,b,c,d] {chain.tensor}) {{ {' '.join(chain.lines)} }}"
    model = read(network(body, **chain.weights), simplify=False)
    assert flaws(model.proto) == []
    feed = feed_for(model)
    (ours,), (theirs,) = run(to_onnx(model.proto), feed), run(model.original, feed)
    assume(theirs.any())
    assert relative_error(ours, theirs) <= CHAIN_RTOL
