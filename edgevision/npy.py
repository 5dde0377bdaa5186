"""Arrays in .npy files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevision.errors import InputError

Array = NDArray[np.generic]


def read_array(path: Path) -> Array:
    """The array in ``path``; one that holds Python objects is refused.

    Raises:
        InputError: no such file, or no array.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: not an array saved by numpy.save: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: an archive of several arrays; save one array with numpy.save")
    return array


def write_array(path: Path, array: Array) -> None:
    """Save ``array`` under exactly this name.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with path.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
