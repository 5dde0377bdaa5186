"""What the transports to real devices have in common: how a session there is to behave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgevision.latency import How
from edgevision.measure.attended import TERMS, Site, Terms, say_nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """See `edgevision.device_file.DeviceEntry` for the fields. ``told``: who hears what a session waits for."""

    name: str
    lock: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    terms: Terms = TERMS
    told: Callable[[str], None] = say_nothing

    @property
    def how(self) -> How:
        return "measured"

    def site(self, transport: str, lock: str = "") -> Site:
        """``lock``: where it lies when ``self.lock`` does not say."""
        return Site(
            device=self.name, transport=transport, lock=self.lock or lock, environment=self.environment, terms=self.terms,
            told=self.told,
        )  # fmt: skip
