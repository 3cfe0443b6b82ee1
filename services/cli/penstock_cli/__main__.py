"""``penstock``: the command line, assembled from ``penstock_cli.commands``, which has one module for each group."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock_cli.commands import (
    add,
    check,
    import_model,
    installation,
    keys,
    kserve,
    models,
    predict,
    promotion,
    registry,
    train,
)
from penstock_common.version import VERSION

app = typer.Typer(no_args_is_help=True, help="Your own AI service, on this machine.", rich_markup_mode="rich")
app.add_typer(installation.app)
app.add_typer(add.app)
app.add_typer(import_model.app)
app.add_typer(check.app)
app.add_typer(train.app)
app.add_typer(models.app)
app.add_typer(promotion.app)
app.add_typer(predict.app)
app.add_typer(keys.app, name="keys")
app.add_typer(kserve.app, name="kserve")
app.add_typer(registry.app, name="registry")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(VERSION)
        raise typer.Exit


@app.callback()
def penstock(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    app()
