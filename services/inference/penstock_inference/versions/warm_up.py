"""Runs a model before it serves, so that its first request is as fast as the others and no answer is silently wrong.

A handful of runs: one row twice, some others alone, and a full batch of them; of rows that are never batched, the first
again after each of the others, which would show in its answer if something of them stayed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_common.tensors import kind_of, widened
from penstock_inference.engine.message import Arrays, Outputs
from penstock_inference.engine.model import LoadedModel
from penstock_inference.engine.output_checks import check_probabilities
from penstock_inference.engine.padding import Padding
from penstock_inference.runners.device_in_use import CPU, device_in_use
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.same_text import same_text
from penstock_inference.versions.trial_rows import longer_row, other_examples, trial_rows

#: Different rows that are tried.
_ROWS = 3
#: The share of values of whole numbers, texts and booleans that may differ: near a tie, noise decides.
_MAX_DIFFERENT = 0.01


def warm_up(model: LoadedModel) -> None:
    """Try a model, and set its ``longest_run``; all its outputs are compared with its manifest.

    Raises:
        ModelMismatchError: if its first output is not probabilities though it should be; if it keeps state or is
            random; if rows of one batch change each other's answers.
        PenstockError: 500 ``bad-model-answer`` if its outputs do not fit the manifest.
        Exception: whatever the model raises for its first example, or for a batch.
    """
    manifest = model.manifest
    rows = trial_rows(manifest, _ROWS)
    first = _run(model, _chosen(rows, [0]))
    model.longest_run = 0.0  # the first run prepares what later ones find
    check_probabilities(manifest, first)
    _check_repeatable(model, _chosen(rows, [0]), first)
    if manifest.batching.max_batch_size > 1:
        _check_independent(model, rows, first)
    else:
        for i in range(1, _ROWS):
            _try_alone(model, rows, i)
            _check_repeatable(model, _chosen(rows, [0]), first)
    for other in other_examples(manifest):
        check_probabilities(manifest, _run(model, other))
    _check_padding(model, _chosen(rows, [0]), first)
    if device_in_use().name != CPU:
        for size in manifest.acceleration.batch_sizes:  # the GPU's libraries prepare each, or it is recorded
            _run(model, _chosen(rows, [0] * size))
    _check_unchanged(model)


def _run(model: LoadedModel, rows: Arrays) -> Outputs:
    """Run rows as a message of their own."""
    padding = Padding(model.manifest)
    padded = padding.pad([rows])[0]
    started = time.perf_counter()
    outputs = model.run(padded)
    model.longest_run = max(model.longest_run, time.perf_counter() - started)
    return padding.cut(outputs, rows)


def _check_repeatable(model: LoadedModel, rows: Arrays, first: Outputs) -> None:
    """The same rows give the same answer, however often they are asked."""
    again = _run(model, rows)
    _check_unchanged(model)
    difference = _difference(model.manifest, [first], list(range(len(first[0]))), again)
    if difference and model.manifest.deterministic:
        raise ModelMismatchError(
            f"The same rows gave two answers ({difference}): the file keeps state between calls, or is random, e.g. exported "
            "in training mode with its dropout. Call .eval() before the export; take state as an input and return it as an "
            "output. If it draws random numbers on purpose, set deterministic: false."
        )


def _check_unchanged(model: LoadedModel) -> None:
    """No run writes to the weights: the next caller would get something of the one before."""
    changed = model.changed_state()
    if changed:
        raise ModelMismatchError(
            f"Runs change the file's buffers {', '.join(changed[:5])}, so that one caller's data would reach the next. Call "
            ".eval() before the export; take state as an input and return it as an output."
        )


def _check_independent(model: LoadedModel, rows: Arrays, first: Outputs) -> None:
    """A row gives the same answer alone and in a full batch of others."""
    manifest = model.manifest
    alone = [first]
    taken = [0]
    for i in range(1, _ROWS):
        outputs = _try_alone(model, rows, i)
        if outputs is not None:
            alone.append(outputs)
            taken.append(i)
    most = manifest.batching.max_batch_size
    order = [i % len(taken) for i in range(most)]
    batch = _chosen(rows, [taken[i] for i in order])
    together = _run_full(model, batch)
    check_probabilities(manifest, together)
    difference = _difference(manifest, alone, order, together)
    if difference and manifest.deterministic:
        _check_repeatable(model, batch, together)
        raise ModelMismatchError(
            f"A row's answer depends on the rows beside it ({difference} between alone and in a batch of {most}): its "
            "first axis is not the batch, or the model computes something over the batch. Name the axis with batch_axis, "
            "export the file with the batch first, or set batching: {max_batch_size: 1}."
        )


def _try_alone(model: LoadedModel, rows: Arrays, i: int) -> Outputs | None:
    """Return the answer to one row; None if it is a variation that the model does not take, such as an unknown word."""
    try:
        return _run(model, _chosen(rows, [i]))
    except Exception:
        if i < len(model.manifest.examples):
            raise
        return None


def _check_padding(model: LoadedModel, row: Arrays, first: Outputs) -> None:
    """A row gives the same answer beside a longer one, for which it is padded."""
    longer = longer_row(model.manifest, row)
    if longer is None:
        return
    padding = Padding(model.manifest)
    padded = padding.pad([row, longer])[0]
    difference = _difference(model.manifest, [first], [0], padding.cut(model.run(padded), row))
    if difference and model.manifest.deterministic:
        raise ModelMismatchError(
            f"A row's answer depends on the padding that a longer row beside it brings ({difference}). Set the `mask` by "
            "which the file ignores padding and the `value` that it expects, or leave `pad` out."
        )


def _run_full(model: LoadedModel, rows: Arrays) -> Outputs:
    try:
        return _run(model, rows)
    except (PenstockError, ModelMismatchError):
        raise
    except Exception as err:
        most = model.manifest.batching.max_batch_size
        raise ModelMismatchError(
            f"One row runs and a batch of {most} does not; export the file with a first dimension that varies, or set "
            f"batching: {{max_batch_size: 1}}. {type(err).__name__}: {err}"
        ) from err


def _chosen(rows: Arrays, indices: list[int]) -> Arrays:
    return {name: array[indices] for name, array in rows.items()}


def _difference(manifest: Manifest, alone: Sequence[Outputs], order: list[int], together: Outputs) -> str:
    """Say which output of a batch, whose rows are ``alone[i] for i in order``, differs; empty if none does."""
    for spec, own, shared in zip(manifest.outputs, zip(*alone, strict=True), together, strict=True):
        shapes = sorted({output.shape[1:] for output in (*own, shared)})
        if len(shapes) > 1:
            return f"output {spec.name!r} has the shapes {' and '.join(str(list(shape)) for shape in shapes)}"
        expected = np.concatenate(own)[order]
        if kind_of(expected.dtype) != "f":
            different = _different(expected, shared)
            if different > _MAX_DIFFERENT * expected.size:
                return f"output {spec.name!r} differs in {different} of {expected.size} values"
        elif not _close(expected, shared, half=manifest.acceleration.in_half_precision):
            gap = np.abs(expected.astype(float) - shared)
            return f"output {spec.name!r} differs by up to {np.nanmax(gap):.3g}"
    return ""


def _different(a: NDArray[Any], b: NDArray[Any]) -> int:
    """Count the whole numbers, booleans and texts that differ."""
    if a.dtype == object:
        return sum(not same_text(x, y) for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return int(np.count_nonzero(a != b))


def _close(a: NDArray[Any], b: NDArray[Any], *, half: bool) -> bool:
    """Equal but for the order in which a framework adds up at another batch size."""
    tolerance = 2e-2 if half or a.dtype.itemsize == 2 else 1e-3
    a, b = widened(a), widened(b)
    finite = np.abs(a[np.isfinite(a)]).astype(float)
    scale = float(finite.max()) if finite.size else 0.0
    return np.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
