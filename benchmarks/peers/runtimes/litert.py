"""LiteRT with its XNNPACK delegate (the default); converted by litert-torch from a torch.export program."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.case import Array, Case, Run, Runtime, exported_program


def convert(case: Case, folder: Path) -> None:
    import litert_torch
    import torch

    converted = litert_torch.convert(exported_program(case).module(), (torch.from_numpy(case.input()),))
    converted.export(str(folder / "network.tflite"))


def load(case: Case, folder: Path, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / "network.tflite"), num_threads=threads)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]

    def run(array: Array) -> Array:
        interpreter.set_tensor(source, array)
        interpreter.invoke()
        output: Array = interpreter.get_tensor(result)
        return output

    return run


RUNTIME = Runtime(
    source=f"{__name__}:RUNTIME",
    name="litert",
    packages=("ai-edge-litert", "litert-torch", "torch"),
    convert=convert,
    load=load,
)
