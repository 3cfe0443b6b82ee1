"""The gateway's HTTP protocol, each bound with bytes on a real connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.gateway.edge.front_door import Client, bounds, echo, listening, refuse, reply

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, *fields: bytes) -> bytes:
    lines = [b"POST /b HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join([*lines, b"", body])


async def flood(client: Client, piece: bytes, pieces: int) -> int:
    """Send pieces until the server closes; how many it took."""
    for sent in range(pieces):
        try:
            await client.send(piece)
        except ConnectionError:
            return sent
    return pieces


async def test_requests_follow_each_other_on_one_connection() -> None:
    """Each gets its answer, bodies in one piece, in several and in chunks."""
    async with listening(echo) as server:
        client = await server.connect()
        await client.send(GET)
        assert (await client.answer()).body == b"GET /a "
        await client.send(post(b"hello"))
        assert (await client.answer()).body == b"POST /b hello"
        data = post(b"x" * 1000)
        for start in range(0, len(data), 300):
            await client.send(data[start : start + 300])
            await asyncio.sleep(0)
        assert (await client.answer()).body == b"POST /b " + b"x" * 1000
        await client.send(b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
        answer = await client.answer()
        assert answer.body == b"POST /c abc"
        assert "connection" not in answer.headers


async def test_a_large_body_goes_in_and_a_large_answer_comes_out() -> None:
    """More than one read, one write or the transport's buffers hold."""
    body = bytes(range(256)) * 20_000
    async with listening(echo) as server:
        answer = await server.ask(post(body))
        assert answer.body == b"POST /b " + body


async def test_head_and_body_of_an_answer_leave_in_one_write() -> None:
    """A client on a slow network gets a small answer in one packet."""
    written: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        transport = receive.__self__._protocol.transport

        class Recorder:
            def __getattr__(self, name: str) -> Any:
                return getattr(transport, name)

            def write(self, data: bytes) -> None:
                written.append(data)
                transport.write(data)

        receive.__self__._protocol.transport = Recorder()
        await reply(send, b"body")

    async with listening(app) as server:
        await server.ask(GET)
    assert len(written) == 1 and written[0].endswith(b"\r\n\r\nbody")


async def test_a_stream_is_chunked_and_its_head_leaves_at_once() -> None:
    """A client sees the status before the first chunk is made."""
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"c"})

    async with listening(app) as server:
        client = await server.connect()
        await client.send(GET)
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        go_on.set()
        assert await client.until(b"0\r\n\r\n") == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
async def test_a_header_value_cannot_start_another_line(value: bytes) -> None:
    """An answer whose field has a line break in it is not sent."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await reply(send, b"", headers=[(b"x", value)])

    async with listening(app) as server:
        client = await server.connect()
        await client.send(GET)
        assert await client.closed()


async def test_an_answer_to_head_has_no_body() -> None:
    """Its length is the one that GET would have; the connection goes on."""
    async with listening(echo) as server:
        client = await server.connect()
        await client.send(b"HEAD /a HTTP/1.1\r\n\r\n" + GET)
        assert b"content-length: 8\r\n" in await client.until(b"\r\n\r\n")
        assert (await client.answer()).body == b"GET /a "


async def test_an_application_that_fails_is_500() -> None:
    """Before the first byte the client is answered, without words of the error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret")

    async with listening(app) as server:
        answer = await server.ask(GET)
        assert (answer.status, answer.body) == (500, b"")


# What a head may hold.


@pytest.mark.parametrize(
    ("start", "piece", "status", "bound"),
    [
        (b"GET /", b"a" * 50_000, 414, "max_url_bytes"),
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 8_000, 431, "max_header_fields"),
        (b"GET / HTTP/1.1\r\na: ", b"b" * 50_000, 431, "max_header_bytes"),
        (b"GET / HTTP/1.1\r\n", b"b" * 50_000, 431, "max_header_bytes"),
        (b"", b"\r\n" * 25_000, 431, "max_header_bytes"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 50_000, 431, "max_header_bytes"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: ", b"x" * 50_000, 431, "max_header_bytes"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 8_000, 431, "max_header_fields"),
    ],
    ids=["url", "short lines", "one line", "one name", "empty lines", "chunk extension", "trailer", "trailers"],
)
async def test_an_endless_head_is_refused(start: bytes, piece: bytes, status: int, bound: str) -> None:
    """Whatever never ends is refused after a bounded number of bytes, with the bound's name, and the connection closed."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            while (await receive())["more_body"]:
                pass
        except Exception as err:
            await reply(send, repr(err.extra["bound"]).encode(), err.status)  # type: ignore[attr-defined]

    async with listening(app, max_unread_bytes=1000) as server:
        client = await server.connect()
        await client.send(start)
        assert await flood(client, piece, 2_000) < 2_000
        answer = await client.answer()
        assert answer.status == status
        assert bound in answer.body.decode()
        assert answer.headers["connection"] == "close"
        assert not server.state.connections


@pytest.mark.parametrize(
    ("head", "status", "bound"),
    [
        (b"GET /" + b"a" * 100 + b" HTTP/1.1\r\n\r\n", 414, "max_url_bytes"),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 100 + b"\r\n\r\n", 431, "max_header_bytes"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 6 + b"\r\n", 431, "max_header_fields"),
    ],
)
async def test_a_head_over_a_bound_is_refused_in_one_piece(head: bytes, status: int, bound: str) -> None:
    """The bounds hold for a head that comes whole, and the problem says what to do."""
    async with listening(echo, max_url_bytes=50, max_header_bytes=100, max_header_fields=5) as server:
        answer = await server.ask(head)
        assert (answer.status, answer.problem["bound"]) == (status, bound)
        assert bound in answer.problem["detail"]
        assert answer.problem["request_id"] == answer.headers["x-request-id"]


async def test_a_head_within_the_bounds_may_come_byte_by_byte() -> None:
    """A head of exactly the allowed size is taken, however it is cut."""
    head = b"GET /" + b"u" * 49 + b" HTTP/1.1\r\n" + b"a: " + b"b" * 95 + b"\r\n\r\n"
    async with listening(echo, max_url_bytes=50, max_header_bytes=100, max_header_fields=5) as server:
        for size in (1, 7, len(head)):
            client = await server.connect()
            for start in range(0, len(head), size):
                await client.send(head[start : start + size])
                await asyncio.sleep(0)
            assert (await client.answer()).status == 200


async def test_many_large_requests_do_not_add_up() -> None:
    """The bounds are for each request, not for a connection."""
    async with listening(echo, max_header_bytes=100) as server:
        client = await server.connect()
        for _ in range(5):
            await client.send(post(b"x" * 500_000) + b"GET /next HTTP/1.1\r\nA: ")
            await client.answer()
            await client.send(b"b\r\n\r\n")
            assert (await client.answer()).body == b"GET /next "


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
async def test_what_is_not_http_is_400(data: bytes) -> None:
    """TLS, garbage and HTTP/2 get an answer that says so."""
    async with listening(echo) as server:
        answer = await server.ask(data)
        assert (answer.status, answer.problem["code"]) == (400, "bad-request")


async def test_the_gateway_is_not_a_proxy() -> None:
    """CONNECT is refused."""
    async with listening(echo) as server:
        assert (await server.ask(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")).status == 405


async def test_a_trailer_is_not_a_header() -> None:
    """A field behind the body cannot become the request's credential."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        seen.extend(scope["headers"])
        await reply(send, b"")

    async with listening(app) as server:
        await server.ask(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nAPI-Key: k\r\n\r\n")
    assert seen == [(b"transfer-encoding", b"chunked")]


# Upgrade.

OFFER = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIAAAAB")


@pytest.mark.parametrize("behind_head", [None, -60, -1, 0, 1, 20])
async def test_an_offer_of_another_protocol_is_ignored(behind_head: int | None) -> None:
    """The body is the request's, and what follows is the next request."""
    body = b"GET /smuggled HTTP/1.1\r\n\r\n"
    async with listening(echo) as server:
        client = await server.connect()
        data = post(body, *OFFER) + GET
        if behind_head is not None:
            cut = data.index(b"\r\n\r\n") + 4 + behind_head
            await client.send(data[:cut])
            await asyncio.sleep(0)
            await client.send(data[cut:])
        else:
            await client.send(data)
        assert (await client.answer()).body == b"POST /b " + body
        assert (await client.answer()).body == b"GET /a "


async def test_a_chunked_body_behind_an_offer_is_kept() -> None:
    """So is a WebSocket's offer, which the gateway does not take up either."""
    async with listening(echo) as server:
        answer = await server.ask(
            b"POST /d HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
        )
        assert answer.body == b"POST /d ab"


# One request behind another.


async def test_pipelined_requests_are_answered_in_turn() -> None:
    """Several requests in one packet, with and without a body."""
    async with listening(echo) as server:
        client = await server.connect()
        await client.send(GET + post(b"1") + GET + post(b"2"))
        assert [(await client.answer()).body for _ in range(4)] == [b"GET /a ", b"POST /b 1", b"GET /a ", b"POST /b 2"]


async def test_a_refusal_waits_for_the_answers_before_it() -> None:
    """A broken request behind good ones does not take their answers' place."""
    async with listening(echo) as server:
        client = await server.connect()
        await client.send(GET + GET + b"GET / HTTP/9\r\n\r\n")
        assert [(await client.answer()).status for _ in range(3)] == [200, 200, 400]
        assert await client.closed()


async def test_only_so_many_may_wait() -> None:
    """A connection holds a bounded number of requests, however small they are."""
    async with listening(echo, max_pipelined=2) as server:
        client = await server.connect()
        await client.send(GET * 5000)
        answers = [await client.answer() for _ in range(4)]
        assert [a.status for a in answers] == [200, 200, 200, 429]
        assert answers[-1].problem["bound"] == "max_pipelined"
        assert await client.closed()


# An answer before the request's end.


async def test_an_early_answer_keeps_the_connection_if_little_is_left() -> None:
    """A small body that comes after its refusal is read, and the next request is answered."""
    async with listening(refuse) as server:
        client = await server.connect()
        data = post(b"x" * 100)
        await client.send(data[:-100])
        assert (await client.answer()).status == 401
        await client.send(data[-100:])
        await client.send(GET)
        answer = await client.answer()
        assert answer.status == 401 and "connection" not in answer.headers


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 100000000000\r\n\r\n",
        b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    ],
)
async def test_an_early_answer_closes_the_connection_otherwise(head: bytes) -> None:
    """The client is told, and the rest of the body is not read."""
    async with listening(refuse) as server:
        client = await server.connect()
        await client.send(head)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        assert await flood(client, piece, 2_000) < 2_000
        assert not server.state.connections


async def test_a_client_that_waits_for_100_gets_it_once_its_body_is_wanted() -> None:
    """Expect: 100-continue."""
    async with listening(echo) as server:
        client = await server.connect()
        data = post(b"hello", b"Expect: 100-continue")
        await client.send(data[:-5])
        assert (await client.answer()).status == 100
        await client.send(data[-5:])
        assert (await client.answer()).body == b"POST /b hello"


# Time.


async def test_headers_that_do_not_come_are_408() -> None:
    """The time runs from the connection, whatever drips in."""
    async with listening(echo, header_seconds=10) as server:
        client = await server.connect()
        await client.send(b"GET / HTTP/1.1\r\nA")
        await until(lambda: any(c._in_head for c in server.state.connections))  # type: ignore[union-attr]
        server.later(9)
        server.later(11)
        answer = await client.answer()
        assert (answer.status, answer.problem["bound"]) == (408, "header_seconds")
        assert await client.closed()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    """Without an answer to a request that was not made."""
    async with listening(echo, header_seconds=10) as server:
        client = await server.connect()
        await until(lambda: server.state.connections)
        server.later(9)
        assert server.state.connections
        server.later(11)
        assert await client.closed()


async def test_an_idle_connection_is_kept_for_its_time() -> None:
    """75 s by default, longer than the balancers in front keep theirs."""
    assert bounds().keep_alive_seconds >= 75
    async with listening(echo) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(GET)
            assert (await client.answer()).status == 200
            server.later(74)
        server.later(76)
        assert await client.closed()


async def test_the_next_head_has_a_time_of_its_own() -> None:
    """A connection that was idle for a while is not late with its next request at once, but later."""
    async with listening(echo, header_seconds=10) as server:
        client = await server.connect()
        await client.send(GET + b"GET ")
        assert (await client.answer()).status == 200
        server.later(9)
        server.later(11)
        assert (await client.answer()).status == 408


async def test_an_answer_that_does_not_come_is_504() -> None:
    """The work is cancelled and the client told."""
    cancelled = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with listening(app, answer_seconds=20) as server:
        client = await server.connect()
        await client.send(GET)
        await until(lambda: server.state.tasks)
        server.later(19)
        server.later(21)
        answer = await client.answer()
        assert (answer.status, answer.problem["bound"]) == (504, "answer_seconds")
        async with asyncio.timeout(5):
            await cancelled.wait()


async def test_an_answer_may_take_what_its_route_allows() -> None:
    """Only after that does the last resort count; once a part is sent, it counts from there again."""
    sent = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["penstock.seconds"] = 600
        await sent.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.Event().wait()

    async with listening(app, answer_seconds=20) as server:
        client = await server.connect()
        await client.send(GET)
        await until(lambda: server.state.tasks)
        server.later(21)
        server.later(619)
        sent.set()
        await until(lambda: [connection for connection in server.state.connections if connection.cycle.started])
        server.later(19)
        assert server.state.tasks
        server.later(21)
        await until(lambda: not server.state.tasks)


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    """What it does not take of a stream is not kept for it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})

    async with listening(app) as server:
        client = await server.connect()
        await client.send(GET)
        await until(lambda: any(c.flow and c.flow.write_paused for c in server.state.connections))
        server.later(61)
        await until(lambda: not server.state.connections and not server.state.tasks)


async def test_the_rest_of_an_answered_request_is_awaited_for_a_while() -> None:
    """Then the connection is closed."""
    async with listening(refuse, linger_seconds=2) as server:
        client = await server.connect()
        await client.send(post(b"x" * 100)[:-1])
        assert (await client.answer()).status == 401
        server.later(1)
        assert server.state.connections
        server.later(3)
        assert await client.closed()


async def until(condition: Any) -> None:
    """Wait for ``condition``."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


# Connections.


async def test_a_connection_too_many_is_503() -> None:
    """It is answered, not reset; once another closes there is room again."""
    async with listening(echo, max_connections=2) as server:
        clients = [await server.connect() for _ in range(2)]
        for client in clients:
            await client.send(GET)
            assert (await client.answer()).status == 200
        refused = await server.connect()
        answer = await refused.answer()
        assert (answer.status, answer.problem["bound"], answer.headers["retry-after"]) == (503, "max_connections", "1")
        assert await refused.closed()
        clients[0].close()
        await until(lambda: len(server.state.connections) == 1)
        assert (await server.ask(GET)).status == 200


async def test_an_address_has_a_bound_of_its_own() -> None:
    """Others are not refused for what one address holds."""
    async with listening(echo, max_connections_per_address=1) as server:
        first = await server.connect()
        await first.send(GET)
        await first.answer()
        assert (await (await server.connect()).answer()).problem["bound"] == "max_connections_per_address"
        other = await server.connect("127.0.0.2")
        await other.send(GET)
        assert (await other.answer()).status == 200


async def test_a_server_that_stops_finishes_what_it_answers() -> None:
    """Idle connections close at once, the others after their answer."""
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await reply(send, b"done")

    async with listening(app) as server:
        busy, silent = await server.connect(), await server.connect()
        await busy.send(GET)
        await until(lambda: server.state.tasks and len(server.state.connections) == 2)
        for connection in list(server.state.connections):
            connection.shutdown()
        assert await silent.closed()
        go_on.set()
        answer = await busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        assert await busy.closed()
