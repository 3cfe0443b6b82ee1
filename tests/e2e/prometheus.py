"""Queries the cluster's Prometheus, at PROMETHEUS_URL or through the API server's proxy."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from tests.e2e.cluster import run

_PROXY = "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy"


def query(expression: str) -> list[dict[str, Any]]:
    """Return the result of an instant query; an error of Prometheus fails the test."""
    path = f"/api/v1/query?query={quote(expression)}"
    if url := os.environ.get("PROMETHEUS_URL"):
        with urlopen(url + path, timeout=30) as response:
            answer = json.load(response)
    else:
        answer = json.loads(run("kubectl", "get", "--raw", _PROXY + path))
    assert answer["status"] == "success", answer
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result
