"""Files, batches and the work on them, connected."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

from penstock_common.errors import PenstockError
from penstock_common.object_store.store_url import open_store
from penstock_gateway.batches.batch_bounds import BatchBounds
from penstock_gateway.batches.batch_runner import BatchRunner
from penstock_gateway.batches.batches import Batches
from penstock_gateway.batches.line_calls import LineCalls
from penstock_gateway.database.threads import DatabaseThreads
from penstock_gateway.files.contents import Contents
from penstock_gateway.files.file_bounds import FileBounds
from penstock_gateway.files.files import Files


@dataclass(frozen=True)
class BatchService:
    """``runner`` works on ``batches``, whose inputs and outputs are ``files``."""

    files: Files
    batches: Batches
    runner: BatchRunner


def open_service(
    keys_url: str,
    files_url: str,
    calls: LineCalls,
    ready: Callable[[], bool],
    file_bounds: FileBounds,
    batch_bounds: BatchBounds,
) -> BatchService:
    """What a gateway needs; nothing runs yet.

    Args:
        keys_url: the database, as ``open_database`` takes it.
        files_url: the object store, as ``open_store`` takes it.
        ready: whether this gateway can answer requests, and is not about to end.

    Raises:
        PenstockError: 422 ``bad-keys-url``.
        ValueError: ``files_url`` does not name a store.
    """
    database = DatabaseThreads(keys_url, "files and batches", _database_away)
    contents = Contents(open_store(files_url))
    files = Files(database, contents, file_bounds)
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    batches = Batches(database, batch_bounds, owner)
    return BatchService(files, batches, BatchRunner(batches, files, contents, calls, batch_bounds, ready))


def _database_away() -> PenstockError:
    text = "The database of files and batches cannot be used at present; try again."
    return PenstockError(503, "file-store-away", text, headers={"Retry-After": "5"})
