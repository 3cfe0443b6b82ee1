"""A streamed text is the unstreamed one, whatever is asked, and however many are asked at once.

``PENSTOCK_STREAMS`` says how many inputs; 1,000 take some minutes.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import orjson
import pytest

from penstock_common.manifest import Generation, dump_manifest
from tests.models.serving import Serving
from tests.unit.inference.runners.tiny_language_model import TEXT, manifest, save_language_model

INPUTS = int(os.environ.get("PENSTOCK_STREAMS", "100"))
AT_ONCE = 8
_CONTEXT = 512
_ALPHABETS = ("abc xyz.,!?", "äöüßéñø", "東京水力発電", "🙂🌊👩‍👩‍👧", "مرحبا", '\n\t"\\{}[]:', "\u0000\u2028\ufeff")
#: Some of them are written in several tokens.
_STOPS = [" the", "r", "ver", "京", "🙂", ". ", "ü", "e r", "\ufffd", "n the r"]


@pytest.fixture(scope="module")
def writer(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of random weights, which writes arbitrary bytes: many characters are cut over its tokens."""
    artifact = tmp_path_factory.mktemp("writer")
    save_language_model(artifact / "model", max_position_embeddings=_CONTEXT)
    serving.serve("writer", artifact, dump_manifest(manifest(Generation(cache_tokens=2 * AT_ONCE * _CONTEXT))))
    return "writer"


def arbitrary_request(number: int) -> tuple[str, dict[str, Any]]:
    """A path and a body, the same for a number in every process."""
    rng = random.Random(number)
    text = "".join(rng.choice(rng.choice(_ALPHABETS)) for _ in range(rng.randint(1, 60)))
    body: dict[str, Any] = {
        "model": "writer",
        "seed": rng.getrandbits(63),
        "temperature": rng.choice([0, 0.5, 1, 1.6]),
        "max_tokens": rng.randint(1, 48),
    }
    options = {"top_p": rng.uniform(0.3, 1), "n": rng.randint(2, 3), "stop": rng.sample(_STOPS, rng.randint(1, 4))}
    body |= {member: value for member, value in options.items() if rng.random() < 0.3}
    if number % 2:
        return "/v1/completions", body | {"prompt": rng.choice([text, TEXT[: rng.randint(1, len(TEXT))]])}
    return "/v1/chat/completions", body | {"messages": [{"role": "user", "content": text}]}


def whole(client: httpx.Client, path: str, body: dict[str, Any]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """The text and the finish reason of each choice, and the usage."""
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    choices = [
        (choice["message"]["content"] if "message" in choice else choice["text"], choice["finish_reason"])
        for choice in document["choices"]
    ]
    return choices, document["usage"]


def streamed(client: httpx.Client, path: str, body: dict[str, Any]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """The same, of the events of a stream, which end with ``[DONE]``."""
    texts, reasons = [""] * body.get("n", 1), [""] * body.get("n", 1)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    with client.stream("POST", path, json=body | options) as answer:
        *events, done = answer.read().removesuffix(b"\n\n").split(b"\n\n")
    assert done == b"data: [DONE]", done
    *chunks, last = [orjson.loads(event.removeprefix(b"data: ")) for event in events]
    for chunk in chunks:
        [choice] = chunk["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "") if "delta" in choice else choice["text"]
        reasons[choice["index"]] = choice["finish_reason"] or reasons[choice["index"]]
    assert last["choices"] == []
    return list(zip(texts, reasons, strict=True)), last["usage"]


def test_a_streamed_text_is_the_unstreamed_one(serving: Serving, writer: str) -> None:
    """For prompts of many scripts, seeds, temperatures, stops and choices, and among others that run meanwhile."""
    requests = [arbitrary_request(number) for number in range(INPUTS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        unstreamed = list(pool.map(lambda request: whole(serving.client, *request), requests))
        pieced = list(pool.map(lambda request: streamed(serving.client, *request), reversed(requests)))
    different = [
        (request, one, other)
        for request, one, other in zip(requests, unstreamed, reversed(pieced), strict=True)
        if one != other
    ]
    assert not different, f"{len(different)} of {INPUTS} differ, as {different[0]}"
    texts = [choice for choices, _ in unstreamed for choice in choices]
    assert {reason for _, reason in texts} == {"stop", "length"}
    assert len({text for text, _ in texts}) > len(texts) // 2
    assert any("\u007f" < character < "\ufffd" for text, _ in texts for character in text)  # is of several tokens


def test_the_short_route_of_conversations(serving: Serving, writer: str) -> None:
    """``/v1/chat`` answers as ``/v1/chat/completions`` does, whole and streamed."""
    path, body = arbitrary_request(0)
    assert path == "/v1/chat/completions"
    expected = whole(serving.client, path, body)
    assert whole(serving.client, "/v1/chat", body) == streamed(serving.client, "/v1/chat", body) == expected


@pytest.mark.parametrize("stream", [False, True])
def test_the_headers_that_clients_read(serving: Serving, writer: str, stream: bool) -> None:
    """The id that the client gave, and how its limit stands, whole or streamed, and with a refusal."""
    path, body = arbitrary_request(0)
    for more, status in (({}, 200), ({"temperature": -1}, 400)):
        request = body | {"stream": stream} | more
        answer = serving.client.post(path, json=request, headers={"X-Request-ID": "mine"})
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "mine")
        limit, remaining, reset = (
            answer.headers[f"x-ratelimit-{what}-requests"] for what in ("limit", "remaining", "reset")
        )
        assert 0 <= int(remaining) < int(limit)
        assert int(reset.removesuffix("s")) >= 1
