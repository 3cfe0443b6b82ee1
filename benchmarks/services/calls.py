"""How a client asks each service over HTTP, and what of the answer is compared."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from benchmarks.services.samples import TOKENS


class Answer(NamedTuple):
    """An answer.

    Attributes:
        value: what is compared with the right answer, or with that of another system.
        first_ms: until the first token was there, if it came as a stream.
    """

    value: Any
    first_ms: float | None = None


#: Asks a server, whose address ends with ``/v1``, for what it calls its model.
Ask = Callable[[httpx.Client, str, bytes], Answer]


def chat(client: httpx.Client, model: str, question: bytes) -> Answer:
    """Read an answer as it is written.

    Raises:
        RuntimeError: it ended before it had TOKENS tokens.
    """
    messages = [{"role": "user", "content": question.decode()}]
    body = {"model": model, "messages": messages, "max_tokens": TOKENS, "temperature": 0, "stream": True}
    text, finish, first_ms = "", None, None
    started = time.perf_counter()
    with client.stream("POST", "chat/completions", json=body) as answer:
        _check(answer)
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            for choice in json.loads(line.removeprefix("data: "))["choices"]:
                finish = choice.get("finish_reason") or finish
                if part := choice["delta"].get("content"):
                    first_ms = first_ms or 1000 * (time.perf_counter() - started)
                    text += part
    if finish != "length":
        raise RuntimeError(f"{model} did not write {TOKENS} tokens about {question.decode()!r}: {finish}, {text!r}")
    return Answer(text, first_ms)


def embeddings(client: httpx.Client, model: str, text: bytes) -> Answer:
    answer = client.post("embeddings", json={"model": model, "input": text.decode()})
    return Answer(_body(answer)["data"][0]["embedding"])


def transcription(client: httpx.Client, model: str, sound: bytes) -> Answer:
    answer = client.post("audio/transcriptions", data={"model": model}, files={"file": ("sound.wav", sound)})
    return Answer(_body(answer)["text"])


def ocr(client: httpx.Client, model: str, picture: bytes) -> Answer:
    [result] = _body(client.post("ocr", content=picture, headers={"Content-Type": "image/png"}))["results"]
    return Answer([line["text"] for line in result["lines"]])


def faces(client: httpx.Client, model: str, picture: bytes) -> Answer:
    [result] = _body(client.post("faces", content=picture, headers={"Content-Type": "image/png"}))["results"]
    return Answer([face["box"] for face in result["faces"]])


def entities(client: httpx.Client, model: str, text: bytes) -> Answer:
    [result] = _body(client.post("entities", json={"model": model, "text": text.decode()}))["results"]
    return Answer([[entity["text"], entity["label"]] for entity in result["entities"]])


def image_classification(client: httpx.Client, model: str, picture: bytes) -> Answer:
    answer = client.post(f"models/{model}/predict", files={"image": ("picture", picture)})
    return Answer(_body(answer)["prediction"])


def _body(answer: httpx.Response) -> Any:
    _check(answer)
    return answer.json()


def _check(answer: httpx.Response) -> None:
    """Raise a RuntimeError with the reason if the server refused."""
    if answer.is_error:
        raise RuntimeError(f"{answer.url} -> {answer.status_code} {answer.read().decode()}")
