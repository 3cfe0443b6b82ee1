"""The store of API keys that a command's options name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from penstock_cli.cluster_keys import ClusterKeys
from penstock_gateway.auth.key_record import KeyRecord


class KeyStore(Protocol):
    """What the commands need of a store; its methods raise PenstockError."""

    #: whether gateways can note there when a key was last used.
    keeps_last_use: bool

    def create(
        self,
        name: str,
        rate: float | None = None,
        burst: float | None = None,
        models: Sequence[str] | None = None,
        expires: datetime | None = None,
    ) -> tuple[KeyRecord, str]: ...

    def records(self) -> list[KeyRecord]: ...

    def revoke(self, key_id: str) -> None: ...


def open_key_store(local: Path, url: str, kubernetes: bool, namespace: str, secret: str) -> KeyStore:
    """A cluster's Secret if ``kubernetes``, else the database of ``url``, else the file ``local``.

    Raises:
        PenstockError: of ``ClusterKeys`` and ``KeyAdmin``.
    """
    if kubernetes:
        return ClusterKeys(namespace, secret)
    # Imports SQLAlchemy, which takes a quarter of a second.
    from penstock_gateway.auth.key_admin import KeyAdmin

    return KeyAdmin(url or str(local))
