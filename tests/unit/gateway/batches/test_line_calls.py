"""Requests of batches go through the gateway's own endpoints, as the key that made the batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock_gateway.auth.key_admin import KeyAdmin
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.key_sources import open_keys
from penstock_gateway.batches.input_lines import decode_line
from penstock_gateway.batches.line_calls import ByKeyId, KeyRefusedError, LineCalls
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.edge.endpoint import Endpoint
from penstock_gateway.protocols.openai.errors import bad_request, openai_reply
from tests.unit.gateway.batches.working import CHAT, request
from tests.unit.gateway.edge.test_endpoint import Ledger, guard


async def test_a_request_is_answered_as_if_its_key_had_sent_it(tmp_path: Path) -> None:
    """Counted and limited as any other, with its own id; an error is OpenAI's. A revoked key gets no answer."""
    admin = KeyAdmin(str(tmp_path / "keys.db"))
    record, _ = admin.create("night", models=["chat"])
    ring = KeyRing(open_keys(str(tmp_path / "keys.db")))
    ring.load()
    ledger, calls = Ledger(), []

    async def handler(call: Call) -> Reply:
        calls.append(call)
        if b'"1"' in call.body:
            raise bad_request("n: is odd.", "n")
        return Reply(call.body)

    endpoint = Endpoint("chat", guard(authenticator=ByKeyId(ring), admission=ledger), handler, openai_reply)
    line_calls = LineCalls({CHAT: endpoint}, 4)
    good, bad = [await line_calls.answer(record.id, decode_line(request(i), CHAT)) for i in (0, 1)]
    answer = json.loads(good.line)
    assert (good.failed, answer["custom_id"], answer["response"]["body"]) == (False, "id-0", {"content": "0"})
    assert calls[0].headers[b"x-request-id"].decode() == answer["response"]["request_id"] == answer["id"]
    assert (calls[0].principal.id, calls[0].principal.models) == (record.id, ("chat",))
    error = json.loads(bad.line)["response"]
    assert (bad.failed, error["status_code"], error["body"]["error"]["param"]) == (True, 400, "n")
    assert len(ledger.settled) == 2
    admin.revoke(record.id)
    ring.load()
    with pytest.raises(KeyRefusedError):
        await line_calls.answer(record.id, decode_line(request(0), CHAT))
    assert len(calls) == 2
