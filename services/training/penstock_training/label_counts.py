"""How many labels, and how many rows of each, a training needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from penstock_training.table_file import bad_data

MAX_LABELS = 100
MIN_ROWS = 10  # of each label
#: Labels that an error lists.
_SHOWN = 5


def check_counts(labels: list[str], truth: Sequence[int], rows: str) -> None:
    """Refuse data that cannot be split into rows to train on and to evaluate on.

    Args:
        rows: what a row is called in the error.

    Raises:
        PenstockError: 422 ``bad-data`` naming the labels with too few rows.
    """
    if len(labels) < 2:
        only = f"the only label is {labels[0]!r}" if labels else "there is no label"
        raise bad_data(f"The data needs at least two labels, and {only}; add {rows} with another one.")
    counts = Counter(truth)
    few = [f"{label!r} has {counts[i]}" for i, label in enumerate(labels) if counts[i] < MIN_ROWS]
    if few:
        more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
        raise bad_data(
            f"The data needs at least {MIN_ROWS} different {rows} of each label: {', '.join(few[:_SHOWN])}{more}; add some, or "
            "leave these labels out."
        )
