"""The registry's messages and log entries, as JSON.

All times are RFC 3339 in UTC; the versions of a model count from 1.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from penstock_common.manifest import Manifest, Name

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


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


class AdminRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Body of a quarantine, a repair or a deletion."""

    by: str = ""
    why: str = ""


class Damage(msgspec.Struct, frozen=True):
    """A log entry that is missing or cannot be read or applied; the model's state is without it."""

    entry: int  # its number; for several in a row, the first one's
    reason: str


class Model(msgspec.Struct, omit_defaults=True):
    """The state of a model after its newest log entry. While it has damage, its log takes no entries but repairs."""

    name: Name
    revision: int  # number of the newest log entry
    versions: dict[int, Version]
    aliases: dict[str, list[AliasTarget]]
    damage: list[Damage] = []
    #: What each alias pointed at before, newest first: these answer while its present targets cannot be loaded.
    earlier: dict[str, list[list[AliasTarget]]] = {}


class Snapshot(msgspec.Struct, omit_defaults=True):
    """The whole registry at one moment.

    ``cursor`` is opaque and goes into the next ``/v1/watch``. ``store`` is the identity of the store: after
    it has changed, a model's version is another one than before, even if name and number are the same.
    """

    cursor: str
    models: list[Model]
    store: str = ""


LogEntryKind = Literal[
    "registered", "alias-set", "alias-deleted", "retired", "version-quarantined", "repaired", "deleted"
]


class LogEntry(msgspec.Struct, omit_defaults=True):
    """``models/<name>/log/<n>.json``, created once and never changed."""

    entry: int
    kind: LogEntryKind
    at: str
    by: str = ""
    why: str = ""
    version: Version | None = None  # registered
    alias: str = ""  # alias-set, alias-deleted
    targets: list[AliasTarget] = []  # alias-set
    retired: int = 0  # retired: the version's number
    quarantined: int = 0  # version-quarantined: the version's number
    lost: list[int] = []  # repaired: the entries that are given up
    id: str = ""  # random; tells a writer whether the entry that it finds is its own


class FsckProblem(msgspec.Struct):
    """Something in the store that is not as it should be."""

    model: str
    what: str  # e.g. "entry 3", "state.json", "version 2: model.onnx"
    problem: str
    remedy: str


class FsckReport(msgspec.Struct):
    """What ``GET /v1/fsck`` has looked at, and what it has found."""

    store: str
    models: int
    entries: int
    blobs: int
    problems: list[FsckProblem]


PRODUCTION = "production"
