"""What a gateway counts, read from its metrics."""

from __future__ import annotations

from tests.e2e.cluster import Namespace

_READ = "import httpx; print(httpx.get('http://127.0.0.1:9090/metrics').text)"


def gateway_metric(namespace: Namespace, pod: str, metric: str) -> float:
    """Return the value of a metric without labels."""
    page = namespace.kubectl("exec", pod, "-c", "gateway", "--", "python", "-c", _READ)
    [value] = [float(line.split()[1]) for line in page.splitlines() if line.startswith(f"{metric} ")]
    return value
