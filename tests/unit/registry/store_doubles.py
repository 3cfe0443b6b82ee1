"""A store in a folder that counts what is asked of it and fails on demand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from penstock_common.object_store.folder_store import FolderStore
from penstock_common.object_store.store import ObjectInfo

#: Given a method and a key, raises what the store should raise.
Fault = Callable[[str, str], None]


def no_fault(_method: str, _key: str) -> None:
    pass


class TestStore(FolderStore):
    """``before`` is called ahead of each request, ``after`` once it has had its effect but before its answer."""

    __test__ = False

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.calls: list[tuple[str, str]] = []
        self.before: Fault = no_fault
        self.after: Fault = no_fault

    def _begin(self, method: str, key: str) -> None:
        self.calls.append((method, key))
        self.before(method, key)

    async def create(self, key: str, data: bytes) -> bool:
        self._begin("create", key)
        created = await super().create(key, data)
        self.after("create", key)
        return created

    async def put(self, key: str, data: bytes) -> None:
        self._begin("put", key)
        await super().put(key, data)

    async def get(self, key: str) -> bytes | None:
        self._begin("get", key)
        return await super().get(key)

    async def info(self, key: str) -> ObjectInfo | None:
        self._begin("info", key)
        return await super().info(key)

    async def list_objects(self, folder: str, after: str = "") -> list[ObjectInfo]:
        self._begin("list", folder)
        return await super().list_objects(folder, after)

    async def list_folders(self, folder: str) -> list[str]:
        self._begin("list", folder)
        return await super().list_folders(folder)
