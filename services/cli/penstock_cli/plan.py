"""The parts of a local installation: each is a process with its command, environment and ports."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from penstock_cli.settings import LocalSettings


@dataclass(frozen=True)
class Part:
    """A process to start. ``ports`` maps variables to the ports that they set; ``ready_url`` answers 200 when ready."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    ports: dict[str, int]
    ready_url: str

    def ready(self) -> bool:
        try:
            return httpx.get(self.ready_url, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


def registry(settings: LocalSettings) -> Part:
    return Part(
        "registry",
        [sys.executable, "-m", "penstock_registry"],
        {
            "PENSTOCK_REGISTRY_PORT": str(settings.registry_port),
            "PENSTOCK_REGISTRY_STORE_URL": str((settings.home / "store").absolute()),
            "PENSTOCK_REGISTRY_TOKEN": settings.secret("registry-token"),
        },
        {"PENSTOCK_REGISTRY_PORT": settings.registry_port},
        f"{settings.registry_url}/readyz",
    )


def worker(settings: LocalSettings, index: int) -> Part:
    port, metrics = settings.worker_port + index, settings.worker_metrics_port + index
    return Part(
        f"worker-{index + 1}",
        [sys.executable, "-m", "penstock_inference"],
        {
            "PENSTOCK_INFERENCE_PORT": str(port),
            "PENSTOCK_INFERENCE_METRICS_PORT": str(metrics),
            "PENSTOCK_INFERENCE_REGISTRY_URL": settings.registry_url,
            "PENSTOCK_INFERENCE_REGISTRY_TOKEN": settings.secret("registry-token"),
            "PENSTOCK_INFERENCE_CACHE_DIR": str((settings.home / "cache" / f"worker-{index + 1}").absolute()),
            "OMP_NUM_THREADS": "1",
        },
        {"PENSTOCK_WORKER_PORT": port, "PENSTOCK_WORKER_METRICS_PORT": metrics},
        f"http://127.0.0.1:{metrics}/metrics",
    )


def envoy(settings: LocalSettings, workers: int) -> Part:
    """Return Envoy with the configuration of deploy/envoy and this installation's addresses."""
    return Part(
        "envoy",
        [
            _envoy_program(), "-c", str(render_envoy(settings, workers)),
            "--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id", "--drain-time-s", "1",
        ],
        {},
        {"PENSTOCK_ENVOY_PORT": settings.envoy_port, "PENSTOCK_ENVOY_ADMIN_PORT": settings.envoy_admin_port},
        f"http://127.0.0.1:{settings.envoy_admin_port}/ready",
    )  # fmt: skip


def gateway(settings: LocalSettings) -> Part:
    return Part(
        "gateway",
        [sys.executable, "-m", "penstock_gateway"],
        {
            "PENSTOCK_GATEWAY_PORT": str(settings.gateway_port),
            "PENSTOCK_GATEWAY_UPSTREAM": f"127.0.0.1:{settings.envoy_port}",
            "PENSTOCK_GATEWAY_ENVOY_ADMIN_URL": f"http://127.0.0.1:{settings.envoy_admin_port}",
            "PENSTOCK_GATEWAY_REGISTRY_URL": settings.registry_url,
            "PENSTOCK_GATEWAY_REGISTRY_TOKEN": settings.secret("registry-token"),
            "PENSTOCK_GATEWAY_KEYS_URL": str(settings.keys_db.absolute()),
        },
        {"PENSTOCK_GATEWAY_PORT": settings.gateway_port},
        f"{settings.gateway_url}/readyz",
    )


def render_envoy(settings: LocalSettings, workers: int) -> Path:
    """Write the installation's Envoy configuration; return its path."""
    folder = settings.source / "deploy" / "envoy"
    config: dict[str, Any] = yaml.safe_load((folder / "envoy.yaml").read_text())
    config["admin"]["address"]["socket_address"]["port_value"] = settings.envoy_admin_port
    resources = config["static_resources"]
    resources["listeners"][0]["address"]["socket_address"]["port_value"] = settings.envoy_port
    resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": settings.worker_port + i}}}}
        for i in range(workers)
    ]
    collector = urlsplit(settings.collector)
    if collector.scheme == "http":
        added = yaml.safe_load((folder / "envoy-tracing.yaml").read_text())
        manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        manager |= added["connection_manager"]
        endpoint = added["cluster"]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"]["socket_address"] = {"address": collector.hostname, "port_value": collector.port or 4317}
        resources["clusters"].append(added["cluster"])
    path = settings.home / "envoy.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _envoy_program() -> str:
    beside = Path(sys.executable).parent / "envoy"
    return str(beside) if beside.exists() else shutil.which("envoy") or "envoy"
