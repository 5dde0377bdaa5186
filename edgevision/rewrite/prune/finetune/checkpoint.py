"""What a killed run continues from: one file, which always holds a whole state, and says which run it belongs to."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgevision.errors import InputError
from edgevision.zoo.saving import save_bytes

Run = Mapping[str, str | int | float | bool]
"""Everything that the result depends on, by name."""


class CheckpointError(InputError):
    """A checkpoint that cannot be continued from."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}; start anew without --resume")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The file of one run."""

    path: Path
    run: Run

    def save(self, state: Mapping[str, Any]) -> None:
        """Write beside, then rename: a kill at any moment leaves the last whole state. Raises: OutputError."""
        content = io.BytesIO()
        torch.save({"run": dict(self.run), "state": dict(state)}, content)
        save_bytes(content.getvalue(), self.path)

    def load(self) -> dict[str, Any] | None:
        """The last state that was saved; None where there is none.

        Raises: CheckpointError, for a file that is damaged or of a run with other options, images or networks.
        """
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, weights_only=True)
            run, state = content["run"], content["state"]
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise CheckpointError(self.path, "damaged, or no checkpoint") from error
        differ = [name for name in {**run, **self.run} if run.get(name) != self.run.get(name)]
        if differ:
            raise CheckpointError(self.path, f"it belongs to a run with another {', '.join(sorted(differ))}")
        loaded: dict[str, Any] = state
        return loaded

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
