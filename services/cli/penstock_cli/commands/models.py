"""``penstock train``, ``push`` and ``models``: the models in the registry."""

from __future__ import annotations

import json
import os
import sys
from getpass import getuser
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from penstock_cli.commands.promotion import describe_targets
from penstock_cli.registry import ask_registry, registry_access
from penstock_cli.terminal import AsJson, ModelName, console, errors_for_the_user, print_table

app = typer.Typer()


@app.command(
    epilog="Example: penstock train spam --data messages.tsv",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train(context: typer.Context, name: Annotated[str, typer.Argument(help="spam, digits or price.")]) -> None:
    """Train an example and register it; options are passed on to the training (--data, --seed, --format, --json)."""
    with errors_for_the_user() as settings:
        url, os.environ["PENSTOCK_REGISTRY_TOKEN"] = registry_access(settings)
        command = [sys.executable, "-m", "penstock_training", name, "--registry-url", url]
        sys.stdout.flush()
        os.execv(sys.executable, [*command, *context.args])  # noqa: S606 (our own command)


@app.command(epilog="Example: penstock push spam build/spam")
def push(
    model: ModelName,
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Has model.yaml and its files.")],
    why: Annotated[str, typer.Option(help="The reason, for the model's log.")] = "",
    as_json: AsJson = False,
) -> None:
    """Register a folder as a new version."""
    with errors_for_the_user() as settings:
        version = ask_registry(
            settings, lambda c: c.publish(model, folder, metrics={}, lineage={}, by=getuser(), why=why)
        )
        if as_json:
            print(json.dumps({"model": model, "version": version.version}))
        else:
            console.print(
                f"{model} version {version.version} is registered; next: penstock promote {model} {version.version}"
            )


@app.command(epilog="Example: penstock models")
def models(as_json: AsJson = False) -> None:
    """List the registry's models with their aliases and versions."""
    with errors_for_the_user() as settings:
        found = ask_registry(settings, lambda c: c.models())
        if as_json:
            print(msgspec.json.encode(found).decode())
            return
        rows = [
            {
                "model": model.name,
                "aliases": ", ".join(
                    f"{alias} -> {describe_targets(model.aliases[alias])}" for alias in sorted(model.aliases)
                ),
                "versions": len(model.versions),
            }
            for model in found
        ]
        print_table("models", rows)
