"""What a compiling worker is asked, and what it answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from edgevision.tuning_log import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Compile ``choice`` for the workload in the file ``function``. Files are written beside ``stem``; ``views`` are
    (parameter, first channel, channels of the whole), ``constants`` the parameters that hold weights, ``outputs`` how many
    of the last ones are results."""

    function: str
    views: tuple[tuple[int, int, int], ...]
    constants: tuple[int, ...]
    outputs: int
    target: dict[str, Any]
    choice: Choice
    stem: str
    seed: int

    def dump(self) -> str:
        return json.dumps({**asdict(self), "choice": [self.choice.template, self.choice.parameters]})

    @classmethod
    def load(cls, text: str) -> Request:
        content = json.loads(text)
        template, parameters = content.pop("choice")
        target = {k: tuple(v) if isinstance(v, list) else v for k, v in content.pop("target").items()}
        return cls(
            choice=Choice(template, tuple((str(n), int(v)) for n, v in parameters)), target=target,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A candidate, compiled. ``tolerance`` is the largest relative difference to the default's results."""

    library: str
    schedule: str
    workspace_bytes: int
    arguments: tuple[Argument, ...]
    tolerance: float

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Built | None:
        content = json.loads(text)
        if content is None:
            return None
        arguments = tuple(Argument(**{**a, "shape": tuple(a["shape"])}) for a in content.pop("arguments"))
        return cls(arguments=arguments, **content)
