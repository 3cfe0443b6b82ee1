"""Checked rows on their way to a model."""

from __future__ import annotations

import msgspec
from opentelemetry import trace


class Rows(msgspec.Struct):
    """The rows of one request, checked and encoded.

    ``inputs`` holds the raw tensor of each input in the order of the signature, ``count`` rows each.
    """

    inputs: list[bytes]
    count: int
    #: The request was a list, so its answer is one, also for a single row.
    is_list: bool = False
    #: The id of the caller, whose turn in the queue the rows take.
    principal: str = ""
    #: The request's span, for the trace of the bundle that carries the rows.
    span: trace.Span = trace.INVALID_SPAN
