"""A refusal for a limit names the limit: a setting, in the table of docs/limits.md."""

from __future__ import annotations

import asyncio
import base64
import gzip
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.dataplane.coalescer import Coalescer
from penstock_gateway.edge.content_encoding import decode_body
from penstock_gateway.signature.answer_size import check_answer_size
from penstock_gateway.signature.request_bounds import RequestBounds
from penstock_gateway.signature.row_decoder import RowDecoder

TABLE = (Path(__file__).parents[3] / "docs" / "limits.md").read_text()
BOUNDS = RequestBounds(
    max_rows=3, max_image_pixels=100, max_image_scans=2, max_request_pixels=200, max_request_audio_seconds=50
)
MB = 1024 * 1024


def rows(kind: FieldKind, *values: bytes) -> None:
    manifest = Manifest(Format.ONNX, "m.onnx", Task.TENSOR, [Field("x", kind, "BYTES")], [Output("y", "FP32")])
    RowDecoder(manifest, BOUNDS).decode_json(
        orjson.dumps([{"x": base64.b64encode(value).decode()} for value in values])
    )


def jpeg(width: int, height: int, scans: int = 1) -> bytes:
    return b"\xff\xd8\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width) + bytes(10) + b"\xff\xda\0\x02" * scans


def compressed(size: int, limit: int) -> None:
    asyncio.run(decode_body(gzip.compress(bytes(size)), b"gzip", limit, 100))


def queued(rows: int, size: int) -> None:
    async def submit() -> None:
        async def send(items: Any, deadline: float) -> Any:
            await asyncio.Event().wait()

        queue: Coalescer[int, int] = Coalescer(
            send, blames_item=lambda _: False, max_outstanding=lambda: 0, max_queued_rows=2, max_queued_size=20
        )
        for item in range(2):
            queue.submit(item, rows, size, "ann", time.monotonic() + 60)

    asyncio.run(submit())


@pytest.mark.parametrize(
    ("provoke", "bound", "limit"),
    [
        (lambda: rows(FieldKind.TEXT, *[b"a"] * 4), "max_rows", 3),
        (lambda: rows(FieldKind.IMAGE, jpeg(11, 10)), "max_image_pixels", 100),
        (lambda: rows(FieldKind.IMAGE, jpeg(1, 1, scans=3)), "max_image_scans", 2),
        (lambda: rows(FieldKind.IMAGE, *[jpeg(10, 10)] * 3), "max_request_pixels", 200),
        (lambda: rows(FieldKind.AUDIO, b"ID3"), "max_request_audio_seconds", 50),  # counts as a minute
        (lambda: compressed(5 * MB, 8 * MB), "max_decoded_ratio", 100),
        (lambda: compressed(5 * MB, MB), "max_body_bytes", MB),
        (lambda: check_answer_size(11, 10), "max_answer_bytes", 10),
        (lambda: queued(rows=2, size=1), "max_queue_rows", 2),
        (lambda: queued(rows=1, size=20), "max_queue_bytes", 20),
    ],
)
def test_a_refusal_names_its_bound(provoke: Callable[[], None], bound: str, limit: float) -> None:
    """Its ``bound`` and ``limit`` are a setting and its value; the setting is in the table with the status."""
    with pytest.raises(PenstockError) as caught:
        provoke()
    refusal = caught.value
    assert (refusal.extra["bound"], refusal.extra["limit"]) == (bound, limit)
    assert f"{bound} = {limit}" in refusal.detail
    line = next(line for line in TABLE.splitlines() if line.startswith(f"| `{bound}` |"))
    assert f"| {refusal.status} |" in line
