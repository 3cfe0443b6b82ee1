"""A service of the user's own model: from its file, folder or name to an artifact."""

from __future__ import annotations

import shutil
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
from penstock_common.manifest import MANIFEST_FILE, Manifest, parse_manifest
from penstock_common.service import Service
from penstock_common.service_remedies import how_to_add

#: Services that are one use of another, whose models they take.
_USES = {"sentiment": Service.TEXT_CLASSIFICATION}
#: Members of requests whose values are those of the model's own inputs.
_AS_IN_THE_ROUTE = ("text", "items")


def described(service: Service) -> Recipe:
    """Return the line, in a list of recipes, of a service that has none: the commands that add it stand for its licence."""
    own = OWN_WEIGHTS[service]
    return Recipe(service.value, f"{own.what}: {own.fitting}", 0, f"made by: {how_to_add(service)}", own.call())


def make(name: str, source: str, folder: Path, task: str, harmless_labels: list[str]) -> Recipe:
    """Write the artifact of a service into an empty folder.

    Args:
        name: of the service.
        source: as ``penstock import`` takes it, or the folder of an artifact whose manifest names the service.
        task: of those that the model's folder names; empty for the only one that fits.
        harmless_labels: of a moderation.

    Returns:
        What it is, with a call that suits it.

    Raises:
        PenstockError: 404 ``unknown-service``; 422 ``wrong-service`` if the model is not for it; those of
            ``model_source.place`` and ``placed_signature``.
    """
    if name not in [*OWN_WEIGHTS, *_USES]:
        raise PenstockError(
            404,
            "unknown-service",
            f"No service {name!r} takes a model with --from; these do: {', '.join([*OWN_WEIGHTS, *_USES])}.",
        )
    service = _USES.get(name) or Service(name)
    if (Path(source) / MANIFEST_FILE).is_file():
        return _taken(name, service, Path(source), folder)
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


def _taken(name: str, service: Service, artifact: Path, folder: Path) -> Recipe:
    """Copy an artifact that is for the service already.

    Raises:
        PenstockError: 422 ``wrong-service`` if its manifest names another one; ``bad-manifest``.
    """
    manifest = parse_manifest((artifact / MANIFEST_FILE).read_bytes())
    if manifest.service is not service:
        text = (
            f"{artifact} is an artifact whose {MANIFEST_FILE} says service: {manifest.service or 'none'}, not {service}; "
            f"penstock push NAME {artifact} registers it as it is."
        )
        raise PenstockError(422, "wrong-service", text)
    shutil.copytree(artifact, folder, dirs_exist_ok=True)
    own = OWN_WEIGHTS[service]
    example = manifest.examples[0] if manifest.examples else {}
    shown = (own.member, "source", "target") if own.member in _AS_IN_THE_ROUTE else ()
    call = own.call(**{member: example[member] for member in shown if member in example})
    return Recipe(name, manifest.description, 0, stated_licence(folder / manifest.file), call)


def _languages(manifest: Manifest) -> dict[str, Any]:
    """Return the languages that a translator's example names, since it may have to be told them."""
    example = manifest.examples[0] if manifest.examples else {}
    return {name: example[name] for name in ("source", "target") if name in example}
