"""What the pods of a pool have answered, read from their metrics."""

from __future__ import annotations

from tests.e2e.cluster import Namespace, until

_READ = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9200/metrics').read().decode())"


def answered(namespace: Namespace, pod: str) -> float:
    """Return how many messages a pod has answered without an error since it started."""
    page = namespace.kubectl("exec", pod, "--", "python", "-c", _READ)
    series = [line for line in page.splitlines() if line.startswith("penstock_inference_requests_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in series if 'code="OK"' in line)


def messages_answered(namespace: Namespace, at_least: int) -> dict[str, float]:
    """Return how many messages each pod of the pool answers from now until there are ``at_least`` so many in total."""
    pods = namespace.ready_pods("inference")
    before = {pod: answered(namespace, pod) for pod in pods}
    since: dict[str, float] = {}

    def enough() -> bool:
        since.update({pod: answered(namespace, pod) - before[pod] for pod in pods})
        return sum(since.values()) >= at_least

    until(enough, f"{at_least} answers of {len(pods)} pods", seconds=120)
    return since
