"""Files in SQLite or PostgreSQL and a store: whose they are, how much is kept, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_common.object_store.folder_store import FolderStore
from penstock_gateway.auth.key_admin import KeyAdmin
from penstock_gateway.database.threads import DatabaseThreads
from penstock_gateway.files.contents import Contents
from penstock_gateway.files.file_bounds import FileBounds
from penstock_gateway.files.file_record import FileRecord
from penstock_gateway.files.files import Files

DAY = 86400.0


class Clock:
    now = 1e9

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def files(database_url: str, tmp_path: Path, clock: Clock) -> Files:
    """In a new database; a file has 100 bytes, a key 250 and four files."""
    KeyAdmin(database_url).create("first")
    database = DatabaseThreads(database_url, "files", lambda: PenstockError(503, "file-store-away", "away"))
    return Files(database, Contents(FolderStore(tmp_path / "store")), FileBounds(30, 100, 250, 4), clock)


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def upload(files: Files, data: bytes, principal: str = "ann", expires: float | None = None) -> FileRecord:
    file_id, size = await files.receive(principal, chunks(data[:3], data[3:]), 0)
    return await files.publish(file_id, principal, size, "a.jsonl", "batch", expires)


async def content(files: Files, record: FileRecord) -> bytes:
    return b"".join([chunk async for chunk in files.read(record)])


async def refusal(work: Callable[[], Awaitable[object]]) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        await work()
    return caught.value


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


async def test_what_is_uploaded_is_there(files: Files) -> None:
    """Byte for byte, and only for its key."""
    record = await upload(files, bytes(range(90)))
    assert await files.show("ann", record.id) == record
    assert (record.size, record.filename, record.purpose) == (90, "a.jsonl", "batch")
    assert await content(files, record) == bytes(range(90))
    for principal, file_id in (("bob", record.id), ("ann", "file-1"), ("ann", "file-" + "0" * 32)):
        assert (await refusal(lambda: files.show(principal, file_id))).code == "unknown-file"  # noqa: B023
    assert (await refusal(lambda: files.delete("bob", record.id))).status == 404


async def test_a_file_is_seen_once_it_is_whole(files: Files, tmp_path: Path) -> None:
    """One whose sender goes away leaves nothing behind, nor does one that is too large."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise PenstockError(499, "client-gone", "")

    assert (await refusal(lambda: files.receive("ann", broken(), 0))).status == 499
    err = await refusal(lambda: files.receive("ann", chunks(b"x" * 60, b"y" * 60), 0))
    assert (err.status, err.code, err.extra["bound"]) == (413, "file-too-large", "max_file_bytes")
    assert (await refusal(lambda: files.receive("ann", chunks(), 101))).code == "file-too-large"
    await files.receive("ann", chunks(b"x"), 0)
    assert await files.find("ann", purpose=None, after=None, newest_first=True, limit=9) == []
    assert len(kept(tmp_path)) == 1


async def test_what_a_killed_gateway_left_is_collected(files: Files, tmp_path: Path, clock: Clock) -> None:
    """The rest of an upload that nobody finished, after an hour."""
    await files.receive("ann", chunks(b"x"), 0)
    await files.collect()
    assert len(kept(tmp_path)) == 1
    clock.now += 3601
    await files.collect()
    assert kept(tmp_path) == []


async def test_a_file_expires(files: Files, tmp_path: Path, clock: Clock) -> None:
    """After the days of the setting, or sooner if it was asked for; then it is collected."""
    late, soon = await upload(files, b"a"), await upload(files, b"b", expires=DAY)
    clock.now += DAY
    assert (await refusal(lambda: files.show("ann", soon.id))).code == "unknown-file"
    assert await files.show("ann", late.id) == late
    await files.collect()
    assert len(kept(tmp_path)) == 1
    clock.now += 29 * DAY
    await files.collect()
    assert kept(tmp_path) == []


async def test_a_key_has_so_much(files: Files) -> None:
    """In bytes and in number; what is deleted makes room, and what the gateway makes is kept all the same."""
    records = [await upload(files, b"x" * 100) for _ in range(2)]
    err = await refusal(lambda: upload(files, b"x" * 51))
    assert (err.status, err.code, err.extra["bound"]) == (413, "files-full", "max_files_bytes_per_key")
    await upload(files, b"x" * 50)
    await files.add_output("file-" + "0" * 32, "ann", "out.jsonl", chunks(b"y" * 200), None)
    await files.delete("ann", records[0].id)
    await files.delete("ann", records[1].id)
    await files.delete("ann", "file-" + "0" * 32)
    for _ in range(3):
        await upload(files, b"")
    assert (await refusal(lambda: upload(files, b""))).extra["bound"] == "max_files_per_key"
    await upload(files, b"x" * 100, "bob")


async def test_an_output_is_written_again(files: Files) -> None:
    """By whoever goes on after a crash: the file is the same, and there is one."""
    file_id = "file-" + "0" * 32
    for _ in range(2):
        await files.add_output(file_id, "ann", "out.jsonl", chunks(b"yes"), None)
    record = await files.show("ann", file_id)
    assert await content(files, record) == b"yes"
    assert record.purpose == "batch_output"


@pytest.mark.parametrize("newest_first", [True, False])
async def test_files_are_listed_page_by_page(files: Files, newest_first: bool) -> None:
    """In the order of their times, and by their purpose."""
    made = [(await upload(files, b"x")).id for _ in range(3)]
    await files.add_output("file-" + "0" * 32, "ann", "out.jsonl", chunks(b"y"), None)
    seen: list[str] = []
    while page := await files.find(
        "ann", purpose="batch", after=seen[-1] if seen else None, newest_first=newest_first, limit=2
    ):
        seen += [record.id for record in page]
    assert seen == (made[::-1] if newest_first else made)
    every = await files.find("ann", purpose=None, after=None, newest_first=newest_first, limit=9)
    assert len(every) == 4


async def test_a_store_that_is_away(files: Files, tmp_path: Path) -> None:
    """The refusal has the time to try again, and not what the store said."""
    record = await upload(files, b"x")
    (tmp_path / "store" / "files").rename(tmp_path / "store" / "elsewhere")
    (tmp_path / "store" / "files").write_text("not a folder")
    err = await refusal(lambda: content(files, record))
    assert (err.status, err.code, err.headers) == (503, "file-store-away", {"Retry-After": "5"})
    assert str(tmp_path) not in err.detail
