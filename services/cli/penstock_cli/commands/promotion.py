"""``penstock promote`` and ``rollback``: which version an alias points at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from getpass import getuser
from typing import Annotated

import msgspec
import typer

from penstock_cli.gateway import ask_gateway, wait_until_in_effect
from penstock_cli.registry import ask_registry
from penstock_cli.settings import LocalSettings
from penstock_cli.terminal import AsJson, ModelName, console, errors_for_the_user
from penstock_common.errors import PenstockError
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION, AliasTarget, Model

app = typer.Typer()
Move = Callable[[RegistryClient], Awaitable[tuple[Model, Model]]]

NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until the gateway answers with it.")]
Patience = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait.")]


@app.command(epilog="Example: penstock promote spam 3 --weight 10")
def promote(
    model: ModelName,
    version: Annotated[int, typer.Argument(help="The version's number.")],
    alias: Annotated[str, typer.Option(help="The alias to move.")] = PRODUCTION,
    weight: Annotated[int | None, typer.Option(min=1, max=99, help="Make it a canary with this share of 100.")] = None,
    expect: Annotated[int | None, typer.Option(help="Fail unless the alias points at this version now.")] = None,
    why: Annotated[str, typer.Option(help="The reason, for the model's log.")] = "",
    no_wait: NoWait = False,
    timeout: Patience = 300.0,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version, or give the version a share of its traffic; wait until the gateway answers with it.

    If the pods cannot load the version, the alias points back at what it pointed at before, which has served all along.
    """

    async def move(client: RegistryClient) -> tuple[Model, Model]:
        before = await client.model(model)
        targets = [AliasTarget(version)]
        seen = expect
        if weight is not None:
            present = before.aliases.get(alias, [])
            if len(present) != 1:
                raise PenstockError(
                    409,
                    "no-single-target",
                    f"{model}@{alias} points at {len(present)} versions, a canary needs one; promote one first.",
                )
            targets = [AliasTarget(present[0].version, 100 - weight), AliasTarget(version, weight)]
            seen = present[0].version if expect is None else expect
        return before, await client.set_alias(model, alias, targets, expect=seen, by=getuser(), why=why)

    with errors_for_the_user() as settings:
        after = move_alias(settings, alias, move, None if no_wait else timeout)
        _print_alias(after, alias, as_json)


@app.command(epilog="Example: penstock rollback spam")
def rollback(
    model: ModelName,
    alias: Annotated[str, typer.Option(help="The alias to move back.")] = PRODUCTION,
    no_wait: NoWait = False,
    timeout: Patience = 300.0,
    as_json: AsJson = False,
) -> None:
    """Point an alias back at its previous target."""

    async def move_back(client: RegistryClient) -> tuple[Model, Model]:
        before = await client.model(model)
        current = before.aliases.get(alias, [])
        earlier = before.earlier.get(alias, [])
        if not earlier:
            raise PenstockError(409, "nothing-before", f"{model}@{alias} has never pointed at anything else.")
        expect = current[0].version if len(current) == 1 else None
        after = await client.set_alias(model, alias, earlier[0], expect=expect, by=getuser(), why="rollback")
        return before, after

    with errors_for_the_user() as settings:
        after = move_alias(settings, alias, move_back, None if no_wait else timeout)
        _print_alias(after, alias, as_json)


def move_alias(settings: LocalSettings, alias: str, move: Move, seconds: float | None) -> Model:
    """Move an alias, and wait until the gateway answers with what it points at; undo the move if the pods cannot load it.

    Args:
        move: moves it; returns the model before and after.
        seconds: to wait; None to return at once.

    Raises:
        PenstockError: of ``ask_gateway`` before anything is moved, of ``move``, and of ``wait_until_in_effect``.
    """
    if seconds is not None:
        _check_gateway(settings)
    before, after = ask_registry(settings, "promote", move)
    if seconds is not None:
        _wait_or_move_back(settings, before, after, alias, seconds)
    return after


def _check_gateway(settings: LocalSettings) -> None:
    """Before an alias is moved, make sure that the gateway can be asked whether the move is in effect.

    Raises:
        PenstockError: what ``ask_gateway`` raises, with the remedies.
    """
    try:
        ask_gateway(settings, "GET", "/v1/models")
    except PenstockError as err:
        err.detail += " Nothing was changed. Set PENSTOCK_URL and PENSTOCK_KEY, or use --no-wait."
        raise


def _wait_or_move_back(settings: LocalSettings, before: Model, after: Model, alias: str, seconds: float) -> None:
    """Wait until the gateway answers as the alias says; if the pods cannot load a version, undo the move.

    Raises:
        PenstockError: of ``wait_until_in_effect``.
    """
    try:
        wait_until_in_effect(settings, after.name, alias, after.aliases[alias], seconds)
    except PenstockError as err:
        if err.code == "not-loaded":
            err.detail += " " + ask_registry(
                settings, "promote", lambda client: _move_back(client, before, after, alias)
            )
        raise


async def _move_back(client: RegistryClient, before: Model, after: Model, alias: str) -> str:
    """Undo a move, unless somebody has moved the alias since; return what was done."""
    present = await client.model(after.name)
    if present.aliases.get(alias) != after.aliases[alias]:
        return f"Somebody has moved {alias} since, so it was left alone."
    earlier = before.aliases.get(alias)
    if earlier is None:
        await client.delete_alias(after.name, alias)
        return f"{alias} was deleted, as it pointed at nothing before."
    await client.set_alias(after.name, alias, earlier, by=getuser(), why="the version could not be loaded")
    return f"{alias} points at {describe_targets(earlier)} again, which has served all along."


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
