"""``penstock predict``: one call of a model."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import httpx
import typer

from penstock_cli.terminal import ModelName, errors_for_the_user
from penstock_common.errors import PenstockError

app = typer.Typer()


@app.command(epilog="""Example: penstock predict spam '{"text": "You won a prize"}'""")
def predict(
    model: ModelName,
    body: Annotated[str | None, typer.Argument(help="One row or a list of rows as JSON; else from stdin.")] = None,
    image: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="An image file instead.")] = None,
) -> None:
    """Send a prediction request to a model and print its JSON answer."""
    with errors_for_the_user() as settings:
        headers = {"API-Key": os.environ.get("PENSTOCK_KEY") or settings.secret("key")}
        url = f"{os.environ.get('PENSTOCK_URL', settings.client_url)}/v1/models/{model}/predict"
        trusted = httpx.create_ssl_context()
        if settings.authority is not None:
            trusted.load_verify_locations(settings.authority)
        try:
            with httpx.Client(verify=trusted, headers=headers, timeout=30) as client:
                if image is not None:
                    answer = client.post(url, files={"image": image.read_bytes()})
                else:
                    content = (body or sys.stdin.read()).encode()
                    answer = client.post(url, content=content, headers={"Content-Type": "application/json"})
        except httpx.HTTPError as err:
            raise PenstockError(503, "unreachable", f"{url}: {err}; start it with penstock up.") from None
        if answer.is_error:
            raise PenstockError(answer.status_code, "refused", answer.json().get("detail", answer.text))
        print(answer.text)
