"""Servers that do what they should not: each ends in an error that says so, in bounded time and memory."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from penstock_cli.local_certificate import AUTHORITY, CERTIFICATE, KEY, ensure_certificate
from penstock_common.errors import PenstockError
from penstock_common.remotes import Remote
from penstock_gateway.remotes import server as server_module
from penstock_gateway.remotes.remote_files import trusted
from penstock_gateway.remotes.server import RemoteServer
from tests.unit.gateway.remotes.foreign_server import (
    HELLO,
    Behaviour,
    ForeignServer,
    answers,
    delta,
    hangs,
    hangs_up,
    raised,
    remote_server,
    streams,
    write_piece,
)
from tests.unit.gateway.remotes.test_remote_text import gathered, rows, servable

SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(server_module, "_FIRST_PAUSE", 0.0)


async def asked(foreign: ForeignServer, seconds: float = 20.0, **members: Any) -> PenstockError:
    """What a request to the server ends with."""
    text = servable(remote_server(foreign.url, SECRET, **members))
    err = await raised(gathered(text, rows(text), seconds))
    assert SECRET not in str(err.problem())
    return err


async def drips_comments(writer: asyncio.StreamWriter) -> None:
    while True:
        await write_piece(writer, b": still here\n\n")
        await asyncio.sleep(0.001)


async def floods(writer: asyncio.StreamWriter) -> None:
    while True:
        await write_piece(writer, b"data: %b\n\n" % orjson.dumps(delta("x" * 10_000)))


async def never_ends_a_line(writer: asyncio.StreamWriter) -> None:
    await write_piece(writer, b"data: ")
    while True:
        await write_piece(writer, b"x" * 65_536)


async def never_ends_its_head(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: " + b"x" * 1000 + b"\r\n")
        await writer.drain()


async def speaks_no_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
    await writer.drain()
    await asyncio.Event().wait()


MISBEHAVIOURS: dict[str, tuple[Behaviour, int, str]] = {
    "hangs up without an answer": (hangs_up, 503, "remote-unavailable"),
    "speaks no HTTP": (speaks_no_http, 503, "remote-unavailable"),
    "never ends its head": (never_ends_its_head, 503, "remote-unavailable"),
    "hangs before its head": (hangs, 504, "remote-silent"),
    "hangs after its head": (streams(then=hangs), 504, "remote-silent"),
    "hangs in its stream": (streams(delta("a"), then=hangs), 504, "remote-silent"),
    "closes in its stream": (streams(delta("a"), then=hangs_up), 503, "remote-unavailable"),
    "ends its stream too early": (streams(delta("a"), end=b""), 503, "remote-unavailable"),
    "sends comments without end": (streams(then=drips_comments), 504, "remote-silent"),
    "floods": (streams(then=floods), 500, "bad-remote-answer"),
    "never ends a line": (streams(then=never_ends_a_line), 500, "bad-remote-answer"),
    "fails": (answers(500, {"error": {"message": "Traceback: /srv/app.py"}}), 503, "remote-unavailable"),
    "is overloaded": (answers(503), 503, "remote-unavailable"),
    "takes no more": (answers(429, retry_after="600"), 503, "remote-busy"),
    "does not take the credential": (answers(401), 503, "remote-refused-credential"),
    "lacks the route": (answers(404), 503, "remote-unavailable"),
    "sends no JSON": (streams(b"data: {nonsense\n\n"), 500, "bad-remote-answer"),
    "sends other JSON": (streams({"choices": [{"delta": "Hello"}]}), 500, "bad-remote-answer"),
    "sends another type": (answers(200, b"<html>", "text/html"), 500, "bad-remote-answer"),
    "compresses": (answers(200, b"", "text/event-stream", content_encoding="gzip"), 500, "bad-remote-answer"),
    "redirects": (answers(307, location="http://127.0.0.1:9/elsewhere"), 503, "remote-unavailable"),
    "says an error in its stream": (streams(delta("a"), {"error": {"message": "no"}}), 503, "remote-unavailable"),
    "counts tokens without end": (streams({"usage": {"completion_tokens": 2**40}}), 500, "bad-remote-answer"),
}


@pytest.mark.parametrize("name", MISBEHAVIOURS)
async def test_a_misbehaviour_ends_in_an_error_that_says_so(name: str) -> None:
    """With a status, a code and a time to try again; nothing that the server said of itself, and no connection left."""
    behaviour, status, code = MISBEHAVIOURS[name]
    patience = 0.2 if code == "remote-silent" else 20.0
    async with ForeignServer(behaviour) as foreign:
        err = await asked(foreign, 60.0, first_seconds=patience, idle_seconds=patience, most=5_000_000)
    assert (err.status, err.code) == (status, code)
    assert "gpt" in err.detail
    assert "Traceback" not in err.detail
    assert ("Retry-After" in err.headers) == (status == 503)


async def test_a_server_that_is_not_there() -> None:
    """Refuses the connection, three times."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        text = servable(remote_server(f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
        err = await raised(gathered(text, rows(text)))
    assert (err.status, err.code) == (503, "remote-unavailable")


async def test_the_deadline_of_a_request_ends_it() -> None:
    """Whatever the remote's own bounds are."""
    async with ForeignServer(streams(delta("a"), then=hangs)) as foreign:
        err = await asked(foreign, seconds=1.0)
        await asyncio.wait_for(foreign.left.wait(), 10)
    assert (err.status, err.code) == (504, "deadline-exceeded")


@pytest.mark.parametrize("first", [hangs_up, answers(502), answers(503), answers(429, retry_after="0")])
async def test_what_has_not_begun_is_asked_again(first: Behaviour) -> None:
    """Twice at most, and the caller notices nothing."""
    async with ForeignServer(first, first, HELLO) as foreign:
        text = servable(remote_server(foreign.url))
        assert (await gathered(text, rows(text))).text == "Hello"
        assert len(foreign.requests) == 3


@pytest.mark.parametrize("first", [answers(500), answers(400), answers(401), streams(delta("a"), then=hangs_up)])
async def test_what_has_begun_or_would_fail_again_is_asked_once(first: Behaviour) -> None:
    """A text would begin again, and a refusal stays one."""
    async with ForeignServer(first, HELLO) as foreign:
        await asked(foreign)
        assert len(foreign.requests) == 1


async def test_a_wait_that_is_longer_than_the_request_is_passed_on() -> None:
    """The caller learns how long the server wants to be left alone."""
    async with ForeignServer(answers(429, retry_after="600"), HELLO) as foreign:
        err = await asked(foreign)
        assert (len(foreign.requests), err.headers["Retry-After"]) == (1, "600")


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "messages[0].role: is not\nknown" + "x" * 10_000}},
        {"detail": "messages[0].role: is not\nknown"},
        {"error": "messages[0].role: is not\nknown", "code": 7},
    ],
)
async def test_a_refusal_of_the_request_says_why(body: dict[str, Any]) -> None:
    """In the server's words, on one line and not many of them."""
    async with ForeignServer(answers(400, body)) as foreign:
        err = await asked(foreign)
    assert (err.status, err.code) == (400, "remote-refused-request")
    assert "messages[0].role: is not known" in err.detail
    assert len(err.detail) < 500


async def test_a_message_with_the_credential_is_not_passed_on() -> None:
    """Some servers quote it."""
    async with ForeignServer(answers(400, {"error": {"message": f"no such key: {SECRET}"}})) as foreign:
        err = await asked(foreign)
    assert "does not say why" in err.detail


async def test_a_redirect_gets_neither_request_nor_credential() -> None:
    """Even to a server that would answer."""
    async with ForeignServer(HELLO) as other:
        async with ForeignServer(answers(307, location=f"{other.url}/chat/completions")) as foreign:
            await asked(foreign)
        assert other.requests == []


async def test_too_many_requests_at_once_wait_and_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A remote has so many connections of a gateway and no more."""
    monkeypatch.setattr(server_module, "_CONNECT_SECONDS", 0.5)
    async with ForeignServer(streams(delta("a"), then=hangs)) as foreign:
        text = servable(remote_server(foreign.url, max_connections=1))
        chunks = text.stream(rows(text), time.monotonic() + 20)
        await anext(chunks)
        err = await raised(gathered(text, rows(text)))
        await chunks.aclose()
    assert (err.status, err.code, err.extra) == (503, "overloaded", {"limit": 1})


def tls_context(folder: Path) -> ssl.SSLContext:
    ensure_certificate(folder, datetime.datetime.now(datetime.UTC))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    return context


async def test_a_certificate_is_always_checked(tmp_path: Path) -> None:
    """One of an unknown authority is not reached; with the authority named, it answers."""
    async with ForeignServer(HELLO, tls=tls_context(tmp_path)) as foreign:
        err = await asked(foreign)
        assert (err.status, err.code, foreign.requests) == (503, "remote-unavailable", [])
        authority = trusted((tmp_path / AUTHORITY).read_text())
        text = servable(RemoteServer("gpt", Remote(url=foreign.url, model="m"), authority, SECRET, 10_000))
        assert (await gathered(text, rows(text))).text == "Hello"


async def test_plain_http_to_a_port_of_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the other way round: neither is reached."""
    monkeypatch.setattr(server_module, "_CONNECT_SECONDS", 0.1)
    async with ForeignServer(HELLO, tls=tls_context(tmp_path)) as over_tls, ForeignServer(HELLO) as plain:
        for url in (over_tls.url.replace("https", "http"), plain.url.replace("http", "https")):
            text = servable(remote_server(url))
            assert (await raised(gathered(text, rows(text)))).code == "remote-unavailable"


@pytest.mark.parametrize(
    ("behaviour", "ready"),
    [(answers(200, {"data": []}), True), (answers(404), True), (answers(401), False), (answers(500), False)],
)
async def test_a_look_finds_out_whether_a_server_answers(behaviour: Behaviour, ready: bool) -> None:
    """By its list of models, which it need not have."""
    async with ForeignServer(behaviour) as foreign:
        server = remote_server(foreign.url, SECRET)
        await server.look()
        assert server.ready is ready
        assert foreign.requests[0][:2] == ("GET", "/v1/models")
