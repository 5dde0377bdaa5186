"""torch inductor ahead of time (AOTInductor): weights frozen, channels last, compiled for its number of threads.

What was compiled on two cores runs up to five times slower on one, even with cpp.dynamic_threads (MobileNetV1: 63 ms
instead of 12.5): each number of threads has its own package.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.peers.case import Array, Case, Run, Runtime, exported_program


def convert(case: Case, folder: Path) -> None:
    import torch
    from torch._inductor import aoti_compile_and_package

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = exported_program(case).module().to(memory_format=torch.channels_last)
    sample = torch.from_numpy(case.input()).to(memory_format=torch.channels_last)
    with torch.no_grad():
        program = torch.export.export(network, (sample,))
        package = str(folder / "network.pt2")
        aoti_compile_and_package(program, package_path=package, inductor_configs={"freezing": True})


def load(case: Case, folder: Path, threads: int) -> Run:
    import torch
    from torch._inductor import aoti_load_package

    torch.set_num_threads(threads)
    network = aoti_load_package(str(folder / "network.pt2"))

    def run(array: Array) -> Array:
        with torch.no_grad():
            output = network(torch.from_numpy(array).contiguous(memory_format=torch.channels_last))
        computed: Array = output.contiguous().numpy()
        return computed

    return run


RUNTIME = Runtime(source=f"{__name__}:RUNTIME", name="inductor", packages=("torch",), convert=convert, load=load, per_threads=True)
