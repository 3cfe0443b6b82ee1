"""Envoy accepts the configuration as committed and as a local installation renders it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock_cli.front import render_front
from penstock_cli.plan import render_envoy
from penstock_cli.settings import LocalSettings
from penstock_gateway.settings import GatewaySettings

COMMITTED = Path(__file__).resolve().parents[2] / "deploy" / "envoy" / "envoy.yaml"
ENVOY = Path(sys.executable).parent / "envoy"


def validate(path: Path) -> None:
    command = [str(ENVOY), "--mode", "validate", "--log-level", "error", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_committed_configuration_is_valid() -> None:
    """The file is complete by itself."""
    validate(COMMITTED)


def test_with_a_collector_the_rendered_configuration_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster that gets the spans has the collector's address."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:14317")
    path = render_envoy(LocalSettings(home=tmp_path), 1)
    validate(path)
    assert "14317" in path.read_text()


@pytest.mark.parametrize("workers", [1, 5])
def test_rendering_changes_ports_and_endpoints_and_nothing_else(tmp_path: Path, workers: int) -> None:
    """Everything else is as in the committed file, and Envoy accepts the result."""
    path = render_envoy(
        LocalSettings(home=tmp_path, envoy_port=18082, envoy_admin_port=18083, worker_port=19100), workers
    )
    validate(path)
    committed, rendered = (yaml.safe_load(file.read_text()) for file in (COMMITTED, path))
    assert addresses(committed) != addresses(rendered)
    assert addresses(rendered) == [18083, 18082, [19100 + i for i in range(workers)]]
    for config in (committed, rendered):
        without_addresses(config)
    assert rendered == committed


def test_the_front_of_a_local_installation_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the installation's port, socket and certificate, and waits longer for an answer than the gateway does."""
    monkeypatch.setenv("PENSTOCK_GATEWAY_ANSWER_SECONDS", "90")
    path = render_front(LocalSettings(home=tmp_path, tls_port=18443))
    validate(path)
    config = yaml.safe_load(path.read_text())
    listener = config["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 18443}
    assert listener["filter_chains"][0]["filters"][0]["typed_config"]["stream_idle_timeout"] == "100s"
    assert str(tmp_path / "front.sock") in path.read_text()
    assert str(tmp_path / "tls" / "tls.key") in (tmp_path / "front-certificate.yaml").read_text()


def test_the_front_has_the_gateways_bounds() -> None:
    """What both bound is the same; what only the gateway can explain, the front lets a little more of pass."""
    gateway = GatewaySettings(keys_url="unused")
    config = yaml.safe_load((COMMITTED.parent / "front.yaml").read_text())
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    assert manager["request_headers_timeout"] == f"{gateway.header_seconds:g}s"
    assert chain["transport_socket_connect_timeout"] == f"{gateway.header_seconds:g}s"
    assert manager["common_http_protocol_options"]["idle_timeout"] == f"{gateway.keep_alive_seconds:g}s"
    assert manager["delayed_close_timeout"] == f"{gateway.linger_seconds:g}s"
    assert manager["max_request_headers_kb"] * 1024 > gateway.max_header_bytes + gateway.max_url_bytes
    assert manager["common_http_protocol_options"]["max_headers_count"] > gateway.max_header_fields
    assert float(manager["stream_idle_timeout"].removesuffix("s")) > gateway.answer_seconds
    (connections,) = (m for m in config["overload_manager"]["resource_monitors"] if "connections" in m["name"])
    assert connections["typed_config"]["max_active_downstream_connections"] == gateway.max_connections


def addresses(config: dict[str, Any]) -> list[Any]:
    """The ports of Envoy's admin interface and its listener, and those of the workers."""
    resources = config["static_resources"]
    return [
        config["admin"]["address"]["socket_address"]["port_value"],
        resources["listeners"][0]["address"]["socket_address"]["port_value"],
        [end["endpoint"]["address"]["socket_address"]["port_value"] for end in endpoints(config)],
    ]


def endpoints(config: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0][
        "lb_endpoints"
    ]
    return found


def without_addresses(config: dict[str, Any]) -> None:
    """Remove from a configuration what differs between installations."""
    del config["admin"]["address"]["socket_address"]["port_value"]
    del config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"]
    assert {end["endpoint"]["address"]["socket_address"]["address"] for end in endpoints(config)} == {"127.0.0.1"}
    endpoints(config).clear()
