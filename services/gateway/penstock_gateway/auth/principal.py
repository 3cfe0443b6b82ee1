"""Who is calling, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """A principal's own limits; None is the installation's default."""

    rate: float | None = None  # requests a second
    burst: float | None = None  # requests at once


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    id: str
    name: str
    team: str = ""
    roles: frozenset[str] = frozenset()
    #: Names of the models that the caller may ask; None allows all.
    models: frozenset[str] | None = None
    limits: Limits = Limits()
