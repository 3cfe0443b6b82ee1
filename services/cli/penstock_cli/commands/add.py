"""``penstock add``: a service by its name, by a recipe or with the user's own model."""

from __future__ import annotations

import json
import tempfile
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from penstock_cli import recipes, service_source
from penstock_cli.commands.models import check_here
from penstock_cli.commands.promotion import NoWait, describe_targets, move_alias
from penstock_cli.curl import curl_call
from penstock_cli.gateway import wait_until_in_effect
from penstock_cli.model_questions import split_labels
from penstock_cli.recipes import Recipe
from penstock_cli.registry import ask_registry
from penstock_cli.settings import LocalSettings
from penstock_cli.starting import wait_until_started
from penstock_cli.terminal import AsJson, console, errors_for_the_user, print_table, tell_progress
from penstock_common.errors import PenstockError
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION, AliasTarget, Model
from penstock_common.service import Service
from penstock_common.service_remedies import WITHOUT_RECIPE, how_to_add

app = typer.Typer()


@app.command(epilog="Example: penstock add embeddings; penstock add chat --from hf:ORG/NAME")
def add(
    service: Annotated[str, typer.Argument(help="The service; penstock add --list names them all.")] = "",
    source: Annotated[
        str,
        typer.Option("--from", help="Your own model: a folder, a file, a .zip of these, or hf:ORG/NAME of the hub."),
    ] = "",
    task: Annotated[str, typer.Option(help="With --from: which of the folder's tasks, e.g. of T5.")] = "",
    harmless_labels: Annotated[
        str, typer.Option(help="With --from, for moderation: the labels that are not flagged, with commas.")
    ] = "",
    model: Annotated[str, typer.Option(help="The name of its model; that of the service if absent.")] = "",
    list_all: Annotated[bool, typer.Option("--list", help="List the services, their sizes and licences.")] = False,
    if_missing: Annotated[
        bool,
        typer.Option(
            "--if-missing",
            help="Register nothing if production points at a version; wait for an installation that is starting.",
        ),
    ] = False,
    no_wait: NoWait = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait until it answers.")] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Fetch, make or take a service's model, check it, register it, wait until it answers, and print a call."""
    with errors_for_the_user() as settings:
        if list_all:
            _list(as_json)
            return
        if not service:
            raise PenstockError(422, "no-service", "Name a service; penstock add --list shows what there is.")
        if not source and (task or harmless_labels):
            raise PenstockError(422, "no-source", "--task and --harmless-labels are for a model of yours: add --from.")
        name = model or service
        if if_missing and (present := _in_production(settings, name, timeout, wait=not no_wait)):
            _print_present(service, name, present, as_json)
            return
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "artifact"
            folder.mkdir()
            if source:
                made = service_source.make(service, source, folder, task, split_labels(harmless_labels))
                why = f"penstock add {service} --from {source}"
            else:
                made = _made_by_recipe(service, folder, settings.home / "packages")
                why = f"penstock add {service}"
            check_here(Path(source or service), folder)
            version = _register(settings, name, folder, why, None if no_wait else timeout)
        if as_json:
            print(json.dumps({"service": service, "model": name, "version": version}))
            return
        call = _named(msgspec.to_builtins(made.call), name)
        quality = f"; measured: {made.quality}" if made.quality else ""
        console.print(
            f"{name} version {version} {'is registered' if no_wait else 'answers'} ({made.what}; licence of the weights: "
            f"{made.licence}{quality})",
            markup=False,
        )
        command = curl_call(settings, call["path"], body=call["body"], form=call["form"], save_as=call["save_as"])
        console.print(f"export KEY={settings.secret('key')}", highlight=False, markup=False, soft_wrap=True)
        console.print(command, highlight=False, markup=False, soft_wrap=True)


def _made_by_recipe(service: str, folder: Path, cache: Path) -> Recipe:
    """Write the artifact of a service by its recipe; a service that has none is refused with what to give."""
    if service in WITHOUT_RECIPE:
        text = f"{service} comes without a model. Add one with: {how_to_add(Service(service))}."
        raise PenstockError(422, "no-weights", text)
    return recipes.make(service, folder, cache, lambda text: tell_progress(f"{service}: {text}"))


def _list(as_json: bool) -> None:
    """Print the recipes, and the services that have none."""
    found = recipes.list_recipes()
    found += [service_source.described(service) for service in WITHOUT_RECIPE]
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        rows = [
            {"service": r.name, "what": r.what, "MB": r.megabytes or None, "licence": r.licence, "measured": r.quality}
            for r in found
        ]
        print_table("services", rows)


def _in_production(settings: LocalSettings, model: str, seconds: float, *, wait: bool) -> list[AliasTarget]:
    """Return the versions at which production points; none if the model does not exist.

    Args:
        seconds: for an installation that is starting, and for ``wait``.
        wait: until the gateway answers with them.
    """
    wait_until_started(settings, seconds, gateway=wait)
    found = ask_registry(settings, "read", lambda client: client.models())
    present = next((entry.aliases.get(PRODUCTION, []) for entry in found if entry.name == model), [])
    if present and wait:
        wait_until_in_effect(settings, model, PRODUCTION, present, seconds)
    return present


def _print_present(service: str, model: str, present: list[AliasTarget], as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode({"service": service, "model": model, PRODUCTION: present}).decode())
    else:
        console.print(f"{model}@{PRODUCTION} already points at {describe_targets(present)}; nothing was registered")


def _register(settings: LocalSettings, model: str, folder: Path, why: str, seconds: float | None) -> int:
    """Register an artifact and point production at it; return the version's number.

    Args:
        seconds: to wait until it answers; None to return at once.
    """
    by = getuser()
    version = ask_registry(
        settings, "publish", lambda c: c.publish(model, folder, metrics={}, lineage={}, by=by, why=why)
    ).version

    async def move(client: RegistryClient) -> tuple[Model, Model]:
        before = await client.model(model)
        return before, await client.set_alias(model, PRODUCTION, [AliasTarget(version)], by=by, why=why)

    move_alias(settings, PRODUCTION, move, seconds)
    return version


def _named(value: Any, model: str) -> Any:
    """Put a model's name into the texts of a call."""
    if isinstance(value, str):
        return value.replace("{model}", model)
    return {key: _named(part, model) for key, part in value.items()} if isinstance(value, dict) else value
