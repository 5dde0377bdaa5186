"""The process in which `edgevision.measure.local` runs an artifact: a request on stdin, the answer on stdout.

    python -m edgevision.measure.local_process LIBRARY FOLDER

Inputs and outputs are .npy files in FOLDER (in0.0.npy: case 0, input 0).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgevision import runtime
from edgevision.errors import EdgevisionError
from edgevision.measure.local import fetch, save
from edgevision.measure.sampling import Sampling, collect


def answer(library: Path, folder: Path, request: Mapping[str, Any]) -> dict[str, object]:
    """Run the cases that ``request`` counts, or take the samples that it asks for."""
    with runtime.load(library, threads=request["threads"], fallback=request["fallback"]) as network:
        for number in range(request.get("cases", 0)):
            save(folder, f"out{number}", network.run(*fetch(folder, f"in{number}", len(network.inputs))))
        if "sampling" not in request:
            return {}
        inputs = fetch(folder, "in0", len(network.inputs))
        bound = network.bind(*inputs)
        with network.session() as session:
            samples = collect(lambda: bound.run(session), Sampling(**request["sampling"]))
        profile = network.profile(*inputs, runs=request["profiled"])
        processor = network.processor
        return {
            "processor": processor.name,
            "fell_back": processor.why,
            "seconds": samples.seconds,
            "warmup": samples.warmup,
            "profile": [(name, float(np.median(times)) / 1e3) for name, times in profile],
        }


def main() -> int:
    try:
        print(json.dumps(answer(Path(sys.argv[1]), Path(sys.argv[2]), json.load(sys.stdin))))
    except EdgevisionError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
