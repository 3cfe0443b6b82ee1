"""Errors as problem documents, and the refusals of the router."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

import httpx
import orjson
import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from penstock_common.errors import PenstockError
from penstock_gateway.edge.problem import no_such_route, problem_reply, request_id_of
from penstock_gateway.protocols.openai.errors import router_members


async def nothing(_: Request) -> Response:
    return Response()


APP = Starlette(
    routes=[Route(path, nothing, methods=["POST"]) for path in ("/here", "/v1/chat/completions")],
    exception_handlers={HTTPException: partial(no_such_route, router_members)},  # type: ignore[dict-item]
)


async def ask(method: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://test") as client:
        return await client.request(method, path, headers=headers)


async def test_an_unknown_path_is_a_problem_document() -> None:
    """404 names the method and the path, and has the request's id in its body and its header."""
    answer = await ask("GET", "/elsewhere", {"X-Request-ID": "mine"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["status"], document["code"]) == (404, "unknown-path")
    assert "GET /elsewhere" in document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"] == "mine"


async def test_a_wrong_method_names_the_right_one() -> None:
    """405 has the allowed methods in ``Allow`` and in its words."""
    answer = await ask("DELETE", "/here")
    assert (answer.status_code, answer.json()["code"]) == (405, "bad-method")
    assert answer.headers["allow"] == "POST"
    assert "takes POST" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "kind", "code"),
    [
        ("GET", "/v1/images/generations", "not_found_error", "unknown-path"),
        ("GET", "/v1/chat/completions", "invalid_request_error", "bad-method"),
    ],
)
async def test_openais_clients_can_read_a_refusal(method: str, path: str, kind: str, code: str) -> None:
    """Under ``/v1/``, it has their error object beside the members of a problem; elsewhere it has none."""
    document = (await ask(method, path)).json()
    assert document["error"] == {"message": document["detail"], "type": kind, "param": None, "code": code}
    assert document["code"] == code
    assert "error" not in (await ask("GET", "/elsewhere")).json()


async def test_a_long_path_is_cut() -> None:
    """A refusal does not repeat kilobytes that a caller sent."""
    assert len((await ask("GET", "/" + "x" * 5000)).json()["detail"]) < 300


async def test_refusals_of_the_router_are_counted() -> None:
    """They have no route, and are counted under ``none``."""

    def count() -> float:
        labels = {"route": "none", "status": "404"}
        return REGISTRY.get_sample_value("penstock_gateway_requests_total", labels) or 0.0

    before = count()
    await ask("GET", "/elsewhere")
    assert count() == before + 1


def test_a_document_has_the_members_of_the_rfc() -> None:
    """Type, title, status, code and detail; further members stand beside them."""
    error = PenstockError(413, "too-many-rows", "Too many.", extra={"limit": 1024})
    assert orjson.loads(problem_reply(error, b"r1", "/v1").body) == {  # type: ignore[arg-type]
        "type": "urn:penstock:error:too-many-rows",
        "title": HTTPStatus(413).phrase,
        "status": 413,
        "code": "too-many-rows",
        "detail": "Too many.",
        "limit": 1024,
        "request_id": "r1",
    }


def test_a_status_that_http_does_not_have_is_titled() -> None:
    """499, for a client that went away, has a title too."""
    reply = problem_reply(PenstockError(499, "client-gone", "Gone."), b"r1", "/v1")
    assert orjson.loads(reply.body)["title"] == "Client Closed Request"  # type: ignore[arg-type]


def test_header_names_are_in_lower_case() -> None:
    """ASGI wants names as lower-case bytes, however the error spells them."""
    reply = problem_reply(PenstockError(503, "overloaded", "Full.", headers={"Retry-After": "1"}), b"r1", "/v1")
    assert (reply.status, reply.headers) == (503, [(b"retry-after", b"1")])


@pytest.mark.parametrize("given", [b"x", b"x" * 128, b"a b/c:d"])
def test_a_harmless_request_id_is_the_callers(given: bytes) -> None:
    """Up to 128 printable characters are taken over as they are."""
    assert request_id_of(given) == given


def test_new_request_ids_differ() -> None:
    """Each request without an id gets one of its own."""
    assert len({request_id_of(None) for _ in range(100)}) == 100


def test_an_error_of_the_open_inference_protocol_has_its_member() -> None:
    """Triton's and KServe's clients read "error" and nothing else; /v1 does not repeat the detail."""
    refusal = PenstockError(503, "overloaded", "Full.")
    on_v2, on_v1 = (
        problem_reply(refusal, b"r1", path).body for path in ("/v2/models/spam/infer", "/v1/models/spam/predict")
    )
    assert isinstance(on_v1, bytes)
    assert isinstance(on_v2, bytes)
    assert orjson.loads(on_v2) == orjson.loads(on_v1) | {"error": "Full."}
