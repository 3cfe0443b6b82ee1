"""How large an answer will be, before it is built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock_common.manifest import Output
from penstock_common.tensors import NUMPY_DTYPES
from penstock_gateway.edge.bounds import over_bound

#: What a deployment that says nothing allows; 1.4 million FP32 values as JSON.
MAX_ANSWER_BYTES = 32 * 1024 * 1024

#: Characters of one value in JSON at most, with its comma.
_JSON_WIDTHS = {
    "BOOL": 6, "INT8": 5, "INT16": 7, "INT32": 12, "INT64": 21, "UINT8": 4, "UINT16": 6, "UINT32": 11, "UINT64": 21,
    "BF16": 24, "FP16": 24, "FP32": 24, "FP64": 25,
}  # fmt: skip
_WIDEST = 12  # characters for each byte of raw data: FP16 and BF16 have 24 for two


def json_size(raw: bytes, datatype: str) -> int:
    """The bytes of a raw tensor as JSON: at most this for numbers, about this for text."""
    if datatype == "BYTES":
        return len(raw)  # the four bytes of a length are its quotes, comma and an escape
    return len(raw) // NUMPY_DTYPES[datatype].itemsize * _JSON_WIDTHS[datatype]


def fits_as_json(outputs: Iterable[bytes], limit: int) -> bool:
    """Whether raw tensors of any datatype surely fit ``limit`` bytes of JSON; for the hot path."""
    return sum(map(len, outputs)) * _WIDEST <= limit


def check_json_size(tensors: Sequence[bytes], outputs: Sequence[Output], limit: int) -> None:
    """Refuse raw tensors that take more than ``limit`` bytes as JSON.

    Raises:
        PenstockError: 413 ``answer-too-large``.
    """
    if not fits_as_json(tensors, limit):
        sizes = [json_size(raw, output.datatype) for raw, output in zip(tensors, outputs, strict=True)]
        check_answer_size(sum(sizes), limit)


def check_answer_size(size: int, limit: int) -> None:
    """Refuse an answer of ``size`` bytes.

    Raises:
        PenstockError: 413 ``answer-too-large``.
    """
    if size > limit:
        text = (
            f"The answer would take up to {size:,} bytes, {limit:,} are allowed; ask for fewer rows or fewer outputs, "
            "or for binary data on /v2."
        )
        raise over_bound(413, "answer-too-large", "max_answer_bytes", limit, text)
