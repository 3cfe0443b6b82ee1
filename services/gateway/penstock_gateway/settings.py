"""The gateway's settings, from ``PENSTOCK_GATEWAY_*``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from penstock_gateway.signature.answer_size import MAX_ANSWER_BYTES


class GatewaySettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_GATEWAY_")

    host: str = "127.0.0.1"
    port: int = 8080
    #: path of a unix socket on which the gateway's own front, which terminates TLS, connects; none if empty.
    front_socket: str = ""
    #: the gRPC upstream, Envoy: host:port, or unix:/path of a socket.
    upstream: str = "127.0.0.1:8082"
    #: the unix socket of Envoy's admin interface, which knows the healthy pods.
    envoy_admin_socket: Path = Path("/run/envoy/admin.sock")
    #: pools of pods behind Envoy and the models of each (globs; !glob excludes); the first match serves.
    pools: dict[str, list[str]] = {}
    registry_url: str = "http://127.0.0.1:8081"
    #: file with the registry's token for reading; it may change at any time. None for a registry that asks for none.
    registry_token_file: Path | None = None
    #: the API keys: a SQLite file, a folder of JSON files (a mounted Secret), or postgresql://...
    keys_url: str
    #: days for which answers of /v1/responses are kept, in the database of the keys; 0: none is.
    stored_responses_days: float = Field(default=30.0, ge=0)
    #: bytes of one of them with what it answers, and of all that one key has made; beyond, its oldest go.
    max_stored_response_bytes: int = Field(default=4 * 1024 * 1024, gt=0)
    max_stored_bytes_per_key: int = Field(default=256 * 1024 * 1024, gt=0)
    #: where the files of /v1/files and /v1/batches are kept: a folder, or s3://, gs:// or az://, with credentials in the
    #: environment variables of that store; what is known of them is in the database of the keys. None is, if empty.
    files_url: str = ""
    #: days for which files, and batches that are over, are kept.
    files_days: float = Field(default=30.0, gt=0)
    #: bytes of one file, of all files of one key, and their number; 413 beyond.
    max_file_bytes: int = Field(default=200 * 1024 * 1024, gt=0)
    max_files_bytes_per_key: int = Field(default=2 * 1024 * 1024 * 1024, gt=0)
    max_files_per_key: int = Field(default=10_000, gt=0)
    #: files that may arrive at once, half of them of one key; 503 and 429 beyond.
    max_uploads: int = Field(default=8, ge=1)
    #: requests of one batch, and bytes of one of them; a batch of more fails.
    max_batch_lines: int = Field(default=50_000, ge=1, le=99_999_999)
    max_batch_line_bytes: int = Field(default=1024 * 1024, gt=0)
    #: batches of one key, with those that are over and not forgotten; 413 beyond.
    max_batches_per_key: int = Field(default=10_000, ge=1)
    #: batches that one gateway works on at once, and requests of all of them that are under way.
    max_running_batches: int = Field(default=8, ge=1)
    batch_lines_at_once: int = Field(default=16, ge=1)
    #: seconds after which another gateway goes on with the batches of one that has died.
    batch_lease_seconds: float = Field(default=15.0, ge=1)
    #: seconds for which known keys are accepted while their store cannot be read, then 503; 0: without end.
    keys_stale_seconds: float = Field(default=0.0, ge=0)
    #: the list of remotes, a YAML file (docs/remotes.md); it may change at any time, and need not exist. None for none.
    remotes_file: Path | None = None
    #: name that resolves to the addresses of all ready gateways; each then enforces its share of the limits.
    peers: str = ""
    #: the model that POST /predict asks.
    default_model: str = "spam"
    #: rows a second of a key that has no rate of its own, and how many may come at once.
    rate: float = Field(default=5000.0, gt=0)
    burst: float = Field(default=20000.0, ge=1)
    #: bytes of a body that cost as much as a row, if that is more than its rows do.
    bytes_per_row: int = Field(default=64 * 1024, ge=1)
    #: false sends every request in a message of its own; for measuring.
    coalesce: bool = True
    #: calls under way for one model version while no healthy pod is known; with more pods there are more.
    min_outstanding: int = Field(default=2, ge=1)
    #: rows and bytes of one message at most; a model's own max_batch_size may be lower. A larger request travels alone.
    max_bundle_rows: int = Field(default=128, ge=1)
    max_bundle_bytes: int = Field(default=8 * 1024 * 1024, gt=0)
    #: rows and bytes that may wait for one model version.
    max_queue_rows: int = Field(default=4096, ge=1)
    max_queue_bytes: int = Field(default=64 * 1024 * 1024, gt=0)
    #: time for one request; a client may ask for less with X-Request-Timeout (seconds).
    timeout_seconds: float = Field(default=10.0, gt=0)
    #: time for one stream; a client may ask for less with X-Request-Timeout (seconds).
    stream_seconds: float = Field(default=600.0, gt=0)
    #: seconds without a chunk after which a stream gets a comment, so that nothing in between takes it for dead.
    stream_keep_alive_seconds: float = Field(default=15.0, gt=0)
    #: streams that may be open in all and of one key; 503 and 429 beyond. Envoy takes 1024 of one gateway.
    max_streams: int = Field(default=512, ge=1, le=1024)
    max_streams_per_key: int = Field(default=128, ge=1)
    max_body_bytes: int = Field(default=8 * 1024 * 1024, gt=0)
    #: JSON bodies of more bytes are decoded in so many processes beside the gateway, which are started when first needed.
    min_offloaded_bytes: int = Field(default=256 * 1024, ge=0)
    decoders: int = Field(default=1, ge=1)
    #: how many times its own size a compressed body may become, beyond a megabyte; 413 beyond.
    max_decoded_ratio: int = Field(default=100, ge=1)
    #: rows of one request; 413 beyond, as with the following.
    max_rows: int = Field(default=1024, ge=1, le=2**31 - 1)
    #: pixels of one image (the pods take no more than the default), scans of one JPEG, and pixels of all images of a
    #: field in one request, those of a JPEG once for each scan.
    max_image_pixels: int = Field(default=50_000_000, ge=1, le=50_000_000)
    max_image_scans: int = Field(default=64, ge=1)
    max_request_pixels: int = Field(default=200_000_000, ge=1)
    #: seconds of all sounds of a field in one request.
    max_request_audio_seconds: float = Field(default=3600.0, gt=0)
    #: bytes of one answer, as far as they are known before it is built.
    max_answer_bytes: int = Field(default=MAX_ANSWER_BYTES, gt=0)
    #: whether /openapi.json, which shows the models' examples, needs a key; /docs and /try are then absent.
    docs: Literal["open", "key"] = "open"
    #: a port of its own for /metrics; 0 serves them beside the API.
    metrics_port: int = 0
    #: the address of that port; if empty, ``host``.
    metrics_host: str = ""
    #: how long readiness says no before the listener closes.
    drain_seconds: float = Field(default=0.5, ge=0)
    #: how long open streams may go on once the listener is closed; then they are cut.
    stream_grace_seconds: float = Field(default=60.0, ge=0)
    #: which requests are logged.
    access_log: Literal["errors", "all"] = "errors"
    #: lines a second of each of 401 and 429, which no rate limit bounds; the others are counted in one line.
    access_log_refusals: int = Field(default=10, ge=0)
    log_level: str = "info"

    # --- The front door: what callers may take; docs/limits.md has the reasons.
    #: bytes of a URL; 414 beyond.
    max_url_bytes: int = Field(default=8 * 1024, gt=0)
    #: bytes and count of a request's header fields; 431 beyond.
    max_header_bytes: int = Field(default=32 * 1024, gt=0)
    max_header_fields: int = Field(default=100, gt=0)
    #: requests that may wait on one connection behind the one that is being answered; 429 beyond.
    max_pipelined: int = Field(default=16, ge=0)
    #: seconds to a request's whole headers, and from its headers to its whole body; 408 beyond.
    header_seconds: float = Field(default=10.0, gt=0)
    body_seconds: float = Field(default=10.0, gt=0)
    #: seconds to an answer, or to the next part of a stream; 504 beyond, or the connection is cut if a part was sent.
    answer_seconds: float = Field(default=60.0, gt=0, validate_default=True)
    #: seconds that a connection may wait for its next request; longer than what stands in front keeps its own.
    keep_alive_seconds: float = Field(default=75.0, gt=0)
    #: seconds and bytes that are still read, and thrown away, of a request that was answered before its end.
    linger_seconds: float = Field(default=2.0, gt=0)
    max_unread_bytes: int = Field(default=256 * 1024, ge=0)
    #: connections in all and of one address (IPv6: one /64); 503 beyond.
    max_connections: int = Field(default=8192, gt=0)
    max_connections_per_address: int = Field(default=4096, gt=0)
    #: bytes of the bodies of unanswered requests, in all and of one key. A body for which there is no room waits, unread,
    #: for as long as it may take to arrive; then it is 503 or 429.
    max_bodies_bytes: int = Field(default=128 * 1024 * 1024, gt=0)
    max_bodies_bytes_per_key: int = Field(default=64 * 1024 * 1024, gt=0)
    #: bodies that may so wait, half of them of one key; more are refused at once.
    max_waiting_bodies: int = Field(default=256, ge=0)
    #: origins whose pages may call the API from a browser, e.g. ["https://app.example.com"]; none by default.
    cors_origins: list[str] = []

    @field_validator("answer_seconds")
    @classmethod
    def _longer_than_one_request(cls, seconds: float, info: ValidationInfo) -> float:
        longest = info.data.get("timeout_seconds", 0.0)
        if seconds <= longest:
            raise ValueError(f"{seconds:g} must be longer than PENSTOCK_GATEWAY_TIMEOUT_SECONDS ({longest:g})")
        pause = info.data.get("stream_keep_alive_seconds", 0.0)
        if seconds <= pause:
            raise ValueError(f"{seconds:g} must be longer than PENSTOCK_GATEWAY_STREAM_KEEP_ALIVE_SECONDS ({pause:g})")
        return seconds

    # --- End of the front door.
