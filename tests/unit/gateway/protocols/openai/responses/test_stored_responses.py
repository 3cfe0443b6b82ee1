"""Responses that are stored: shown, listed, deleted, and continued, also by another gateway."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.responses import Response, ResponseItemList

from penstock_common.errors import PenstockError
from penstock_gateway.auth.principal import Principal
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.openai.responses.create import CreateResponse
from penstock_gateway.protocols.openai.responses.stored import StoredResponses
from penstock_gateway.stored_responses.response_store import NoStore, ResponseStore, StoredResponse
from tests.postgres import PostgresServer
from tests.unit.gateway.protocols.one_servable import call
from tests.unit.gateway.protocols.openai.responses.asking import events, messages, respond
from tests.unit.gateway.protocols.openai.test_chat import Writer, asked, chunk, whole
from tests.unit.gateway.protocols.openai.test_pictures import FIRST, SEEING, images, url
from tests.unit.gateway.stored_responses.storing import new_store, store_of


@pytest.fixture
def store(database_url: str) -> ResponseStore:
    return new_store(database_url)


def about(response_id: str, query: bytes = b"", principal: str = "ann") -> Call:
    given = call()
    given.path, given.query, given.principal = {"response": response_id}, query, Principal(principal, principal)
    return given


async def shown(store: ResponseStore, response_id: str) -> dict[str, Any]:
    return whole(await StoredResponses(store).show(about(response_id)))


async def refusal(work: Any) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        await work
    return caught.value


async def test_a_response_is_stored_unless_its_request_says_otherwise(store: ResponseStore) -> None:
    """What is shown is what was answered."""
    answered = whole(await respond(Writer(), store, metadata={"a": "b"}))
    assert answered["store"] is True
    assert await shown(store, answered["id"]) == answered
    Response.model_validate(answered)
    not_stored = whole(await respond(Writer(), store, store=False))
    assert not_stored["store"] is False
    assert (await refusal(shown(store, not_stored["id"]))).code == "unknown-response"


async def test_another_gateway_goes_on(store: ResponseStore, database_url: str) -> None:
    """After a restart or in another replica: all that was said is what the model gets, but for the instructions."""
    first = whole(await respond(Writer(), store, input="I am Ann.", instructions="Be brief."))
    writer = Writer(chunk("Ann", "stop"))
    second = whole(await respond(writer, store_of(database_url), input="Who am I?", previous_response_id=first["id"]))
    assert second["previous_response_id"] == first["id"]
    said = [
        {"role": "user", "content": "I am Ann."},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Who am I?"},
    ]
    assert messages(writer) == said
    await StoredResponses(store).delete(about(first["id"]))
    third = Writer()
    await respond(third, store_of(database_url), input="Sure?", previous_response_id=second["id"])
    assert messages(third) == [*said, {"role": "assistant", "content": "Ann"}, {"role": "user", "content": "Sure?"}]


async def test_a_streamed_response_is_stored_before_its_last_event(store: ResponseStore) -> None:
    """A client that has seen the end can ask for it anywhere; one that leaves before leaves nothing behind."""
    reply = await respond(Writer(), store, stream=True)
    assert not isinstance(reply.body, bytes)
    async for event in reply.body:
        document = msgspec.json.decode(event.partition(b"data: ")[2])
        if document["type"] == "response.created":
            response_id = document["response"]["id"]
            assert (await refusal(shown(store, response_id))).status == 404
        if document["type"] == "response.completed":
            break
    assert await shown(store, response_id) == document["response"]
    await reply.body.aclose()
    left = await respond(Writer(), store, stream=True)
    assert not isinstance(left.body, bytes)
    begun = msgspec.json.decode((await anext(left.body)).partition(b"data: ")[2])
    await left.body.aclose()
    assert (await refusal(shown(store, begun["response"]["id"]))).status == 404


async def test_the_input_of_a_response_is_listed_in_pages(store: ResponseStore) -> None:
    """The newest first by default; ``after`` goes on where a page ended. It has what the previous response had."""
    first = whole(await respond(Writer(), store, input="a"))
    called = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    said = [{"role": "system", "content": "b"}, called, {"type": "function_call_output", "call_id": "c", "output": "d"}]
    second = whole(await respond(Writer(), store, input=said, previous_response_id=first["id"]))

    async def listed(query: bytes) -> dict[str, Any]:
        found = whole(await StoredResponses(store).input_items(about(second["id"], query)))
        ResponseItemList.model_validate(found)
        return found

    everything = await listed(b"order=asc")
    kinds = [(item["type"], item.get("role")) for item in everything["data"]]
    assert kinds == [
        ("message", "user"),
        ("message", "assistant"),
        ("message", "system"),
        ("function_call", None),
        ("function_call_output", None),
    ]
    assert everything["data"][0]["content"] == [{"type": "input_text", "text": "a"}]
    assert everything["data"][1] == first["output"][0]
    assert (everything["object"], everything["has_more"]) == ("list", False)
    backwards: list[Any] = []
    after = b""
    while True:
        page = await listed(b"limit=2" + after)
        backwards += page["data"]
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        if not page["has_more"]:
            break
        after = b"&after=" + page["last_id"].encode()
    assert backwards[::-1] == everything["data"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        (b"limit=0", "limit"),
        (b"limit=101", "limit"),
        (b"limit=x", "limit"),
        (b"order=up", "order"),
        (b"after=x", "after"),
    ],
)
async def test_a_page_that_is_not_there_is_refused(query: bytes, param: str, store: ResponseStore) -> None:
    """With 400, naming the parameter."""
    answered = whole(await respond(Writer(), store))
    err = await refusal(StoredResponses(store).input_items(about(answered["id"], query)))
    assert (err.status, err.extra["field"]) == (400, param)


async def test_a_stored_response_keeps_its_pictures(store: ResponseStore) -> None:
    """They are listed, and the next response sees them again; its error for a model that sees none says whose they are."""
    content = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": url(FIRST)}]
    first = whole(await respond(Writer(inputs=SEEING), store, input=[{"role": "user", "content": content}]))
    listed = whole(await StoredResponses(store).input_items(about(first["id"])))
    ResponseItemList.model_validate(listed)
    assert listed["data"][0]["content"][1] == {"type": "input_image", "image_url": url(FIRST), "detail": "auto"}
    writer = Writer(inputs=SEEING)
    await respond(writer, store, input="And now?", previous_response_id=first["id"])
    assert images(writer, 1) == [FIRST]
    err = await refusal(respond(Writer(), store, input="And now?", previous_response_id=first["id"]))
    assert (err.status, err.extra["field"]) == (400, "previous_response_id")


async def test_other_keys_do_not_see_it(store: ResponseStore) -> None:
    """In no way: they cannot read, list, delete, cancel or continue it."""
    answered = whole(await respond(Writer(), store))
    routes = StoredResponses(store)
    for work in (routes.show, routes.input_items, routes.delete, routes.cancel):
        assert (await refusal(work(about(answered["id"], principal="bob")))).status == 404
    writer = Writer()
    given = asked({"model": "chat", "input": "Hi", "previous_response_id": answered["id"]})
    given.principal = Principal("bob", "Bob")
    assert (await refusal(CreateResponse(writer.dataplane, store, 60.0)(given))).code == "unknown-response"
    assert not writer.inferred
    assert await shown(store, answered["id"]) == answered


async def test_a_deleted_response_is_gone(store: ResponseStore) -> None:
    """The answer is OpenAI's."""
    answered = whole(await respond(Writer(), store))
    gone = whole(await StoredResponses(store).delete(about(answered["id"])))
    assert gone == {"id": answered["id"], "object": "response", "deleted": True}
    assert (await refusal(shown(store, answered["id"]))).status == 404


async def test_what_a_stored_response_cannot_do_is_refused(store: ResponseStore) -> None:
    """It is not streamed again, and there is nothing to cancel."""
    answered = whole(await respond(Writer(), store))
    routes = StoredResponses(store)
    assert (await refusal(routes.show(about(answered["id"], b"stream=true")))).extra["field"] == "stream"
    assert whole(await routes.show(about(answered["id"], b"stream=false&include%5B%5D=x"))) == answered
    err = await refusal(routes.cancel(about(answered["id"])))
    assert (err.status, "background" in err.detail) == (400, True)


async def test_without_a_store_nothing_is_stored_and_the_refusal_names_the_setting() -> None:
    """Unless a request needs a store, it is answered."""
    assert whole(await respond(Writer(), NoStore()))["store"] is False
    routes = StoredResponses(NoStore())
    writer = Writer()
    response_id = "resp_" + "0" * 48
    for work in (
        respond(writer, NoStore(), store=True),
        respond(writer, NoStore(), previous_response_id=response_id),
        routes.show(about(response_id)),
        routes.delete(about(response_id)),
    ):
        err = await refusal(work)
        assert (err.status, err.code) == (400, "storage-not-configured")
        assert "PENSTOCK_GATEWAY_KEYS_URL" in err.detail
    assert not writer.inferred


async def test_a_database_that_is_away_stops_only_what_needs_it(postgres: PostgresServer) -> None:
    """503 for a response that is to be stored; others are answered. In a stream it has failed, and is not completed."""
    store = new_store(postgres.new_database())
    postgres.stop()
    try:
        assert (await refusal(respond(Writer(), store))).code == "response-store-away"
        assert whole(await respond(Writer(), store, store=False))["status"] == "completed"
        *_, failed, error = await events(await respond(Writer(), store, stream=True))
        assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
        assert error["code"] == "response-store-away"
    finally:
        postgres.start()


async def test_what_is_too_large_to_be_stored_is_refused_before_the_model_is_asked(store: ResponseStore) -> None:
    """And answered with ``store: false``."""
    writer = Writer()
    assert (await refusal(respond(writer, store, input="x" * 10_000))).code == "response-too-large"
    assert not writer.inferred
    assert whole(await respond(writer, store, input="x" * 10_000, store=False))["status"] == "completed"


class Full:
    """A store that has no room at the end."""

    keeps = True

    def check_size(self, size: int) -> None: ...

    async def write(self, principal: str, stored: StoredResponse) -> None:
        raise PenstockError(413, "response-too-large", "Too large.")

    async def read(self, principal: str, response_id: str) -> StoredResponse:
        raise NotImplementedError

    async def delete(self, principal: str, response_id: str) -> None:
        raise NotImplementedError

    async def collect_periodically(self) -> None: ...


async def test_an_answer_that_is_too_large_to_be_stored_has_failed() -> None:
    """The client would otherwise look for it in vain."""
    assert (await refusal(respond(Writer(), Full()))).status == 413
    reply: Reply = await respond(Writer(), Full(), stream=True)
    assert [event["type"] for event in await events(reply)][-2:] == ["response.failed", "error"]
