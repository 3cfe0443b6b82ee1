"""``penstock check``: an artifact is tried before it is registered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from penstock_cli import inference_programs
from penstock_cli.archive import artifact_folder
from penstock_cli.report_table import failure, print_report
from penstock_cli.terminal import AsJson, errors_for_the_user

app = typer.Typer()


@app.command(epilog="Example: penstock check build/spam")
def check(
    folder: Annotated[Path, typer.Argument(exists=True, help="Has model.yaml and its files; or a .zip of it.")],
    as_json: AsJson = False,
) -> None:
    """Load an artifact as a pod does, try it, and measure it; exit with status 1 and the reason if a pod would not serve it.

    PENSTOCK_INFERENCE_* are the settings of the pod; the model runs in a confined process.
    """
    with errors_for_the_user():
        with artifact_folder(folder) as unpacked:
            report = inference_programs.check(unpacked)
        if as_json:
            print(msgspec.json.encode(report).decode())
            if not report.passed:
                raise typer.Exit(1)
        elif report.passed:
            print_report(folder, report)
        else:
            raise failure(folder, report)
