"""The routes of files: ``/v1/files`` and what is below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.edge.body import declared_length
from penstock_gateway.edge.bounds import over_bound
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.files.file_record import BATCH, FileRecord, unknown_file
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.request import convert_request, query_of
from penstock_gateway.protocols.upload_form import UploadForm

if TYPE_CHECKING:  # it needs SQLAlchemy, and a gateway without files does not
    from penstock_gateway.files.files import Files

_MOST_LISTED = 10_000
_MAX_FILENAME = 255  # characters
#: As OpenAI has it: an hour to 30 days.
ExpirySeconds = Annotated[int, msgspec.Meta(ge=3600, le=2_592_000)]


class CreateRequest(msgspec.Struct):
    """The fields of ``POST /v1/files`` beside the file."""

    purpose: str
    expires_anchor: Literal["created_at"] | None = msgspec.field(default=None, name="expires_after[anchor]")
    expires_seconds: ExpirySeconds | None = msgspec.field(default=None, name="expires_after[seconds]")


class ListRequest(msgspec.Struct):
    """The query of ``GET /v1/files``."""

    limit: int = _MOST_LISTED
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    purpose: str | None = None


class FileRoutes:
    """Answers the requests about files; each sees those of its own key.

    Args:
        max_uploads: files that may arrive at once, half of them of one key.
    """

    def __init__(self, files: Files, max_uploads: int) -> None:
        self._files = files
        self._uploads = _Uploads(max_uploads)

    async def create(self, call: Call) -> Reply:
        """``POST /v1/files``; the endpoint leaves the body to be read here."""
        if call.headers.get(b"content-encoding", b"identity") != b"identity":
            text = "A file is sent without Content-Encoding; leave it out."
            raise PenstockError(415, "unsupported-encoding", text, headers={"Accept-Encoding": "identity"})
        form = UploadForm(call)
        principal = call.principal.id
        with self._uploads.one_more(principal):
            file_id, size = await self._files.receive(principal, form.chunks(), _least_bytes(call))
        try:
            call.lease.grow(size)
            request = convert_request(form.fields, CreateRequest)
            if request.purpose != BATCH:
                raise bad_request(f"purpose: '{request.purpose[:40]}' is not known here; send '{BATCH}'.", "purpose")
            name = (form.filename or "file")[:_MAX_FILENAME]
            record = await self._files.publish(file_id, principal, size, name, BATCH, request.expires_seconds)
        except BaseException:
            await self._files.discard(file_id)
            raise
        return _json(file_object(record))

    async def list(self, call: Call) -> Reply:
        """``GET /v1/files``, page by page, by default the newest first."""
        request = convert_request(query_of(call), ListRequest)
        if not 1 <= request.limit <= _MOST_LISTED:
            raise bad_request(f"limit: {request.limit} is not from 1 to {_MOST_LISTED}.", "limit")
        found = await self._files.find(
            call.principal.id,
            purpose=request.purpose,
            after=request.after,
            newest_first=request.order == "desc",
            limit=request.limit + 1,
        )
        return _json(page([file_object(record) for record in found], request.limit))

    async def show(self, call: Call) -> Reply:
        """``GET /v1/files/{file}``."""
        return _json(file_object(await self._files.show(call.principal.id, call.path["file"])))

    async def content(self, call: Call) -> Reply:
        """``GET /v1/files/{file}/content``."""
        record = await self._files.show(call.principal.id, call.path["file"])
        chunks = self._files.read(record)
        try:
            first = await anext(chunks, b"")
        except FileNotFoundError:
            raise unknown_file(record.id) from None
        return Reply(_from_first(first, chunks), b"application/octet-stream")

    async def delete(self, call: Call) -> Reply:
        """``DELETE /v1/files/{file}``; a batch that still needs it fails."""
        file_id = call.path["file"]
        await self._files.delete(call.principal.id, file_id)
        return _json({"id": file_id, "object": "file", "deleted": True})


class _Uploads:
    """Counts the files that are arriving."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of_key: Counter[str] = Counter()

    @contextmanager
    def one_more(self, principal: str) -> Iterator[None]:
        """Count one for as long as the block takes.

        Raises:
            PenstockError: 429 or 503 ``too-many-uploads``.
        """
        if self._of_key[principal] >= (self._most + 1) // 2:
            text = "Too many files of this key are arriving; send fewer at once."
            raise over_bound(429, "too-many-uploads", "max_uploads", self._most, text)
        if self._of_key.total() >= self._most:
            text = "Too many files are arriving; try again shortly."
            raise over_bound(503, "too-many-uploads", "max_uploads", self._most, text)
        self._of_key[principal] += 1
        try:
            yield
        finally:
            self._of_key[principal] -= 1
            self._of_key += Counter()  # without zeros


def file_object(record: FileRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.size,
        "created_at": int(record.created),
        "expires_at": int(record.expires),
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "processed",
    }


def page(objects: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page of up to ``limit`` objects; that there is one more says that there is a next page."""
    shown = objects[:limit]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return {
        "object": "list",
        "data": shown,
        "first_id": first,
        "last_id": last,
        "has_more": len(objects) > limit,
    }


class NoFiles:
    """Has the handlers of the routes of files and batches in a gateway that keeps none: all say what is missing."""

    async def create(self, _: Call) -> Reply:
        text = (
            "This gateway keeps no files and runs no batches. To have them, its operator keeps the keys in a database "
            "(PENSTOCK_GATEWAY_KEYS_URL) and names a store for files (PENSTOCK_GATEWAY_FILES_URL)."
        )
        # OpenAI's clients would try again.
        raise PenstockError(501, "files-not-configured", text, headers={"x-should-retry": "false"})

    list = show = content = delete = cancel = create


def _least_bytes(call: Call) -> int:
    """Bytes that a file has at least if its form has the declared length; 0 if that is not known."""
    return max(0, declared_length(call.headers) - 128 * 1024)


async def _from_first(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    if first:
        yield first
    async for chunk in chunks:
        yield chunk


def _json(value: dict[str, Any]) -> Reply:
    return Reply(msgspec.json.encode(value))
