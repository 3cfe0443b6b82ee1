"""A service of the user's own model: from its file, folder or name to an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock_cli import model_source
from penstock_cli.licence import stated_licence
from penstock_cli.manifest_draft import draft_manifest
from penstock_cli.own_weights import OWN_WEIGHTS
from penstock_cli.placed_signature import placed_signature
from penstock_cli.recipes import Recipe
from penstock_cli.service_draft import service_manifest
from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, Manifest
from penstock_common.service import Service


def described(service: Service) -> Recipe:
    """Return the line of a service in a list of recipes."""
    own = OWN_WEIGHTS[service]
    return Recipe(service.value, f"{own.what}: {own.fitting}", 0, "weights: yours, --from", own.call())


def make(name: str, source: str, folder: Path, task: str, harmless_labels: list[str]) -> Recipe:
    """Write the artifact of a service into an empty folder.

    Args:
        name: of the service.
        source: as ``penstock import`` takes it.
        task: of those that the model's folder names; empty for the only one that fits.
        harmless_labels: of a moderation.

    Returns:
        What it is, with a call that suits it.

    Raises:
        PenstockError: 404 ``unknown-service``; 422 ``wrong-service`` if the model is not for it; those of
            ``model_source.place`` and ``placed_signature``.
    """
    if name not in list(OWN_WEIGHTS):
        raise PenstockError(
            404,
            "unknown-service",
            f"No service {name!r} takes a model with --from; these do: {', '.join(OWN_WEIGHTS)}.",
        )
    service = Service(name)
    placed = model_source.place(source, folder)
    try:
        signature = placed_signature(source, folder, placed, [], [], interactive=False)
    except PenstockError as err:
        if err.code != "not-known":
            raise
        text = f"{source} does not say what it takes and gives, so it is for no service; try penstock import {source}."
        raise PenstockError(422, "wrong-service", text) from None
    draft = draft_manifest(signature, placed.format, placed.file, task=None, labels=[], examples=[])
    draft.manifest = service_manifest(
        draft.manifest, service, source, tasks=signature.tasks, task=task, harmless_labels=harmless_labels
    )
    (folder / MANIFEST_FILE).write_text(draft.text())
    licence = stated_licence(folder / placed.file)
    return Recipe(name, draft.manifest.description, 0, licence, OWN_WEIGHTS[service].call(**_languages(draft.manifest)))


def _languages(manifest: Manifest) -> dict[str, Any]:
    """Return the languages that a translator's example names, since it may have to be told them."""
    example = manifest.examples[0] if manifest.examples else {}
    return {name: example[name] for name in ("source", "target") if name in example}
