"""Reads out of a table which people like which items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from penstock_training.table_file import TableFile, bad_data

_USERS = ("user", "user_id", "userid", "person", "customer", "customer_id", "visitor")
_ITEMS = ("item", "item_id", "itemid", "product", "product_id", "movie", "movieid", "movie_id", "title")
_VALUES = ("value", "rating", "score")
_TIMES = ("time", "timestamp", "date", "datetime")
_MAX_NAME_BYTES = 500


@dataclass(frozen=True)
class Columns:
    """The names of the columns; None for one that is found by its usual names, if it is there."""

    user: str | None = None
    item: str | None = None
    value: str | None = None
    time: str | None = None


@dataclass(frozen=True)
class Interactions:
    """Each pair of a person and an item once.

    Attributes:
        people: positions of people, ``int64 [pairs]``.
        items: positions in ``names``, ``int64 [pairs]``.
        times: ``float64 [pairs]``, of the last time; None if the file has none.
        names: of the items.
        digest: SHA-256 of the file.
        left_out: how many rows were left out, by the reason.
    """

    people: NDArray[np.int64]
    items: NDArray[np.int64]
    times: NDArray[np.float64] | None
    names: list[str]
    digest: str
    left_out: dict[str, int]


def read_interactions(table: TableFile, columns: Columns, min_value: float | None, min_people: int) -> Interactions:
    """Return the pairs of a table.

    Args:
        min_value: rows with a smaller value are left out; None if all rows count.
        min_people: items that fewer people have are left out.

    Raises:
        PenstockError: 422 ``bad-data`` naming the file, the line, the column and the remedy.
    """
    user = _needed(table, columns.user, _USERS, "--user")
    item = _needed(table, columns.item, _ITEMS, "--item")
    value = _wanted(table, columns.value, _VALUES, "--value")
    time = _wanted(table, columns.time, _TIMES, "--time")
    if user == item:
        raise bad_data(f"{table.name}: --user and --item are the same column, {table.header[user]!r}.")
    if min_value is not None and value is None:
        raise bad_data(f"{table.name} has no column of values for --min-value; name it with --value.")
    last: dict[tuple[str, str], float] = {}
    incomplete = low = 0
    for row, line in zip(table.rows, table.lines, strict=True):
        person, name = row[user].strip(), " ".join(row[item].split())
        if not person or not name:
            incomplete += 1
            continue
        if len(name.encode()) > _MAX_NAME_BYTES:
            raise bad_data(f"{table.name}: the item in line {line} has more than {_MAX_NAME_BYTES} bytes.")
        if min_value is not None and value is not None and _number(table, row, value, line) < min_value:
            low += 1
            continue
        at = 0.0 if time is None else _moment(table, row, time, line)
        last[person, name] = max(at, last.get((person, name), at))
    repeated = len(table.rows) - incomplete - low - len(last)
    counts = Counter(name for _, name in last)
    kept = [(pair, at) for pair, at in last.items() if counts[pair[1]] >= min_people]
    people = {person: i for i, person in enumerate(dict.fromkeys(person for (person, _), _ in kept))}
    names = sorted({name for (_, name), _ in kept})
    positions = {name: i for i, name in enumerate(names)}
    return Interactions(
        np.array([people[person] for (person, _), _ in kept], np.int64),
        np.array([positions[name] for (_, name), _ in kept], np.int64),
        None if time is None else np.array([at for _, at in kept]),
        names,
        table.digest,
        {
            "without user or item": incomplete,
            "of a low value": low,
            "repeated": repeated,
            "of rare items": len(last) - len(kept),
        },
    )


def _needed(table: TableFile, chosen: str | None, names: Sequence[str], option: str) -> int:
    found = _wanted(table, chosen, names, option)
    if found is None:
        raise bad_data(f"{table.name} has the columns {table.columns()}; say which to take with {option}.")
    return found


def _wanted(table: TableFile, chosen: str | None, names: Sequence[str], option: str) -> int | None:
    if chosen is not None:
        return table.column(chosen, option)
    lowered = [column.lower() for column in table.header]
    return next((lowered.index(name) for name in names if name in lowered), None)


def _number(table: TableFile, row: list[str], column: int, line: int) -> float:
    try:
        return float(row[column])
    except ValueError:
        raise bad_data(
            f"{table.name}: {row[column]!r} in line {line}, column {table.header[column]!r}, is not a number."
        ) from None


def _moment(table: TableFile, row: list[str], column: int, line: int) -> float:
    """Return a time that is a number, or a date of ISO 8601, as a number."""
    try:
        return float(row[column])
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(row[column].strip()).timestamp()
    except (ValueError, OverflowError):
        raise bad_data(
            f"{table.name}: {row[column]!r} in line {line}, column {table.header[column]!r}, is neither a number nor a date "
            "such as 2026-11-25T12:00:00."
        ) from None
