"""What the commands share: tables, errors, and options that several commands have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from penstock_cli.settings import LocalSettings
from penstock_common.errors import PenstockError
from penstock_common.settings import load_settings

console = Console()
_errors = Console(stderr=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
ModelName = Annotated[str, typer.Argument(help="The model's name.")]


@contextmanager
def errors_for_the_user() -> Iterator[LocalSettings]:
    """Yield the settings for the body of a command; print a PenstockError as one sentence and exit with status 1."""
    try:
        yield load_settings(LocalSettings)
    except PenstockError as err:
        _errors.print(f"[red]error:[/red] {escape(err.detail)}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _errors.print("interrupted; everything that was started has been stopped")
        raise typer.Exit(130) from None


def tell_progress(text: str) -> None:
    """Print a line on what a command is doing, beside its output."""
    _errors.print(text, markup=False, highlight=False, soft_wrap=True)


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows that have the same members in the same order; the first one, a name that is typed, is never cut."""
    table = Table(title=title)
    for number, column in enumerate(rows[0] if rows else ("nothing yet",)):
        table.add_column(str(column), no_wrap=number == 0)
    for row in rows:
        table.add_row(*["" if value is None else str(value) for value in row.values()])
    console.print(table)
