"""A check's report for a person to read."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from penstock_cli.terminal import console, print_table
from penstock_common.check_report import CheckReport
from penstock_common.errors import PenstockError


def print_report(folder: Path, report: CheckReport) -> None:
    """Print what a check that was passed has measured."""
    console.print(f"A pod would serve {folder}.", markup=False, highlight=False, soft_wrap=True)
    print_table(
        "load",
        [
            {
                "format": report.format,
                "files": _megabytes(report.file_bytes),
                "load": f"{report.load_seconds:.2f} s",
                "memory": _megabytes(report.memory_bytes),
                "examples": report.examples,
            }
        ],
    )
    print_table(
        "runs",
        [
            {
                "batch": entry.rows,
                "ms": f"{entry.milliseconds:.2f}",
                "rows/s": f"{entry.rows_per_second:,.0f}",
                "": "best" if entry.rows == report.best_rows else "",
            }
            for entry in report.times
        ],
    )
    for advice in report.advice:
        console.print(escape(advice), highlight=False, soft_wrap=True)


def failure(folder: Path, report: CheckReport) -> PenstockError:
    """Return the error of a check that was not passed."""
    return PenstockError(422, "check-failed", f"A pod would not serve {folder}: {report.reason}")


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MB"
