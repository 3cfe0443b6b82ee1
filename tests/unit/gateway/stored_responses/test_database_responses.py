"""Responses in SQLite and PostgreSQL: whose they are, how long they are kept, and what happens without the database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from penstock_common.errors import PenstockError
from penstock_gateway.database import threads
from penstock_gateway.stored_responses.database_responses import DatabaseResponses
from penstock_gateway.stored_responses.response_store import (
    NoStore,
    Retention,
    StoredResponse,
    new_response_id,
    open_store,
)
from tests.postgres import PostgresServer
from tests.unit.gateway.stored_responses.storing import new_store, store_of, stored


async def known(store: DatabaseResponses, *responses: StoredResponse, principal: str = "ann") -> list[bool]:
    """Which of some responses a store has."""
    found = []
    for response in responses:
        try:
            found.append(await store.read(principal, response.id) == response)
        except PenstockError as err:
            assert (err.status, err.code) == (404, "unknown-response")
            found.append(False)
    return found


async def refusal(work: Callable[[], object]) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        await work()  # type: ignore[misc]
    return caught.value


async def test_what_is_written_is_there_for_every_gateway(database_url: str) -> None:
    """For one that is started later, and for one that runs beside it; any byte is kept as it is."""
    store, beside = new_store(database_url), store_of(database_url)
    response = StoredResponse(new_response_id(), bytes(range(256)), "é\0".encode())
    await store.write("ann", response)
    assert await known(beside, response) == [True]
    assert await known(store_of(database_url), response) == [True]


async def test_a_response_belongs_to_the_key_that_made_it(database_url: str) -> None:
    """For any other key there is none of that id, and it cannot delete it."""
    store, response = new_store(database_url), stored()
    await store.write("ann", response)
    assert await known(store, response, principal="bob") == [False]
    assert (await refusal(lambda: store.delete("bob", response.id))).status == 404
    assert await known(store, response) == [True]


async def test_a_deleted_response_is_gone(database_url: str) -> None:
    """Everywhere at once; there is nothing to delete a second time."""
    store, response = new_store(database_url), stored()
    await store.write("ann", response)
    await store_of(database_url).delete("ann", response.id)
    assert await known(store, response) == [False]
    assert (await refusal(lambda: store.delete("ann", response.id))).code == "unknown-response"


@pytest.mark.parametrize("response_id", ["", "resp_1", "resp_" + "0" * 47 + "\0", "resp_" + "0" * 48 + "\n"])
async def test_what_is_not_an_id_is_not_looked_for(response_id: str, tmp_path: Path) -> None:
    """Such as one with a character that PostgreSQL refuses; there is no database here that could be asked."""
    store = store_of(str(tmp_path / "absent.db"))
    assert (await refusal(lambda: store.read("ann", response_id))).code == "unknown-response"


async def test_old_responses_are_unknown_and_then_collected(database_url: str) -> None:
    """A response is kept for so many days, whatever was configured when it was made."""
    now = 1e9
    new_store(database_url)
    store = store_of(database_url, days=2, clock=lambda: now)
    old, new = stored(), stored()
    await store.write("ann", old)
    now += 86400
    await store.write("ann", new)
    assert await store.collect() == 0
    now += 86401
    assert await known(store, old, new) == [False, True]
    assert await known(store_of(database_url, days=3, clock=lambda: now), old) == [True]
    assert await store.collect() == 1
    assert await known(store_of(database_url, days=3, clock=lambda: now), old, new) == [False, True]


async def test_the_oldest_of_a_key_go_if_it_has_too_much(database_url: str) -> None:
    """Those of other keys are not counted; the one that was just written remains."""
    now = 1e9

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    new_store(database_url)
    store = store_of(database_url, max_bytes_per_key=1000, clock=clock)
    others = stored(900)
    await store.write("bob", others)
    responses = [stored(400) for _ in range(3)]
    for response in responses[:2]:
        await store.write("ann", response)
    assert await known(store, *responses[:2]) == [True, True]
    await store.write("ann", responses[2])
    assert await known(store, *responses) == [False, True, True]
    assert await known(store, others, principal="bob") == [True]
    small = store_of(database_url, max_bytes_per_key=100, clock=clock)
    last = stored(400)
    await small.write("ann", last)
    assert await known(store, *responses, last) == [False, False, False, True]


async def test_a_response_that_is_too_large_is_refused(database_url: str) -> None:
    """By itself, or with what it answers, if that is known before the model is asked."""
    store = new_store(database_url, max_bytes=1000)
    await store.write("ann", stored(1000))
    for work in (lambda: store.write("ann", stored(1001)), lambda: asyncio.to_thread(store.check_size, 1001)):
        err = await refusal(work)
        assert (err.status, err.code, err.extra["limit"]) == (413, "response-too-large", 1000)


async def test_without_the_database_the_refusal_says_so(postgres: PostgresServer) -> None:
    """With the time to try again, and not what the database said; once it is back, all is as it was."""
    url = postgres.new_database()
    store, response = new_store(url), stored()
    await store.write("ann", response)
    postgres.stop()
    try:
        for work in (
            lambda: store.read("ann", response.id),
            lambda: store.write("ann", stored()),
            lambda: store.delete("ann", response.id),
        ):
            err = await refusal(work)
            assert (err.status, err.code, err.headers) == (503, "response-store-away", {"Retry-After": "5"})
            assert "127.0.0.1" not in err.detail
    finally:
        postgres.start()
    assert await known(store, response) == [True]


async def test_a_database_without_the_table(tmp_path: Path) -> None:
    """Of a gateway that may not migrate it, for example: the same refusal, and collecting does not end."""
    (tmp_path / "keys.db").touch()
    store = store_of(str(tmp_path / "keys.db"))
    assert (await refusal(lambda: store.write("ann", stored()))).code == "response-store-away"
    collecting = asyncio.create_task(store.collect_periodically())
    done, _ = await asyncio.wait([collecting], timeout=0.2)
    assert not done
    collecting.cancel()


async def test_a_database_that_hangs_holds_nothing_but_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for one is refused in time and not kept; when the database goes on, so does the store."""
    store = new_store(str(tmp_path / "keys.db"))
    going_on = threading.Event()
    real = store._database.database.engine.connect

    def connect() -> Any:
        going_on.wait()
        return real()

    monkeypatch.setattr(store._database.database.engine, "connect", connect)
    monkeypatch.setattr(threads, "_SECONDS", 0.2)
    refused = await asyncio.gather(*(store.write("ann", stored()) for _ in range(20)), return_exceptions=True)
    kept = store._database._threads._work_queue.qsize()
    going_on.set()
    assert {getattr(err, "code", None) for err in refused} == {"response-store-away"}
    assert kept == 0
    monkeypatch.setattr(threads, "_SECONDS", 10.0)
    response = stored()
    await store.write("ann", response)
    assert await known(store, response) == [True]


async def test_the_oldest_are_found_without_the_rows(tmp_path: Path) -> None:
    """Writing a response reads an index, not what the key has stored before."""
    url = str(tmp_path / "keys.db")
    store = new_store(url)
    statements: list[str] = []
    event.listen(
        store._database.database.engine,
        "before_cursor_execute",
        lambda c, cursor, statement, *rest: statements.append(statement),
    )
    await store.write("ann", stored())
    [sums] = [statement for statement in statements if "sum(" in statement]
    with store._database.database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sums}", ("ann",)).all()
    assert "USING COVERING INDEX penstock_responses_principal" in str(plan)


@pytest.mark.parametrize("days", [0, 30])
def test_there_is_no_store_without_a_database_or_a_time(days: int, tmp_path: Path) -> None:
    """Keys in a mounted Secret, or a retention of no days."""
    retention = Retention(days, 1000, 1000)
    assert isinstance(open_store(str(tmp_path), retention), NoStore)
    assert isinstance(open_store(str(tmp_path / "keys.db"), retention), DatabaseResponses if days else NoStore)
