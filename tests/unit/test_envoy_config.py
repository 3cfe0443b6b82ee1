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
from penstock_common.errors import PenstockError
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
def test_rendering_changes_addresses_and_nothing_else(tmp_path: Path, workers: int) -> None:
    """Everything else is as in the committed file, and Envoy accepts the result."""
    path = render_envoy(LocalSettings(home=tmp_path), workers)
    validate(path)
    committed, rendered = (yaml.safe_load(file.read_text()) for file in (COMMITTED, path))
    assert without_addresses(committed) != (private := without_addresses(rendered))
    folder = tmp_path / "sockets"
    assert private == [
        {"pipe": {"path": f"{folder}/envoy-admin.sock", "mode": 0o600}},
        {"pipe": {"path": f"{folder}/envoy.sock", "mode": 0o600}},
        *({"pipe": {"path": f"{folder}/worker-{i + 1}.sock"}} for i in range(workers)),
    ]
    assert rendered == committed


def test_a_path_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    """The refusal says how long it may be and what to change; the longest that fits is taken by Envoy."""
    room = 107 - len(bytes(tmp_path)) - len("//sockets/envoy-admin.sock")
    validate(render_envoy(LocalSettings(home=_made(tmp_path / ("h" * room))), 1))
    with pytest.raises(PenstockError, match=r"has 108 bytes.*may have 107.*PENSTOCK_HOME"):
        render_envoy(LocalSettings(home=_made(tmp_path / ("h" * (room + 1)))), 1)


def test_the_front_of_a_local_installation_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the installation's port, socket and certificate, and waits longer for an answer than the gateway does."""
    monkeypatch.setenv("PENSTOCK_GATEWAY_ANSWER_SECONDS", "90")
    path = render_front(LocalSettings(home=tmp_path, tls_port=18443))
    validate(path)
    config = yaml.safe_load(path.read_text())
    listener = config["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 18443}
    assert listener["filter_chains"][0]["filters"][0]["typed_config"]["stream_idle_timeout"] == "700s"
    assert str(tmp_path / "sockets" / "front.sock") in path.read_text()
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
    assert float(manager["stream_idle_timeout"].removesuffix("s")) > gateway.stream_seconds + gateway.answer_seconds
    (connections,) = (m for m in config["overload_manager"]["resource_monitors"] if "connections" in m["name"])
    assert connections["typed_config"]["max_active_downstream_connections"] == gateway.max_connections


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def without_addresses(config: dict[str, Any]) -> list[Any]:
    """Remove what differs between installations; return the addresses of the admin interface, listener and workers."""
    resources = config["static_resources"]
    cluster = resources["clusters"][0]
    endpoints = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    removed = [config["admin"].pop("address"), resources["listeners"][0].pop("address")]
    removed += [end["endpoint"]["address"] for end in endpoints]
    endpoints.clear()
    assert bool(cluster.pop("cluster_type", None)) != (cluster.pop("type", None) == "STATIC")
    return removed
