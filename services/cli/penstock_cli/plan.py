"""The parts of a local installation: each is a process with its command, environment, ports and socket.

A part that asks for no credentials (Envoy, its admin interface, the workers) listens on a unix socket that only its
owner may use: a port of the loopback interface is open to every local user, and to the pages in their browsers.
"""

from __future__ import annotations

import shutil
import ssl
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
    """A process to start.

    Args:
        ports: by the variables that set them.
        ready_url: answers 200 when the part is ready.
        ready_socket: the unix socket on which it answers, if it is not a port.
        authority: file with the certificate that ``ready_url`` is checked against, if it is none of the public ones.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    ports: dict[str, int]
    ready_url: str
    ready_socket: Path | None = None
    authority: Path | None = None

    def ready(self) -> bool:
        try:
            with _client(self.ready_socket, self.authority) as client:
                return client.get(self.ready_url).status_code == 200
        except httpx.HTTPError:
            return False


def _client(socket: Path | None, authority: Path | None = None) -> httpx.Client:
    uds = None if socket is None else str(socket)
    verify = ssl.create_default_context(cafile=authority) if authority else True
    return httpx.Client(transport=httpx.HTTPTransport(uds=uds, verify=verify), timeout=2)


def registry(settings: LocalSettings) -> Part:
    return Part(
        "registry",
        [sys.executable, "-m", "penstock_registry"],
        {
            "PENSTOCK_REGISTRY_PORT": str(settings.registry_port),
            "PENSTOCK_REGISTRY_STORE_URL": str((settings.home / "store").absolute()),
            "PENSTOCK_REGISTRY_TOKENS_DIR": str(settings.registry_tokens_dir),
        },
        {"PENSTOCK_REGISTRY_PORT": settings.registry_port},
        f"{settings.registry_url}/readyz",
    )


def worker(settings: LocalSettings, index: int) -> Part:
    metrics = settings.worker_metrics_port + index
    return Part(
        f"worker-{index + 1}",
        [sys.executable, "-m", "penstock_inference"],
        {
            "PENSTOCK_INFERENCE_SOCKET": str(_worker_socket(settings, index)),
            "PENSTOCK_INFERENCE_METRICS_PORT": str(metrics),
            "PENSTOCK_INFERENCE_REGISTRY_URL": settings.registry_url,
            "PENSTOCK_INFERENCE_REGISTRY_TOKEN_FILE": str(settings.registry_token_file("read")),
            "PENSTOCK_INFERENCE_CACHE_DIR": str((settings.home / "cache" / f"worker-{index + 1}").absolute()),
            "OMP_NUM_THREADS": "1",
        },
        {"PENSTOCK_WORKER_METRICS_PORT": metrics},
        f"http://127.0.0.1:{metrics}/metrics",
    )


def envoy(settings: LocalSettings, workers: int) -> Part:
    """Return Envoy with the configuration of deploy/envoy and this installation's addresses."""
    return Part(
        "envoy",
        envoy_command(render_envoy(settings, workers)),
        {},
        {},
        "http://envoy/ready",
        settings.socket("envoy-admin"),
    )


def workers_in_rotation(settings: LocalSettings) -> int:
    """Count the workers that are SERVING according to Envoy's health checks; 0 if Envoy does not answer in time."""
    try:
        with _client(settings.socket("envoy-admin")) as client:
            [cluster, *_] = client.get("http://envoy/clusters?format=json").json()["cluster_statuses"]
    except httpx.HTTPError:
        return 0
    hosts = cluster.get("host_statuses", [])
    return sum(host["health_status"] == {"eds_health_status": "HEALTHY"} for host in hosts)


def gateway(settings: LocalSettings) -> Part:
    return Part(
        "gateway",
        [sys.executable, "-m", "penstock_gateway"],
        {
            "PENSTOCK_GATEWAY_PORT": str(settings.gateway_port),
            "PENSTOCK_GATEWAY_FRONT_SOCKET": str(settings.socket("front")),
            "PENSTOCK_GATEWAY_UPSTREAM": f"unix:{settings.socket('envoy')}",
            "PENSTOCK_GATEWAY_ENVOY_ADMIN_SOCKET": str(settings.socket("envoy-admin")),
            "PENSTOCK_GATEWAY_REGISTRY_URL": settings.registry_url,
            "PENSTOCK_GATEWAY_REGISTRY_TOKEN_FILE": str(settings.registry_token_file("read")),
            "PENSTOCK_GATEWAY_KEYS_URL": str(settings.keys_db.absolute()),
            "PENSTOCK_GATEWAY_FILES_URL": str((settings.home / "files").absolute()),
            "PENSTOCK_GATEWAY_REMOTES_FILE": str(settings.remotes_file.absolute()),
        },
        {"PENSTOCK_GATEWAY_PORT": settings.gateway_port},
        f"{settings.gateway_url}/readyz",
    )


def render_envoy(settings: LocalSettings, workers: int) -> Path:
    """Write the installation's Envoy configuration; return its path."""
    folder = settings.source / "deploy" / "envoy"
    config: dict[str, Any] = yaml.safe_load((folder / "envoy.yaml").read_text())
    config["admin"]["address"] = {"pipe": {"path": str(settings.socket("envoy-admin")), "mode": 0o600}}
    resources = config["static_resources"]
    resources["listeners"][0]["address"] = {"pipe": {"path": str(settings.socket("envoy")), "mode": 0o600}}
    cluster = resources["clusters"][0]
    del cluster["cluster_type"]  # DNS finds no sockets
    cluster["type"] = "STATIC"
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {"endpoint": {"address": {"pipe": {"path": str(_worker_socket(settings, i))}}}} for i in range(workers)
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


def _worker_socket(settings: LocalSettings, index: int) -> Path:
    return settings.socket(f"worker-{index + 1}")


def envoy_command(config: Path) -> list[str]:
    """Return the command that runs an Envoy with the configuration in a file."""
    beside = Path(sys.executable).parent / "envoy"
    program = str(beside) if beside.exists() else shutil.which("envoy") or "envoy"
    return [
        program, "-c", str(config),
        "--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id", "--drain-time-s", "1",
    ]  # fmt: skip
