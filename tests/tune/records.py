"""Records for tests."""

from __future__ import annotations

from typing import Any

from edgevision.tuning_log import Choice, Record, Setting

SETTING = Setting(isa="x86_64 512-bit x32", tvm="0.27.0", schedules=1, threads=1)


def record(choice: int = 1, ratio: float | None = 0.9, **changes: Any) -> Record:
    """A winner with ``pixels=choice``."""
    fields: dict[str, Any] = {
        "workload": "w", "what": "conv2d w", "setting": SETTING, "choice": Choice.of("conv2d", {"pixels": choice}),
        "outcome": "right", "wins": True, "ratio": ratio, "low": ratio, "high": ratio, "us": 10.0,
    }  # fmt: skip
    return Record(**{**fields, **changes})
