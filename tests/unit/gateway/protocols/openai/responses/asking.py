"""Asks for a response of a model that says what the test wants."""

from __future__ import annotations

from typing import Any

import orjson

from penstock_gateway.edge.call import Reply
from penstock_gateway.protocols.openai.responses.create import CreateResponse
from penstock_gateway.stored_responses.response_store import NoStore, ResponseStore
from tests.unit.gateway.protocols.openai.test_chat import Writer, asked


async def respond(writer: Writer, store: ResponseStore | None = None, /, **members: Any) -> Reply:
    request = {"model": "chat", "input": "Hi"} | members
    return await CreateResponse(writer.dataplane, store or NoStore(), 60.0)(asked(request))


async def events(reply: Reply) -> list[dict[str, Any]]:
    """The documents of the events of a stream, up to its end; each event has the name of its document's type."""
    assert not isinstance(reply.body, bytes)
    found = []
    async for event in reply.body:
        if event == b"data: [DONE]\n\n":
            assert [more async for more in reply.body] == []
            break
        name, _, data = event.decode().removesuffix("\n\n").partition("\n")
        found.append(orjson.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found
