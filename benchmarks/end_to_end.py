"""``make bench``: compare Penstock's whole path with other ways to serve the same model.

All servers are pinned to one core and the load generator (wrk) to another. Rounds are
interleaved, and the ratios are of medians over the rounds of one run, because a machine's
speed varies too much from day to day. A server that is not being measured stays up, idle.
``docs/performance.md`` explains the systems and the ratios.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

import httpx
import msgspec

from benchmarks.load import Result, wrk
from benchmarks.processes import LOAD_CPU
from benchmarks.report import Results, report
from benchmarks.systems import SYSTEMS, System, running

CONNECTIONS = (1, 32, 128)
BODY = json.dumps({"text": "WINNER!! Claim your free prize now, call 0800 123 456 before Friday"})
#: Largest difference between two systems' probabilities of the same text: they batch and round differently.
TOLERANCE = 1e-4


class Answer(msgspec.Struct):
    """The fields that all systems' answers have; Penstock's answers have more."""

    prediction: str
    confidence: float


def measure(names: list[str], rounds: int, seconds: int) -> Results:
    with tempfile.TemporaryDirectory() as home, running(names, Path(home)) as systems:
        if not systems:
            raise SystemExit("There is no system left to measure.")
        check(systems)
        for system in systems:
            load(system, connections=max(CONNECTIONS), seconds=system.warm_up)
        results: dict[str, dict[int, list[Result]]] = {s.name: {c: [] for c in CONNECTIONS} for s in systems}
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for system in systems:
                    results[system.name][connections].append(load(system, connections, seconds))
        return results


def check(systems: list[System]) -> None:
    """Check that all systems give the same answer.

    Raises:
        SystemExit: a system does not answer, does not answer spam, or differs from the first in its probability.
    """
    answers = [first_answer(system) for system in systems]
    expected = answers[0].confidence
    for system, answer in zip(systems, answers, strict=True):
        if answer.prediction != "spam" or abs(answer.confidence - expected) > TOLERANCE:
            raise SystemExit(f"{system.name} answers {answer}; {systems[0].name} gives spam {expected}")


def first_answer(system: System) -> Answer:
    """Return a system's first successful answer: a server may listen before its model is loaded."""
    give_up = time.monotonic() + 60
    while True:
        response = httpx.post(system.url, content=BODY, headers=system.headers, timeout=60)
        if response.status_code == 200:
            return msgspec.json.decode(response.content, type=Answer)
        if time.monotonic() > give_up:
            raise SystemExit(f"{system.name}: {response.status_code} {response.text}")
        time.sleep(0.2)


def load(system: System, connections: int, seconds: int) -> Result:
    return wrk(system.url, body=BODY, headers=system.headers, connections=connections, seconds=seconds, cpu=LOAD_CPU)


def chosen(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(SYSTEMS)}")
    return names


def main() -> None:
    what = "\n".join(f"  {name:17} {description}" for name, description in SYSTEMS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"systems:\n{what}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="duration of each measurement")
    parser.add_argument("--only", type=chosen, default=list(SYSTEMS), metavar="A,B", help="systems to measure")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/end_to_end.json"))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that every server is stopped on the way out
    report(measure(arguments.only, arguments.rounds, arguments.seconds), arguments.out)


if __name__ == "__main__":
    main()
