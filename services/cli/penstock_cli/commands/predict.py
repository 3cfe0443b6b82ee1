"""``penstock predict``: one call of a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from penstock_cli.gateway import ask_gateway
from penstock_cli.terminal import ModelName, errors_for_the_user

app = typer.Typer()


@app.command(epilog="""Example: penstock predict spam '{"text": "You won a prize"}'""")
def predict(
    model: ModelName,
    body: Annotated[str | None, typer.Argument(help="One row or a list of rows as JSON; else from stdin.")] = None,
    image: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="An image file instead.")] = None,
) -> None:
    """Send a prediction request to a model and print its JSON answer."""
    with errors_for_the_user() as settings:
        path = f"/v1/models/{model}/predict"
        if image is not None:
            answer = ask_gateway(settings, "POST", path, files={"image": image.read_bytes()})
        else:
            content = (body or sys.stdin.read()).encode()
            answer = ask_gateway(settings, "POST", path, content=content, headers={"Content-Type": "application/json"})
        print(answer.text)
