"""A form whose file is passed on as it arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Call, Message
from penstock_gateway.protocols.upload_form import UploadForm
from tests.unit.gateway.protocols.one_servable import call, multipart

CONTENT = b"one\r\n--limi\r\ntwo\n\xff" * 100


def arriving(pieces: Sequence[bytes], headers: dict[bytes, bytes], *, whole: bool = True) -> Call:
    """A call whose body comes piece by piece; then its client is gone, unless the body is whole."""
    left = list(pieces)

    async def receive() -> Message:
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not whole}

    given = call(headers=headers)
    given.receive = receive
    return given


async def read(form: UploadForm) -> bytes:
    return b"".join([chunk async for chunk in form.chunks()])


async def refused(body: bytes, headers: dict[bytes, bytes], *, whole: bool = True) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        await read(UploadForm(arriving([body], headers, whole=whole)))
    return caught.value


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
async def test_the_file_and_the_fields_come_in_any_order_and_any_pieces(size: int) -> None:
    """Whatever a piece ends with."""
    body, headers = multipart(
        ("purpose", None, b"batch"), ("file", "ü.jsonl", CONTENT), ("expires_after[seconds]", None, b"3600")
    )
    form = UploadForm(arriving([body[i : i + size] for i in range(0, len(body), size)], headers))
    assert await read(form) == CONTENT
    assert form.filename == "ü.jsonl"
    assert form.fields == {"purpose": "batch", "expires_after[seconds]": "3600"}


async def test_a_large_file_is_not_held() -> None:
    """It is passed on in pieces of about 256 kB."""
    body, headers = multipart(("file", "f", b"x" * 5_000_000))
    form = UploadForm(arriving([body[i : i + 65536] for i in range(0, len(body), 65536)], headers))
    sizes = [len(chunk) async for chunk in form.chunks()]
    assert sum(sizes) == 5_000_000
    assert max(sizes) < 400_000


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", b"application/json"),
        (b"", b"multipart/form-data"),
        (b"", b"multipart/form-data; boundary=" + b"x" * 1000),
        (b"no boundary at all", b"multipart/form-data; boundary=limit"),
        (multipart(("file", "f", b"x"))[0][:-4], b"multipart/form-data; boundary=limit"),
        (multipart(("purpose", None, b"batch"))[0], b"multipart/form-data; boundary=limit"),
        (multipart(("file", "f", b"x"), ("file", "g", b"y"))[0], b"multipart/form-data; boundary=limit"),
        (multipart(("purpose", None, b"\xff"), ("file", "g", b"y"))[0], b"multipart/form-data; boundary=limit"),
        (multipart(("purpose", None, b"x" * 70_000), ("file", "g", b""))[0], b"multipart/form-data; boundary=limit"),
        (multipart(*[("a", None, b"")] * 65, ("file", "g", b""))[0], b"multipart/form-data; boundary=limit"),
    ],
)
async def test_a_broken_form_is_400(body: bytes, content_type: bytes) -> None:
    """Also one without its file, with two, and with fields that nobody needs to send."""
    err = await refused(body, {b"content-type": content_type})
    assert (err.status, err.code) == (400, "bad-form")


async def test_a_client_that_leaves() -> None:
    """What came is not a file."""
    body, headers = multipart(("file", "f", b"x"))
    assert (await refused(body[:-20], headers, whole=False)).status == 499


async def test_a_file_that_does_not_arrive_in_time() -> None:
    """The refusal names the setting."""
    _, headers = multipart()
    given = call(headers=headers)
    given.deadline = time.monotonic() + 0.05

    async def never() -> Message:
        return await asyncio.get_running_loop().create_future()

    given.receive = never
    with pytest.raises(PenstockError) as caught:
        await read(UploadForm(given))
    assert (caught.value.status, caught.value.extra["bound"]) == (408, "stream_seconds")
