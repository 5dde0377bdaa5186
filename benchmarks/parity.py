"""Compile networks for this machine and for arm64, and print how far each artifact is from onnxruntime, as a table.

    python -m benchmarks.parity [--large] [NAME ...]

Errors are max|a - b| / max|reference| over the inputs that verification tries (docs/verify.md): natively measured, under
qemu emulated. ``--large`` adds the networks that take minutes each under emulation.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from edgevision.outcome import Outcome
from edgevision.pipeline import Options, compile_model
from tests.parity.subjects import LARGE, SMALL, Subject

TARGETS = ("native", "arm64")


def row(subject: Subject, outcomes: tuple[Outcome, ...]) -> str:
    macs = sum(step.macs for step in outcomes[0].artifact.steps)
    errors = [f"{o.verification.max_error:.1e} ({o.verification.how}, {o.verification.inputs_tried})" for o in outcomes]
    return f"| {subject.name} | {macs / 1e6:,.0f} | {' | '.join(errors)} |"


def main() -> None:
    wanted = [a for a in sys.argv[1:] if not a.startswith("--")]
    subjects = [*SMALL, *(LARGE if "--large" in sys.argv or wanted else ())]
    print("| network | M MACs | " + " | ".join(TARGETS) + " |")
    print("|---|---|" + "---|" * len(TARGETS))
    for subject in subjects:
        if wanted and subject.name not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            options = Options(output=Path(folder), input_shapes=subject.input_shapes, measure=False)
            print(row(subject, compile_model(subject.path(), TARGETS, options).outcomes), flush=True)


if __name__ == "__main__":
    main()
