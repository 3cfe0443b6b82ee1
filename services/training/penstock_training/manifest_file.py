"""Writes the manifest of an artifact."""

from __future__ import annotations

from pathlib import Path

from penstock_common.manifest import MANIFEST_FILE, Manifest, dump_manifest


def write_manifest(artifact: Path, manifest: Manifest) -> None:
    """Write ``model.yaml``."""
    (artifact / MANIFEST_FILE).write_text(dump_manifest(manifest), encoding="utf-8")
