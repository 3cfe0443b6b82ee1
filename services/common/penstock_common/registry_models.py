"""The registry's messages and log entries, as JSON.

All times are RFC 3339 in UTC; the versions of a model count from 1.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from penstock_common.manifest import Manifest, Name

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class FileRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of an artifact; its bytes are the blob with that digest."""

    path: str  # relative, POSIX separators
    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Sha256


class UploadRequest(msgspec.Struct, forbid_unknown_fields=True):
    files: Annotated[list[FileRef], msgspec.Meta(min_length=1)]


class Target(msgspec.Struct, omit_defaults=True):
    """Where to PUT or GET the bytes of one file; a ``url`` without a host is a path of the registry."""

    path: str
    sha256: str
    size: int
    url: str
    headers: dict[str, str] = {}
    present: bool = False  # uploads only: the store has the blob already, so nothing needs to be sent


class Targets(msgspec.Struct):
    files: list[Target]


class RegisterRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Commits a version. Its manifest is read from the ``model.yaml`` among ``files``."""

    files: Annotated[list[FileRef], msgspec.Meta(min_length=1)]
    metrics: dict[str, float] = {}
    lineage: dict[str, Any] = {}  # data digest, code version, parameters
    by: str = ""
    why: str = ""


class Version(msgspec.Struct, omit_defaults=True):
    model: str
    version: int
    manifest: Manifest
    files: list[FileRef]
    created: str
    by: str = ""
    why: str = ""
    metrics: dict[str, float] = {}
    lineage: dict[str, Any] = {}
    retired: bool = False


class AliasTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of an alias's traffic; weights are relative, e.g. 90 and 10."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    weight: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100


class AliasRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    targets: Annotated[list[AliasTarget], msgspec.Meta(min_length=1, max_length=16)]
    by: str = ""
    why: str = ""


class RetireRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    by: str = ""
    why: str = ""


class Model(msgspec.Struct):
    """The state of a model after its newest log entry."""

    name: Name
    revision: int  # number of the newest log entry
    versions: dict[int, Version]
    aliases: dict[str, list[AliasTarget]]


class Snapshot(msgspec.Struct):
    """The whole registry at one moment; ``cursor`` is opaque and goes into the next ``/v1/watch``."""

    cursor: str
    models: list[Model]


class LogEntry(msgspec.Struct, omit_defaults=True):
    """``models/<name>/log/<n>.json``, created once and never changed."""

    entry: int
    kind: str  # registered | alias-set | alias-deleted | retired
    at: str
    by: str = ""
    why: str = ""
    version: Version | None = None  # registered
    alias: str = ""  # alias-set, alias-deleted
    targets: list[AliasTarget] = []  # alias-set
    retired: int = 0  # retired: the version's number


PRODUCTION = "production"
