"""Tries a model that streams before it serves: its examples, and that a stream which is closed gives nothing more."""

from __future__ import annotations

import time

from penstock_common.manifest import Manifest
from penstock_inference.engine.message import Arrays
from penstock_inference.engine.output_checks import check_probabilities
from penstock_inference.engine.padding import Padding
from penstock_inference.engine.streaming_model import StreamingModel
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.trial_rows import other_examples, trial_rows

#: A trial ends after so many chunks, or seconds; a stream may have no end.
MOST_CHUNKS = 256
MOST_SECONDS = 10.0


def trial_streams(manifest: Manifest) -> list[Arrays]:
    """Return the rows of the trials: the examples, or one row that is made up."""
    rows = trial_rows(manifest, max(1, len(manifest.examples) - len(other_examples(manifest))))
    count = len(next(iter(rows.values())))
    alike = [{name: array[i : i + 1] for name, array in rows.items()} for i in range(count)]
    return [*alike, *other_examples(manifest)]


def try_streams(model: StreamingModel) -> None:
    """Try a model; the outputs of all chunks are compared with its manifest.

    Raises:
        ModelMismatchError: no stream may be open, no chunk has outputs, or a stream that was closed goes on.
        PenstockError: 500 ``bad-model-answer`` if outputs do not fit the manifest.
        Exception: whatever the model raises for a row.
    """
    if model.most_streams < 1:
        raise ModelMismatchError(f"The model's most_streams is {model.most_streams}; it has to take one at least.")
    rows = trial_streams(model.manifest)
    chunks = sum([_chunks(model, number, row) for number, row in enumerate(rows, 1)])
    if not chunks:
        raise ModelMismatchError(
            "No trial gave a chunk with outputs, so that they could not be compared with the manifest; give examples "
            "that are answered."
        )
    _check_closing(model, rows[0])


def _chunks(model: StreamingModel, number: int, row: Arrays) -> int:
    """Run one stream to its end or the bounds of a trial; return how many chunks had outputs."""
    chunks = 0
    until = time.monotonic() + MOST_SECONDS
    model.open(number, _padded(model, row))
    while True:
        for chunk in model.step():
            if chunk.error is not None:
                raise chunk.error
            if isinstance(chunk.outputs, list):
                check_probabilities(model.manifest, chunk.outputs)
                chunks += 1
            if chunk.last:
                return chunks
        if chunks >= MOST_CHUNKS or time.monotonic() > until:
            model.close(number)
            return chunks


def _check_closing(model: StreamingModel, row: Arrays) -> None:
    closed, other = -1, -2
    row = _padded(model, row)
    model.open(closed, row)
    model.close(closed)
    model.close(closed)
    model.open(other, row)
    for chunk in model.step():
        if chunk.stream == closed:
            raise ModelMismatchError("A stream that was closed still gives chunks.")
    model.close(other)


def _padded(model: StreamingModel, row: Arrays) -> Arrays:
    return Padding(model.manifest).pad([row])[0]
