"""What was measured, and the rows of the table that it makes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.report import Row

#: The system that the others are divided by: the model in a process without a server.
ALONE = "alone"


class LeftOutError(Exception):
    """Something cannot be measured on this machine; the message is one line that says why."""


class Round(NamedTuple):
    """What a system did in one round: units per second of the clock and of CPU time, and the median of the milliseconds
    until a first token."""

    clock: float
    cpu: float
    first_ms: float | None = None


@dataclass(frozen=True)
class Case:
    """A service under some load.

    Attributes:
        unit: what is counted, in the plural.
        rounds: of each system.
        quality: of each system's answers, in a few words.
    """

    service: str
    load: int
    unit: str
    rounds: dict[str, list[Round]]
    quality: dict[str, str] = field(default_factory=dict)


def rows_of(case: Case) -> list[Row]:
    """Return a row for each system: medians over the rounds; each ratio is the median of the rounds' own."""
    beside = case.rounds.get(ALONE)
    rows: list[Row] = []
    for system, rounds in case.rounds.items():
        first = [one.first_ms for one in rounds if one.first_ms is not None]
        pairs = list(zip(rounds, beside, strict=True)) if beside else []
        rows.append(
            {
                "service": case.service,
                "at once": case.load,
                "system": system,
                "unit": case.unit,
                "a second": round(statistics.median(one.clock for one in rounds), 2),
                "x alone": _median([mine.clock / theirs.clock for mine, theirs in pairs]),
                "x by CPU": _median([mine.cpu / theirs.cpu for mine, theirs in pairs]),
                "first token ms": _median(first),
                "quality": case.quality.get(system),
            }
        )
    return rows


def _median(values: list[float]) -> float | None:
    return round(statistics.median(values), 2) if values else None
