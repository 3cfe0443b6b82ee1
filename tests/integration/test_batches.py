"""Batches by OpenAI's own client against real gateways, some of which are killed while they work."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from typing import Any

import openai
import psutil
import pytest
from openai.types import Batch

from tests.installation import Installation, until

pytestmark = pytest.mark.integration

LINES = int(os.environ.get("PENSTOCK_BATCH_LINES", "400"))
SECONDS = 60 + LINES / 20
#: One line in so many names a model that is not there.
FAILING = 50


def client_of(url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=10)


def line(i: int, **changes: Any) -> str:
    body = {"model": "absent" if i % FAILING == 0 else "echo", "messages": [{"role": "user", "content": f"number {i}"}]}
    request = {"custom_id": f"line-{i}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(request | changes) + "\n"


def create(client: openai.OpenAI, text: str, **more: Any) -> Batch:
    file = client.files.create(file=("requests.jsonl", text.encode()), purpose="batch")
    endpoint: Any = "/v1/chat/completions"
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def answers(client: openai.OpenAI, file_id: str | None) -> list[Any]:
    assert file_id is not None
    return [json.loads(text) for text in client.files.content(file_id).text.splitlines()]


def reaches(client: openai.OpenAI, batch: Batch, *statuses: str) -> Batch:
    """Wait until a batch has one of these statuses."""
    until(lambda: client.batches.retrieve(batch.id).status in statuses, f"the batch to be {statuses}", SECONDS)
    return client.batches.retrieve(batch.id)


def kill_owner(installation: Installation, client: openai.OpenAI, batch: Batch) -> int:
    """Kill the gateway that works on a batch once it has written some of the answers; the lines that it had by then."""

    def begun() -> bool:
        counts = client.batches.retrieve(batch.id).request_counts
        return counts is not None and counts.completed >= min(100, LINES // 4)

    until(begun, "the first answers", SECONDS)
    with sqlite3.connect(installation.home / "keys.db") as database:
        [(owner,)] = database.execute("SELECT owner FROM penstock_batches WHERE id = ?", (batch.id,)).fetchall()
    psutil.Process(int(owner.split("-")[-2])).kill()
    counts = client.batches.retrieve(batch.id).request_counts
    assert counts is not None
    return counts.completed + counts.failed


def check_outputs(client: openai.OpenAI, batch: Batch) -> None:
    """Each line has one answer, in the output or in the error file, and it is its own."""
    failing = len(range(0, LINES, FAILING))
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": LINES, "completed": LINES - failing, "failed": failing}
    output, errors = answers(client, batch.output_file_id), answers(client, batch.error_file_id)
    seen = Counter(answer["custom_id"] for answer in [*output, *errors])
    assert seen == Counter(f"line-{i}" for i in range(LINES))
    for answer in output:
        number = answer["custom_id"].removeprefix("line-")
        assert answer["error"] is None
        assert answer["response"]["status_code"] == 200
        assert answer["response"]["body"]["choices"][0]["message"]["content"] == f"[number {number}]"
    assert {answer["response"]["body"]["error"]["code"] for answer in errors} == {"unknown-model"}


def test_a_batch_outlives_the_gateway_that_works_on_it(echoing: Installation) -> None:
    """After SIGKILL of the only gateway and then of one of two, each custom_id has one answer; nobody else sees them."""
    client = client_of(echoing.url, echoing.unlimited_key())
    text = "".join(line(i) for i in range(LINES))
    batch = create(client, text, metadata={"night": "1"})
    before = kill_owner(echoing, client, batch)
    assert before < LINES, "the batch was over too soon for this test; give it more lines"
    done = reaches(client, batch, "completed", "failed")
    assert done.status == "completed", done
    assert done.metadata == {"night": "1"}
    check_outputs(client, done)

    stranger = client_of(echoing.url, echoing.key)
    for refused in (
        lambda: stranger.batches.retrieve(batch.id),
        lambda: stranger.files.content(done.output_file_id or ""),
        lambda: stranger.files.delete(batch.input_file_id),
    ):
        with pytest.raises(openai.NotFoundError):
            refused()
    assert stranger.batches.list().data == stranger.files.list().data == []

    with echoing.another_gateway():
        second = create(client, text)
        kill_owner(echoing, client, second)
        done = reaches(client, second, "completed", "failed")
        assert done.status == "completed", done
        check_outputs(client, done)

    assert [listed.id for listed in client.batches.list(limit=1)] == [second.id, batch.id]  # page by page
    bad = create(client, line(1) + line(1) + line(2, method="GET") + "{")
    failed = reaches(client, bad, "failed")
    assert failed.errors is not None and failed.errors.data is not None
    assert [(err.line, err.code) for err in failed.errors.data] == [
        (2, "duplicate_custom_id"),
        (3, "invalid_method"),
        (4, "invalid_json_line"),
    ]
    cancelled = create(client, text)
    assert client.batches.cancel(cancelled.id).status in ("cancelling", "cancelled")
    assert reaches(client, cancelled, "cancelled").cancelled_at
    client.files.delete(done.output_file_id or "")
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(done.output_file_id or "")
