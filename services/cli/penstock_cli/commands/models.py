"""``penstock push``, ``models``, ``retire`` and ``delete``: the models in the registry."""

from __future__ import annotations

import json
import sys
from getpass import getuser
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from penstock_cli import inference_programs
from penstock_cli.archive import artifact_folder
from penstock_cli.commands.promotion import describe_targets
from penstock_cli.model_states import listed_models, model_state
from penstock_cli.registry import ask_registry
from penstock_cli.report_table import failure
from penstock_cli.terminal import AsJson, ModelName, console, errors_for_the_user, print_table

app = typer.Typer()
Why = Annotated[str, typer.Option(help="The reason, for the model's log.")]


@app.command(epilog="Example: penstock push spam build/spam")
def push(
    model: ModelName,
    folder: Annotated[Path, typer.Argument(exists=True, help="Has model.yaml and its files; or a .zip of it.")],
    why: Why = "",
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not try the model first, as penstock check does.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Register a folder as a new version, once a check has shown that pods would serve it."""
    with errors_for_the_user() as settings, artifact_folder(folder) as unpacked:
        if not no_check:
            check_here(folder, unpacked, "; --no-check registers it all the same")
        version = ask_registry(
            settings, "publish", lambda c: c.publish(model, unpacked, metrics={}, lineage={}, by=getuser(), why=why)
        )
        if as_json:
            print(json.dumps({"model": model, "version": version.version}))
        else:
            console.print(
                f"{model} version {version.version} is registered; next: penstock promote {model} {version.version}"
            )


def check_here(given: Path, folder: Path, otherwise: str = "") -> None:
    """Try a model if this machine can.

    Args:
        given: what the user calls the folder.
        otherwise: ends the error's last sentence, with what the user can do instead.

    Raises:
        PenstockError: 422 ``check-failed`` if a pod would not serve it.
    """
    reason = inference_programs.why_not_here()
    if reason:
        print(f"not checked: {reason}", file=sys.stderr)
        return
    report = inference_programs.check(folder)
    if not report.passed:
        error = failure(given, report)
        error.detail += f" Nothing was registered{otherwise}."
        raise error


@app.command(epilog="Example: penstock models")
def models(as_json: AsJson = False) -> None:
    """List the registry's models with their aliases and versions, and what the gateway says of those it cannot serve."""
    with errors_for_the_user() as settings:
        found = ask_registry(settings, "read", lambda c: c.models())
        if as_json:
            print(msgspec.json.encode(found).decode())
            return
        in_gateway = listed_models(settings)
        rows = [
            {
                "model": model.name,
                "aliases": ", ".join(
                    f"{alias} -> {describe_targets(model.aliases[alias])}" for alias in sorted(model.aliases)
                ),
                "versions": len(model.versions),
                "state": model_state(in_gateway, model.name),
            }
            for model in found
        ]
        rows += [
            {
                "model": name,
                "aliases": "",
                "versions": "",
                "state": f"{listed['owned_by']}, {model_state(in_gateway, name)}",
            }
            for name, listed in (in_gateway or {}).items()
            if listed["owned_by"].startswith("remote:")
        ]
        print_table("models", rows)


@app.command(epilog="Example: penstock retire spam 3")
def retire(
    model: ModelName, version: Annotated[int, typer.Argument(help="The version's number.")], why: Why = ""
) -> None:
    """Mark a version that no alias points at, so that none can point at it again."""
    with errors_for_the_user() as settings:
        ask_registry(settings, "promote", lambda c: c.retire(model, version, by=getuser(), why=why))
        console.print(f"{model} version {version} is retired")


@app.command(epilog="Example: penstock delete spam")
def delete(model: ModelName, why: Why = "") -> None:
    """Delete a model that has no aliases, or whose log is damaged."""
    with errors_for_the_user() as settings:
        ask_registry(settings, "admin", lambda c: c.delete(model, by=getuser(), why=why))
        console.print(f"{model} is deleted; a later version of that name continues its numbers")
