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
    if report.streams:
        print_table("streams", _streams(report))
    else:
        print_table("runs", _runs(report))
    for advice in report.advice:
        console.print(escape(advice), highlight=False, soft_wrap=True)


def _runs(report: CheckReport) -> list[dict[str, object]]:
    return [
        {
            "batch": entry.rows,
            "ms": f"{entry.milliseconds:.2f}",
            "rows/s": f"{entry.rows_per_second:,.0f}",
            "": "best" if entry.rows == report.best_rows else "",
        }
        for entry in report.times
    ]


def _streams(report: CheckReport) -> list[dict[str, object]]:
    return [
        {
            "example": number,
            "chunks": entry.chunks,
            "first chunk ms": f"{entry.first_chunk_milliseconds:.2f}",
            "chunks/s": f"{entry.chunks_per_second:,.1f}",
        }
        for number, entry in enumerate(report.streams, 1)
    ]


def failure(folder: Path, report: CheckReport) -> PenstockError:
    """Return the error of a check that was not passed."""
    return PenstockError(422, "check-failed", f"A pod would not serve {folder}: {report.reason}")


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MB"
