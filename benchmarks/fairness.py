"""What a flood costs a small tenant: its p95 alone, and while another keeps a hundred requests under way.

    python -m benchmarks.fairness [--workers 2] [--requests 200] [--flood-requests 100] [--flood-rows 8]
                                  [--run-ms 40] [--row-ms 0] [--times 100]

The small tenant sends one row at a time; the flood's requests hold a whole batch each, if --flood-rows does not say.
With --times, the small tenant sends five requests a second and the flood so many times as many, instead of as many as
are answered.
The model sleeps for --run-ms in each run, as a GPU takes much the same time for one row and for eight, and for
--row-ms for each of its rows, as a CPU takes eight times as long for eight.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from tests.flood import Flood, Small, ask_alone
from tests.installation import Installation
from tests.slow_model import MAX_BATCH_ROWS, NAME, write_slow_model

#: Requests a second of the small tenant, if it does not send as fast as it is answered.
_SMALL_RATE = 5.0


async def measure(
    url: str, small_key: str, flood_key: str, requests: int, flood_requests: int, flood_rows: int, times: float | None
) -> tuple[Small, Small, float]:
    """The small tenant alone and beside the flood, and the flood's rows a second."""
    rate, pause = (None, 0.0) if times is None else (times * _SMALL_RATE, 1 / _SMALL_RATE)
    alone = await ask_alone(url, small_key, requests, pause=pause)
    flood = Flood(url, flood_key, flood_requests, flood_rows, rate)
    async with flood.running():
        loop = asyncio.get_running_loop()
        before, started = flood.answered, loop.time()
        flooded = await ask_alone(url, small_key, requests, flood, pause)
        rows = (flood.answered - before) * flood_rows / (loop.time() - started)
    if flood.refused:
        raise SystemExit(f"{flood.refused} requests of the flood were refused")
    return alone, flooded, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--requests", type=int, default=200, help="of the small tenant")
    parser.add_argument("--flood-requests", type=int, default=100, help="that the flood keeps under way")
    parser.add_argument("--flood-rows", type=int, default=MAX_BATCH_ROWS, help="of each of them")
    parser.add_argument("--run-ms", type=float, default=40.0, help="that the model takes for a run")
    parser.add_argument("--row-ms", type=float, default=0.0, help="that it takes for each row of a run besides")
    parser.add_argument("--times", type=float, help="the small tenant's requests a second that the flood sends")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        installation = Installation(
            Path(home) / "penstock", workers=arguments.workers, environment={"PENSTOCK_INFERENCE_ALLOW_CODE": "true"}
        )
        model = write_slow_model(Path(home) / NAME, arguments.run_ms / 1000, arguments.row_ms / 1000)
        try:
            installation.up()
            installation.penstock("push", NAME, str(model))
            installation.penstock("promote", NAME, "1")
            keys = installation.unlimited_key(), installation.unlimited_key()
            alone, flooded, rows = asyncio.run(
                measure(
                    installation.url,
                    *keys,
                    arguments.requests,
                    arguments.flood_requests,
                    arguments.flood_rows,
                    arguments.times,
                )
            )
        finally:
            installation.down()
    for name, saw in (("alone", alone), ("flooded", flooded)):
        p50 = sorted(saw.seconds)[len(saw.seconds) // 2]
        print(f"{name:8} p50 {1000 * p50:6.1f} ms  p95 {1000 * saw.p95:6.1f} ms")
    print(f"ratio of the p95: {flooded.p95 / alone.p95:.2f}; the flood got {rows:.0f} rows/s")
    print(f"answers to the flood while a small request waited: at most {max(flooded.overtaken)}")


if __name__ == "__main__":
    main()
