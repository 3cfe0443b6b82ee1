"""Reports what a run measured: a table of ratios, the same table in Markdown, and every round in JSON."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.load import Result

#: By system, then by connections: one result per round.
Results = Mapping[str, Mapping[int, list[Result]]]

#: By column: the value, or None if there is none.
Row = dict[str, str | float | None]

#: By column of the table: the system whose requests/s are the divisor.
BASELINES = {"x fastapi": "fastapi", "x bound": "bound", "x torchserve": "torchserve"}


def summarize(results: Results) -> list[Row]:
    """Return a row for each number of connections and each system: medians over the rounds, and their ratios.

    A ratio is None if its baseline was not measured.
    """
    rows: list[Row] = []
    for connections in next(iter(results.values())):
        for name, measured in results.items():
            mine = measured[connections]
            row: Row = {
                "connections": connections,
                "system": name,
                "requests/s": round(_median(mine, "rps")),
                "p50 ms": round(_median(mine, "p50_ms"), 2),
                "p99 ms": round(_median(mine, "p99_ms"), 2),
                "errors": sum(result.errors for result in mine),
            }
            for column, baseline in BASELINES.items():
                theirs = results.get(baseline)
                ratio = _median(mine, "rps") / _median(theirs[connections], "rps") if theirs else None
                row[column] = None if ratio is None else round(ratio, 2)
            rows.append(row)
    return rows


def report(results: Results, out: Path) -> None:
    """Print the table, write its rows and all rounds to ``out``, and write the table in Markdown beside it."""
    rounds = {name: {str(c): [r.as_dict() for r in rs] for c, rs in by.items()} for name, by in results.items()}
    title = "spam, one core for all that serves (medians over the rounds of one run)"
    write(summarize(results), rounds, out, title=title, section="connections", texts=("system",))


def write(rows: list[Row], rounds: object, out: Path, *, title: str, section: str, texts: Sequence[str]) -> None:
    """Print a table, write its rows and all rounds to ``out``, and write the table in Markdown beside it.

    Args:
        section: column whose value is the same in the rows that belong together.
        texts: columns of texts.
    """
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="left" if column in texts else "right")
    for row, following in zip(rows, [*rows[1:], rows[-1]], strict=True):
        table.add_row(*map(_cell, row.values()), end_section=row[section] != following[section])
    Console(width=120).print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    document = {"python": platform.python_version(), "machine": platform.machine(), "rows": rows, "rounds": rounds}
    out.write_text(json.dumps(document, indent=2) + "\n")
    markdown = out.with_suffix(".md")
    markdown.write_text(_markdown(rows, texts))
    Console().print(f"written to {out} and {markdown}")


def _markdown(rows: list[Row], texts: Sequence[str]) -> str:
    lines = [list(rows[0]), ["---" if column in texts else "---:" for column in rows[0]]]
    lines += [[_cell(value) for value in row.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _median(results: list[Result], field: str) -> float:
    return float(statistics.median(getattr(result, field) for result in results))


def _cell(value: str | float | None) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,.2f}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)
