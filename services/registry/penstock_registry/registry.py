"""The registry's operations on models, versions and aliases, independent of HTTP."""

from __future__ import annotations

import posixpath

import msgspec
from obstore.store import LocalStore

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, Manifest, Name, parse_manifest
from penstock_common.registry_models import (
    AliasRequest,
    FileRef,
    LogEntry,
    Model,
    RegisterRequest,
    RetireRequest,
    Targets,
    UploadRequest,
    Version,
)
from penstock_registry.blobs import Blobs
from penstock_registry.model_log import Intention, ModelLogs, now
from penstock_registry.object_store import Bucket
from penstock_registry.watch import Watch

_MAX_MANIFEST = 1024 * 1024


class Registry:
    """Models, versions and aliases in one object store."""

    def __init__(self, store: LocalStore | Bucket) -> None:
        self.blobs = Blobs(store)
        self._logs = ModelLogs(store)
        self.watch = Watch(self._logs)

    def models(self) -> list[Model]:
        return self.watch.snapshot().models

    async def model(self, name: str) -> Model:
        """A model's newest state.

        Raises:
            PenstockError: 404 ``unknown-model``.
        """
        check_name("model", name)
        model = await self._logs.refresh(name)
        if not model.revision:
            raise PenstockError(404, "unknown-model", f"There is no model {name!r} in this registry.")
        return model

    async def version(self, name: str, number: int) -> Version:
        return _version(await self.model(name), number)

    async def log_entries(self, name: str) -> list[LogEntry]:
        await self.model(name)
        return await self._logs.entries(name)

    async def upload_targets(self, name: str, request: UploadRequest) -> Targets:
        check_name("model", name)
        _check_files(request.files)
        return Targets([await self.blobs.upload_target(file) for file in request.files])

    async def download_targets(self, name: str, number: int) -> Targets:
        version = await self.version(name, number)
        return Targets([await self.blobs.download_target(file) for file in version.files])

    async def register(self, name: str, request: RegisterRequest) -> Version:
        """Commit a version, if all its blobs were uploaded and match their digests.

        Raises:
            PenstockError: 422 ``incomplete-upload`` naming each missing or wrong blob; 422 ``bad-manifest``.
        """
        check_name("model", name)
        _check_files(request.files)
        wrong = [problem for file in request.files if (problem := await self.blobs.verify(file)) is not None]
        if wrong:
            raise PenstockError(422, "incomplete-upload", "; ".join(wrong) + ".", extra={"problems": wrong})
        manifest = await self._manifest(request.files)

        def intention(model: Model) -> LogEntry:
            number = max(model.versions, default=0) + 1
            version = Version(
                name, number, manifest, request.files, now(), request.by, request.why, request.metrics, request.lineage
            )
            return LogEntry(0, "registered", "", request.by, request.why, version=version)

        model = await self._append(name, intention)
        return model.versions[max(model.versions)]

    async def _manifest(self, files: list[FileRef]) -> Manifest:
        by_path = {file.path: file for file in files}
        file = by_path.get(MANIFEST_FILE)
        if file is None or file.size > _MAX_MANIFEST:
            raise PenstockError(
                422, "bad-manifest", f"The files need a {MANIFEST_FILE} of at most {_MAX_MANIFEST} bytes."
            )
        manifest = parse_manifest(b"".join([chunk async for chunk in self.blobs.read(file.sha256, file.size)]))
        if manifest.file not in by_path:
            raise PenstockError(
                422,
                "bad-manifest",
                f"{MANIFEST_FILE}: file: {manifest.file!r} is not among the files; upload it too, or correct the name.",
            )
        return manifest

    async def set_alias(self, name: str, alias: str, request: AliasRequest, expect: int | None) -> Model:
        """Point an alias at one version, or at several by weight.

        Args:
            expect: the only version that the alias may point at now; 0 if it must not exist; None if it does not matter.

        Raises:
            PenstockError: 412 ``alias-moved``; 404 ``unknown-version``; 409 ``version-retired``.
        """
        check_name("alias", alias)
        await self.model(name)
        numbers = [t.version for t in request.targets]
        if len(set(numbers)) != len(numbers):
            raise PenstockError(422, "bad-request", f"targets: {numbers} names a version twice; name each once.")

        def intention(model: Model) -> LogEntry:
            present = [t.version for t in model.aliases.get(alias, [])]
            if expect is not None and present != ([expect] if expect else []):
                raise PenstockError(
                    412,
                    "alias-moved",
                    f"{name}@{alias} points at {present or 'nothing'}, not at {expect or 'nothing'}; read the model and try again.",
                )
            for number in numbers:
                if _version(model, number).retired:
                    raise PenstockError(
                        409, "version-retired", f"Version {number} of {name!r} is retired; name another one."
                    )
            return LogEntry(0, "alias-set", "", request.by, request.why, alias=alias, targets=request.targets)

        return await self._append(name, intention)

    async def delete_alias(self, name: str, alias: str) -> Model:
        await self.model(name)

        def intention(model: Model) -> LogEntry:
            if alias not in model.aliases:
                raise PenstockError(404, "unknown-alias", f"Model {name!r} has no alias {alias!r}.")
            return LogEntry(0, "alias-deleted", "", alias=alias)

        return await self._append(name, intention)

    async def retire(self, name: str, number: int, request: RetireRequest) -> Model:
        """Mark a version as retired, so that no alias can point at it.

        Raises:
            PenstockError: 404 ``unknown-version``; 409 ``version-in-use`` while an alias points at it.
        """
        await self.model(name)

        def intention(model: Model) -> LogEntry:
            _version(model, number)
            users = [a for a, targets in model.aliases.items() if number in {t.version for t in targets}]
            if users:
                raise PenstockError(
                    409,
                    "version-in-use",
                    f"Version {number} of {name!r} is still the target of {', '.join(users)}; move or delete that alias first.",
                )
            return LogEntry(0, "retired", "", request.by, request.why, retired=number)

        return await self._append(name, intention)

    async def _append(self, name: str, intention: Intention) -> Model:
        model = await self._logs.append(name, intention)
        self.watch.wake()
        return model


def check_name(what: str, name: str) -> None:
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError:
        raise PenstockError(
            422,
            "bad-name",
            f"{what} {name[:80]!r}: use 1 to 63 of a-z, 0-9, '.', '_', '-', a letter or digit at each end.",
        ) from None


def _version(model: Model, number: int) -> Version:
    version = model.versions.get(number)
    if version is None:
        known = ", ".join(map(str, sorted(model.versions))) or "none"
        raise PenstockError(404, "unknown-version", f"Model {model.name!r} has no version {number}; it has {known}.")
    return version


def _check_files(files: list[FileRef]) -> None:
    paths = [file.path for file in files]
    if len(set(paths)) != len(paths):
        raise PenstockError(422, "bad-request", "files: two files have the same path; give each its own.")
    for path in paths:
        clean = posixpath.normpath(path)
        if path != clean or clean.startswith(("/", "..")) or "\\" in path or "\0" in path or clean == ".":
            raise PenstockError(
                422, "bad-request", f"files: path {path[:80]!r} must be relative and lie inside the artifact."
            )
