"""The front of a local installation: an Envoy that terminates TLS before the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from penstock_cli.local_certificate import AUTHORITY, CERTIFICATE, KEY
from penstock_cli.plan import Part, envoy_command
from penstock_cli.settings import LocalSettings

#: Seconds by which the front waits longer for an answer than the gateway does.
_AFTER_THE_GATEWAY = 10


def front(settings: LocalSettings) -> Part:
    """Return the front with the configuration of deploy/envoy and this installation's addresses and files."""
    return Part(
        "front",
        envoy_command(render_front(settings)),
        {},
        {"PENSTOCK_TLS_PORT": settings.tls_port},
        f"{settings.tls_url}/healthz",
        authority=settings.certificates / AUTHORITY,
    )


def render_front(settings: LocalSettings) -> Path:
    """Write the front's configuration; return its path."""
    folder = settings.source / "deploy" / "envoy"
    secret: dict[str, Any] = yaml.safe_load((folder / "front-certificate.yaml").read_text())
    certificates = settings.certificates.absolute()
    pair = secret["resources"][0]["tls_certificate"]
    pair["certificate_chain"]["filename"] = str(certificates / CERTIFICATE)
    pair["private_key"]["filename"] = str(certificates / KEY)
    pair["watched_directory"]["path"] = str(certificates)
    secret_path = settings.home.absolute() / "front-certificate.yaml"
    secret_path.write_text(yaml.safe_dump(secret, sort_keys=False))

    config: dict[str, Any] = yaml.safe_load((folder / "front.yaml").read_text())
    resources = config["static_resources"]
    listener, cluster = resources["listeners"][0], resources["clusters"][0]
    listener["address"]["socket_address"]["port_value"] = settings.tls_port
    (chain,) = listener["filter_chains"]
    tls = chain["transport_socket"]["typed_config"]["common_tls_context"]
    tls["tls_certificate_sds_secret_configs"][0]["sds_config"]["path_config_source"]["path"] = str(secret_path)
    manager = chain["filters"][0]["typed_config"]
    manager["stream_idle_timeout"] = f"{settings.stream_seconds + settings.answer_seconds + _AFTER_THE_GATEWAY:g}s"
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    endpoint["address"]["pipe"]["path"] = str(settings.socket("front"))
    path = settings.home / "front.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
