"""The gateway's settings, from ``PENSTOCK_GATEWAY_*``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class GatewaySettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_GATEWAY_")

    host: str = "127.0.0.1"
    port: int = 8080
    #: host:port of the gRPC upstream: Envoy.
    upstream: str = "127.0.0.1:8082"
    #: Envoy's admin interface, which knows the healthy pods.
    envoy_admin_url: str = "http://127.0.0.1:8083"
    #: pools of pods behind Envoy and the models of each (globs; !glob excludes); the first match serves.
    pools: dict[str, list[str]] = {}
    registry_url: str = "http://127.0.0.1:8081"
    registry_token: str = ""
    #: the API keys: a SQLite file, a folder of JSON files (a mounted Secret), or postgresql://...
    keys_url: str
    #: name that resolves to the addresses of all ready gateways; each then enforces its share of the limits.
    peers: str = ""
    #: the model that POST /predict asks.
    default_model: str = "spam"
    #: requests per second of a key that has no rate of its own, and how many may come at once.
    rate: float = Field(default=100.0, gt=0)
    burst: float = Field(default=200.0, ge=1)
    #: false sends every request in a message of its own; for measuring.
    coalesce: bool = True
    #: calls under way for one model version while no healthy pod is known; with more pods there are more.
    min_outstanding: int = Field(default=2, ge=1)
    #: rows and bytes of one message at most; a model's own max_batch_size may be lower. A larger request travels alone.
    max_bundle_rows: int = Field(default=128, ge=1)
    max_bundle_bytes: int = Field(default=16 * 1024 * 1024, gt=0)
    #: rows and bytes that may wait for one model version.
    max_queue_rows: int = Field(default=4096, ge=1)
    max_queue_bytes: int = Field(default=64 * 1024 * 1024, gt=0)
    #: time for one request; a client may ask for less with X-Request-Timeout (seconds).
    timeout_seconds: float = Field(default=10.0, gt=0)
    max_body_bytes: int = Field(default=8 * 1024 * 1024, gt=0)
    #: a port of its own for /metrics; 0 serves them beside the API.
    metrics_port: int = 0
    #: how long readiness says no before the listener closes.
    drain_seconds: float = Field(default=0.5, ge=0)
    #: which requests are logged.
    access_log: Literal["errors", "all"] = "errors"
    log_level: str = "info"
