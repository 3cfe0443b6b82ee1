"""The registry's operations on models, versions and aliases, independent of HTTP."""

from __future__ import annotations

from penstock_common.errors import PenstockError
from penstock_common.manifest import is_name
from penstock_common.registry_models import (
    AdminRequest,
    AliasRequest,
    FsckReport,
    LogEntry,
    Model,
    RegisterRequest,
    RetireRequest,
    Targets,
    UploadRequest,
    Version,
)
from penstock_registry import fsck
from penstock_registry.blobs import Blobs
from penstock_registry.model_log import now
from penstock_registry.model_logs import ModelLogs
from penstock_registry.model_state import ModelState
from penstock_registry.registration import check_files, checked_manifest


class Registry:
    """Models, versions and aliases in one object store.

    All methods that take a model's name raise ``PenstockError`` 422 ``bad-name``, or 404 ``unknown-model``
    if they need one that exists. Those that change a model raise 409 ``model-damaged`` while its log lacks
    entries.

    Args:
        max_manifest_bytes: of ``model.yaml``.
    """

    def __init__(self, logs: ModelLogs, blobs: Blobs, *, max_manifest_bytes: int) -> None:
        self._logs = logs
        self.blobs = blobs
        self._max_manifest_bytes = max_manifest_bytes

    async def model(self, name: str) -> Model:
        """A model's newest state."""
        return (await self._state(name)).model

    async def version(self, name: str, number: int) -> Version:
        return _version(await self.model(name), number)

    async def log_entries(self, name: str) -> list[LogEntry]:
        """All entries of a model's log that can be read, also of one that was deleted."""
        check_name("model", name)
        if not (await self._logs.refresh(name)).revision:
            raise _unknown_model(name)
        return await self._logs.entries(name)

    async def upload_targets(self, name: str, request: UploadRequest) -> Targets:
        check_name("model", name)
        check_files(request.files)
        named = self._logs.named_blobs()
        return Targets([await self.blobs.upload_target(file, named=file.sha256 in named) for file in request.files])

    async def download_targets(self, name: str, number: int) -> Targets:
        version = await self.version(name, number)
        return Targets([await self.blobs.download_target(file) for file in version.files])

    async def register(self, name: str, request: RegisterRequest) -> Version:
        """Commit a version, if all its blobs were uploaded and match their digests.

        Raises:
            PenstockError: 422 ``incomplete-upload`` naming each missing or wrong blob; 422 ``bad-manifest``.
        """
        check_name("model", name)
        check_files(request.files)
        manifest = await checked_manifest(
            self.blobs,
            request.files,
            is_named=self._logs.named_blobs().__contains__,
            max_bytes=self._max_manifest_bytes,
        )

        def intention(state: ModelState) -> LogEntry:
            number = max(state.model.versions, default=0)
            number = max(number, state.last_version) + 1
            version = Version(
                name, number, manifest, request.files, now(), request.by, request.why, request.metrics, request.lineage
            )
            return LogEntry(0, "registered", "", request.by, request.why, version=version)

        state = await self._logs.append(name, intention)
        return state.model.versions[max(state.model.versions)]

    async def set_alias(self, name: str, alias: str, request: AliasRequest, expect: int | None) -> Model:
        """Point an alias at one version, or at several by weight.

        Args:
            expect: the only version that the alias may point at now; 0 if it must not exist; None if it does not matter.

        Raises:
            PenstockError: 412 ``alias-moved``; 404 ``unknown-version``; 409 ``version-retired``.
        """
        check_name("alias", alias)
        await self._state(name)
        numbers = [t.version for t in request.targets]
        if len(set(numbers)) != len(numbers):
            raise PenstockError(422, "bad-request", f"targets: {numbers} names a version twice; name each once.")

        def intention(state: ModelState) -> LogEntry:
            present = [t.version for t in state.model.aliases.get(alias, [])]
            if expect is not None and present != ([expect] if expect else []):
                raise PenstockError(
                    412,
                    "alias-moved",
                    f"{name}@{alias} points at {present or 'nothing'}, not at {expect or 'nothing'}; read the model and try again.",
                )
            for number in numbers:
                if _version(state.model, number).retired:
                    raise PenstockError(
                        409, "version-retired", f"Version {number} of {name!r} is retired; name another one."
                    )
            return LogEntry(0, "alias-set", "", request.by, request.why, alias=alias, targets=request.targets)

        return (await self._logs.append(name, intention)).model

    async def delete_alias(self, name: str, alias: str) -> Model:
        await self._state(name)

        def intention(state: ModelState) -> LogEntry:
            if alias not in state.model.aliases:
                raise PenstockError(404, "unknown-alias", f"Model {name!r} has no alias {alias[:80]!r}.")
            return LogEntry(0, "alias-deleted", "", alias=alias)

        return (await self._logs.append(name, intention)).model

    async def retire(self, name: str, number: int, request: RetireRequest) -> Model:
        """Mark a version as retired, so that no alias can point at it.

        Raises:
            PenstockError: 404 ``unknown-version``; 409 ``version-in-use`` while an alias points at it.
        """
        await self._state(name)

        def intention(state: ModelState) -> LogEntry:
            _version(state.model, number)
            users = [a for a, targets in state.model.aliases.items() if number in {t.version for t in targets}]
            if users:
                raise PenstockError(
                    409,
                    "version-in-use",
                    f"Version {number} of {name!r} is still the target of {', '.join(users)}; move or delete that alias first.",
                )
            return LogEntry(0, "retired", "", request.by, request.why, retired=number)

        return (await self._logs.append(name, intention)).model

    async def quarantine(self, name: str, number: int, request: AdminRequest) -> Model:
        """Take a version away from everybody, and out of the aliases that point at it; its number stays taken.

        Raises:
            PenstockError: 404 ``unknown-version``.
        """
        await self._state(name)

        def intention(state: ModelState) -> LogEntry:
            _version(state.model, number)
            return LogEntry(0, "version-quarantined", "", request.by, request.why, quarantined=number)

        return (await self._logs.append(name, intention)).model

    async def repair(self, name: str, request: AdminRequest) -> Model:
        """Give up the log entries that are lost, so that the model can be changed again.

        Raises:
            PenstockError: 409 ``not-damaged``.
        """
        await self._state(name)

        def intention(state: ModelState) -> LogEntry:
            lost = [damage.entry for damage in state.model.damage]
            if not lost:
                raise PenstockError(409, "not-damaged", f"The log of {name!r} has all its entries.")
            return LogEntry(0, "repaired", "", request.by, request.why, lost=lost)

        return (await self._logs.append(name, intention)).model

    async def delete(self, name: str, request: AdminRequest) -> Model:
        """Delete a model with all its versions; its log stays, so no version's number is given twice.

        Raises:
            PenstockError: 409 ``model-in-use`` while it has aliases, unless its log is damaged.
        """
        await self._state(name)

        def intention(state: ModelState) -> LogEntry:
            if state.model.aliases and not state.model.damage:
                raise PenstockError(
                    409,
                    "model-in-use",
                    f"Model {name!r} still has the aliases {', '.join(sorted(state.model.aliases))}; delete them first.",
                )
            return LogEntry(0, "deleted", "", request.by, request.why)

        return (await self._logs.append(name, intention)).model

    async def fsck(self, *, deep: bool) -> FsckReport:
        """Look for what is wrong in the store; with ``deep``, read the bytes of all blobs as well."""
        return await fsck.check_store(self._logs, self.blobs, deep=deep)

    async def _state(self, name: str) -> ModelState:
        check_name("model", name)
        state = await self._logs.refresh(name)
        if not state.exists:
            raise _unknown_model(name)
        return state


def check_name(what: str, name: str) -> None:
    if not is_name(name):
        raise PenstockError(
            422,
            "bad-name",
            f"{what} {name[:80]!r}: use 1 to 63 of a-z, 0-9, '.', '_', '-', a letter or digit at each end.",
        )


def _unknown_model(name: str) -> PenstockError:
    return PenstockError(404, "unknown-model", f"There is no model {name!r} in this registry.")


def _version(model: Model, number: int) -> Version:
    version = model.versions.get(number)
    if version is None:
        known = ", ".join(map(str, sorted(model.versions))) or "none"
        raise PenstockError(404, "unknown-version", f"Model {model.name!r} has no version {number}; it has {known}.")
    return version
