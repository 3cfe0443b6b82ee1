"""The table of a run, and a page that draws every series over the same time axis."""

from __future__ import annotations

import csv
from typing import TextIO

FIELDS = ["seconds", "users", "requests_per_second", "p95_ms", "failures", "pods", "ready"]


def save(rows: list[dict[str, float]], file: TextIO) -> None:
    writer = csv.DictWriter(file, FIELDS)
    writer.writeheader()
    writer.writerows(rows)


def page(rows: list[dict[str, float]]) -> str:
    """Return HTML with a line for each series over the same time axis, scaled to the series' largest value."""
    width, height = 900, 110
    last = max([row["seconds"] for row in rows], default=1) or 1
    charts = []
    for field in FIELDS[1:]:
        top = max([row[field] for row in rows], default=0) or 1
        points = " ".join(
            f"{row['seconds'] / last * width:.1f},{height - row[field] / top * (height - 10):.1f}" for row in rows
        )
        charts.append(
            f"<h3>{field} (0 to {top:g})</h3><svg width='{width}' height='{height}' style='border-bottom:1px solid #999'>"
            f"<polyline points='{points}' fill='none' stroke='#06c' stroke-width='1.5'/></svg>"
        )
    return f"<!doctype html><meta charset='utf-8'><title>Load and pods</title><h1>0 to {last:g} s</h1>{''.join(charts)}"
