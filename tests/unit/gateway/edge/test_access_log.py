"""Callers without a key cannot fill the log; what they do is still counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from penstock_common.errors import PenstockError
from penstock_gateway.auth.authenticator import Headers
from penstock_gateway.auth.principal import Principal
from penstock_gateway.edge.access_log import AccessLog
from penstock_gateway.edge.connection_phases import HEAD
from penstock_gateway.edge.endpoint import Endpoint
from tests.unit.gateway.edge.front_door import listening, refuse
from tests.unit.gateway.edge.test_endpoint import echo, guard


def lines_of(log: AccessLog, *statuses: int, path: str = "/predict") -> list[Any]:
    with capture_logs() as lines:
        for status in statuses:
            log.write("predict", path, status, None, 0.001, b"id")
    return lines


class Nobody:
    """Knows no caller."""

    def authenticate(self, headers: Headers) -> Principal:
        raise PenstockError(401, "no-key", "Send a key.")


def counted(status: int) -> float:
    return REGISTRY.get_sample_value("penstock_gateway_requests_total", {"route": "test", "status": str(status)}) or 0


@pytest.mark.parametrize(("log_all", "logged"), [(False, [404, 503]), (True, [200, 404, 503])])
async def test_errors_have_a_line_and_successes_only_if_asked(log_all: bool, logged: list[int]) -> None:
    """``access_log`` decides."""
    log = AccessLog(log_all=log_all, refusals=10)
    assert [line["status"] for line in lines_of(log, 200, 404, 503)] == logged


@pytest.mark.parametrize("status", [401, 429])
async def test_free_refusals_are_counted_beyond_the_first(status: int) -> None:
    """The second's first lines are whole; one line at its end has the number of the others; then it begins anew."""
    log = AccessLog(log_all=False, refusals=3)
    assert len(lines_of(log, *[status] * 100)) == 3
    with capture_logs() as end:
        log.end_second()
    assert [(line["event"], line["status"], line["count"]) for line in end] == [
        ("requests left out of the log", status, 97)
    ]
    assert len(lines_of(log, *[status] * 2)) == 2
    with capture_logs() as nothing_left_out:
        log.end_second()
    assert nothing_left_out == []


async def test_other_errors_are_all_logged() -> None:
    """They are bounded by the rate limits of keys, and each may matter to its caller."""
    assert len(lines_of(AccessLog(log_all=False, refusals=3), *[404] * 100)) == 100


async def test_a_long_path_is_cut() -> None:
    """A URL may have 8 KiB, each byte of which could take twelve in JSON."""
    [line] = lines_of(AccessLog(log_all=False, refusals=3), 401, path="/" + "x" * 8000)
    assert len(line["path"]) == 200


async def test_a_flood_without_a_key_leaves_few_lines() -> None:
    """2,000 requests with long URLs: a few lines in full, the others in counts, all in the metrics."""
    log = AccessLog(log_all=False, refusals=10)
    before = counted(401)
    request = b"POST /" + b"x" * 8000 + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    with capture_logs() as lines:
        async with listening(Endpoint("test", guard(authenticator=Nobody(), access_log=log), echo)) as server:
            client = await server.connect()
            for _ in range(200):
                await client.send(request * 10)
                for _ in range(10):
                    assert (await client.answer()).status == 401
            client.close()
        log.end_second()
    assert counted(401) - before == 2000
    events = Counter(line["event"] for line in lines)
    assert set(events) == {"request", "requests left out of the log"}
    left_out = sum(line["count"] for line in lines if line["event"] == "requests left out of the log")
    assert events["request"] + left_out == 2000
    assert len(lines) < 500
    assert max(len(repr(line)) for line in lines) < 500


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"u" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 40_000 + b"\r\n\r\n", 431),
        (b"NONSENSE\r\n\r\n", 400),
    ],
)
async def test_refused_connections_leave_one_line_a_look(request_bytes: bytes, status: int) -> None:
    """50 refusals before the endpoint: one line with their number."""
    with capture_logs() as lines:
        async with listening(refuse) as server:
            for _ in range(50):
                assert (await server.ask(request_bytes)).status == status
            server.later(0)
    assert [(line["event"], line["count"]) for line in lines] == [("connections refused", 50)]


async def test_late_headers_leave_one_line() -> None:
    """408: as many connections as there may be, one line."""
    with capture_logs() as lines:
        async with listening(refuse) as server:
            clients = [await server.connect() for _ in range(50)]
            for client in clients:
                await client.send(b"GET / HT")
            async with asyncio.timeout(10):
                while [connection.phase for connection in server.state.connections] != [HEAD] * 50:
                    await asyncio.sleep(0)
            server.later(11)
            for client in clients:
                assert (await client.answer()).status == 408
                client.close()
    assert [(line["event"], line["count"]) for line in lines] == [("connections refused", 50)]
