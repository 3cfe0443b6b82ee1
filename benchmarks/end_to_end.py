"""``make bench``: the whole path against the same model behind plain FastAPI.

All that serves is pinned to one core, the load generator (wrk) to another. Three
systems answer the same request for ``spam``:

* ``penstock``: gateway + Envoy + one worker, with authentication, limits and metrics on;
* ``uncoalesced``: the same gateway with coalescing off;
* ``fastapi``: (a), the model behind a plain FastAPI + uvicorn handler, with none of these.

Rounds are interleaved, and the ratios are of medians over one run's rounds:
machines differ too much from day to day for anything else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.load import Result, wrk
from tests.installation import ROOT, Installation, free_ports

SERVING_CPU, LOAD_CPU = 0, 1
PIN = ("taskset", "-c", str(SERVING_CPU))
CONNECTIONS = (1, 32, 128)
BODY = json.dumps({"text": "WINNER!! Claim your free prize now, call 0800 123 456 before Friday"})


@dataclass
class System:
    name: str
    url: str
    headers: dict[str, str]


@contextmanager
def process(command: list[str], environment: dict[str, str], ready_url: str) -> Iterator[None]:
    """A pinned server, from when it answers until the block ends."""
    child = subprocess.Popen([*PIN, *command], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 60
        while True:
            try:
                if httpx.get(ready_url, timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            if child.poll() is not None or time.monotonic() > give_up:
                raise SystemExit(f"{command} did not start")
            time.sleep(0.1)
        yield
    finally:
        child.terminate()
        child.wait(30)


@contextmanager
def systems(stack_home: Path) -> Iterator[list[System]]:
    installation = Installation(stack_home, workers=1, prefix=PIN)
    with ExitStack() as stack:
        stack.callback(installation.down)
        installation.up()
        headers = {"API-Key": installation.unlimited_key(), "Content-Type": "application/json"}

        off_port, plain_port = free_ports(2)
        uncoalesced = installation.environment | {
            "PENSTOCK_GATEWAY_PORT": str(off_port),
            "PENSTOCK_GATEWAY_UPSTREAM": installation.envoy_address,
            "PENSTOCK_GATEWAY_REGISTRY_URL": installation.registry_url,
            "PENSTOCK_GATEWAY_REGISTRY_TOKEN": installation.registry_token,
            "PENSTOCK_GATEWAY_KEYS_URL": str(installation.home / "keys.db"),
            "PENSTOCK_GATEWAY_COALESCE": "false",
        }
        off = f"http://127.0.0.1:{off_port}"
        stack.enter_context(process([sys.executable, "-m", "penstock_gateway"], uncoalesced, f"{off}/readyz"))

        artifact = (
            next((stack_home / "cache").glob("*/spam/*"), None) or next(stack_home.rglob("spam/*/model.yaml")).parent
        )
        plain = [sys.executable, "-m", "benchmarks.plain_fastapi", str(artifact), str(plain_port)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        stack.enter_context(process(plain, environment, f"http://127.0.0.1:{plain_port}/openapi.json"))

        path = "/v1/models/spam/predict"
        yield [
            System("fastapi", f"http://127.0.0.1:{plain_port}/predict", {"Content-Type": "application/json"}),
            System("uncoalesced", off + path, headers),
            System("penstock", installation.url + path, headers),
        ]


def check(system: System) -> None:
    """Each system gives the right answer before it is measured."""
    give_up = time.monotonic() + 30
    while True:
        answer = httpx.post(system.url, content=BODY, headers=system.headers, timeout=10)
        if answer.status_code == 200 and answer.json()["prediction"] == "spam":
            return
        if time.monotonic() > give_up:
            raise SystemExit(f"{system.name}: {answer.status_code} {answer.text}")
        time.sleep(0.2)


def measure(rounds: int, seconds: int) -> dict[str, dict[int, list[Result]]]:
    with tempfile.TemporaryDirectory() as home, systems(Path(home)) as under_test:
        results: dict[str, dict[int, list[Result]]] = {s.name: {c: [] for c in CONNECTIONS} for s in under_test}
        for system in under_test:
            check(system)
            wrk(system.url, body=BODY, headers=system.headers, connections=32, seconds=2, cpu=LOAD_CPU)
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for system in under_test:
                    results[system.name][connections].append(
                        wrk(
                            system.url,
                            body=BODY,
                            headers=system.headers,
                            connections=connections,
                            seconds=seconds,
                            cpu=LOAD_CPU,
                        )
                    )
        return results


def median(results: list[Result], field: str) -> float:
    return statistics.median(getattr(r, field) for r in results)


def report(results: dict[str, dict[int, list[Result]]], out: Path) -> None:
    table = Table(title="spam, one core for all that serves (medians over the rounds of one run)")
    for column in (
        "connections",
        "system",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "errors",
        "x fastapi",
        "p50 - fastapi ms",
    ):
        table.add_column(column, justify="right")
    rows = []
    for connections in CONNECTIONS:
        base = results["fastapi"][connections]
        for name, by_connections in results.items():
            mine = by_connections[connections]
            row = {
                "connections": connections,
                "system": name,
                "rps": round(median(mine, "rps"), 1),
                "p50_ms": round(median(mine, "p50_ms"), 3),
                "p99_ms": round(median(mine, "p99_ms"), 3),
                "errors": sum(r.errors for r in mine),
                "ratio_to_fastapi": round(median(mine, "rps") / median(base, "rps"), 2),
                "added_p50_ms": round(median(mine, "p50_ms") - median(base, "p50_ms"), 3),
            }
            rows.append(row)
            table.add_row(*[str(v) for v in row.values()])
    Console(width=140).print(table)
    out.parent.mkdir(parents=True, exist_ok=True)
    document = {"python": platform.python_version(), "machine": platform.machine(), "rows": rows}
    document["rounds"] = {n: {str(c): [r.as_dict() for r in rs] for c, rs in by.items()} for n, by in results.items()}
    out.write_text(json.dumps(document, indent=2))
    Console().print(f"written to {out}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/end_to_end.json"))
    arguments = parser.parse_args()
    report(measure(arguments.rounds, arguments.seconds), arguments.out)


if __name__ == "__main__":
    main()
