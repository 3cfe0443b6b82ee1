"""What the services of ``penstock add`` cost and how good they are, beside the same models without a server.

    python -m benchmarks.services [--only chat,ocr] [--rounds 3] [--seconds 10]

The whole path is measured: gateway, Envoy, pod. Everything that serves is pinned to one core, and the clients to another.
The systems take turns, so that the ratios of one run can be compared on a machine that is busy with other work; the
figures of two runs cannot.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.processes import LOAD_CPU, PIN, SERVING_CPU
from benchmarks.report import write
from benchmarks.services.catalogue import SERVICES
from benchmarks.services.measure import measure
from benchmarks.services.rounds import Case, LeftOutError, rows_of
from tests.installation import Installation

_TITLE = "services, one core for all that serves (medians over the rounds of one run)"


def measure_all(names: list[str], rounds: int, seconds: float, console: Console) -> Iterator[Case]:
    """Measure services of one installation, one after the other; one that cannot be had is left out with a line."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        more_time = {"PENSTOCK_GATEWAY_TIMEOUT_SECONDS": "50"}
        installation = Installation(home / "penstock", workers=1, prefix=PIN, environment=more_time)
        try:
            installation.up()
            key = installation.unlimited_key()
            os.sched_setaffinity(0, {LOAD_CPU})
            for name in names:
                console.print(f"{name} ...")
                try:
                    yield from measure(name, installation, key, home, rounds, seconds, console.print)
                except (LeftOutError, pytest.skip.Exception) as reason:
                    console.print(f"{name} is left out: {reason}")
        finally:
            installation.down()


def report(cases: list[Case], out: Path) -> None:
    """Print the table, and write it and all rounds to ``out``."""
    rows = [row for case in cases for row in rows_of(case)]
    rounds = [
        {
            "service": case.service,
            "at once": case.load,
            "rounds": {system: [one._asdict() for one in measured] for system, measured in case.rounds.items()},
        }
        for case in cases
    ]
    texts = ("service", "system", "unit", "quality")
    write(rows, rounds, out, title=_TITLE, section="service", texts=texts)


def chosen(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SERVICES]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(SERVICES)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=chosen, default=list(SERVICES), metavar="A,B", help=", ".join(SERVICES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each that is measured, in each round")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/services.json"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every server is stopped on the way out
    os.environ["OMP_NUM_THREADS"] = "1"
    console = Console(width=120, markup=False)
    console.print(f"serving on core {SERVING_CPU}, clients on core {LOAD_CPU}")
    cases: list[Case] = []
    try:
        for case in measure_all(options.only, options.rounds, options.seconds, console):
            cases.append(case)  # one by one: those before an interruption are reported
    finally:
        if cases:
            report(cases, options.out)
            console.print(f"Load of the machine: {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
