"""What results must be like, computed by this machine for devices that are far away."""

from __future__ import annotations

import threading
from pathlib import Path

from edgevision.errors import DeviceError
from edgevision.tune.child import ChildCrashedError, ChildHungError
from edgevision.tune.device import TrialProcess
from edgevision.tune.request import Built
from edgevision.tune.trial import LEAST_LIMIT_S

LIMIT_S = 10 * LEAST_LIMIT_S


class References:
    """Several benches may ask at a time. ``folder`` is where the outputs go, one file a library."""

    def __init__(self, process: TrialProcess, folder: Path) -> None:
        self._process, self._folder, self._lock = process, folder, threading.Lock()

    def __call__(self, built: Built) -> Path:
        """Run ``built``, unless that was done; the file with its outputs, one after another.

        Raises: DeviceError.
        """
        path = self._folder / f"{built.name}.results"
        with self._lock:
            if not path.exists():
                try:
                    results = self._process.results(built, LIMIT_S)
                except (ChildCrashedError, ChildHungError) as error:
                    raise DeviceError(f"a reference for results cannot be computed on this machine ({error})") from error
                path.write_bytes(b"".join(array.tobytes() for array in results.arrays))
        return path

    def close(self) -> None:
        self._process.close()
