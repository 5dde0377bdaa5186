"""ExecuTorch with everything that XNNPACK takes delegated to it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.case import Array, Case, Run, Runtime, exported_program


def convert(case: Case, folder: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(exported_program(case), partitioner=[XnnpackPartitioner()])
    (folder / "network.pte").write_bytes(lowered.to_executorch().buffer)


def load(case: Case, folder: Path, threads: int) -> Run:
    import torch
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
    from executorch.runtime import Runtime as Loader

    _unsafe_reset_threadpool(threads)
    program = Loader.get().load_program(folder / "network.pte")
    method = program.load_method("forward")

    def run(array: Array) -> Array:
        output: Array = method.execute([torch.from_numpy(array)])[0].numpy()
        return output

    run.program = program  # type: ignore[attr-defined]  # the method does not keep it alive
    return run


RUNTIME = Runtime(source=f"{__name__}:RUNTIME", name="executorch", packages=("executorch", "torch"), convert=convert, load=load)
