"""Batches by OpenAI's own client against real gateways, some of which are killed while they work."""

from __future__ import annotations

import os
import sqlite3

import openai
import psutil
import pytest
from openai.types import Batch

from tests.echo_batches import answered, check_outputs, client_of, create, line
from tests.installation import Installation, until

pytestmark = pytest.mark.integration

LINES = int(os.environ.get("PENSTOCK_BATCH_LINES", "400"))
SECONDS = 60 + LINES / 20


def reaches(client: openai.OpenAI, batch: Batch, *statuses: str) -> Batch:
    """Wait until a batch has one of these statuses."""
    until(lambda: client.batches.retrieve(batch.id).status in statuses, f"the batch to be {statuses}", SECONDS)
    return client.batches.retrieve(batch.id)


def kill_owner(installation: Installation, client: openai.OpenAI, batch: Batch) -> int:
    """Kill the gateway that works on a batch once it has written some of the answers; the lines that it had by then."""

    until(lambda: answered(client, batch) >= min(100, LINES // 4), "the first answers", SECONDS)
    with sqlite3.connect(installation.home / "keys.db") as database:
        [(owner,)] = database.execute("SELECT owner FROM penstock_batches WHERE id = ?", (batch.id,)).fetchall()
    psutil.Process(int(owner.split("-")[-2])).kill()
    return answered(client, batch)


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
    check_outputs(client, done, LINES)

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
        check_outputs(client, done, LINES)

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
