"""The interface of a pipeline, and the steps that all pipelines share."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from penstock_common.errors import PenstockError
from penstock_common.manifest import Format
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION, AliasTarget, Version
from penstock_training.fit import Progress


@dataclass
class Trained:
    """What a pipeline reports about the artifact in its folder.

    ``primary`` names the metric that decides about promotion; ``higher_is_better`` is its direction. ``unit`` is what
    ``rows`` counts.
    """

    report: dict[str, Any]
    primary: str
    higher_is_better: bool
    data_digest: str
    rows: int
    parameters: dict[str, Any] = field(default_factory=dict)
    unit: str = "rows"


#: Share of the rows that a pipeline does not train on, but evaluates on.
HELD_OUT = 0.2

#: Arguments: data file, artifact folder, format, seed, progress. None means the pipeline's default.
Pipeline = Callable[[Path | None, Path, Format | None, int, Progress], Trained]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def code_version() -> str:
    """Return the commit of the source tree, or the package's version outside a git repository."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        try:
            return version("penstock-training")
        except PackageNotFoundError:
            return "unknown"


async def register(
    client: RegistryClient, model: str, folder: Path, trained: Trained, *, promote: bool
) -> tuple[Version, str]:
    """Register the folder as a version, and point ``production`` at it if it beats the current version.

    Returns:
        The version, and the result of the promotion, as a phrase.
    """
    metrics = trained.report["metrics"]
    lineage = {
        "data_sha256": trained.data_digest,
        "rows": trained.rows,
        "code": code_version(),
        "parameters": trained.parameters,
    }
    registered = await client.publish(model, folder, metrics=metrics, lineage=lineage, by="penstock train")
    if not promote:
        return registered, "not promoted: --no-promote was given"
    state = await client.model(model)
    present = state.aliases.get(PRODUCTION, [])
    if len(present) > 1:
        return registered, f"not promoted: {PRODUCTION} points at several versions"
    current = state.versions[present[0].version] if present else None
    mine, theirs = metrics[trained.primary], (current.metrics.get(trained.primary) if current else None)
    if theirs is not None and not (mine > theirs if trained.higher_is_better else mine < theirs):
        assert current is not None
        return (
            registered,
            f"not promoted: {trained.primary} {mine:.4f} does not beat version {current.version}'s {theirs:.4f}",
        )
    try:
        await client.set_alias(
            model,
            PRODUCTION,
            [AliasTarget(registered.version)],
            expect=current.version if current else 0,
            by="penstock train",
            why=f"{trained.primary} {mine:.4f}" + (f", was {theirs:.4f}" if theirs is not None else ""),
        )
    except PenstockError as err:
        if err.status != 412:
            raise
        return registered, f"not promoted: somebody else moved {PRODUCTION} in the meantime"
    return registered, f"{PRODUCTION} now points at version {registered.version}"
