"""Errors on the routes of OpenAI's API."""

from __future__ import annotations

import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.protocols.openai.errors import openai_reply


@pytest.mark.parametrize(
    ("status", "sent", "kind"),
    [
        (400, 400, "invalid_request_error"),
        (401, 401, "authentication_error"),
        (403, 403, "permission_error"),
        (404, 404, "not_found_error"),
        (422, 400, "invalid_request_error"),
        (429, 429, "rate_limit_error"),
        (503, 503, "server_error"),
    ],
)
def test_an_error_is_one_for_both_kinds_of_clients(status: int, sent: int, kind: str) -> None:
    """OpenAI's error object in a problem document; input that does not fit is 400."""
    err = PenstockError(status, "some-code", "Why.", headers={"Retry-After": "1"}, extra={"field": "input"})
    reply = openai_reply(err, b"r1", "/v1/embeddings")
    assert isinstance(reply.body, bytes)
    document = orjson.loads(reply.body)
    assert document["error"] == {"message": "Why.", "type": kind, "param": "input", "code": "some-code"}
    assert (document["status"], document["detail"], document["request_id"]) == (sent, "Why.", "r1")
    assert (reply.status, reply.headers) == (sent, [(b"retry-after", b"1")])
