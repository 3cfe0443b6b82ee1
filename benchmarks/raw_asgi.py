"""What Python can do on one core: a raw ASGI application that batches in the event loop.

All requests that one turn of the loop has read share one call of the model, on the loop's own thread.
There is no authentication, no limit, no metric, no deadline, and no validation beyond decoding the JSON.

``python -m benchmarks.raw_asgi ARTIFACT_FOLDER PORT``
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from benchmarks.spam_model import Answer, SpamModel

MAX_BATCH_SIZE = 128


class Message(msgspec.Struct):
    text: str


class LoopBatcher:
    """Packs the texts of one turn of the event loop into batches of at most ``MAX_BATCH_SIZE`` rows."""

    def __init__(self, model: SpamModel) -> None:
        self._model = model
        self._waiting: list[tuple[str, asyncio.Future[Answer]]] = []

    def submit(self, text: str) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run)
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((text, answer))
        return answer

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), MAX_BATCH_SIZE):
            batch = waiting[first : first + MAX_BATCH_SIZE]
            answers = self._model.answer([text for text, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.cancelled():
                    future.set_result(answer)


class Application:
    """An ASGI 3 application: every POST is a message to classify; any other method is answered with 200."""

    def __init__(self, model: SpamModel) -> None:
        self._batcher = LoopBatcher(model)
        self._decode = msgspec.json.Decoder(Message).decode
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        status, content = 200, b"{}"
        if scope["method"] == "POST":
            event = await receive()
            body = event["body"]
            while event["more_body"]:
                event = await receive()
                body += event["body"]
            try:
                content = self._encode(await self._batcher.submit(self._decode(body).text))
            except msgspec.DecodeError:
                status = 422
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def main() -> None:
    artifact, port = sys.argv[1:]
    uvicorn.run(
        Application(SpamModel(Path(artifact))),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
