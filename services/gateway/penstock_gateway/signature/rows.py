"""Checked rows on their way to a model."""

from __future__ import annotations

import msgspec
from opentelemetry import trace


class Rows(msgspec.Struct):
    """The rows of one request, checked and encoded.

    ``inputs`` holds the raw tensor of each input in the order of the signature, ``count`` rows each; empty for one
    that is absent.
    """

    inputs: list[bytes]
    count: int
    #: The request was a list, so its answer is one, also for a single row.
    is_list: bool = False
    #: The shape of a row of each input, None for one that is absent; None if the signature fixes all of them.
    shapes: tuple[tuple[int, ...] | None, ...] | None = None
    #: Bytes that decoding the images amounts to; see ``signature.image_work``. 0 without images.
    image_work: int = 0
    #: The id of the caller, whose turn in the queue the rows take.
    principal: str = ""
    #: Who has answered them, for a model that is not of this installation's pods alone: ``local`` or ``remote:<name>``.
    served_by: str = ""
    #: The request's span, for the trace of the bundle that carries the rows.
    span: trace.Span = trace.INVALID_SPAN


class RawOutputs(msgspec.Struct, gc=False):
    """A model's answer to the rows of one request.

    ``tensors`` are raw and in the order of the signature. ``shapes`` are those of a row of each; None if the signature
    fixes all of them.
    """

    tensors: list[bytes]
    shapes: list[tuple[int, ...]] | None = None
