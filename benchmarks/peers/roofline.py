"""What the machine can do at most, measured in the same run: multiply-adds, matrix products, memory bandwidth."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgevision.measure.cores import settle

SOURCE = Path(__file__).with_name("roofline.c")
GEMM = """
import sys, time
import torch
torch.set_num_threads(int(sys.argv[1]))
a = torch.rand(1024, 1024)
times = []
for _ in range(20):
    start = time.perf_counter(); a @ a; times.append(time.perf_counter() - start)
print(2 * 1024**3 / min(times) / 1e9)
"""
"""torch's float32 matrix product (MKL on x86) of 1024 x 1024, the best of 20."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """float32 limits of ``cores`` cores: GFLOP/s (a multiply-add is two), and GB/s of a triad (three arrays counted).

    ``gemm_gflops`` is None where torch is not there.
    """

    cores: int
    multiply_add_gflops: float
    gemm_gflops: float | None
    triad_gbytes: float


def measure(cores: Sequence[int], peers_python: Path, nice: int = 0) -> Roofline:
    """Best of 20 each; the cores run their own copies at the same time.

    Raises:
        subprocess.CalledProcessError: the C program could not be compiled.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "roofline")
        compiler = [sys.executable, "-m", "ziglang", "cc", "-O3", "-march=native", "-ffp-contract=fast"]
        subprocess.run([*compiler, SOURCE, "-o", program], check=True, capture_output=True)
        copies = [_start([str(program)], [core], nice) for core in cores]
        answers = [json.loads(copy.communicate()[0]) for copy in copies]
    return Roofline(
        cores=len(cores),
        multiply_add_gflops=sum(answer["multiply_add_gflops"] for answer in answers),
        gemm_gflops=_gemm(cores, peers_python, nice),
        triad_gbytes=sum(answer["triad_gbytes"] for answer in answers),
    )


def _gemm(cores: Sequence[int], python: Path, nice: int) -> float | None:
    product = _start([str(python), "-c", GEMM, str(len(cores))], cores, nice)
    answer, _ = product.communicate()
    return float(answer) if product.returncode == 0 else None


def _start(command: Sequence[str], cores: Sequence[int], nice: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        preexec_fn=partial(settle, nice, cores),
    )  # fmt: skip
