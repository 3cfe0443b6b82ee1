"""Reads labelled texts out of a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from penstock_training.label_counts import MAX_LABELS, check_counts
from penstock_training.table_file import TableFile, bad_data

_TEXT_NAMES = ("text", "message", "review", "comment", "sentence", "content")
_LABEL_NAMES = ("label", "category", "class", "sentiment", "target")


@dataclass(frozen=True)
class Texts:
    """Labelled texts.

    Attributes:
        truth: the position in ``labels`` of each text's label.
        digest: SHA-256 of the file.
        left_out: how many rows were left out, by the reason.
    """

    texts: list[str]
    truth: list[int]
    labels: list[str]
    digest: str
    left_out: dict[str, int]


def read_texts(table: TableFile, text: str | None, label: str | None) -> Texts:
    """Return the rows of a table that have both a text and a label.

    Raises:
        PenstockError: 422 ``bad-data`` naming the file, the column and the remedy.
    """
    text_column, label_column = _columns(table, text, label)
    kept = [row for row in table.rows if row[text_column].strip() and row[label_column].strip()]
    names = [row[label_column].strip() for row in kept]
    labels = sorted(set(names))
    if len(labels) > MAX_LABELS:
        raise bad_data(
            f"{table.name}: column {table.header[label_column]!r} has {len(labels):,} different labels, {MAX_LABELS} at "
            "most are learned; name another column with --label, or join the rare labels."
        )
    index = {name: i for i, name in enumerate(labels)}
    return Texts(
        [row[text_column] for row in kept],
        [index[name] for name in names],
        labels,
        table.digest,
        {"without text or label": len(table.rows) - len(kept)},
    )


def _columns(table: TableFile, text: str | None, label: str | None) -> tuple[int, int]:
    """Return the positions of the texts' and the labels' column."""
    by_name = {column.lower(): i for i, column in reversed(list(enumerate(table.header)))}
    chosen_label = table.column(label, "--label") if label else _first_of(by_name, _LABEL_NAMES)
    chosen_text = table.column(text, "--text") if text else _first_of(by_name, _TEXT_NAMES)
    if len(table.header) == 2:
        if chosen_text is None and chosen_label is None:
            kinds = [len({row[column] for row in table.rows}) for column in (0, 1)]
            chosen_label = int(kinds[1] <= kinds[0])
        if chosen_label is None and chosen_text is not None:
            chosen_label = 1 - chosen_text
        if chosen_text is None and chosen_label is not None:
            chosen_text = 1 - chosen_label
    if chosen_text is None or chosen_label is None:
        missing = "--text" if chosen_text is None else "--label"
        raise bad_data(f"{table.name} has the columns {table.columns()}; say which to take with {missing}.")
    if chosen_text == chosen_label:
        raise bad_data(f"{table.name}: --text and --label are the same column, {table.header[chosen_text]!r}.")
    return chosen_text, chosen_label


def _first_of(by_name: dict[str, int], names: Sequence[str]) -> int | None:
    return next((by_name[name] for name in names if name in by_name), None)


def clean(data: Texts) -> Texts:
    """Drop near copies.

    Raises:
        PenstockError: 422 ``bad-data`` if too few texts of a label are left.
    """
    different = drop_near_copies(data)
    check_counts(different.labels, different.truth, "texts")
    return different


def drop_near_copies(data: Texts) -> Texts:
    """Keep one of several texts that differ only in digits, case, punctuation or spaces.

    Otherwise the test rows would have copies of texts that the model was trained on.
    """
    seen: set[str] = set()
    kept: list[int] = []
    for i, text in enumerate(data.texts):
        key = re.sub(r"[\W\d_]+", " ", text.lower()).strip() or text
        if key not in seen:
            seen.add(key)
            kept.append(i)
    return replace(
        data,
        texts=[data.texts[i] for i in kept],
        truth=[data.truth[i] for i in kept],
        left_out={**data.left_out, "near copies": len(data.texts) - len(kept)},
    )
