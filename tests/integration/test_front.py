"""TLS and HTTP/2 before a gateway: a real Envoy in front of the gateway's own protocol."""

from __future__ import annotations

import asyncio
import datetime
import json
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn
from cryptography import x509
from uvicorn.server import ServerState

from penstock_cli.local_certificate import ensure_certificate
from penstock_gateway.edge.connection_phases import patience
from penstock_gateway.edge.door import Door
from penstock_gateway.edge.front import listen_to_front
from penstock_gateway.edge.http_protocol import FrontDoorProtocol
from tests.abuse.gateway import KEYS, running_gateway
from tests.integration.front import Front, Http2, front_socket, running_front
from tests.unit.gateway.edge.front_door import App, bounds, echo, refuse, reply

BOTH = pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])


async def who(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what the gateway knows of the client."""
    fields = {name.decode(): value.decode() for name, value in scope["headers"]}
    await reply(send, json.dumps({"client": scope["client"], "scheme": scope["scheme"], "fields": fields}).encode())


@asynccontextmanager
async def fronted(
    home: Path, app: App, *, gateway: dict[str, Any] | None = None, **manager: Any
) -> AsyncIterator[Front]:
    """``app`` behind the gateway's protocol, with ``gateway`` of its bounds changed, behind a front."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none", proxy_headers=False)
    config.load()
    state = ServerState()
    held = bounds(**(gateway or {}))
    door = Door(held, patience(held))
    server = await listen_to_front(front_socket(home), lambda: FrontDoorProtocol(door, config, state, {}))
    watch = asyncio.create_task(door.watch())
    try:
        with running_front(home, **manager) as front:
            yield front
    finally:
        server.close()
        watch.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run a blocking client beside the gateway."""
    async with asyncio.timeout(60):
        return await asyncio.to_thread(work, *arguments)


# What a client gets.


@BOTH
async def test_a_client_speaks_its_version_of_http(tmp_path: Path, http2: bool) -> None:
    """Requests with small and large bodies are answered over TLS, one after the other and at once."""
    large = bytes(range(256)) * 10_000
    async with fronted(tmp_path, echo) as front, front.client(http2=http2) as client:
        for body in (b"hello", large):
            answer = await client.post("/a", content=body)
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert answer.content == b"POST /a " + body
            assert "server" not in answer.headers
        if not http2:  # httpcore would end each stream by a frame of its own, and fails if the answer is there before
            answers = await asyncio.gather(*(client.post(f"/{i}", content=b"x") for i in range(50)))
            assert [answer.content for answer in answers] == [f"POST /{i} x".encode() for i in range(50)]


@pytest.mark.parametrize("end", [True, False], ids=["ended", "open"])
async def test_many_bodies_at_once_are_answered_on_one_http2_connection(tmp_path: Path, end: bool) -> None:
    """A body that has its announced length is answered, although the client may end its stream later or never."""
    async with fronted(tmp_path, echo) as front:
        connection = Http2(await in_thread(front.connect, "h2"))
        length = [("content-length", "1")]
        streams = [connection.request(f"/{i}", length, method="POST", end=False) for i in range(50)]
        for stream in streams:
            connection.send(stream, b"x", end=end)
        answers = [await in_thread(connection.answer, stream) for stream in streams]
    assert [answer["body"] for answer in answers] == [f"POST /{i} x".encode() for i in range(50)]
    assert all(answer["status"] == 200 and answer["ended"] for answer in answers)


@BOTH
async def test_a_stream_arrives_as_it_is_made(tmp_path: Path, http2: bool) -> None:
    """The client has read each event before the next one is made."""
    more = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            await more.wait()
            more.clear()
        await send({"type": "http.response.body", "body": b""})

    async with (
        fronted(tmp_path, app) as front,
        front.client(http2=http2) as client,
        client.stream("GET", "/") as answer,
    ):
        seen = []
        async with asyncio.timeout(20):
            async for event in answer.aiter_raw():
                seen.append(event)
                more.set()
    assert seen == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


@BOTH
async def test_the_gateway_sees_the_client(tmp_path: Path, http2: bool) -> None:
    """Its address is the one that it connects from, whatever it writes into its headers; its own request id stays."""
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Request-ID": "mine", "Forwarded": "for=203.0.113.9"}
    async with fronted(tmp_path, who) as front, front.client(http2=http2, address="127.0.0.7") as client:
        seen = (await client.get("/", headers=forged)).json()
    assert seen["client"][0] == "127.0.0.7"
    assert seen["scheme"] == "https"
    assert seen["fields"]["x-request-id"] == "mine"
    assert seen["fields"]["x-forwarded-for"] != "203.0.113.9"


async def test_an_address_that_takes_all_is_refused_alone(tmp_path: Path) -> None:
    """Requests under way of one address are bounded by the gateway's setting, and others are served meanwhile."""
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await go_on.wait()
        await reply(send, b"done")

    async with fronted(tmp_path, app, gateway={"max_connections_per_address": 3}) as front:
        greedy = Http2(await in_thread(front.connect, "h2", "127.0.0.7"))
        streams = [greedy.request("/slow") for _ in range(4)]
        refused = await in_thread(greedy.first_answer)
        assert refused["status"] == 503
        assert json.loads(refused["body"])["bound"] == "max_connections_per_address"
        async with front.client(http2=True) as innocent:
            assert (await innocent.get("/")).content == b"done"
        go_on.set()
        answers = [await in_thread(greedy.answer, stream) for stream in streams]
        assert sorted(answer["status"] for answer in answers) == [200, 200, 200, 503]


async def test_an_offer_of_another_protocol_is_ignored(tmp_path: Path) -> None:
    """As the gateway does without a front."""
    offer = {"Connection": "Upgrade", "Upgrade": "websocket"}
    async with fronted(tmp_path, echo) as front, front.client(http2=False) as client:
        assert (await client.post("/a", content=b"b", headers=offer)).content == b"POST /a b"


async def test_the_gateway_decides_whether_it_wants_a_body(tmp_path: Path) -> None:
    """A client that asks first (Expect: 100-continue) is refused before it sends."""

    def ask(front: Front) -> bytes:
        with front.connect("http/1.1") as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
            return sock.recv(4096)

    async with fronted(tmp_path, refuse) as front:
        assert (await in_thread(ask, front)).startswith(b"HTTP/1.1 401")


async def test_a_gateway_that_is_away_is_a_problem_document(tmp_path: Path) -> None:
    """503 that says to try again, while nobody listens on the socket."""
    with running_front(tmp_path) as front:
        async with front.client(http2=True) as client:
            answer = await client.get("/")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "gateway-unavailable"


# TLS.


def serial(front: Front) -> int:
    """The number of the certificate that is served, whoever signed it."""
    pem = ssl.get_server_certificate(("127.0.0.1", front.port), timeout=20)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


async def test_a_new_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    """Once it is moved into the folder, new connections get it; one that was open goes on."""
    async with fronted(tmp_path, echo) as front, front.client(http2=True) as open_before:
        await open_before.get("/a")
        before = await in_thread(serial, front)
        (front.settings.certificates / "ca.crt").unlink()
        assert ensure_certificate(front.settings.certificates, datetime.datetime.now(datetime.UTC))
        async with asyncio.timeout(20):
            while await in_thread(serial, front) == before:
                await asyncio.sleep(0.05)
        assert (await open_before.get("/a")).content == b"GET /a "


async def test_the_end_of_the_certificate_that_is_served_is_a_metric(tmp_path: Path) -> None:
    """The alerts on its expiry read it; after a rotation it is that of the new certificate."""
    series = "envoy_listener_ssl_certificate_expiration_unix_time_seconds"
    certificates = tmp_path / "tls"

    def end() -> float:
        return x509.load_pem_x509_certificate((certificates / "tls.crt").read_bytes()).not_valid_after_utc.timestamp()

    async with fronted(tmp_path, echo) as front:
        before = end()
        assert await in_thread(front.metric, series) == before
        (certificates / "ca.crt").unlink()
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        assert ensure_certificate(certificates, yesterday)
        assert end() < before
        async with asyncio.timeout(20):
            while await in_thread(front.metric, series) != end():
                await asyncio.sleep(0.05)


async def test_a_changed_secret_is_served_as_kubelets_mount_it(tmp_path: Path) -> None:
    """The files are links into a folder that a link names; a new folder takes its place in one step."""
    mount = tmp_path / "tls"
    now = datetime.datetime.now(datetime.UTC)
    for version in ("..1", "..2"):
        ensure_certificate(mount / version, now)
    (mount / "..data").symlink_to("..1")
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    async with fronted(tmp_path, echo) as front:
        before = await in_thread(serial, front)
        (mount / "..data_tmp").symlink_to("..2")
        (mount / "..data_tmp").replace(mount / "..data")
        async with asyncio.timeout(20):
            while await in_thread(serial, front) == before:
                await asyncio.sleep(0.05)
        async with front.client(http2=True) as client:
            assert (await client.get("/a")).content == b"GET /a "


async def test_a_pair_that_does_not_match_is_not_served(tmp_path: Path) -> None:
    """The certificate before it stays in use."""
    async with fronted(tmp_path, echo) as front:
        before = await in_thread(serial, front)
        other = tmp_path / "other"
        ensure_certificate(other, datetime.datetime.now(datetime.UTC))
        (other / "tls.crt").replace(front.settings.certificates / "tls.crt")
        log = tmp_path / "front.log"
        async with asyncio.timeout(20):
            while b"Failed to load" not in log.read_bytes():
                await asyncio.sleep(0.05)
        assert await in_thread(serial, front) == before


async def test_plain_http_is_refused_on_the_tls_port(tmp_path: Path) -> None:
    """The connection is closed without an answer, and without a redirect that would invite keys in the clear."""
    async with fronted(tmp_path, echo) as front:
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://127.0.0.1:{front.port}/a")
        async with front.client(http2=False) as client:
            assert (await client.get("/a")).status_code == 200


async def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    """TLS 1.1 gets an alert of the server; 1.2 and 1.3 are spoken."""

    def version(front: Front, most: ssl.TLSVersion) -> str | None:
        context = front.trust()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = most
        with (
            socket.create_connection(("127.0.0.1", front.port), timeout=20) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as secure,
        ):
            return secure.version()

    async with fronted(tmp_path, echo) as front:
        assert await in_thread(version, front, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        assert await in_thread(version, front, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            await in_thread(version, front, ssl.TLSVersion.TLSv1_1)


# Bounds.


@BOTH
async def test_headers_that_are_too_much_get_the_gateways_answer(tmp_path: Path, http2: bool) -> None:
    """The status and the bound are the same as without a front, for bytes, for fields and for the URL."""
    async with fronted(tmp_path, echo) as front, front.client(http2=http2) as client:
        large = await client.get("/a", headers={f"x-{i}": "x" * 10_000 for i in range(4)})
        assert (large.status_code, large.json()["bound"]) == (431, "max_header_bytes")
        many = await client.get("/a", headers={f"x-{i}": "x" for i in range(150)})
        assert (many.status_code, many.json()["bound"]) == (431, "max_header_fields")
        long = await client.get("/" + "a" * 10_000)
        assert (long.status_code, long.json()["bound"]) == (414, "max_url_bytes")
        assert (await client.get("/a")).content == b"GET /a "


async def test_endless_headers_are_refused_by_the_front(tmp_path: Path) -> None:
    """431 and a problem document after 96 KiB; the gateway never sees them."""

    def attack(front: Front) -> tuple[int, bytes]:
        sent = 0
        with front.connect("http/1.1") as sock:
            sock.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\nX: ")
            try:
                while sent < 16 << 20:
                    sock.sendall(b"x" * 16_384)
                    sent += 16_384
            except OSError:
                pass
            try:
                return sent, sock.recv(65536)
            except OSError:
                return sent, b""

    async with fronted(tmp_path, echo) as front, front.client(http2=True) as innocent:
        sent, answer = await in_thread(attack, front)
        assert sent < 8 << 20
        assert answer == b"" or (answer.startswith(b"HTTP/1.1 431") and b"headers-too-large" in answer)
        async with front.client(http2=False) as client:
            answer = await client.get("/a", headers={f"x-{i}": "x" * 30_000 for i in range(5)})
            assert (answer.status_code, answer.json()["code"]) == (431, "headers-too-large")
        assert (await innocent.get("/a")).content == b"GET /a "


async def test_a_stream_with_endless_headers_ends_alone(tmp_path: Path) -> None:
    """HTTP/2 has no answer for them: the stream is reset, and those beside it go on."""

    def attack(front: Front) -> tuple[dict[str, Any], dict[str, Any]]:
        with front.connect("h2") as sock:
            connection = Http2(sock)
            beside = connection.request("/beside", method="POST", end=False)
            refused = connection.answer(connection.request("/a", [(f"x-{i}", "x" * 10_000) for i in range(15)]))
            connection.send(beside, b"still here")
            connection.end(beside)
            return refused, connection.answer(beside)

    async with fronted(tmp_path, echo) as front:
        refused, beside = await in_thread(attack, front)
    assert refused["reset"] and not refused["status"]
    assert beside["body"] == b"POST /beside still here"


async def test_headers_that_drip_are_ended(tmp_path: Path) -> None:
    """408 when their time is over, though bytes keep coming; others are served meanwhile."""

    def drip(front: Front) -> bytes:
        with front.connect("http/1.1") as sock:
            sock.sendall(b"GET /a HTTP/1.1\r\n")
            sock.settimeout(0.05)
            while True:
                try:
                    return sock.recv(4096)
                except TimeoutError:
                    sock.sendall(b"x: y\r\n")

    async with fronted(tmp_path, echo, request_headers_timeout="0.5s") as front, front.client(http2=True) as innocent:
        dripping = asyncio.create_task(in_thread(drip, front))
        while not dripping.done():
            assert (await innocent.get("/a")).status_code == 200
        answer = dripping.result()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"headers-timeout" in answer


@pytest.mark.parametrize(
    ("protocol", "changes"),
    [
        ("", {"handshake": "0.5s"}),
        ("http/1.1", {"common_http_protocol_options__idle_timeout": "0.5s"}),
        ("h2", {"common_http_protocol_options__idle_timeout": "0.5s"}),
    ],
    ids=["before the handshake", "h1", "h2"],
)
async def test_silent_connections_are_closed(tmp_path: Path, protocol: str, changes: dict[str, str]) -> None:
    """Before the handshake, and after it without a request."""

    def wait(front: Front) -> None:
        if not protocol:
            with socket.create_connection(("127.0.0.1", front.port), timeout=20) as sock:
                assert sock.recv(1) == b""
        elif protocol == "h2":
            with front.connect(protocol) as secure:
                Http2(secure).until_closed()
        else:
            with front.connect(protocol) as secure:
                assert secure.recv(1) == b""

    async with fronted(tmp_path, echo, **changes) as front:
        await in_thread(wait, front)


async def test_the_body_after_a_refusal_is_not_read(tmp_path: Path) -> None:
    """The client has its 401, and an endless body costs no more than what fits the buffers."""

    def unfinished(front: Front) -> dict[str, Any]:
        connection = Http2(front.connect("h2"))
        return connection.answer(connection.request("/", method="POST", end=False))

    def endless(front: Front) -> int:
        sent = 0
        with front.connect("http/1.1") as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while sent < 64 << 20:
                    sock.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                    sent += 0x4000
            except OSError:
                pass
        return sent

    async with fronted(tmp_path, refuse) as front:
        answer = await in_thread(unfinished, front)
        assert answer["status"] == 401 and answer["ended"]
        assert await in_thread(endless, front) < 16 << 20


async def test_a_client_that_resets_its_streams_loses_its_connection(tmp_path: Path) -> None:
    """Rapid reset: of thousands of requests that are taken back at once, the gateway sees a bounded number."""
    asked = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked
        asked += scope["path"] == "/attack"
        await reply(send, b"done")

    def attack(front: Front) -> int:
        sent = 0
        with front.connect("h2") as sock:
            connection = Http2(sock)
            try:
                for _ in range(5000):
                    connection.reset(connection.request("/attack"))
                    sent += 1
            except OSError:
                pass
            connection.until_closed()
        return sent

    async with fronted(tmp_path, app) as front, front.client(http2=True) as innocent:
        attacking = asyncio.create_task(in_thread(attack, front))
        while not attacking.done():
            assert (await innocent.get("/")).content == b"done"
    assert asked <= attacking.result() < 1000


async def test_one_connection_has_a_bounded_number_of_streams(tmp_path: Path) -> None:
    """The front says so in its settings."""

    def most(front: Front) -> int:
        with front.connect("h2") as sock:
            connection = Http2(sock)
            connection.answer(connection.request("/a"))
            return connection.settings[3]

    async with fronted(tmp_path, echo) as front:
        assert await in_thread(most, front) == 100


# A gateway of its own.


async def test_a_slow_body_is_bounded_and_disturbs_nobody(tmp_path: Path) -> None:
    """The gateway's own 408 reaches the client through the front; the memory of the front stays."""

    def half_a_body(front: Front) -> dict[str, Any]:
        with front.connect("h2") as sock:
            connection = Http2(sock)
            fields = [("api-key", KEYS["attacker"]), ("content-length", "100")]
            stream = connection.request("/predict", fields, method="POST", end=False)
            connection.send(stream, b"x")
            return connection.answer(stream)

    settings = {"PENSTOCK_GATEWAY_FRONT_SOCKET": str(front_socket(tmp_path)), "PENSTOCK_GATEWAY_BODY_SECONDS": "1"}
    with running_gateway(tmp_path, **settings), running_front(tmp_path) as front:
        async with front.client(http2=True) as innocent:
            slow = [asyncio.create_task(in_thread(half_a_body, front)) for _ in range(8)]
            while not all(task.done() for task in slow):
                answer = await innocent.post("/predict", json={}, headers={"API-Key": KEYS["innocent"]})
                assert answer.status_code == 404
        for task in slow:
            assert task.result()["status"] == 408
            assert json.loads(task.result()["body"])["code"] == "body-timeout"


@BOTH
async def test_clients_leave_a_gateway_that_shuts_down(tmp_path: Path, http2: bool) -> None:
    """HTTP/2's connection is asked to end (GOAWAY), HTTP/1.1's is closed, both with answers that are whole."""
    key = ("api-key", KEYS["innocent"])

    def ask_until_goaway(front: Front, gateway: psutil.Process) -> set[int]:
        connection = Http2(front.connect("h2"))
        statuses = {connection.answer(connection.request("/v1/models", [key]))["status"]}
        assert not connection.goaway
        gateway.send_signal(signal.SIGTERM)
        while not connection.goaway:
            statuses.add(connection.answer(connection.request("/v1/models", [key]))["status"])
        return statuses

    async def ask_until_close(front: Front, gateway: psutil.Process) -> set[int]:
        async with front.client(http2=False) as client:
            answer = await client.get("/v1/models", headers=[key])
            assert "connection" not in answer.headers
            gateway.send_signal(signal.SIGTERM)
            statuses = {answer.status_code}
            while answer.headers.get("connection") != "close":
                answer = await client.get("/v1/models", headers=[key])
                statuses.add(answer.status_code)
        return statuses

    settings = {"PENSTOCK_GATEWAY_FRONT_SOCKET": str(front_socket(tmp_path)), "PENSTOCK_GATEWAY_DRAIN_SECONDS": "60"}
    with running_front(tmp_path) as front, running_gateway(tmp_path, **settings) as gateway:
        if http2:
            statuses = await in_thread(ask_until_goaway, front, gateway.process)
        else:
            statuses = await ask_until_close(front, gateway.process)
    assert statuses == {200}
