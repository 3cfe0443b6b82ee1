"""``penstock train``: a model of one's own data."""

from __future__ import annotations

import importlib.util
import os
import sys

import typer

from penstock_cli.registry import registry_access
from penstock_cli.terminal import errors_for_the_user
from penstock_common.errors import PenstockError

app = typer.Typer()


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def train(context: typer.Context) -> None:
    """Train a model of texts, of a table or of pictures, and register it; penstock train --help lists what there is."""
    with errors_for_the_user() as settings:
        if importlib.util.find_spec("penstock_training") is None:
            text = "Nothing can be trained here: penstock_training is not installed; pip install penstock-training."
            raise PenstockError(503, "cannot-train", text)
        url, token_file = registry_access(settings, "train")
        os.environ["PENSTOCK_REGISTRY_URL"] = url
        if token_file is not None:
            os.environ["PENSTOCK_REGISTRY_TOKEN_FILE"] = str(token_file)
        sys.stdout.flush()
        # The program takes this one's place, so that its progress bar and Ctrl-C work as in its own terminal.
        os.execv(sys.executable, [sys.executable, "-m", "penstock_training", *context.args])  # noqa: S606 (our own program)
