"""Batches of chats with the model that echoes, and what has to come of them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import openai
from openai.types import Batch

#: One line in so many names a model that is not there.
_FAILING = 50


def client_of(url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=10)


def line(i: int, **changes: Any) -> str:
    body = {
        "model": "absent" if i % _FAILING == 0 else "echo",
        "messages": [{"role": "user", "content": f"number {i}"}],
    }
    request = {"custom_id": f"line-{i}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(request | changes) + "\n"


def create(client: openai.OpenAI, text: str, **more: Any) -> Batch:
    file = client.files.create(file=("requests.jsonl", text.encode()), purpose="batch")
    endpoint: Any = "/v1/chat/completions"
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def answered(client: openai.OpenAI, batch: Batch) -> int:
    """How many lines have an answer."""
    counts = client.batches.retrieve(batch.id).request_counts
    assert counts is not None
    return counts.completed + counts.failed


def check_outputs(client: openai.OpenAI, batch: Batch, lines: int) -> None:
    """Each of the lines has one answer, in the output or in the error file, and it is its own."""
    failing = len(range(0, lines, _FAILING))
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": lines, "completed": lines - failing, "failed": failing}
    assert batch.usage is not None
    assert batch.usage.output_tokens == lines - failing
    output, errors = _answers(client, batch.output_file_id), _answers(client, batch.error_file_id)
    seen = Counter(answer["custom_id"] for answer in [*output, *errors])
    assert seen == Counter(f"line-{i}" for i in range(lines))
    for answer in output:
        number = answer["custom_id"].removeprefix("line-")
        assert answer["error"] is None
        assert answer["response"]["status_code"] == 200
        assert answer["response"]["body"]["choices"][0]["message"]["content"] == f"[number {number}]"
    assert {answer["response"]["body"]["error"]["code"] for answer in errors} == {"unknown-model"}


def _answers(client: openai.OpenAI, file_id: str | None) -> list[Any]:
    assert file_id is not None
    return [json.loads(text) for text in client.files.content(file_id).text.splitlines()]
