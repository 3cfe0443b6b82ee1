"""Pictures in chats and responses: what the model gets of them, and what is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from penstock_common import text_generation
from penstock_common.errors import PenstockError
from penstock_common.tensors import unpack_bytes
from penstock_gateway.protocols.openai.errors import openai_error
from tests.unit.gateway.protocols.openai.responses.asking import messages, respond
from tests.unit.gateway.protocols.openai.test_chat import Writer, chat, whole
from tests.unit.gateway.signature.test_image_bounds import jpeg, png

SEEING = [*text_generation.INPUTS, text_generation.IMAGES]
FIRST, SECOND = png(10, 10), jpeg(20, 20, 1)
TEXT = {"type": "text", "text": "What is this?"}


def url(file: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"


def part(file: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url(file), "detail": "low"}}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def images(writer: Writer, count: int) -> list[bytes]:
    return unpack_bytes(writer.given("images"), count)


async def refusal(writer: Writer, *parts: dict[str, Any]) -> dict[str, Any]:
    """The error object of a chat; nothing reaches the model."""
    with pytest.raises(PenstockError) as caught:
        await chat(writer, messages=user(*parts))
    assert not writer.inferred
    error: dict[str, Any] = openai_error(caught.value)["error"]
    return error | {"status": caught.value.status}


async def test_the_model_gets_pictures_beside_the_messages() -> None:
    """Their parts say where each belongs; a message without pictures is one text, as for models that read texts alone."""
    writer = Writer(inputs=SEEING)
    system = {"role": "system", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "short."}]}
    asked = [system, *user(part(FIRST), TEXT, part(SECOND), {"type": "text", "text": ""})]
    assert whole(await chat(writer, messages=asked))["choices"][0]["message"]["content"] == "Hello"
    assert images(writer, 2) == [FIRST, SECOND]
    assert messages(writer) == [
        {"role": "system", "content": "Be\nshort."},
        {"role": "user", "content": [{"type": "image"}, TEXT, {"type": "image"}]},
    ]


async def test_a_chat_without_pictures_has_no_images() -> None:
    """Its texts are as they were."""
    writer = Writer(inputs=SEEING)
    await chat(writer, messages=user(TEXT))
    assert writer.given("images") == b""
    assert messages(writer) == [{"role": "user", "content": "What is this?"}]


async def test_an_address_is_refused() -> None:
    """With how to send the picture instead: nothing is fetched."""
    address = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    error = await refusal(Writer(inputs=SEEING), TEXT, address)
    assert (error["status"], error["param"]) == (400, "messages[0].content[1]")
    assert "data:image/png;base64," in error["message"]


async def test_a_model_that_reads_texts_alone_refuses_a_picture() -> None:
    """The error names the part, and the type that it has."""
    error = await refusal(Writer(), TEXT, part(FIRST))
    assert (error["status"], error["param"]) == (400, "messages[0].content[1]")
    assert "'image_url'" in error["message"] and "reads texts alone" in error["message"]


async def test_a_picture_that_cannot_be_read_is_named_by_its_place() -> None:
    """Another format, too many pixels, and no base64."""
    writer = Writer(inputs=SEEING)
    error = await refusal(writer, part(FIRST), part(b"GIF89a and more"))
    assert (error["status"], error["param"], error["code"]) == (415, "messages[0].content[1]", "unsupported-image")
    assert error["message"].startswith("messages[0].content[1]: is not an image")
    error = await refusal(writer, TEXT, part(png(10_000, 5_001)))
    assert (error["status"], error["param"], error["code"]) == (413, "messages[0].content[1]", "image-too-large")
    error = await refusal(writer, {"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}})
    assert (error["status"], error["param"]) == (422, "messages[0].content[0]")


async def test_pictures_that_are_too_many_together_are_refused() -> None:
    """The error is about the messages."""
    writer = Writer(inputs=SEEING)
    for parts in ([part(png(8_000, 6_250))] * 5, [part(FIRST)] * 17):
        assert (await refusal(writer, *parts))["param"] == "messages"


async def test_what_a_pod_says_of_a_picture_has_its_place() -> None:
    """Such as that its pixels cannot be decoded."""
    error = PenstockError(422, "invalid-input", "images.1: the image cannot be decoded; send a whole PNG file.")
    with pytest.raises(PenstockError) as caught:
        await chat(Writer(error, inputs=SEEING), messages=user(part(FIRST), TEXT, part(FIRST)))
    assert caught.value.extra["field"] == "messages[0].content[2]"
    assert caught.value.detail.startswith("messages[0].content[2]: the image cannot be decoded")


async def test_a_response_sees_pictures() -> None:
    """Of this request and of the previous one."""
    writer = Writer(inputs=SEEING)
    content = [{"type": "input_image", "image_url": url(FIRST)}, {"type": "input_text", "text": "What is this?"}]
    await respond(writer, input=[{"role": "user", "content": content}], instructions="Be short.")
    assert images(writer, 1) == [FIRST]
    assert messages(writer)[1] == {"role": "user", "content": [{"type": "image"}, TEXT]}


async def test_a_picture_of_a_response_is_named_by_its_place() -> None:
    """Behind instructions too."""
    content = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": url(b"GIF89a")}]
    items = [{"role": "user", "content": "Hi"}, {"role": "user", "content": content}]
    for inputs, said in ((SEEING, "is not an image"), (list(text_generation.INPUTS), "'input_image'")):
        with pytest.raises(PenstockError) as caught:
            await respond(Writer(inputs=inputs), input=items, instructions="Be short.")
        assert caught.value.extra["field"] == "input[1].content[1]"
        assert said in caught.value.detail
    for missing in ({"file_id": "file_1"}, {"image_url": "http://example.com/a.png"}):
        items[1]["content"] = [{"type": "input_image"} | missing]
        with pytest.raises(PenstockError) as caught:
            await respond(Writer(inputs=SEEING), input=items)
        assert (caught.value.status, caught.value.extra["field"]) == (400, "input[1].content[0]")
