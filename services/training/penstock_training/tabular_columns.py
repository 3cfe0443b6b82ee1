"""The columns of a table: their kinds, the fields that clients send for them, and their numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Field, FieldKind
from penstock_training.table_file import TableFile, bad_data

MAX_CATEGORIES = 200
_BOOLEANS = {"true": True, "false": False}
_ABSENT = ""  # the category of an empty cell
_MOST_NAME = 128  # characters of a field's name


@dataclass(frozen=True)
class Column:
    """An input of the model.

    Attributes:
        values: ``float32 [N]`` of a number or a boolean, ``int64 [N]`` of a category: its position in the field's.
        typical: a value for an example, as a client sends it.
    """

    field: Field
    values: NDArray[Any]
    typical: Any


def read_columns(table: TableFile, positions: Sequence[int], rows: Sequence[int]) -> list[Column]:
    """Return the columns at some positions, as the cells of some rows say what they are.

    A column of numbers is a number, one of ``true`` and ``false`` a boolean, any other one a category. An empty cell
    counts as the median, as the more frequent of the two, or as a category of its own; clients may leave these out too.

    Raises:
        PenstockError: 422 ``bad-data`` naming the column, the line and the remedy.
    """
    columns = [_column(table, position, rows) for position in positions]
    names = Counter(column.field.name for column in columns)
    for position, column in zip(positions, columns, strict=True):
        if names[column.field.name] > 1:
            raise bad_data(
                f"{table.name}: column {table.header[position]!r} has the field name {column.field.name!r}, as another one "
                "has; rename one of them."
            )
    return columns


def numbers_of(cells: Sequence[str]) -> NDArray[np.float32] | None:
    """Return the numbers in the cells, NaN for an empty one; None if one is not a number."""
    try:
        numbers = np.array([float(cell) if cell else np.nan for cell in cells], dtype=np.float64)
    except ValueError:
        return None
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
        return numbers.astype(np.float32)


def _column(table: TableFile, position: int, rows: Sequence[int]) -> Column:
    header = table.header[position]
    cells = [table.rows[row][position].strip() for row in rows]
    if not any(cells):
        raise bad_data(f"{table.name}: column {header!r} is empty; leave it out with --ignore {header!r}.")
    name = re.sub(r"[^A-Za-z0-9_.:/-]", "_", header).lstrip(".:-")[:_MOST_NAME] or f"column_{position + 1}"
    described = "" if name == header else header
    numbers = numbers_of(cells)
    if numbers is not None:
        check_finite(table, position, rows, numbers)
        return _number(name, described, numbers, all(cells))
    known = Counter(cell.lower() for cell in cells if cell)
    if known.keys() <= _BOOLEANS.keys():
        return _boolean(name, described, cells, known, all(cells))
    return _category(table, position, rows, Field(name, FieldKind.CATEGORY, "BYTES", description=described), cells)


def check_finite(table: TableFile, position: int, rows: Sequence[int], numbers: NDArray[np.float32]) -> None:
    """Refuse infinity, and texts such as ``nan``, which are numbers to Python.

    Raises:
        PenstockError: 422 ``bad-data`` naming the line.
    """
    for row, number in zip(rows, numbers.tolist(), strict=True):
        cell = table.rows[row][position].strip()
        if cell and not np.isfinite(number):
            raise bad_data(
                f"{table.name}: line {table.lines[row]}: column {table.header[position]!r} has {cell!r}, a number that is "
                "not finite; leave the cell empty if it is not known."
            )


def _number(name: str, described: str, values: NDArray[np.float32], complete: bool) -> Column:
    # An answer far outside the range of the training data would be meaningless.
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = high - low
    minimum = 0.0 if low >= 0 and low - margin < 0 else low - margin
    median = float(np.nanmedian(values))
    field = Field(
        name, FieldKind.NUMBER, "FP32", minimum=minimum, maximum=high + margin, description=described,
        required=complete, default=None if complete else median,
    )  # fmt: skip
    return Column(field, np.nan_to_num(values, nan=median), median)


def _boolean(name: str, described: str, cells: list[str], known: Counter[str], complete: bool) -> Column:
    usual = _BOOLEANS[known.most_common(1)[0][0]]
    field = Field(
        name, FieldKind.BOOLEAN, "BOOL", description=described, required=complete, default=None if complete else usual
    )
    return Column(field, np.array([_BOOLEANS.get(cell.lower(), usual) for cell in cells], dtype=np.float32), usual)


def _category(table: TableFile, position: int, rows: Sequence[int], field: Field, cells: list[str]) -> Column:
    categories = sorted(set(cells))
    if len(categories) > MAX_CATEGORIES:
        header = table.header[position]
        raise bad_data(
            f"{table.name}: column {header!r} has more than {MAX_CATEGORIES} different texts{not_a_number(table, rows, cells)}; "
            f"leave it out with --ignore {header!r}."
        )
    field.categories = categories
    if _ABSENT in categories:
        field.required, field.default = False, _ABSENT
    index = {category: i for i, category in enumerate(categories)}
    return Column(field, np.array([index[cell] for cell in cells]), Counter(cells).most_common(1)[0][0])


def not_a_number(table: TableFile, rows: Sequence[int], cells: list[str]) -> str:
    """Return which cell keeps a column from being one of numbers, for an error.

    It is empty if all cells are numbers, or most are not.
    """
    others = [(row, cell) for row, cell in zip(rows, cells, strict=True) if numbers_of([cell]) is None]
    if not others or 2 * len(others) > len(cells):
        return ""
    row, cell = others[0]
    return f" ({cell!r:.60} in line {table.lines[row]} is not a number)"
