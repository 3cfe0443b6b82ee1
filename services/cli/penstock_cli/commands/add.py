"""``penstock add``: a service by its name."""

from __future__ import annotations

import json
import tempfile
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from penstock_cli import recipes
from penstock_cli.commands.models import check_here
from penstock_cli.commands.promotion import move_alias
from penstock_cli.curl import curl_call
from penstock_cli.registry import ask_registry
from penstock_cli.settings import LocalSettings
from penstock_cli.terminal import AsJson, console, errors_for_the_user, print_table
from penstock_common.errors import PenstockError
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION, AliasTarget, Model

app = typer.Typer()


@app.command(epilog="Example: penstock add embeddings")
def add(
    service: Annotated[str, typer.Argument(help="The service; penstock add --list names them all.")] = "",
    model: Annotated[str, typer.Option(help="The name of its model; that of the service if absent.")] = "",
    list_all: Annotated[bool, typer.Option("--list", help="List the services, their sizes and licences.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait until it answers.")] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Fetch or make a service's model, check it, register it, wait until it answers, and print a call."""
    with errors_for_the_user() as settings:
        if list_all:
            _list(as_json)
            return
        if not service:
            raise PenstockError(422, "no-service", "Name a service; penstock add --list shows what there is.")
        name = model or service
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "artifact"
            folder.mkdir()
            recipe = recipes.make(service, folder, settings.home / "packages")
            check_here(Path(service), folder)
            version = _register(settings, name, folder, f"penstock add {service}", timeout)
        if as_json:
            print(json.dumps({"service": service, "model": name, "version": version}))
            return
        call = _named(msgspec.to_builtins(recipe.call), name)
        console.print(f"{name} version {version} answers ({recipe.what}; licence of the weights: {recipe.licence})")
        command = curl_call(settings, call["path"], body=call["body"], form=call["form"], save_as=call["save_as"])
        console.print(f"export KEY={settings.secret('key')}", highlight=False, markup=False, soft_wrap=True)
        console.print(command, highlight=False, markup=False, soft_wrap=True)


def _list(as_json: bool) -> None:
    found = recipes.list_recipes()
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        rows = [{"service": r.name, "what": r.what, "MB": r.megabytes, "licence": r.licence} for r in found]
        print_table("services", rows)


def _register(settings: LocalSettings, model: str, folder: Path, why: str, seconds: float) -> int:
    """Register an artifact and point production at it; return the version's number."""
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
