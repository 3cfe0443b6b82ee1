"""The routes of files and batches, whose objects are those of OpenAI's client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from openai.types import Batch, FileObject

from penstock_common.errors import PenstockError
from penstock_gateway.auth.principal import Principal
from penstock_gateway.edge.call import Call, Message
from penstock_gateway.protocols.openai.batches import BatchRoutes
from penstock_gateway.protocols.openai.files import FileRoutes, NoFiles
from tests.unit.gateway.batches.working import CHAT, Working, requests, working
from tests.unit.gateway.protocols.one_servable import call, multipart
from tests.unit.gateway.protocols.openai.test_chat import asked, whole


@pytest.fixture
def one(tmp_path: Path) -> Working:
    return working(str(tmp_path / "keys.db"), tmp_path / "files")


@pytest.fixture
def files(one: Working) -> FileRoutes:
    return FileRoutes(one.files, 4)


@pytest.fixture
def created() -> Mock:
    """Notes how often the runner was told of a new batch."""
    return Mock()


@pytest.fixture
def batches(one: Working, created: Mock) -> BatchRoutes:
    return BatchRoutes(one.batches, one.files, {CHAT: None}, created)


def upload(data: bytes, **fields: str) -> Call:
    parts = [(name, None, value.encode()) for name, value in ({"purpose": "batch"} | fields).items()]
    body, headers = multipart(*parts, ("file", "requests.jsonl", data))
    given = call(headers=headers)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    given.receive = receive
    return given


def about(query: bytes = b"", principal: str = "ann", **path: str) -> Call:
    given = call()
    given.path, given.query, given.principal = path, query, Principal(principal, principal)
    return given


async def refusal(work: Any) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        await work
    return caught.value


async def uploaded(files: FileRoutes, data: bytes = b"{}", **fields: str) -> FileObject:
    return FileObject.model_validate(whole(await files.create(upload(data, **fields))), strict=True)


async def test_a_file_is_uploaded_shown_and_deleted(files: FileRoutes) -> None:
    """Its contents come back as they were; for another key it is not there."""
    file = await uploaded(files, requests(3))
    assert (file.bytes, file.filename, file.purpose, file.status) == (
        len(requests(3)),
        "requests.jsonl",
        "batch",
        "processed",
    )
    assert file.expires_at is not None and file.expires_at - file.created_at == 30 * 86400
    assert whole(await files.show(about(file=file.id))) == file.to_dict()
    content = await files.content(about(file=file.id))
    assert b"".join([chunk async for chunk in content.body]) == requests(3)  # type: ignore[union-attr]
    for route in (files.show, files.content, files.delete):
        assert (await refusal(route(about(file=file.id, principal="bob")))).status == 404
    assert whole(await files.delete(about(file=file.id))) == {"id": file.id, "object": "file", "deleted": True}
    assert (await refusal(files.content(about(file=file.id)))).code == "unknown-file"


async def test_an_upload_that_is_refused_leaves_nothing(files: FileRoutes, one: Working) -> None:
    """For its purpose, its expiry or its encoding."""
    for given, param in (
        (upload(b"x", purpose="fine-tune"), "purpose"),
        (upload(b"x", **{"expires_after[seconds]": "60"}), "expires_after[seconds]"),
    ):
        err = await refusal(files.create(given))
        assert (err.status, err.code, err.extra["field"]) == (400, "invalid-request", param)
    compressed = upload(b"x")
    compressed.headers = {**compressed.headers, b"content-encoding": b"gzip"}
    assert (await refusal(files.create(compressed))).code == "unsupported-encoding"
    assert not [path for path in one.root.rglob("*") if path.is_file()]


async def test_a_file_expires_as_its_client_asks(files: FileRoutes) -> None:
    """As the client sends it, in fields of the form."""
    file = await uploaded(files, **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"})
    assert file.expires_at == file.created_at + 3600


async def test_so_many_files_arrive_at_once(files: FileRoutes) -> None:
    """Half of them of one key; once they are there, others may come."""

    def slow(principal: str) -> tuple[asyncio.Task[Any], asyncio.Event]:
        given, come = upload(b"x"), asyncio.Event()
        given.principal = Principal(principal, principal)
        receive = given.receive

        async def later() -> Message:
            await come.wait()
            return await receive()

        given.receive = later
        return asyncio.create_task(files.create(given)), come

    arriving = [slow("ann"), slow("ann")]
    await asyncio.sleep(0)
    err = await refusal(files.create(upload(b"x")))
    assert (err.status, err.code, err.extra["bound"]) == (429, "too-many-uploads", "max_uploads")
    arriving += [slow("bob"), slow("bob")]
    await asyncio.sleep(0)
    other = upload(b"x")
    other.principal = Principal("cay", "cay")
    assert (await refusal(files.create(other))).status == 503
    for task, come in arriving:
        come.set()
        await task
    await uploaded(files)


async def test_files_are_listed(files: FileRoutes) -> None:
    """In pages, with what the client needs to ask for the next one."""
    made = [(await uploaded(files)).id for _ in range(3)]
    page = whole(await files.list(about(b"limit=2")))
    assert [file["id"] for file in page["data"]] == [made[2], made[1]]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (made[2], made[1], True)
    last = whole(await files.list(about(f"limit=2&after={made[1]}".encode())))
    assert ([file["id"] for file in last["data"]], last["has_more"]) == ([made[0]], False)
    oldest = whole(await files.list(about(b"order=asc&purpose=batch")))
    assert [file["id"] for file in oldest["data"]] == made
    assert whole(await files.list(about(b"purpose=batch_output")))["data"] == []
    assert (await refusal(files.list(about(b"limit=0")))).extra["field"] == "limit"


async def create(batches: BatchRoutes, file_id: str, **changes: Any) -> dict[str, Any]:
    order = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    return whole(await batches.create(asked(order | changes)))


async def test_a_batch_from_its_creation_to_its_output(
    files: FileRoutes, batches: BatchRoutes, one: Working, created: Mock
) -> None:
    """Each object is what the client expects; the output is a file of the key."""
    file = await uploaded(files, requests(3))
    new = Batch.model_validate(await create(batches, file.id, metadata={"a": "b"}), strict=True)
    assert created.call_count == 1
    assert (new.status, new.metadata, new.endpoint) == ("validating", {"a": "b"}, CHAT)
    assert new.expires_at == new.created_at + 86400

    async def answer(content: str) -> Any:
        return 200, [], {"usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}

    one.route.answer = answer  # type: ignore[method-assign]
    await one.work(await one.batches.show("ann", new.id))
    done = Batch.model_validate(whole(await batches.show(about(batch=new.id))), strict=True)
    assert done.status == "completed"
    assert done.in_progress_at and done.finalizing_at and done.completed_at
    assert done.failed_at is done.expired_at is done.cancelled_at is done.errors is done.error_file_id is None
    assert done.request_counts is not None
    assert done.request_counts.to_dict() == {"total": 3, "completed": 3, "failed": 0}
    assert done.usage is not None
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (15, 6, 21)
    output = whole(await files.show(about(file=done.output_file_id or "")))
    assert (output["purpose"], output["filename"]) == ("batch_output", f"{done.id}_output.jsonl")
    page = whole(await batches.list(about(b"limit=1")))
    assert ([batch["id"] for batch in page["data"]], page["has_more"]) == ([done.id], False)
    assert (await refusal(batches.cancel(about(batch=done.id)))).status == 409


async def test_a_batch_of_another_file_is_refused(files: FileRoutes, batches: BatchRoutes, one: Working) -> None:
    """One that another key has, or the output of a batch."""
    file = await uploaded(files, requests(1))
    done = await one.work(await one.batches.show("ann", (await create(batches, file.id))["id"]))
    err = await refusal(create(batches, done.progress.output_file_id or ""))
    assert (err.status, err.extra["field"]) == (400, "input_file_id")
    strangers = await one.upload(requests(1), "bob")
    assert (await refusal(create(batches, strangers))).code == "unknown-file"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/models"}, "endpoint"),
        ({"completion_window": "7d"}, "completion_window"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ],
)
async def test_a_bad_order_names_its_member(
    files: FileRoutes, batches: BatchRoutes, changes: dict[str, Any], param: str
) -> None:
    """As OpenAI's ``param``."""
    err = await refusal(create(batches, (await uploaded(files)).id, **changes))
    assert (err.status, err.extra["field"]) == (400, param)


async def test_without_a_store_the_routes_say_what_is_missing() -> None:
    """And that it is of no use to try again."""
    routes = NoFiles()
    for route in (routes.create, routes.list, routes.show, routes.content, routes.delete, routes.cancel):
        err = await refusal(route(about()))
        assert (err.status, err.code) == (501, "files-not-configured")
        assert "PENSTOCK_GATEWAY_FILES_URL" in err.detail
        assert err.headers == {"x-should-retry": "false"}
