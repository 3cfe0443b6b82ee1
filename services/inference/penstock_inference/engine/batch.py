"""Splits the outputs of a batch among its messages, and a message that is too large into batches, by the first axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from penstock_inference.engine.message import Arrays, Outputs


def split_outputs(outputs: Outputs, rows: Sequence[int]) -> Iterator[Outputs]:
    """Yield the outputs of each message, given how many rows each had."""
    start = 0
    for count in rows:
        yield [output[start : start + count] for output in outputs]
        start += count


def split_inputs(inputs: Arrays, rows: int, max_rows: int) -> Iterator[Arrays]:
    """Yield the ``rows`` rows in parts of ``max_rows`` at most."""
    for start in range(0, rows, max_rows):
        yield {name: array[start : start + max_rows] for name, array in inputs.items()}


def merge_outputs(parts: Sequence[Outputs]) -> Outputs:
    """Return the rows of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]
