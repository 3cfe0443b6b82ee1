"""What is known of a batch beside its lines."""

from __future__ import annotations

import re
import secrets
from enum import StrEnum

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.batches.token_usage import TokenUsage

_ID = re.compile(r"batch_[0-9a-f]{32}")


class Status(StrEnum):
    """As OpenAI's API has them."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


#: In which a gateway has something to do.
OPEN = (Status.VALIDATING, Status.IN_PROGRESS, Status.FINALIZING, Status.CANCELLING)
#: In which a batch can be cancelled.
CANCELLABLE = (Status.VALIDATING, Status.IN_PROGRESS)


class BatchError(msgspec.Struct):
    """Why a batch has failed; ``line`` counts from 1, and ``param`` is the member that it is about."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Progress(msgspec.Struct):
    """How far a batch is; written by the gateway that runs it. Times are in seconds since 1970.

    Attributes:
        next_line: the first line that no part answers, counted from 0 without empty ones.
        expired: that its time was over before its last line was answered.
        usage: of all answers.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0
    next_line: int = 0
    expired: bool = False
    usage: TokenUsage = TokenUsage()
    began: float | None = None
    finalizing: float | None = None
    ended: float | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[BatchError] = []


class Order(msgspec.Struct, frozen=True):
    """What its maker has asked for."""

    endpoint: str
    input_file_id: str
    completion_window: str
    expires: float  # when the completion window ends
    metadata: dict[str, str] | None = None
    output_expires_seconds: float | None = None


class Batch(msgspec.Struct):
    id: str
    principal: str
    created: float
    status: Status
    cancelling: float | None
    order: Order
    progress: Progress


def new_batch_id() -> str:
    return f"batch_{secrets.token_hex(16)}"


def check_batch_id(batch_id: str) -> None:
    """Refuse an id that no batch has.

    Raises:
        PenstockError: 404 ``unknown-batch``.
    """
    if not _ID.fullmatch(batch_id):
        raise unknown_batch(batch_id)


def unknown_batch(batch_id: str) -> PenstockError:
    text = f"There is no batch '{batch_id[:80]}' of this key; it may be too old or another key's."
    return PenstockError(404, "unknown-batch", text)
