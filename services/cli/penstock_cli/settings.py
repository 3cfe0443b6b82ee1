"""The settings of a local installation: its folder, its ports and its sockets."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from penstock_common.errors import PenstockError
from penstock_common.registry_roles import ROLES

#: The kernel's bound (sun_path in unix(7)), without the byte that ends it.
_LONGEST_SOCKET_PATH = 107


class LocalSettings(BaseSettings):
    """Read from ``PENSTOCK_*``; all ports are those of 127.0.0.1."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_")

    home: Path = Path(".penstock")
    gateway_port: int = 8080
    registry_port: int = 8081
    #: port of the front, which is started with ``penstock up --tls``.
    tls_port: int = 8443
    #: metrics port of the first worker; those of the other workers follow.
    worker_metrics_port: int = 9200
    #: bytes of the log of one part, in four files; the oldest is deleted.
    log_bytes: int = Field(default=32 * 1024 * 1024, ge=64 * 1024)
    #: where traces are sent; if empty, there are none.
    collector: str = Field(default="", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    #: the gateway's setting, which the front outlasts.
    stream_seconds: float = Field(default=600.0, validation_alias="PENSTOCK_GATEWAY_STREAM_SECONDS")
    answer_seconds: float = Field(default=60.0, validation_alias="PENSTOCK_GATEWAY_ANSWER_SECONDS")
    #: the source tree, which has Envoy's configuration.
    source: Path = Field(default=Path(__file__).resolve().parents[3])

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    @property
    def tls_url(self) -> str:
        return f"https://localhost:{self.tls_port}"

    @property
    def client_url(self) -> str:
        """Where clients call: over TLS if the installation was started with it."""
        return self.tls_url if (self.home / "run" / "front.json").exists() else self.gateway_url

    @property
    def registry_url(self) -> str:
        return f"http://127.0.0.1:{self.registry_port}"

    @property
    def sockets(self) -> Path:
        """The folder of the unix sockets, by which the parts that ask for no credentials are reached."""
        return self.home.absolute() / "sockets"

    def socket(self, name: str) -> Path:
        """Return the path of a part's socket.

        Raises:
            PenstockError: 400 ``home-too-long``.
        """
        path = self.sockets / f"{name}.sock"
        if (length := len(os.fsencode(path))) > _LONGEST_SOCKET_PATH:
            raise PenstockError(
                400,
                "home-too-long",
                f"{path} has {length} bytes; the path of a unix socket may have {_LONGEST_SOCKET_PATH}. "
                "Choose a shorter folder with PENSTOCK_HOME.",
            )
        return path

    @property
    def keys_db(self) -> Path:
        return self.home / "keys.db"

    def registry_token_file(self, role: str) -> Path:
        return self.registry_tokens_dir / role

    @property
    def registry_tokens_dir(self) -> Path:
        """The folder with a token of the registry for each role."""
        return (self.home / "registry-tokens").absolute()

    def create_registry_tokens(self) -> None:
        """Create the tokens that do not exist yet, readable by their owner only."""
        self.registry_tokens_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for role in ROLES:
            if not self.registry_token_file(role).exists():
                self.write_secret(f"registry-tokens/{role}", secrets.token_urlsafe(32))

    @property
    def remotes_file(self) -> Path:
        """The list of remotes; ``penstock remote`` writes it."""
        return self.home / "remotes.yaml"

    @property
    def certificates(self) -> Path:
        return self.home / "tls"

    @property
    def authority(self) -> Path | None:
        """The certificate that calls to ``client_url`` are checked against, if it is none of the public ones."""
        return self.certificates / "ca.crt" if self.client_url == self.tls_url else None

    def secret(self, name: str) -> str:
        """Return the content of a private file of the home folder, or an empty string if there is no such file."""
        path = self.home / name
        return path.read_text().strip() if path.exists() else ""

    def write_secret(self, name: str, value: str) -> None:
        """Write a file that only its owner can read."""
        descriptor = os.open(self.home / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")
