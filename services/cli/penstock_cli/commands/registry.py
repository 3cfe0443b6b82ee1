"""``penstock registry``: look after the registry's store."""

from __future__ import annotations

from getpass import getuser
from typing import Annotated

import msgspec
import typer

from penstock_cli.registry import ask_registry
from penstock_cli.terminal import AsJson, ModelName, console, errors_for_the_user, print_table

app = typer.Typer(no_args_is_help=True, help="Look after the registry's store.")
Why = Annotated[str, typer.Option(help="Goes into the log.")]


@app.command(epilog="Example: penstock registry fsck --deep")
def fsck(
    deep: Annotated[bool, typer.Option("--deep", help="Read the bytes of all files, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what is wrong in the store: lost log entries, bad checkpoints, missing or wrong files. Changes nothing.

    Ends with status 1 if there is anything.
    """
    with errors_for_the_user() as settings:
        report = ask_registry(settings, "admin", lambda c: c.fsck(deep=deep))
        if as_json:
            print(msgspec.json.encode(report).decode())
        elif report.problems:
            print_table("problems", [msgspec.structs.asdict(problem) for problem in report.problems])
        else:
            console.print(f"{report.models} models, {report.entries} log entries and {report.blobs} files are whole")
        if report.problems:
            raise typer.Exit(1)


@app.command(epilog="Example: penstock registry repair spam")
def repair(model: ModelName, why: Why = "") -> None:
    """Give up the entries that a model's log has lost, so that it can be changed again."""
    with errors_for_the_user() as settings:
        ask_registry(settings, "admin", lambda c: c.repair(model, by=getuser(), why=why))
        console.print(f"{model} can be changed again; what was lost stays lost")


@app.command(epilog="Example: penstock registry quarantine spam 3 --why 'wrong answers'")
def quarantine(
    model: ModelName, version: Annotated[int, typer.Argument(help="The version's number.")], why: Why = ""
) -> None:
    """Take a version away from everybody, and out of all aliases."""
    with errors_for_the_user() as settings:
        ask_registry(settings, "admin", lambda c: c.quarantine(model, version, by=getuser(), why=why))
        console.print(f"{model} version {version} is in quarantine; no alias points at it")
