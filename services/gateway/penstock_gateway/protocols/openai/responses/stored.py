"""The routes of stored responses: ``/v1/responses/{response}`` and what is below it."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock_gateway.edge.call import JSON, Call, Reply
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.request import convert_request, query_of
from penstock_gateway.protocols.openai.responses.items import Item
from penstock_gateway.stored_responses.response_store import ResponseStore, StoredResponse


class _Output(msgspec.Struct):
    """Of a stored response, what the model said."""

    output: list[Item]


class ShowRequest(msgspec.Struct):
    """The query of ``GET /v1/responses/{response}``; what it could include is there anyway."""

    stream: bool = False


class ListRequest(msgspec.Struct):
    """The query of ``GET /v1/responses/{response}/input_items``."""

    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


class ItemList(msgspec.Struct):
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


_ITEMS = msgspec.json.Decoder(list[Item])
_OUTPUT = msgspec.json.Decoder(_Output)
_MOST_LISTED = 100


def conversation(stored: StoredResponse) -> list[Item]:
    """All that was said up to a response, and what it said."""
    return [*_ITEMS.decode(stored.input_items), *_OUTPUT.decode(stored.response).output]


class StoredResponses:
    """Answers the requests about stored responses; each sees those that its own key has made."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def show(self, call: Call) -> Reply:
        """``GET /v1/responses/{response}``."""
        if convert_request(query_of(call), ShowRequest).stream:
            text = "stream: a stored response is sent whole; leave it out."
            raise bad_request(text, "stream", "unsupported-parameter")
        return Reply((await self._read(call)).response, JSON)

    async def delete(self, call: Call) -> Reply:
        """``DELETE /v1/responses/{response}``; later responses keep what they have of it."""
        response_id = call.path["response"]
        await self._store.delete(call.principal.id, response_id)
        return Reply(msgspec.json.encode({"id": response_id, "object": "response", "deleted": True}), JSON)

    async def input_items(self, call: Call) -> Reply:
        """``GET /v1/responses/{response}/input_items``: what it answers, page by page, by default the newest first."""
        request = convert_request(query_of(call), ListRequest)
        if not 1 <= request.limit <= _MOST_LISTED:
            raise bad_request(f"limit: {request.limit} is not from 1 to {_MOST_LISTED}.", "limit")
        items = _ITEMS.decode((await self._read(call)).input_items)
        if request.order == "desc":
            items.reverse()
        if request.after is not None:
            items = _after(items, request.after)
        page = items[: request.limit]
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        return Reply(msgspec.json.encode(ItemList(page, first, last, len(items) > len(page))), JSON)

    async def cancel(self, call: Call) -> Reply:
        """``POST /v1/responses/{response}/cancel``: refused, as nothing is made in the background."""
        await self._read(call)
        text = "Only a response that is made in the background can be cancelled; close the connection of a stream to end it."
        raise bad_request(text)

    async def _read(self, call: Call) -> StoredResponse:
        return await self._store.read(call.principal.id, call.path["response"])


def _after(items: list[Item], item_id: str) -> list[Item]:
    for i, item in enumerate(items):
        if item.id == item_id:
            return items[i + 1 :]
    raise bad_request(f"after: there is no item '{item_id[:80]}'; use last_id of the page before.", "after")
