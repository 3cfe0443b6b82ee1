"""The routes of batches: ``/v1/batches`` and what is below it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from penstock_gateway.batches.batch_record import Batch, BatchError, Order, Status
from penstock_gateway.batches.token_usage import TokenUsage
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.files.file_record import BATCH
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.files import ExpirySeconds, page
from penstock_gateway.protocols.openai.request import convert_request, decode_request, query_of

if TYPE_CHECKING:  # they need SQLAlchemy, and a gateway without files does not
    from penstock_gateway.batches.batches import Batches
    from penstock_gateway.files.files import Files

_MOST_LISTED = 100
_WINDOW = "24h"
_WINDOW_SECONDS = 86400.0
_MOST_METADATA = 16

Key = Annotated[str, msgspec.Meta(max_length=64)]
Value = Annotated[str, msgspec.Meta(max_length=512)]


class ExpiresAfter(msgspec.Struct):
    anchor: Literal["created_at"]
    seconds: ExpirySeconds


class CreateRequest(msgspec.Struct):
    """The body of ``POST /v1/batches``."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[Key, Value] | None = None
    output_expires_after: ExpiresAfter | None = None


class ListRequest(msgspec.Struct):
    """The query of ``GET /v1/batches``."""

    limit: int = 20
    after: str | None = None


class BatchRoutes:
    """Answers the requests about batches; each sees those of its own key.

    Args:
        endpoints: the paths that a batch's requests may have.
        created: called when there is a new batch.
    """

    def __init__(self, batches: Batches, files: Files, endpoints: Collection[str], created: Callable[[], None]) -> None:
        self._batches = batches
        self._files = files
        self._endpoints = endpoints
        self._created = created
        self._decoder = msgspec.json.Decoder(CreateRequest)

    async def create(self, call: Call) -> Reply:
        """``POST /v1/batches``; the lines of the file are looked at later."""
        request = decode_request(self._decoder, call.body)
        if request.endpoint not in self._endpoints:
            known = ", ".join(sorted(self._endpoints))
            raise bad_request(f"endpoint: '{request.endpoint[:80]}' has no batches; send one of {known}.", "endpoint")
        if request.completion_window != _WINDOW:
            text = f"completion_window: '{request.completion_window[:20]}' is not known; send '{_WINDOW}'."
            raise bad_request(text, "completion_window")
        if request.metadata and len(request.metadata) > _MOST_METADATA:
            text = f"metadata: it has {len(request.metadata)} members, and may have {_MOST_METADATA}."
            raise bad_request(text, "metadata")
        file = await self._files.show(call.principal.id, request.input_file_id)
        if file.purpose != BATCH:
            text = f"input_file_id: the file's purpose is '{file.purpose}'; upload one with the purpose '{BATCH}'."
            raise bad_request(text, "input_file_id")
        order = Order(
            endpoint=request.endpoint,
            input_file_id=request.input_file_id,
            completion_window=_WINDOW,
            expires=time.time() + _WINDOW_SECONDS,
            metadata=request.metadata,
            output_expires_seconds=request.output_expires_after.seconds if request.output_expires_after else None,
        )
        batch = await self._batches.create(call.principal.id, order)
        self._created()
        return _json(batch_object(batch))

    async def list(self, call: Call) -> Reply:
        """``GET /v1/batches``, page by page, the newest first."""
        request = convert_request(query_of(call), ListRequest)
        if not 1 <= request.limit <= _MOST_LISTED:
            raise bad_request(f"limit: {request.limit} is not from 1 to {_MOST_LISTED}.", "limit")
        found = await self._batches.find(call.principal.id, request.after, request.limit + 1)
        return _json(page([batch_object(batch) for batch in found], request.limit))

    async def show(self, call: Call) -> Reply:
        """``GET /v1/batches/{batch}``."""
        return _json(batch_object(await self._batches.show(call.principal.id, call.path["batch"])))

    async def cancel(self, call: Call) -> Reply:
        """``POST /v1/batches/{batch}/cancel``; what is answered by then is in the output."""
        return _json(batch_object(await self._batches.cancel(call.principal.id, call.path["batch"])))


def batch_object(batch: Batch) -> dict[str, Any]:
    order, progress, status = batch.order, batch.progress, batch.status
    is_over = progress.ended is not None
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": order.endpoint,
        "errors": {"object": "list", "data": [_error(err) for err in progress.errors]} if progress.errors else None,
        "input_file_id": order.input_file_id,
        "completion_window": order.completion_window,
        "status": status,
        "output_file_id": progress.output_file_id if is_over else None,
        "error_file_id": progress.error_file_id if is_over else None,
        "created_at": int(batch.created),
        "in_progress_at": _seconds(progress.began),
        "expires_at": int(order.expires),
        "finalizing_at": _seconds(progress.finalizing),
        "completed_at": _seconds(progress.ended) if status is Status.COMPLETED else None,
        "failed_at": _seconds(progress.ended) if status is Status.FAILED else None,
        "expired_at": _seconds(progress.ended) if status is Status.EXPIRED else None,
        "cancelling_at": _seconds(batch.cancelling),
        "cancelled_at": _seconds(progress.ended) if status is Status.CANCELLED else None,
        "request_counts": {"total": progress.total, "completed": progress.completed, "failed": progress.failed},
        "usage": _usage(progress.usage),
        "metadata": order.metadata,
    }


def _error(err: BatchError) -> dict[str, Any]:
    return {"code": err.code, "line": err.line, "message": err.message, "param": err.param}


def _usage(usage: TokenUsage) -> dict[str, Any]:
    """As OpenAI has it; the routes count neither tokens from a cache of prompts nor those of reasoning."""
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input + usage.output,
    }


def _seconds(time: float | None) -> int | None:
    return None if time is None else int(time)


def _json(value: dict[str, Any]) -> Reply:
    return Reply(msgspec.json.encode(value))
