"""A caller who has been authenticated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a caller may send; ``None`` is the installation's default."""

    rate: float | None = None  # rows a second
    burst: float | None = None  # rows at once


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller, and what it may do. ``models`` are globs of the models it may call (see ``pools``); ``None`` is all."""

    id: str
    name: str
    team: str = ""
    roles: frozenset[str] = frozenset()
    models: tuple[str, ...] | None = None
    limits: Limits = Limits()
