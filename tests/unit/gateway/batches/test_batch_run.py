"""The work on one batch: each request has one answer, whoever is killed, cancelled, refused or late."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from penstock_gateway.batches import batch_run
from penstock_gateway.batches.answered_line import answered
from penstock_gateway.batches.batch_record import Status
from penstock_gateway.batches.batches import LeaseLostError
from penstock_gateway.batches.parts import Part, Parts
from penstock_gateway.batches.token_usage import TokenUsage
from tests.unit.gateway.batches.working import Working, request, requests, working


@pytest.fixture
def one(database_url: str, tmp_path: Path) -> Working:
    return working(database_url, tmp_path / "files")


def ids(lines: list[Any]) -> Counter[str]:
    return Counter(line["custom_id"] for line in lines)


def expected(*numbers: int) -> Counter[str]:
    return Counter(f"id-{i}" for i in numbers)


async def test_each_request_has_an_answer(one: Working) -> None:
    """In the order of the requests and as the key that made the batch; failures are in a file of their own."""
    real = one.route.answer

    async def answer(content: str) -> Any:
        return (400, [], {"error": {"code": "odd"}}) if content == "7" else await real(content)

    one.route.answer = answer  # type: ignore[method-assign]
    batch = await one.work(await one.create(requests(250)))
    assert batch.status is Status.COMPLETED
    progress = batch.progress
    assert (progress.total, progress.completed, progress.failed) == (250, 249, 1)
    output = await one.lines(progress.output_file_id)
    assert [line["custom_id"] for line in output] == [f"id-{i}" for i in range(250) if i != 7]
    assert output[3]["response"]["body"] == {"echo": "3"}
    assert output[3]["response"]["status_code"] == 200 and output[3]["error"] is None
    [failed] = await one.lines(progress.error_file_id)
    assert failed["custom_id"] == "id-7" and failed["response"]["body"] == {"error": {"code": "odd"}}
    assert one.route.keys == {b"ann"}
    assert 1 < one.route.most_at_once <= 8
    assert one.parts() == []


async def test_what_a_killed_gateway_has_written_is_not_asked_again(
    one: Working, database_url: str, tmp_path: Path
) -> None:
    """Another gateway goes on behind the last part, also behind one that was not counted any more; usage is counted once."""
    batch = await one.create(requests(350))
    claimed = await one.in_progress(batch)

    async def answer(content: str) -> Any:
        return 200, [], {"usage": {"prompt_tokens": int(content), "completion_tokens": 2}}

    one.route.answer = answer  # type: ignore[method-assign]
    real = one.batches.write_progress

    async def killed(batch: Any) -> bool:
        if batch.progress.next_line == 200:  # the second part is written, and nobody knows
            raise KeyboardInterrupt
        return await real(batch)

    one.batches.write_progress = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await one.run(claimed).work()
    assert one.parts() == ["00000000.jsonl", "00000100.jsonl"]
    await one.batches.release(claimed, 0.0)  # as if its time were over

    two = Working(database_url, tmp_path / "files", "two")
    two.route.answer = answer  # type: ignore[method-assign]
    done = await two.work(batch)
    assert done.status is Status.COMPLETED
    assert (done.progress.completed, done.progress.failed) == (350, 0)
    assert done.progress.usage == TokenUsage(sum(range(350)), 700)
    assert ids(await two.lines(done.progress.output_file_id)) == expected(*range(350))
    assert set(two.route.asked) == {str(i) for i in range(200, 350)}


async def test_a_part_of_another_gateway_counts(one: Working) -> None:
    """A gateway that finds one writes nothing in its place; whoever goes on counts it and asks none of its lines."""
    batch = await one.create(requests(150))
    claimed = await one.in_progress(batch)
    theirs = Part(0, 0.0)
    for i in range(120):
        theirs.add(answered("theirs", f"id-{i}", 200, b"{}"))
    real = one.contents.create

    async def create(key: str, data: bytes) -> bool:
        await real(key, theirs.encoded())  # a moment before
        return await real(key, data)

    one.contents.create = create  # type: ignore[method-assign]
    with pytest.raises(LeaseLostError):
        await one.run(claimed).work()
    assert (await one.batches.show("ann", batch.id)).progress.next_line == 0
    one.contents.create = real  # type: ignore[method-assign]
    one.route.asked.clear()
    await one.batches.release(claimed, 0.0)
    done = await one.work(batch)
    output = await one.lines(done.progress.output_file_id)
    assert ids(output) == expected(*range(150))
    assert {line["id"] for line in output[:120]} == {"theirs"}
    assert set(one.route.asked) == {str(i) for i in range(120, 150)}


async def test_a_gateway_that_was_frozen_changes_nothing(one: Working, database_url: str, tmp_path: Path) -> None:
    """It goes on when the batch is over, by the hands of another."""
    batch = await one.create(requests(150))
    frozen = await one.in_progress(batch)
    await one.batches.release(frozen, 0.0)
    two = Working(database_url, tmp_path / "files", "two")
    done = await two.work(batch)
    before = await two.lines(done.progress.output_file_id)
    with pytest.raises(LeaseLostError):
        await one.run(frozen).work()
    assert await two.batches.show("ann", batch.id) == done
    assert await two.lines(done.progress.output_file_id) == before


async def test_a_late_finish_does_not_empty_the_output(one: Working) -> None:
    """Whoever joins the parts after they were removed changes nothing."""
    batch = await one.create(requests(10))
    claimed = await one.in_progress(batch)
    real, stopped = one.batches.move, []

    async def move(batch: Any, status: Status) -> bool:
        if status is Status.COMPLETED and not stopped:
            stopped.append(status)
            await Parts(one.contents, batch.id).delete()  # as another gateway does that was faster
            return False
        return await real(batch, status)

    one.batches.move = move  # type: ignore[method-assign]
    with pytest.raises(LeaseLostError):
        await one.run(claimed).work()
    assert stopped
    file_id = (await one.batches.show("ann", batch.id)).progress.output_file_id
    assert ids(await one.lines(file_id)) == expected(*range(10))


async def test_a_lost_lease_ends_the_work(one: Working, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as it is noticed; the requests under way are given up."""
    monkeypatch.setattr(batch_run, "_LOOK_SECONDS", 0.01)
    batch = await one.create(requests(10))
    claimed = await one.in_progress(batch)
    given_up = 0

    async def never(content: str) -> Any:
        nonlocal given_up
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            given_up += 1
            raise

    one.route.answer = never  # type: ignore[method-assign]
    work = asyncio.create_task(one.run(claimed).work())
    await one.batches.release(claimed, 0.0)
    two = Working(database_url, one.root, "two")
    while await two.batches.claim(()) is None:  # the first one renews its lease meanwhile
        await one.batches.release(claimed, 0.0)
    with pytest.raises(LeaseLostError):
        await work
    assert given_up == 8


async def test_the_lease_is_not_renewed_once_the_work_is_over(one: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal that is under way then is awaited, so that the batch is free when it is given up."""
    monkeypatch.setattr(batch_run, "_LOOK_SECONDS", 0.0)
    begun, renew, under_way = asyncio.Event(), one.batches.renew, 0

    async def slow(batch: Any) -> Any:
        nonlocal under_way
        under_way += 1
        begun.set()
        await asyncio.sleep(0.02)
        renewed = await renew(batch)
        under_way -= 1
        return renewed

    async def answer(content: str) -> Any:
        await begun.wait()
        return 200, [], {}

    one.route.answer = answer  # type: ignore[method-assign]
    claimed = await one.in_progress(await one.create(requests(1)))
    one.batches.renew = slow  # type: ignore[method-assign]
    await one.run(claimed).work()
    assert under_way == 0


async def test_what_is_refused_for_now_is_sent_again(one: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate limit or an overload is waited for, as long as the refusal says; nothing is in the error file."""
    waited: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr("penstock_gateway.batches.line_calls.asyncio.sleep", note)
    refusals = {"1": [(429, b"7"), (503, b"2")], "2": [(503, b"1000")]}

    async def answer(content: str) -> Any:
        if refusals.get(content):
            status, seconds = refusals[content].pop(0)
            return status, [(b"retry-after", seconds)], {}
        return 200, [], {}

    one.route.answer = answer  # type: ignore[method-assign]
    batch = await one.work(await one.create(requests(5)))
    assert (batch.progress.completed, batch.progress.failed) == (5, 0)
    assert one.route.asked == Counter({"0": 1, "1": 3, "2": 2, "3": 1, "4": 1})
    long = sorted(seconds for seconds in waited if seconds >= 2)
    assert len(long) == 3
    assert 2 <= long[0] <= 3 and 7 <= long[1] <= 10.5 and 60 <= long[2] <= 90


async def test_a_revoked_key_ends_its_batch(one: Working) -> None:
    """Nothing more is asked, and the batch says why."""

    async def answer(content: str) -> Any:
        return 401, [], {}

    one.route.answer = answer  # type: ignore[method-assign]
    batch = await one.work(await one.create(requests(500)))
    assert batch.status is Status.FAILED
    assert [err.code for err in batch.progress.errors] == ["key_refused"]
    assert len(one.route.asked) <= 64
    assert one.parts() == []


async def test_a_batch_whose_time_is_over_expires(one: Working) -> None:
    """What was answered by then is in the output, and what was not is in the error file."""

    async def answer(content: str) -> Any:
        if int(content) >= 30:
            await asyncio.get_running_loop().create_future()
        return 200, [], {}

    one.route.answer = answer  # type: ignore[method-assign]
    batch = await one.work(await one.create(requests(100), window=2.0))
    assert batch.status is Status.EXPIRED
    assert ids(await one.lines(batch.progress.output_file_id)) == expected(*range(30))
    errors = await one.lines(batch.progress.error_file_id)
    assert ids(errors) == expected(*range(30, 100))
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    assert {line["response"] for line in errors} == {None}


async def test_a_cancelled_batch_keeps_its_answers(one: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests under way are given up, those behind them are not asked, and what is answered is in the output."""
    monkeypatch.setattr(batch_run, "_LOOK_SECONDS", 0.01)
    stuck = asyncio.Event()

    async def answer(content: str) -> Any:
        if content == "120":
            stuck.set()
        if int(content) >= 120:
            await asyncio.get_running_loop().create_future()
        return 200, [], {}

    one.route.answer = answer  # type: ignore[method-assign]
    batch = await one.create(requests(500))
    work = asyncio.create_task(one.work(batch))
    await stuck.wait()
    assert (await one.batches.cancel("ann", batch.id)).status is Status.CANCELLING
    cancelled = await work
    assert cancelled.status is Status.CANCELLED
    assert cancelled.cancelling and cancelled.progress.ended
    assert (cancelled.progress.total, cancelled.progress.completed) == (500, 120)
    assert ids(await one.lines(cancelled.progress.output_file_id)) == expected(*range(120))
    assert "400" not in one.route.asked


async def test_a_batch_that_is_cancelled_before_its_turn_asks_nothing(one: Working) -> None:
    """It has neither output nor error file."""
    batch = await one.create(requests(10))
    await one.batches.cancel("ann", batch.id)
    cancelled = await one.work(batch)
    assert cancelled.status is Status.CANCELLED
    assert cancelled.progress.output_file_id is cancelled.progress.error_file_id is None
    assert not one.route.asked


async def test_a_turn_ends_and_the_next_one_goes_on(one: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that has no answer when the turn is over is asked in a later one, and has one answer."""
    monkeypatch.setattr(batch_run, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(batch_run, "_LAST_SECONDS", 0.0)
    stuck = asyncio.Event()

    async def answer(content: str) -> Any:
        if content == "20" and not stuck.is_set():
            stuck.set()
            await asyncio.get_running_loop().create_future()
        return 200, [], {}

    one.route.answer = answer  # type: ignore[method-assign]
    batch = await one.create(requests(300))
    claimed = await one.in_progress(batch)
    await one.run(claimed, stuck.is_set).work()
    turn = await one.batches.show("ann", batch.id)
    assert (turn.status, turn.progress.next_line) == (Status.IN_PROGRESS, 20)
    await one.batches.release(claimed, 0.0)
    done = await one.work(batch)
    assert done.status is Status.COMPLETED
    assert ids(await one.lines(done.progress.output_file_id)) == expected(*range(300))
    assert one.route.asked["19"] == 1


async def test_a_bad_file_fails_the_batch_and_nothing_is_asked(one: Working) -> None:
    """The errors name the lines."""
    batch = await one.work(await one.create(request(1) + request(2, method="GET") + b"\n" + request(1)))
    assert batch.status is Status.FAILED
    assert [(err.line, err.code) for err in batch.progress.errors] == [
        (2, "invalid_method"),
        (4, "duplicate_custom_id"),
    ]
    assert not one.route.asked


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_batch_without_its_file_fails(one: Working, when: str) -> None:
    """Deleted before it was looked at, or while the batch waited for its turn."""
    batch = await one.create(requests(10))
    if when == "meanwhile":
        await one.batches.release(await one.in_progress(batch), 0.0)
    await one.files.delete("ann", batch.order.input_file_id)
    failed = await one.work(batch)
    assert failed.status is Status.FAILED
    assert [err.code for err in failed.progress.errors] == ["input_file_gone"]
