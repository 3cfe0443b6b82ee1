"""Labelled texts out of tables: which columns are taken, what is left out, and what is refused."""

from __future__ import annotations

import pytest

from penstock_common.errors import PenstockError
from penstock_training.labelled_texts import Texts, clean, drop_near_copies, read_texts
from penstock_training.table_file import parse_table


def texts(csv: str, text: str | None = None, label: str | None = None) -> Texts:
    return read_texts(parse_table(csv.encode(), "reviews.csv"), text, label)


ROWS = "\n".join(f"{stars},text {word},x{word}" for word in "abcdef" for stars in ("good", "bad"))


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        ("label,text,id", None, None),
        ("Label,Text,id", None, None),
        ("stars,said,id", "said", "stars"),
        ("stars,text,id", None, "stars"),
        ("label,said,id", "said", None),
    ],
)
def test_columns_are_chosen_by_name(header: str, text: str | None, label: str | None) -> None:
    """By the options, and else by the usual names, in any case."""
    read = texts(f"{header}\n{ROWS}", text, label)
    assert read.labels == ["bad", "good"]
    assert (read.texts[0], read.truth[:2]) == ("text a", [1, 0])


@pytest.mark.parametrize("csv", ["a,b\nbad,one\nbad,two\ngood,three", "b,a\none,bad\ntwo,bad\nthree,good"])
def test_of_two_columns_the_labels_are_those_with_fewer_values(csv: str) -> None:
    """Whichever comes first."""
    read = texts(csv)
    assert (read.texts, read.truth, read.labels) == (["one", "two", "three"], [0, 0, 1], ["bad", "good"])


@pytest.mark.parametrize(
    ("csv", "text", "label", "named"),
    [
        (
            f"label,text,id\n{ROWS}",
            "words",
            None,
            "reviews.csv has no column 'words'; its columns are label, text, id. .*--text",
        ),
        (f"label,text,id\n{ROWS}", None, "star", "no column 'star'.*--label"),
        (f"stars,text,id\n{ROWS}", None, None, "columns stars, text, id; say which to take with --label"),
        (f"label,said,id\n{ROWS}", None, None, "say which to take with --text"),
        (f"label,text,id\n{ROWS}", "text", "text", "the same column, 'text'"),
        (
            "label,text\n" + "".join(f"label {n},text\n" for n in range(101)),
            None,
            None,
            "101 different labels, 100 at most",
        ),
    ],
)
def test_columns_that_cannot_be_used_are_refused(csv: str, text: str | None, label: str | None, named: str) -> None:
    """The 422 names the file, the columns and the option."""
    with pytest.raises(PenstockError, match=named) as refused:
        texts(csv, text, label)
    assert (refused.value.status, refused.value.code) == (422, "bad-data")


def test_rows_without_text_or_label_are_counted() -> None:
    """They are left out."""
    read = texts("label,text\n,one\ngood, \ngood,three\nbad,four")
    assert (read.texts, read.left_out) == (["three", "four"], {"without text or label": 2})


def test_near_copies_are_dropped() -> None:
    """Texts that differ only in digits, case or punctuation count once, with the label of the first."""
    different = drop_near_copies(Texts(["Win £100 now!", "WIN 200 now", "See you"], [1, 0, 0], ["ham", "spam"], "", {}))
    assert (different.texts, different.truth) == (["Win £100 now!", "See you"], [1, 0])
    assert different.left_out == {"near copies": 1}


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([("good", 12)], "at least two labels, and the only label is 'good'"),
        ([], "there is no label"),
        ([("good", 12), ("bad", 9)], "at least 10 different texts of each label: 'bad' has 9; add some"),
        ([(label, 1) for label in "pqrstuv"], "'t' has 1 and 2 more;"),
    ],
)
def test_too_few_rows_of_a_label_are_refused(rows: list[tuple[str, int]], named: str) -> None:
    """The 422 names the labels, and what can be done."""
    alphabet = "abcdefghijkl"
    csv = "label,text\n" + "".join(f"{label},{label} {alphabet[i]}\n" for label, count in rows for i in range(count))
    with pytest.raises(PenstockError, match=named):
        clean(texts(csv))
