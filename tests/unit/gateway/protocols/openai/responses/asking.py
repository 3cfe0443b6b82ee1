"""Asks for a response of a model that says what the test wants."""

from __future__ import annotations

from typing import Any

import openresponses_types
import orjson
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from penstock_common.tensors import unpack_bytes
from penstock_gateway.edge.call import Reply
from penstock_gateway.protocols.openai.responses.create import CreateResponse
from penstock_gateway.stored_responses.response_store import NoStore, ResponseStore
from tests.unit.gateway.protocols.openai.test_chat import Writer, asked

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def valid(response: dict[str, Any]) -> dict[str, Any]:
    """A response that both specifications allow."""
    Response.model_validate(response)
    openresponses_types.ResponseResource.model_validate(response)
    return response


def messages(writer: Writer) -> list[dict[str, Any]]:
    """What the model got."""
    [text] = unpack_bytes(writer.given("messages"), 1)
    found: list[dict[str, Any]] = orjson.loads(text)
    return found


async def respond(writer: Writer, store: ResponseStore | None = None, /, **members: Any) -> Reply:
    request = {"model": "chat", "input": "Hi"} | members
    return await CreateResponse(writer.dataplane, store or NoStore(), 60.0)(asked(request))


def valid_event(event: dict[str, Any]) -> None:
    """Check that both specifications allow an event."""
    _EVENT.validate_python(event)
    words = event["type"].replace(".", "_").split("_")
    getattr(openresponses_types, "".join(word.title() for word in words) + "StreamingEvent").model_validate(event)


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
        valid_event(found[-1])
    return found
