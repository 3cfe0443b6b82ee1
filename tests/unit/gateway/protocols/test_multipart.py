"""The fields of a multipart form."""

from __future__ import annotations

import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.protocols.multipart import read_form
from tests.unit.gateway.protocols.one_servable import call, multipart


async def refused(body: bytes, headers: dict[bytes, bytes]) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        await read_form(call(body, headers))
    return caught.value


async def test_texts_and_files() -> None:
    """A part with a filename is its bytes, one without its text."""
    body, headers = multipart(("text", None, "grüß".encode()), ("image", "a.png", b"\x89PNG\xff"), ("empty", None, b""))
    assert await read_form(call(body, headers)) == {"text": "grüß", "image": b"\x89PNG\xff", "empty": ""}


async def test_a_file_may_hold_what_looks_like_a_form() -> None:
    """Only the boundary divides parts; line ends and dashes inside a file are its own."""
    content = b"\r\n--limi\r\nContent-Disposition: form-data\r\n\r\n--"
    assert await read_form(call(*multipart(("file", "f", content)))) == {"file": content}


async def test_a_large_file_is_whole() -> None:
    """A file that the parser puts on disk comes back as it was."""
    content = bytes(range(256)) * 8192
    assert await read_form(call(*multipart(("file", "f", content)))) == {"file": content}


@pytest.mark.parametrize("filename", [None, "f"])
async def test_a_field_given_twice_is_422(filename: str | None) -> None:
    """Which of the two counts would be a guess; the refusal names the field."""
    error = await refused(*multipart(("text", None, b"a"), ("text", filename, b"b")))
    assert (error.status, error.code) == (422, "invalid-input")
    assert "'text'" in error.detail


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", b"multipart/form-data"),
        (b"--x\r\n\r\n", b"multipart/form-data"),
        (b"no boundary at all", b"multipart/form-data; boundary=limit"),
        (b"--limit\r\nno header\r\n\r\na\r\n--limit--\r\n", b"multipart/form-data; boundary=limit"),
        (b"--limit\r\nContent-Type: text/plain\r\n\r\na\r\n--limit--\r\n", b"multipart/form-data; boundary=limit"),
        (
            b"--limit\r\nContent-Disposition: form-data\r\n\r\na\r\n--limit--\r\n",
            b"multipart/form-data; boundary=limit",
        ),
        (b"--limit\r\n", b"multipart/form-data; boundary=" + b"x" * 1000),
    ],
    ids=["empty", "no boundary", "not a form", "no header", "no disposition", "no name", "long boundary"],
)
async def test_a_broken_form_is_400(body: bytes, content_type: bytes) -> None:
    """A boundary or a header that is missing or broken is the form's fault, never a defect here."""
    error = await refused(body, {b"content-type": content_type})
    assert (error.status, error.code) == (400, "bad-form")


async def test_text_that_is_not_utf8_is_400() -> None:
    """As in JSON, no other encoding is guessed."""
    error = await refused(*multipart(("text", None, b"gr\xff")))
    assert (error.status, error.code) == (400, "bad-form")
    assert "UTF-8" in error.detail


@pytest.mark.parametrize("filename", [None, "f"])
async def test_a_form_that_is_cut_off_is_400(filename: str | None) -> None:
    """A last part that is not whole is not silently left out."""
    body, headers = multipart(("area", None, b"2"), ("garden", filename, b"true"))
    error = await refused(body[: body.index(b"true") + 2], headers)
    assert (error.status, error.code) == (400, "bad-form")


@pytest.mark.parametrize(("count", "filename"), [(17, "f"), (257, None)])
async def test_a_form_is_bounded_in_parts(count: int, filename: str | None) -> None:
    """More files or fields than any model takes are not collected."""
    parts = [(f"p{i}", filename, b"") for i in range(count)]
    error = await refused(*multipart(*parts))
    assert (error.status, error.code) == (400, "bad-form")
    assert len(await read_form(call(*multipart(*parts[:-1])))) == count - 1
