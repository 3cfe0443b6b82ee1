"""Batches are the rows of their messages, in order, and each message gets its own rows back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock_inference.engine.batch import merge_outputs, split_inputs, split_outputs


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 4))
def test_rows_come_back_to_their_message(rows: list[int], max_rows: int) -> None:
    """Whatever the sizes: merged, run in parts and split again, each message has what it sent, in all outputs."""
    values = np.arange(sum(rows), dtype=np.float32)
    starts = np.cumsum([0, *rows])
    messages = [
        {"x": values[at : at + n], "y": np.stack([values[at : at + n]] * 2, axis=1)}
        for at, n in zip(starts, rows, strict=False)
    ]
    merged = {name: np.concatenate([message[name] for message in messages]) for name in ("x", "y")}
    parts = list(split_inputs(merged, sum(rows), max_rows))
    assert max(len(part["x"]) for part in parts) <= max_rows
    outputs = merge_outputs([[part["x"] * 2, part["y"]] for part in parts])
    for message, (doubled, same) in zip(messages, split_outputs(outputs, rows), strict=True):
        assert np.array_equal(doubled, message["x"] * 2)
        assert np.array_equal(same, message["y"])
