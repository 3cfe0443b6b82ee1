"""``penstock up``, ``down`` and ``status``."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from penstock_cli.curl import curl_call
from penstock_cli.model_states import listed_models, not_answering
from penstock_cli.settings import LocalSettings
from penstock_cli.terminal import AsJson, console, errors_for_the_user, print_table

if TYPE_CHECKING:
    from penstock_cli.local_installation import LocalInstallation

app = typer.Typer()


def _installation(settings: LocalSettings) -> LocalInstallation:
    # Needs psutil, which is missing in a gateway's pod, where only ``penstock keys`` is used.
    from penstock_cli.local_installation import LocalInstallation

    return LocalInstallation(settings, console)


@app.command(epilog="Example: penstock up --workers 3")
def up(
    workers: Annotated[int, typer.Option(min=1, max=16, help="Inference processes.")] = 2,
    tls: Annotated[bool, typer.Option("--tls", help="Also HTTPS and HTTP/2, with a certificate of its own.")] = False,
) -> None:
    """Start everything on this machine and print the calls; parts that already run are left running.

    A part that ends later is started again.
    """
    with errors_for_the_user() as settings:
        _installation(settings).up(workers, tls=tls)
        key, url = settings.secret("key"), settings.client_url
        console.print(
            f"\n[bold]Penstock answers at {url}[/bold] (try it: {url}/try, documentation: {url}/docs)\n",
            highlight=False,
            soft_wrap=True,
        )
        for line in (
            f"export KEY={key}",
            curl_call(settings, "/v1/models/spam/predict", body={"text": "WINNER!! Claim your free prize now"}),
            curl_call(settings, "/v1/models/digits/predict", form={"image": "@examples/seven.png"}),
        ):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        program = shlex.quote(sys.argv[0])
        console.print(
            f"\nChat, OCR, speech and more: {program} add chat; {program} add --list names them all.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


@app.command(epilog="Example: penstock down")
def down() -> None:
    """Stop everything; state, logs and keys remain in the home folder."""
    with errors_for_the_user() as settings:
        stopped = _installation(settings).down()
        console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@app.command(epilog="Example: penstock status --json")
def status(as_json: AsJson = False) -> None:
    """Show which parts are running, how often each was restarted and why; exit with status 3 if one is not running."""
    with errors_for_the_user() as settings:
        rows = _installation(settings).status()
        if as_json:
            print(json.dumps(rows))
        else:
            print_table("parts", [{name: row[name] for name in row if name != "log"} for row in rows])
            if waiting := not_answering(listed_models(settings) or {}):
                print_table("models that are not loaded", waiting)
            for row in rows:
                if not row["running"]:
                    console.print(
                        f"\nThe end of the log of {row['part']}:\n{row['log']}", markup=False, highlight=False
                    )
        if not rows or not all(row["running"] for row in rows):
            raise typer.Exit(3)
