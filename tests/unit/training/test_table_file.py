"""Tables in files: separators, quotation marks, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_training import table_file
from penstock_training.table_file import parse_table, read_table_file


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        ('a,b\n"1, 2",3\n', [["1, 2", "3"]]),
        ("a;b\n1,5;3\n", [["1,5", "3"]]),
        ('a\tb\n"1\t3, 4\n', [['"1', "3, 4"]]),
        ("\ufeffa,b\r\n1,2\r\n\r\n , \r\n3,4", [["1", "2"], ["3", "4"]]),
        ('a,b\n"one\ntwo",3\n', [["one\ntwo", "3"]]),
    ],
)
def test_separators_are_recognised(data: str, rows: list[list[str]]) -> None:
    """Commas, semicolons or tabs, with which a quotation mark is an ordinary character; empty lines do not count."""
    table = parse_table(data.encode(), "t.csv")
    assert (table.header, table.rows) == (["a", "b"], rows)


def test_a_row_knows_its_line() -> None:
    """Empty lines and line breaks in texts count, so that an error leads to the right place of the file."""
    assert parse_table(b'a,b\n\n"one\ntwo",3\n4,5\n', "t.csv").lines == [4, 5]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "t.csv is empty"),
        (b"a,b\n1,2\n\xff,3\n", r"t.csv is not UTF-8 \(byte 8, line 3\); save it as UTF-8"),
        (b"a,b\n1,2\n1\n", "t.csv: line 3 has 1 columns, the header has 2; put a text"),
        (b"a,,b\n1,2,3\n", "t.csv: column 2 has no name"),
        (b"a,b,a\n1,2,3\n", "two columns are named 'a'"),
        (b'a,b\n"' + b"1" * 200_000, "t.csv: line 2 cannot be read .*quotation mark"),
        (b",".join(b"c%d" % n for n in range(501)), "has 501 columns, and 500 are read at most"),
    ],
)
def test_a_file_that_cannot_be_read_is_explained(data: bytes, named: str) -> None:
    """The 422 names the file, the place and the remedy."""
    with pytest.raises(PenstockError, match=named) as refused:
        parse_table(data, "t.csv")
    assert (refused.value.status, refused.value.code) == (422, "bad-data")


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes are bounded before it is read, and its cells while it is."""
    path = tmp_path / "large.csv"
    path.write_text("a,b\n" + "1,2\n" * 100)
    monkeypatch.setattr(table_file, "MAX_CELLS", 199)
    with pytest.raises(PenstockError, match=r"large\.csv has more than 99 rows of 2 columns; train on a random part"):
        read_table_file(path)
    monkeypatch.setattr(table_file, "MAX_BYTES", 400)
    with pytest.raises(PenstockError, match=r"large\.csv has 0 MB, and 0 MB are read at most"):
        read_table_file(path)
