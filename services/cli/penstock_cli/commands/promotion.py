"""``penstock promote`` and ``rollback``: which version an alias points at."""

from __future__ import annotations

from collections.abc import Sequence
from getpass import getuser
from typing import Annotated

import msgspec
import typer

from penstock_cli.registry import ask_registry
from penstock_cli.terminal import AsJson, ModelName, console, errors_for_the_user
from penstock_common.errors import PenstockError
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION, AliasTarget, Model

app = typer.Typer()


@app.command(epilog="Example: penstock promote spam 3 --weight 10")
def promote(
    model: ModelName,
    version: Annotated[int, typer.Argument(help="The version's number.")],
    alias: Annotated[str, typer.Option(help="The alias to move.")] = PRODUCTION,
    weight: Annotated[int | None, typer.Option(min=1, max=99, help="Make it a canary with this share of 100.")] = None,
    expect: Annotated[int | None, typer.Option(help="Fail unless the alias points at this version now.")] = None,
    why: Annotated[str, typer.Option(help="The reason, for the model's log.")] = "",
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version, or give the version a share of its traffic."""

    async def move(client: RegistryClient) -> Model:
        targets = [AliasTarget(version)]
        seen = expect
        if weight is not None:
            present = (await client.model(model)).aliases.get(alias, [])
            if len(present) != 1:
                raise PenstockError(
                    409,
                    "no-single-target",
                    f"{model}@{alias} points at {len(present)} versions, a canary needs one; promote one first.",
                )
            targets = [AliasTarget(present[0].version, 100 - weight), AliasTarget(version, weight)]
            seen = present[0].version if expect is None else expect
        return await client.set_alias(model, alias, targets, expect=seen, by=getuser(), why=why)

    with errors_for_the_user() as settings:
        _print_alias(ask_registry(settings, move), alias, as_json)


@app.command(epilog="Example: penstock rollback spam")
def rollback(
    model: ModelName,
    alias: Annotated[str, typer.Option(help="The alias to move back.")] = PRODUCTION,
    as_json: AsJson = False,
) -> None:
    """Point an alias back at its previous target."""

    async def move_back(client: RegistryClient) -> Model:
        history = [e.targets for e in await client.log_entries(model) if e.kind == "alias-set" and e.alias == alias]
        current = history[-1] if history else []
        earlier = next((targets for targets in reversed(history) if targets != current), None)
        if earlier is None:
            raise PenstockError(409, "nothing-before", f"{model}@{alias} has never pointed at anything else.")
        expect = current[0].version if len(current) == 1 else None
        return await client.set_alias(model, alias, earlier, expect=expect, by=getuser(), why="rollback")

    with errors_for_the_user() as settings:
        _print_alias(ask_registry(settings, move_back), alias, as_json)


def describe_targets(targets: Sequence[AliasTarget]) -> str:
    """Return a version's number, or several with their weights: ``3 (90) + 4 (10)``."""
    if len(targets) == 1:
        return str(targets[0].version)
    return " + ".join(f"{target.version} ({target.weight})" for target in targets)


def _print_alias(model: Model, alias: str, as_json: bool) -> None:
    targets = model.aliases[alias]
    if as_json:
        print(msgspec.json.encode({"model": model.name, "alias": alias, "targets": targets}).decode())
    else:
        console.print(f"{model.name}@{alias} -> {describe_targets(targets)}")
