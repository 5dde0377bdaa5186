"""What a compiling worker is asked, and what it answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

from edgevision.tuning_log import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Compile ``choice`` for the workload in the file ``function``; None is a reference for results, the default that is not
    Winograd's. Files are written beside ``stem``; ``views`` are (parameter, first channel, channels of the whole),
    ``constants`` the parameters that hold weights, ``outputs`` how many of the last ones are results. ``linked``: an object for
    a program of many, in which the kernel has the name of the stem, instead of a library that is opened."""

    function: str
    views: tuple[tuple[int, int, int], ...]
    constants: tuple[int, ...]
    outputs: int
    target: dict[str, Any]
    choice: Choice | None
    stem: str
    seed: int
    linked: bool = False

    def dump(self) -> str:
        return json.dumps({**asdict(self), "choice": self.choice and [self.choice.template, self.choice.parameters]})

    @classmethod
    def load(cls, text: str) -> Request:
        content = json.loads(text)
        template, parameters = content.pop("choice") or ("", ())
        target = {k: tuple(v) if isinstance(v, list) else v for k, v in content.pop("target").items()}
        return cls(
            choice=Choice(template, tuple((str(n), int(v)) for n, v in parameters)) if template else None, target=target,
            views=tuple(tuple(v) for v in content.pop("views")), constants=tuple(content.pop("constants")), **content,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One tensor of the kernel. ``role``: "a" activation, "c" constant, "o" output, "s" scratch; ``code`` and ``bits`` are
    DLPack's."""

    role: str
    code: int
    bits: int
    shape: tuple[int, ...]
    file: str
    offset: int

    @property
    def nbytes(self) -> int:
        return self.bits // 8 * prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A candidate, compiled: ``library`` is what is opened, or an object file (`Request.linked`). ``tolerance`` is the largest
    relative difference to the default's results."""

    library: str
    schedule: str
    workspace_bytes: int
    arguments: tuple[Argument, ...]
    tolerance: float

    @property
    def name(self) -> str:
        """Of its kernel, where it was compiled for a program of many."""
        return Path(self.library).stem

    @property
    def files(self) -> frozenset[str]:
        """All that it consists of."""
        return frozenset({self.library, *(a.file for a in self.arguments if a.file != "-")})

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Built | None:
        content = json.loads(text)
        if content is None:
            return None
        arguments = tuple(Argument(**{**a, "shape": tuple(a["shape"])}) for a in content.pop("arguments"))
        return cls(arguments=arguments, **content)
