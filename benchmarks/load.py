"""Runs wrk, a load generator that is fast enough, with one JSON body, and reads its results."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass

_REPORT = """
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %.1f %.1f\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass
class Result:
    """``rps`` is in requests per second, ``p50_ms`` and ``p99_ms`` in milliseconds; ``errors`` should be 0."""

    rps: float
    p50_ms: float
    p99_ms: float
    errors: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def wrk(url: str, *, body: str, headers: dict[str, str], connections: int, seconds: int, cpu: int) -> Result:
    """Run wrk pinned to ``cpu`` for ``seconds``."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is not installed; on Debian: apt-get install wrk")
    lines = ['wrk.method = "POST"', f"wrk.body = {_lua(body)}"]
    lines += [f"wrk.headers[{_lua(k)}] = {_lua(v)}" for k, v in headers.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join(lines) + _REPORT)
        script.flush()
        command = [
            "taskset",
            "-c",
            str(cpu),
            program,
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "-s",
            script.name,
            url,
        ]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)", output)
    if found is None:
        raise SystemExit(f"wrk printed no result:\n{output}")
    requests, micros, errors, p50, p99 = (float(part) for part in found.groups())
    return Result(requests / micros * 1e6, p50 / 1000, p99 / 1000, int(errors))


def _lua(text: str) -> str:
    return json.dumps(text)  # JSON and Lua write ASCII without control characters the same way
