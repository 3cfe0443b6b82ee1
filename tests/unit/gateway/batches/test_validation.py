"""What a batch's input file may have, line by line."""

from __future__ import annotations

import asyncio

import pytest

from penstock_gateway.batches.validation import validate
from tests.unit.gateway.batches.working import CHAT, chunked, request, requests


async def check(data: bytes, *, max_lines: int = 1000, max_line_bytes: int = 1000) -> list[tuple[int | None, str]]:
    """The errors of a file, whatever pieces it comes in."""
    found = [
        await validate(chunked(data, size), CHAT, max_lines, max_line_bytes) for size in (1, 7, 1000, len(data) or 1)
    ]
    assert all(one == found[0] for one in found)
    return [(err.line, err.code) for err in found[0][1]]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_a_good_file(end: bytes) -> None:
    """Its requests are counted; empty lines are none, and the last one needs no end."""
    data = requests(3).replace(b"\n", end) + end + request(3).strip()
    assert await validate(chunked(data), CHAT, 4, 1000) == (4, [])


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "invalid_json_line"),
        (b"\xff\xfe", "invalid_json_line"),
        (b"[]", "invalid_line"),
        (b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions"}', "invalid_line"),
        (request(1, custom_id=7), "invalid_line"),
        (request(1, custom_id=""), "invalid_custom_id"),
        (request(1, custom_id="x" * 513), "invalid_custom_id"),
        (request(1, method="GET"), "invalid_method"),
        (request(1, url="/v1/embeddings"), "invalid_url"),
        (request(1, body=[]), "invalid_line"),
        (request(1, body={"stream": True}), "stream_not_supported"),
        (b"x" * 1001, "line_too_long"),
    ],
)
async def test_a_bad_line(line: bytes, code: str) -> None:
    """The error has its number, counted from 1 with the empty lines."""
    assert await check(request(0) + b"\n" + line.strip() + b"\n") == [(3, code)]


async def test_ids_that_stand_twice() -> None:
    """Each repetition is an error."""
    assert await check(requests(2) + requests(2)) == [(3, "duplicate_custom_id"), (4, "duplicate_custom_id")]


async def test_bounds_of_a_file() -> None:
    """Too many requests, none at all, and more errors than anybody reads."""
    assert await check(requests(5), max_lines=4) == [(5, "too_many_requests")]
    assert await check(b"\n \n") == [(None, "empty_file")]
    assert len(await check(b"{\n" * 500)) == 100


async def test_a_line_without_an_end_is_not_kept() -> None:
    """No more is read of a file than shows that a line is too long."""
    read = 0

    async def endless():  # type: ignore[no-untyped-def]
        nonlocal read
        while True:
            read += 1
            yield b"x" * 100

    _, [error] = await validate(endless(), CHAT, 10, 1000)
    assert (error.line, error.code, read) == (1, "line_too_long", 11)


async def test_others_have_their_turns_meanwhile() -> None:
    """A file of a few million empty lines holds up nobody: between any two pieces of it, others go on."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await validate(chunked(b"\n" * 2_000_000, 1_000_000), CHAT, 10, 1000)
    beside.cancel()
    assert turns >= 30
