"""What an endpoint does around a route's own work, each rule with a tiny application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from penstock_common.errors import PenstockError
from penstock_common.fair_queue import deadline_exceeded
from penstock_gateway.auth.authenticator import Authenticator, Headers
from penstock_gateway.auth.principal import Principal
from penstock_gateway.edge.access_log import AccessLog
from penstock_gateway.edge.body_budget import BodyBudget
from penstock_gateway.edge.call import Call, Handler, Reply
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.edge.endpoint import Endpoint, Guard
from penstock_gateway.edge.health import Health
from penstock_gateway.limits.admission import Usage

ANN = Principal("ann", "Ann")
LIMIT_HEADER = (b"ratelimit", b'"default";r=1;t=1')


class Anyone:
    """Knows every caller as Ann."""

    def authenticate(self, headers: Headers) -> Principal:
        return ANN


class Ledger:
    """Admits everything and keeps what it was told."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.settled: list[Usage] = []

    def arrive(self, principal: Principal, size: int) -> Ledger:
        self.sizes.append(size)
        return self

    def grow(self, size: int) -> None:
        self.sizes.append(size)

    async def admit(self, model: str, rows: int) -> None: ...

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [LIMIT_HEADER]

    def settle(self, usage: Usage) -> None:
        self.settled.append(usage)


def guard(**changes: Any) -> Guard:
    parts: dict[str, Any] = {
        "authenticator": Anyone(),
        "admission": Ledger(),
        "health": Health(),
        "disconnects": DisconnectWatch(),
        "bodies": BodyBudget(1000, 1000, 0),
        "timeout_seconds": 10.0,
        "body_seconds": 10.0,
        "max_body_bytes": 100,
        "access_log": AccessLog(log_all=False, refusals=10),
    }
    return Guard(**parts | changes)


async def echo(call: Call) -> Reply:
    return Reply(call.body)


async def ask(
    handler: Handler = echo, of: Guard | None = None, *, body: Any = b"hello", headers: dict[str, str] | None = None
) -> httpx.Response:
    app = Endpoint("test", of or guard(), handler)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:  # type: ignore[arg-type]
        return await client.post("/", content=body, headers=headers)


async def test_a_body_goes_in_and_a_reply_comes_out() -> None:
    """The handler's reply is sent with its length, the request's id and the fields of the limit."""
    answer = await ask(headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.content) == (200, b"hello")
    assert answer.headers["content-length"] == "5"
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["ratelimit"] == LIMIT_HEADER[1].decode()


@pytest.mark.parametrize("given", ["", "x" * 129, "a\tb", "é"])
async def test_a_request_id_that_could_do_harm_is_replaced(given: str) -> None:
    """An id that is empty, long, or not printable ASCII is not taken over into header and log."""
    answer = await ask(headers=[(b"X-Request-ID", given.encode("latin-1"))])  # type: ignore[arg-type]
    assert len(answer.headers["x-request-id"]) == 16


async def test_an_error_becomes_a_problem_document() -> None:
    """Status, code, detail, headers and extra members of the error are in the answer, and the request's id."""

    async def refuse(_: Call) -> Reply:
        raise PenstockError(409, "taken", "It is taken.", headers={"Retry-After": "7"}, extra={"by": "bob"})

    answer = await ask(refuse)
    document = answer.json()
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "7"
    assert (document["code"], document["detail"], document["by"]) == ("taken", "It is taken.", "bob")
    assert document["request_id"] == answer.headers["x-request-id"]


async def test_a_refusals_own_header_replaces_the_limits() -> None:
    """No header field comes twice."""

    class Strict(Ledger):
        def headers(self) -> list[tuple[bytes, bytes]]:
            return [(b"retry-after", b"1")]

    async def refuse(_: Call) -> Reply:
        raise PenstockError(503, "overloaded", "Full.", headers={"Retry-After": "9"})

    answer = await ask(refuse, guard(admission=Strict()))
    assert answer.headers.get_list("retry-after") == ["9"]


async def test_a_defect_is_500_without_its_words() -> None:
    """What an unknown exception says stays in the log."""

    async def fail(_: Call) -> Reply:
        raise RuntimeError("secret detail")

    answer = await ask(fail)
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret detail" not in answer.text


async def test_an_authenticator_may_answer_later() -> None:
    """An adapter that has to ask another system returns an awaitable, which the endpoint awaits."""

    class Remote:
        async def authenticate(self, headers: Headers) -> Principal:
            await asyncio.sleep(0)
            return ANN

    async def who(call: Call) -> Reply:
        return Reply(call.principal.name.encode())

    remote: Authenticator = Remote()
    assert (await ask(who, guard(authenticator=remote))).content == b"Ann"


async def test_who_is_refused_for_its_rate_costs_nothing_more() -> None:
    """Neither the body is read nor the handler called."""
    read = False

    async def body() -> AsyncGenerator[bytes, None]:
        nonlocal read
        read = True
        yield b"x"

    class Strict(Ledger):
        def arrive(self, principal: Principal, size: int) -> Ledger:
            raise PenstockError(429, "rate-limited", "Too many.")

    answer = await ask(of=guard(admission=Strict()), body=body())
    assert answer.status_code == 429
    assert not read


async def test_admission_is_told_the_bytes() -> None:
    """What a body declares before it is read, what it holds if that is more, and nothing for one that is not read."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"x" * 30

    for body, sizes in ((b"x" * 50, [50]), (chunks(), [0, 30]), (b"x" * 101, [0])):
        ledger = Ledger()
        await ask(of=guard(admission=ledger), body=body)
        assert ledger.sizes == sizes


@pytest.mark.parametrize("body", [b"x" * 101, (b"x" * 60, b"x" * 60)])
async def test_a_body_over_the_limit_is_413(body: bytes | tuple[bytes, ...]) -> None:
    """Declared or not, a body of more bytes than allowed is refused, and the answer says how many are."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        for chunk in body:
            yield chunk  # type: ignore[misc]

    answer = await ask(body=body if isinstance(body, bytes) else chunks())
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (413, "body-too-large", 100)


@pytest.mark.parametrize(
    ("asked", "allowed", "status"), [(b"0.01", 10.0, 504), (b"10", 0.01, 408), (b"0.01", 0.01, 408)]
)
async def test_a_body_that_does_not_come_is_not_awaited(asked: bytes, allowed: float, status: int) -> None:
    """Neither longer than the caller's timeout nor than the gateway's time for a body, also if nothing of it comes."""
    client = Stream()
    budget = BodyBudget(1000, 1000, 0)

    async def never() -> dict[str, Any]:
        assert budget.held == 50
        await asyncio.Event().wait()
        return {}

    headers = [(b"content-length", b"50"), (b"x-request-timeout", asked)]
    scope = {"type": "http", "path": "/", "headers": headers}
    async with asyncio.timeout(5):
        await Endpoint("test", guard(bodies=budget, body_seconds=allowed), echo)(scope, never, client.send)  # type: ignore[arg-type]
    assert client.messages[0]["status"] == status
    assert budget.held == 0


async def test_a_body_is_in_flight_until_its_answer() -> None:
    """With the length it declares, or with what has come of it."""
    budget = BodyBudget(1000, 60, 0)

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"x" * 30
        yield b"x" * 20

    async def count(_: Call) -> Reply:
        return Reply(b"%d" % budget.held)

    for body in (b"x" * 50, chunks()):
        assert (await ask(count, guard(bodies=budget), body=body)).content == b"50"
        assert budget.held == 0
    answer = await ask(count, guard(bodies=budget), body=b"x" * 61)
    assert (answer.status_code, answer.json()["bound"]) == (429, "max_bodies_bytes_per_key")
    assert budget.held == 0


@pytest.mark.parametrize("given", ["0", "-1", "soon", "inf", "nan"])
async def test_a_timeout_that_is_not_a_time_is_400(given: str) -> None:
    """X-Request-Timeout is a positive number of seconds."""
    answer = await ask(headers={"X-Request-Timeout": given})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-timeout")


@pytest.mark.parametrize(("given", "seconds"), [("0.5", 0.5), ("99", 10.0), (None, 10.0)])
async def test_a_caller_may_ask_for_less_time_and_not_for_more(given: str | None, seconds: float) -> None:
    """The deadline is the caller's timeout or the gateway's, whichever is shorter, after the request's arrival."""
    deadlines: list[float] = []

    async def note(call: Call) -> Reply:
        deadlines.append(call.deadline)
        return Reply(b"")

    before = time.monotonic()
    await ask(note, headers={"X-Request-Timeout": given} if given else {})
    after = time.monotonic()
    (deadline,) = deadlines
    assert before + seconds <= deadline <= after + seconds


@pytest.mark.parametrize(
    ("given", "bound", "limit"), [("0.5", "X-Request-Timeout", 0.5), ("99", "timeout_seconds", 10.0)]
)
async def test_an_answer_that_is_late_names_what_bounded_it(given: str, bound: str, limit: float) -> None:
    """A 504 has the caller's timeout or the gateway's setting, whichever was shorter."""

    async def late(call: Call) -> Reply:
        raise deadline_exceeded()

    answer = (await ask(late, headers={"X-Request-Timeout": given})).json()
    assert (answer["status"], answer["bound"], answer["limit"]) == (504, bound, limit)


async def test_a_gateway_that_leaves_closes_the_connection() -> None:
    """While draining, each answer asks the client to open its next connection elsewhere."""
    assert (await ask(of=guard(health=Health(draining=True)))).headers["connection"] == "close"


class Stream:
    """A client that reads an answer and may leave before its end.

    Args:
        leave_after: body messages after which the client is gone.
    """

    def __init__(self, leave_after: int | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._leave_after = leave_after
        self._gone = asyncio.Event()
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(dict(message))
        if len(self.messages) - 1 == self._leave_after:
            self._gone.set()

    @property
    def bodies(self) -> list[bytes]:
        return [m["body"] for m in self.messages if m["type"] == "http.response.body"]


def streaming(
    ledger: Ledger, chunks: Callable[[Usage], AsyncGenerator[bytes, None]]
) -> Callable[[Stream], Awaitable[None]]:
    """An endpoint that answers with chunks, and runs it for a client."""

    async def handler(call: Call) -> Reply:
        usage = Usage()
        return Reply(chunks(usage), usage=usage)

    endpoint = Endpoint("test", guard(admission=ledger), handler)

    async def run(client: Stream) -> None:
        scope = {"type": "http", "path": "/", "headers": []}
        async with asyncio.timeout(5):
            await asyncio.create_task(endpoint(scope, client.receive, client.send))  # type: ignore[arg-type]

    return run


async def test_a_stream_is_sent_chunk_by_chunk() -> None:
    """Each chunk leaves as it comes, without a length, and usage is settled after the last."""
    ledger, client = Ledger(), Stream()

    async def chunks(usage: Usage) -> AsyncGenerator[bytes, None]:
        for number, text in enumerate((b"a", b"b")):
            assert len(client.bodies) == number
            usage.rows += 1
            yield text

    await streaming(ledger, chunks)(client)
    assert client.bodies == [b"a", b"b", b""]
    assert not [name for name, _ in client.messages[0]["headers"] if name == b"content-length"]
    assert ledger.settled == [Usage(rows=2)]


async def test_a_client_that_leaves_ends_its_stream() -> None:
    """The producer is closed while it waits for its next chunk, and what it had done is settled once."""
    ledger, closed = Ledger(), asyncio.Event()

    async def chunks(usage: Usage) -> AsyncGenerator[bytes, None]:
        try:
            usage.rows = 1
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.set()

    await streaming(ledger, chunks)(Stream(leave_after=1))
    assert closed.is_set()
    assert ledger.settled == [Usage(rows=1)]


async def test_an_error_in_the_middle_of_a_stream_breaks_the_answer() -> None:
    """What was promised cannot be taken back, so the error reaches the server, which closes the connection."""
    ledger, client = Ledger(), Stream()

    async def chunks(usage: Usage) -> AsyncGenerator[bytes, None]:
        usage.rows = 1
        yield b"a"
        raise PenstockError(503, "gone", "The pod went away.")

    with pytest.raises(PenstockError):
        await streaming(ledger, chunks)(client)
    assert client.bodies == [b"a"]
    assert ledger.settled == [Usage(rows=1)]


async def test_an_error_that_a_stream_has_told_is_counted_and_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    """By its own status, though the answer began with 200; the answer is whole."""
    ledger, client = Ledger(), Stream()

    async def handler(call: Call) -> Reply:
        reply = Reply(b"")

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield b"a"
            reply.failure = PenstockError(504, "deadline-exceeded", "Late.")
            yield b"error"

        reply.body = chunks()
        return reply

    before = REGISTRY.get_sample_value("penstock_gateway_requests_total", {"route": "told", "status": "504"}) or 0.0
    endpoint = Endpoint("told", guard(admission=ledger), handler)
    scope = {"type": "http", "path": "/", "headers": []}
    async with asyncio.timeout(5):
        await asyncio.create_task(endpoint(scope, client.receive, client.send))  # type: ignore[arg-type]
    assert client.bodies == [b"a", b"error", b""]
    assert (
        REGISTRY.get_sample_value("penstock_gateway_requests_total", {"route": "told", "status": "504"}) == before + 1
    )
    [line] = [line for line in capsys.readouterr().out.splitlines() if "request" in line]
    assert "deadline-exceeded" in line
    assert len(ledger.settled) == 1


async def test_a_stream_may_have_more_time_than_other_requests() -> None:
    """The longest that a route allows; a client may ask for less."""
    seconds: list[float] = []

    async def handler(call: Call) -> Reply:
        seconds.append(call.deadline - time.monotonic())
        return Reply(b"")

    endpoint = Endpoint("long", guard(), handler, longest_seconds=600.0)
    told = []
    for headers in ([], [(b"x-request-timeout", b"100")], [(b"x-request-timeout", b"5")]):
        client = Stream()
        scope = {"type": "http", "path": "/", "headers": headers}
        await endpoint(scope, client.receive, client.send)  # type: ignore[arg-type]
        told.append(scope.get("penstock.seconds"))
    assert 500 < seconds[0] <= 600 and 50 < seconds[1] <= 100
    # The connection is told of more than the gateway's own time, since it would cut the answer off.
    assert told == [600, 100, None]


async def test_a_lease_is_settled_once_however_the_request_ends() -> None:
    """An answer settles what it used; an error and a defect settle nothing used, and a 503 says so."""
    for end, used in (
        (None, Usage(rows=3)),
        (PenstockError(503, "overloaded", "Full."), Usage(refused=True)),
        (PenstockError(504, "deadline-exceeded", "Late."), Usage()),
        (RuntimeError("defect"), Usage()),
    ):
        ledger = Ledger()

        async def handler(call: Call, end: Exception | None = end) -> Reply:
            if end is not None:
                raise end
            return Reply(b"", usage=Usage(rows=3))

        await ask(handler, guard(admission=ledger))
        assert ledger.settled == [used]


async def test_a_client_that_leaves_settles_its_lease() -> None:
    """The work of a client that has gone is cancelled, counted as 499 and settled with nothing used."""

    def counted() -> float:
        labels = {"route": "leaving", "status": "499"}
        return REGISTRY.get_sample_value("penstock_gateway_requests_total", labels) or 0.0

    before = counted()
    ledger, client = Ledger(), Stream(leave_after=-1)
    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watch = DisconnectWatch(after=0)

    async def handler(call: Call) -> Reply:
        client._gone.set()
        await watch.wait(work, call.receive)
        raise AssertionError("never answered")

    endpoint = Endpoint("leaving", guard(admission=ledger, disconnects=watch), handler)
    watching = asyncio.create_task(watch.run())
    async with asyncio.timeout(5):
        await asyncio.create_task(endpoint({"type": "http", "path": "/", "headers": []}, client.receive, client.send))  # type: ignore[arg-type]
    watching.cancel()
    assert work.cancelled()
    assert client.messages == []
    assert ledger.settled == [Usage()]
    assert counted() == before + 1


async def test_a_handler_may_read_the_body_itself() -> None:
    """In pieces, beyond what a body may have; nothing of it is held before."""

    async def sizes(call: Call) -> Reply:
        assert call.body == b""
        found = []
        while True:
            message = await call.receive()
            found.append(len(message["body"]))
            if not message["more_body"]:
                return Reply(b"%d" % sum(found))

    app = Endpoint("test", guard(bodies=BodyBudget(0, 0, 0)), sizes, handler_reads_body=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:  # type: ignore[arg-type]
        assert (await client.post("/", content=b"x" * 1000)).text == "1000"
