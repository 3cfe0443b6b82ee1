"""Reads what a model learns from a table: its columns, and the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from penstock_training.label_counts import MAX_LABELS, check_counts
from penstock_training.table_file import TableFile, bad_data
from penstock_training.tabular_columns import Column, check_finite, not_a_number, numbers_of, read_columns

_MIN_ROWS = 20


class Kind(StrEnum):
    """What is predicted."""

    classification = "classification"
    regression = "regression"


@dataclass(frozen=True)
class Rows:
    """What a model learns from a table.

    Attributes:
        target: values ``float32 [N]`` to estimate, or positions ``int64 [N]`` in ``labels``.
        labels: empty for a regression.
        left_out: how many rows were left out, by the reason.
    """

    columns: list[Column]
    target_name: str
    target: NDArray[np.float32] | NDArray[np.int64]
    labels: list[str]
    digest: str
    left_out: dict[str, int]


def read_rows(table: TableFile, target: str | None, ignored: Sequence[str], kind: Kind | None) -> Rows:
    """Return the rows of a table that have a target.

    Raises:
        PenstockError: 422 ``bad-data`` naming the file, the column and the remedy.
    """
    left_out = {table.column(name, "--ignore") for name in ignored}
    at = table.column(target, "--target") if target else len(table.header) - 1
    positions = [i for i in range(len(table.header)) if i != at and i not in left_out]
    if not positions:
        raise bad_data(f"{table.name} needs a column beside the target, {table.header[at]!r}.")
    kept = [i for i, row in enumerate(table.rows) if row[at].strip()]
    if len(kept) < _MIN_ROWS:
        raise bad_data(
            f"{table.name} has {len(kept)} rows with a value of {table.header[at]!r}; at least {_MIN_ROWS} rows are needed."
        )
    cells = [table.rows[i][at].strip() for i in kept]
    numbers = numbers_of(cells)
    if kind is None:
        is_regression = numbers is not None and len(np.unique(numbers)) > 2
        kind = Kind.regression if is_regression else Kind.classification
    labels: list[str] = []
    values: NDArray[np.float32] | NDArray[np.int64]
    if kind is Kind.classification:
        labels = _labels(table, at, kept, cells)
        values = np.array([labels.index(cell) for cell in cells])
        check_counts(labels, values.tolist(), "rows")
    else:
        values = _values(table, at, kept, cells)
    return Rows(
        read_columns(table, positions, kept),
        table.header[at],
        values,
        labels,
        table.digest,
        {"without a value of the target": len(table.rows) - len(kept)},
    )


def _labels(table: TableFile, at: int, kept: Sequence[int], cells: list[str]) -> list[str]:
    labels = sorted(set(cells))
    if len(labels) > MAX_LABELS:
        raise bad_data(
            f"{table.name}: column {table.header[at]!r} has {len(labels):,} different values{not_a_number(table, kept, cells)}, "
            f"and {MAX_LABELS} labels at most are learned; choose another column with --target."
        )
    return labels


def _values(table: TableFile, at: int, kept: Sequence[int], cells: list[str]) -> NDArray[np.float32]:
    numbers = numbers_of(cells)
    if numbers is None:
        raise bad_data(
            f"{table.name}: column {table.header[at]!r} cannot be estimated{not_a_number(table, kept, cells)}; choose a column "
            "of numbers with --target, or --kind classification."
        )
    check_finite(table, at, kept, numbers)
    if len(np.unique(numbers)) < 2:
        raise bad_data(
            f"{table.name}: column {table.header[at]!r} is {cells[0]} in every row; choose another one with --target."
        )
    return numbers
