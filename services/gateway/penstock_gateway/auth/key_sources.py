"""Where a gateway reads the API keys from: a database, or a folder that a Kubernetes Secret is mounted at.

Sources are used in a thread, never on the request path.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from penstock_gateway.auth.key_record import KeyRecord, load_record


class KeySourceError(Exception):
    """The keys cannot be read at present."""


class KeySource(Protocol):
    def read(self) -> list[KeyRecord] | None:
        """All keys; None if nothing has changed since the last call.

        Raises:
            KeySourceError: the last keys stay in force.
        """

    def write_last_uses(self, uses: Mapping[str, str]) -> None:
        """Note when keys were last used: times as ``key_record.timestamp`` has them, by the keys' ids.

        Raises:
            KeySourceError: nothing was noted.
        """


def open_keys(url: str) -> KeySource:
    """The source that a folder's path or a database's URL names; nothing is read yet.

    Raises:
        PenstockError: 422 ``bad-keys-url``.
    """
    folder = Path(url)
    if folder.is_dir():
        return FolderKeys(folder)
    # A gateway that reads a mounted Secret needs neither the memory nor the start-up time of SQLAlchemy.
    from penstock_gateway.auth.database_keys import DatabaseKeys

    return DatabaseKeys(url)


class FolderKeys:
    """A mounted Secret: each ``*.json`` is one key's record, as ``key_record.dump_record`` writes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, bytes] | None = None

    def read(self) -> list[KeyRecord] | None:
        try:
            files = {path.name: path.read_bytes() for path in sorted(self._folder.glob("*.json"))}
            if files == self._seen:
                return None
            records = [load_record(data) for data in files.values()]
        except (OSError, ValueError) as err:
            raise KeySourceError(f"{self._folder}: {err}") from err
        self._seen = files
        return records

    def write_last_uses(self, uses: Mapping[str, str]) -> None:
        """Nothing: a mounted Secret cannot be written."""
