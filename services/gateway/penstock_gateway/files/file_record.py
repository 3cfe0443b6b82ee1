"""What is known of a file beside its contents."""

from __future__ import annotations

import re
import secrets

import msgspec

from penstock_common.errors import PenstockError

#: Purposes of files that a client uploads, and of those that a batch makes.
BATCH, BATCH_OUTPUT = "batch", "batch_output"

_ID = re.compile(r"file-[0-9a-f]{32}")


class FileRecord(msgspec.Struct, frozen=True):
    """A file that is whole; times are in seconds since 1970."""

    id: str
    principal: str
    created: float
    expires: float
    size: int  # bytes
    filename: str
    purpose: str


def new_file_id() -> str:
    return f"file-{secrets.token_hex(16)}"


def check_file_id(file_id: str) -> None:
    """Refuse an id that no file has.

    Raises:
        PenstockError: 404 ``unknown-file``.
    """
    if not _ID.fullmatch(file_id):
        raise unknown_file(file_id)


def unknown_file(file_id: str) -> PenstockError:
    text = f"There is no file '{file_id[:80]}' of this key; it may have expired, or be deleted or another key's."
    return PenstockError(404, "unknown-file", text)
