"""Remotes that stand in for a model of this installation: when they are asked, and what happens if they fail too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import pytest

from penstock_common import text_generation
from penstock_common.errors import PenstockError
from penstock_common.manifest import Format, Manifest, Output, Task
from penstock_common.remotes import Fallback
from penstock_common.tensors import pack_bytes
from penstock_gateway.protocols.openai.generation import ModelInputs, PieceReader, generation_rows
from penstock_gateway.remotes.budget import Budget
from penstock_gateway.remotes.stand_ins import StandIns, WithStandIns
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature
from tests.unit.gateway.remotes.foreign_server import (
    HELLO,
    Behaviour,
    ForeignServer,
    answers,
    delta,
    hangs,
    raised,
    remote_server,
    streams,
)

AWAY = PenstockError(503, "upstream-unavailable", "No pod.", headers={"Retry-After": "1"})
# In an order of its own, and without prompt_tokens.
OUTPUTS = [text_generation.OUTPUTS[2], *text_generation.OUTPUTS[:2]]


class Local:
    """A model in pods: waits for ``go``, then fails or says "local"."""

    model, version = "chat", "7"

    def __init__(self, failure: PenstockError | None = None, outputs: list[Output] = OUTPUTS) -> None:
        manifest = Manifest(
            Format.TRANSFORMERS, "m", Task.GENERATION, list(text_generation.INPUTS), outputs, stream=True
        )
        self.signature = Signature(manifest, "chat")
        self.failure = failure
        self.go = asyncio.Event()
        self.go.set()
        self.asked = self.open = 0

    async def ready(self) -> bool:
        return self.failure is None

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        raise PenstockError(422, "model-streams", "Ask for the stream.")

    async def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        self.asked += 1
        self.open += 1
        try:
            await self.go.wait()
            if self.failure is not None:
                raise self.failure
            yield RawOutputs([pack_bytes([b"stop"]), pack_bytes([b"local"]), np.int32(1).tobytes()])
        finally:
            self.open -= 1


def stand_ins(*urls: str, gateways: int = 1, patience: float = 20.0, **members: float) -> StandIns:
    servers = [remote_server(url, first_seconds=patience if url == urls[0] else 20.0) for url in urls]
    fallback = Fallback(to=("gpt",), **members)  # type: ignore[arg-type]
    return StandIns("chat", fallback, servers, lambda: gateways)


async def answer(local: Local, known: StandIns) -> tuple[str, str]:
    """The text of an answer, and who gave it."""
    with_stand_ins = WithStandIns(known, local.version, local.signature, local)
    asked = generation_rows(local.signature, ModelInputs({"messages": "[]"}))
    reader = PieceReader(local.signature.manifest, "chat")
    text = ""
    async with aclosing(with_stand_ins.stream(asked, time.monotonic() + 20)) as chunks:
        async for chunk in chunks:
            text += reader.read(chunk).text
    return text, asked.served_by


async def test_local_is_first() -> None:
    """As long as it answers, no remote is asked."""
    async with ForeignServer(HELLO) as foreign:
        assert await answer(Local(), stand_ins(foreign.url)) == ("local", "local")
        assert foreign.requests == []


async def test_a_remote_answers_when_the_pods_are_away() -> None:
    """In the form of the local model's signature."""
    async with ForeignServer(HELLO) as foreign:
        local = Local(AWAY)
        assert await answer(local, stand_ins(foreign.url)) == ("Hello", "remote:gpt")
    assert local.open == 0


async def test_what_the_caller_or_the_model_did_wrong_goes_nowhere() -> None:
    """Another model would not answer it better, and the budget is for what is away."""
    async with ForeignServer(HELLO) as foreign:
        for status, code in ((422, "invalid-input"), (500, "upstream-error")):
            err = await raised(answer(Local(PenstockError(status, code, "no")), stand_ins(foreign.url)))
            assert err.code == code
        assert foreign.requests == []


async def test_more_rows_than_the_bound_overflow() -> None:
    """While so many are under way, the next one goes out; then the pods are first again."""
    async with ForeignServer(HELLO) as foreign:
        local, known = Local(), stand_ins(foreign.url, in_flight=1)
        local.go.clear()
        first = asyncio.ensure_future(answer(local, known))
        await asyncio.sleep(0)
        assert await answer(local, known) == ("Hello", "remote:gpt")
        local.go.set()
        assert await first == ("local", "local")
        assert await answer(local, known) == ("local", "local")
        assert (known.in_flight, len(foreign.requests)) == (0, 1)


async def test_pods_that_keep_one_waiting_are_passed_by() -> None:
    """What they were asked is dropped."""
    async with ForeignServer(HELLO) as foreign:
        local, known = Local(), stand_ins(foreign.url, wait_seconds=0.05)
        local.go.clear()
        assert await answer(local, known) == ("Hello", "remote:gpt")
        assert (local.asked, local.open, known.in_flight) == (1, 0, 0)


@pytest.mark.parametrize("failing", [answers(500), answers(400), hangs, streams(delta("", None), end=b"")])
async def test_the_next_remote_is_asked_if_one_fails(failing: Behaviour) -> None:
    """In their order, as long as nothing was answered."""
    async with ForeignServer(failing) as first, ForeignServer(HELLO) as second:
        assert (await answer(Local(AWAY), stand_ins(first.url, second.url, patience=0.2)))[0] == "Hello"
        assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_if_all_fail_the_pods_have_the_word() -> None:
    """Their refusal if they are away, and their answer if it was only late."""
    async with ForeignServer(answers(500)) as foreign:
        assert await raised(answer(Local(AWAY), stand_ins(foreign.url))) is AWAY
        local = Local()
        local.go.clear()
        late = asyncio.ensure_future(answer(local, stand_ins(foreign.url, wait_seconds=0.01)))
        while not foreign.requests[1:]:
            await asyncio.sleep(0.01)
        local.go.set()
        assert await late == ("local", "local")
        assert local.asked == 1


async def test_what_has_begun_stays_where_it_is() -> None:
    """A remote that breaks off in the middle is an error, and no second beginning."""
    async with ForeignServer(streams(delta("Hel"), end=b"")) as first, ForeignServer(HELLO) as second:
        err = await raised(answer(Local(AWAY), stand_ins(first.url, second.url)))
        assert (err.code, second.requests) == ("remote-unavailable", [])


@pytest.mark.parametrize(
    ("members", "gateways", "answered"),
    [
        ({"requests_per_day": 2}, 1, 2),
        ({"requests_per_day": 4}, 2, 2),
        ({"tokens_per_day": 8}, 1, 2),  # of 7 each: the second begins at 7 and ends at 14
        ({"tokens_per_day": 7}, 1, 1),
        ({"tokens_per_day": 14}, 2, 1),
    ],
)
async def test_a_budget_ends_the_fallback(members: dict[str, float], gateways: int, answered: int) -> None:
    """Each gateway has its share; then the pods' refusal is the answer."""
    async with ForeignServer(HELLO) as foreign:
        known = stand_ins(foreign.url, gateways=gateways, **members)
        for _ in range(answered):
            assert (await answer(Local(AWAY), known))[0] == "Hello"
        assert await raised(answer(Local(AWAY), known)) is AWAY
        assert len(foreign.requests) == answered


async def test_a_remote_that_fails_costs_no_request() -> None:
    """Only answers count."""
    async with ForeignServer(answers(400), answers(400), HELLO) as foreign:
        known = stand_ins(foreign.url, requests_per_day=1)
        for _ in range(2):
            await raised(answer(Local(AWAY), known))
        assert (await answer(Local(AWAY), known))[0] == "Hello"


def test_a_budget_begins_again_at_midnight() -> None:
    """Of Greenwich."""
    now = [86_399.0]
    budget = Budget(Fallback(to=("gpt",), requests_per_day=1, tokens_per_day=5), lambda: 1, lambda: now[0])
    assert (budget.take(), budget.take()) == (True, False)
    budget.spend(100)
    now[0] += 1
    assert (budget.take(), budget.take()) == (True, False)


async def test_a_model_whose_outputs_are_its_own_has_no_stand_in() -> None:
    """A remote could not fill them."""
    known = stand_ins("http://127.0.0.1:9/v1")
    assert known.servables(Local().signature)
    assert not known.servables(Local(outputs=[*OUTPUTS, Output("mood", "BYTES")]).signature)


async def test_a_caller_who_leaves_ends_both() -> None:
    """While the pods are waited for, and while a remote is asked."""
    async with ForeignServer(hangs) as foreign:
        local, known = Local(), stand_ins(foreign.url, wait_seconds=0.01)
        local.go.clear()
        asking = asyncio.ensure_future(answer(local, known))
        while not foreign.requests:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.wait_for(foreign.left.wait(), 10)
    assert (local.open, known.in_flight) == (0, 0)
