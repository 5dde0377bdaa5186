"""One thread a test: on a shared machine torch's threads wait for one another longer than they work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache

import pytest
import torch

from edgevision import zoo


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def _kept(name: str, form: str, seed: int) -> torch.nn.Module:
    return zoo.build(name, form=form, seed=seed)


@pytest.fixture(scope="session")
def built() -> Callable[..., torch.nn.Module]:
    """zoo.build of a name, form and seed, built once and copied for each test."""
    return lambda name, form="train", seed=0: deepcopy(_kept(name, form, seed))
