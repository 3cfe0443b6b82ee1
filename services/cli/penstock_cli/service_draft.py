"""Turns the draft of a manifest into one of a service, or says which service its model fits."""

from __future__ import annotations

import re

import msgspec

from penstock_cli.own_weights import OWN_WEIGHTS
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Manifest, Parameters, Task
from penstock_common.manifest_service import check_service, service_input
from penstock_common.service import Service

#: What the routes call the languages of a translation, by the names that folders have for them.
_LANGUAGES = {"source_language": "source", "target_language": "target"}
_LONGEST_CODE = 20
_PLURALS = {FieldKind.AUDIO: "sounds", FieldKind.CATEGORY: "categories"}
#: The services whose folders, T5's for one, may do several things.
_WITH_TASKS = (Service.TRANSLATION, Service.SUMMARIZATION)
_ISO_639_1 = re.compile(r"[a-z]{2}")


def service_manifest(
    drafted: Manifest, service: Service, source: str, *, tasks: list[str], task: str, harmless_labels: list[str]
) -> Manifest:
    """Return the manifest of a model as that of a service.

    Args:
        drafted: has no service.
        source: what the user calls the model.
        tasks: that the model's folder names.
        task: the one of these that the user wants; empty for the only one that fits.
        harmless_labels: of a moderation.

    Raises:
        PenstockError: 422 ``wrong-service`` with what the model is, and the services that it fits.
    """
    try:
        return _fitted(drafted, service, tasks, task, harmless_labels)
    except _ChoiceError as err:
        raise _refusal(f"{source}: {err}.") from None
    except ValueError as err:
        reason = str(err)
    if service is Service.MODERATION and _fits(drafted, Service.TEXT_CLASSIFICATION, tasks):
        labels = ", ".join(drafted.labels)
        raise _refusal(
            f"{source}: name those of its labels that are not flagged with --harmless-labels; there are {labels} ({reason})."
        )
    fitting = [f"penstock add {other} --from {source}" for other in OWN_WEIGHTS if _fits(drafted, other, tasks)]
    remedy = (
        " or ".join(fitting) or f"no service takes it; penstock import {source} makes a model that is asked by name"
    )
    wanted = OWN_WEIGHTS[service].fitting
    raise _refusal(f"{source} is {_described(drafted)}, not {wanted} ({reason}): {remedy}.")


def _fitted(drafted: Manifest, service: Service, tasks: list[str], task: str, harmless: list[str]) -> Manifest:
    """Return the manifest of a service.

    Raises:
        ValueError: the model does not fit it.
    """
    if task and service not in _WITH_TASKS:
        raise _ChoiceError(f"--task {task}: is for {' and '.join(_WITH_TASKS)}; leave it out")
    manifest = msgspec.structs.replace(drafted, service=service, harmless_labels=harmless)
    if service is Service.CHAT and manifest.task is Task.GENERATION and not _has_input(manifest, "messages"):
        raise ValueError("it has no chat template; a folder has it in chat_template.jinja")
    if service is Service.LANGUAGE and not all(map(_ISO_639_1.fullmatch, manifest.labels)):
        raise ValueError(f"its labels are not codes of ISO 639-1: {', '.join(manifest.labels[:5])}")
    if service is Service.TRANSLATION:
        manifest.inputs = [_language(field) for field in manifest.inputs]
        manifest.examples = [{_LANGUAGES.get(k, k): value for k, value in row.items()} for row in manifest.examples]
    if service in _WITH_TASKS:
        chosen = _task(service, tasks, task)
        manifest.parameters = Parameters(task=chosen) if chosen else None
    check_service(manifest)
    asked = service_input(manifest)
    if asked is not None and asked.kind is FieldKind.TEXT and not manifest.examples:
        manifest.examples = [{asked.name: OWN_WEIGHTS[service].example, **_known_languages(drafted)}]
    return manifest


def _fits(drafted: Manifest, service: Service, tasks: list[str]) -> bool:
    try:
        _fitted(drafted, service, tasks, "", [])
    except _ChoiceError:
        return True
    except ValueError:
        return False
    return True


class _ChoiceError(ValueError):
    """The user has to choose another task of the folder."""


def _task(service: Service, tasks: list[str], wanted: str) -> str:
    """Return which of the folder's tasks makes the service; empty if it names none."""
    fitting = [task for task in tasks if task.startswith(service.value)]
    if wanted:
        if wanted not in tasks:
            raise _ChoiceError(f"--task {wanted}: the folder names {', '.join(tasks) or 'no tasks'}")
        return wanted
    if tasks and not fitting:
        raise ValueError(f"its tasks are {', '.join(tasks)}; choose one with --task if it does this")
    if len(fitting) > 1:
        raise _ChoiceError(f"choose one of its tasks with --task: {', '.join(fitting)}")
    return fitting[0] if fitting else ""


def _language(field: Field) -> Field:
    """A language is a text for the routes: also codes of ISO 639-1, which the folder's own list need not have."""
    if field.name not in _LANGUAGES:
        return field
    return msgspec.structs.replace(
        field,
        name=_LANGUAGES[field.name],
        source=field.source or field.name,
        kind=FieldKind.TEXT,
        categories=None,
        max_length=_LONGEST_CODE,
    )


def _known_languages(drafted: Manifest) -> dict[str, str]:
    """Return a source and a target that a folder lists, by the names of the route."""
    listed = {field.name: field.categories for field in drafted.inputs if field.name in _LANGUAGES and field.categories}
    return {_LANGUAGES[name]: codes[0 if name == "source_language" else -1] for name, codes in listed.items()}


def _described(manifest: Manifest) -> str:
    """Return what a model is, for a person."""
    kinds = dict.fromkeys(field.kind for field in manifest.inputs if field.required)
    takes = " and ".join(_PLURALS.get(kind, f"{kind}s") for kind in kinds)
    match manifest.task:
        case Task.CLASSIFICATION:
            return f"a classifier of {takes}"
        case Task.GENERATION:
            return "a model that continues texts"
    return f"a model that takes {takes} and gives {', '.join(output.name for output in manifest.outputs)}"


def _has_input(manifest: Manifest, name: str) -> bool:
    return any(field.name == name for field in manifest.inputs)


def _refusal(text: str) -> PenstockError:
    return PenstockError(422, "wrong-service", text)
