"""A model that sees answers OpenAI's client about pictures, as ``generate`` of ``transformers`` does."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.models.serving import Serving
from tests.models.taught_seeing_model import QUESTION, Direct, picture, save_taught_seeing_model
from tests.unit.gateway.protocols.openai.responses.asking import valid, valid_event


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_taught_seeing_model(tmp_path_factory.mktemp("taught") / "model")


@pytest.fixture(scope="module")
def client(serving: Serving, folder: Path) -> openai.OpenAI:
    """OpenAI's client of the installation, which then has the model ``eyes`` with the manifest that is imported."""
    serving.add("chat", "--from", str(folder), "--model", "eyes")
    inputs = serving.client.get("/v2/models/eyes").json()["inputs"]
    assert {"name": "images", "datatype": "BYTES", "shape": [-1, -1]} in [
        {key: tensor[key] for key in ("name", "datatype", "shape")} for tensor in inputs
    ]
    return serving.openai()


def url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def asked(*pictures: bytes) -> list[Any]:
    """The messages of a chat about some pictures."""
    parts = [{"type": "image_url", "image_url": {"url": url(data)}} for data in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": QUESTION}]}]


def text(client: openai.OpenAI, *pictures: bytes) -> str | None:
    answer = client.chat.completions.create(model="eyes", messages=asked(*pictures), max_tokens=16)
    assert answer.choices[0].finish_reason == "stop"
    return answer.choices[0].message.content


def test_a_chat_names_the_colours_of_pictures(client: openai.OpenAI, folder: Path) -> None:
    """Of one or two, of another format and size, many chats at once; each is what ``generate`` says."""
    red, green, blue = picture("red"), picture("green", format_="JPEG", size=(33, 77)), picture("blue", format_="WEBP")
    wanted = {(red,): "red", (green,): "green", (blue, red): "blue red", (red, blue): "red blue"}
    direct = Direct(folder)
    assert {pictures: direct.answer(pictures) for pictures in wanted} == wanted
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda pictures: text(client, *pictures), [*wanted, *wanted]))
    assert answers == [*wanted.values(), *wanted.values()]
    hello: list[Any] = [{"role": "user", "content": "Hello"}]
    assert client.chat.completions.create(model="eyes", messages=hello).choices[0].message.content == "Hi!"


def test_a_stream_is_the_whole_answer(client: openai.OpenAI) -> None:
    """The tokens of the prompt count the picture's."""
    stream = client.chat.completions.create(
        model="eyes", messages=asked(picture("green")), stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "green"
    alone = client.chat.completions.create(model="eyes", messages=asked(), max_tokens=1)
    assert last.usage is not None and alone.usage is not None
    assert last.usage.prompt_tokens == alone.usage.prompt_tokens + 16  # patches of 8 x 8 in 32 x 32 pixels


def test_an_answer_about_a_picture_has_the_form_that_was_asked_for(client: openai.OpenAI) -> None:
    """The model alone would name the colour."""
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"enum": ["nothing"]}}}
    answer = client.chat.completions.create(model="eyes", messages=asked(picture("red")), response_format=form)
    assert answer.choices[0].message.content == '"nothing"'


def test_a_response_sees_a_picture(serving: Serving, client: openai.OpenAI) -> None:
    """Case ``image-input`` of Open Responses' compliance tests; the next response sees the picture again."""
    content = [{"type": "input_image", "image_url": url(picture("blue"))}, {"type": "input_text", "text": QUESTION}]
    request = {"model": "eyes", "input": [{"type": "message", "role": "user", "content": content}]}
    response = valid(serving.client.post("/v1/responses", json=request).json())
    [message] = response["output"]
    assert (response["status"], message["content"][0]["text"]) == ("completed", "blue")
    more: Any = {"previous_response_id": response["id"], "input": QUESTION, "max_output_tokens": 1}
    assert (
        valid(serving.client.post("/v1/responses", json={"model": "eyes", **more}).json())["usage"]["input_tokens"]
        > (response["usage"]["input_tokens"])
    )
    events = list(client.responses.create(**request, stream=True))
    for event in events:
        valid_event(event.to_dict())
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "blue"


@pytest.mark.parametrize(
    ("bad", "said"),
    [("https://example.com/a.png", "as a data: URL"), (url(picture("red")[:200]), "cannot be decoded")],
)
def test_a_picture_that_cannot_be_seen_is_refused(client: openai.OpenAI, bad: str, said: str) -> None:
    """By the gateway or the pod, naming its part."""
    messages = asked(picture("red"), picture("red"))
    messages[0]["content"][1]["image_url"]["url"] = bad
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        client.chat.completions.create(model="eyes", messages=messages)
    assert caught.value.param == "messages[0].content[1]"
