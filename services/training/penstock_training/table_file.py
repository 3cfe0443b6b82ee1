"""Reads a table: a CSV or TSV file with a header, within bounds, and with errors that name the place and the remedy."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock_common.errors import PenstockError
from penstock_training.pipeline import digest

MAX_BYTES = 100_000_000
MAX_COLUMNS = 500
MAX_CELLS = 10_000_000
#: Column names that an error lists.
_SHOWN = 20


@dataclass(frozen=True)
class TableFile:
    """The cells of a table as they are in the file.

    Attributes:
        name: of the file, for errors.
        rows: each has a cell for each name of ``header``.
        lines: where each row ends in the file, counted from 1.
        digest: SHA-256 of the file.
    """

    name: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    digest: str

    def column(self, name: str, option: str) -> int:
        """Return a column's position.

        Args:
            option: of the command line that chooses the column.

        Raises:
            PenstockError: 422 ``bad-data`` if there is none of that name.
        """
        if name not in self.header:
            raise bad_data(
                f"{self.name} has no column {name!r}; its columns are {self.columns()}. Choose with {option}."
            )
        return self.header.index(name)

    def columns(self) -> str:
        """Return the names of the columns for an error, shortened if there are many."""
        return ", ".join(self.header[:_SHOWN]) + (", …" if len(self.header) > _SHOWN else "")


def read_table_file(path: Path) -> TableFile:
    """Read a CSV (with commas or semicolons) or TSV file whose first line is the header; empty lines are skipped.

    Raises:
        PenstockError: 422 ``bad-data`` if it is too large, not UTF-8, or its rows do not fit the header.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise bad_data(
            f"{path.name} has {size / 1e6:,.0f} MB, and {MAX_BYTES // 1_000_000} MB are read at most: "
            "train on a random part of its rows."
        )
    return parse_table(path.read_bytes(), path.name)


def parse_table(data: bytes, name: str) -> TableFile:
    """Read what ``read_table_file`` reads.

    Raises:
        PenstockError: 422 ``bad-data``.
    """
    cells = cells_of(data, name)
    _, header = next(cells, (0, []))
    header = [column.strip() for column in header]
    if not header:
        raise bad_data(f"{name} is empty; its first line must name the columns.")
    if len(header) > MAX_COLUMNS:
        raise bad_data(f"{name} has {len(header)} columns, and {MAX_COLUMNS} are read at most; leave some out.")
    for column in header:
        if not column:
            raise bad_data(f"{name}: column {header.index(column) + 1} has no name; write one in the first line.")
        if header.count(column) > 1:
            raise bad_data(f"{name}: two columns are named {column!r}; give each a name of its own.")
    rows, lines = [], []
    for line, row in cells:
        if len(row) != len(header):
            raise bad_data(
                f"{name}: line {line} has {len(row)} columns, the header has {len(header)}; put a text that has the "
                "separator or a line break in it into quotation marks."
            )
        rows.append(row)
        lines.append(line)
        if len(rows) * len(header) > MAX_CELLS:
            raise bad_data(
                f"{name} has more than {MAX_CELLS // len(header):,} rows of {len(header)} columns; train on a random part "
                "of its rows."
            )
    return TableFile(name, header, rows, lines, digest(data))


def cells_of(data: bytes, name: str, separators: str = ",;") -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV or TSV file that are not empty: the number of the line that ends it, and the cells.

    Args:
        separators: of which the more frequent one in the first line is taken, unless that has a tab.

    Raises:
        PenstockError: 422 ``bad-data`` if it is not UTF-8, or not a CSV file.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data.count(b"\n", 0, err.start) + 1
        raise bad_data(f"{name} is not UTF-8 (byte {err.start}, line {line}); save it as UTF-8.") from None
    first = text.partition("\n")[0]
    separator = "\t" if "\t" in first else max(separators, key=first.count)
    # In TSV a quotation mark is an ordinary character (iana.org/assignments/media-types/text/tab-separated-values).
    plain = separator == "\t"
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as err:
        raise bad_data(
            f"{name}: line {reader.line_num} cannot be read ({err}); a quotation mark may have no partner."
        ) from None


def bad_data(detail: str) -> PenstockError:
    return PenstockError(422, "bad-data", detail)
