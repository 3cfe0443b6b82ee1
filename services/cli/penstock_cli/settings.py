"""The settings of a local installation: its folder, its ports and its sockets."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from penstock_common.errors import PenstockError

#: The kernel's bound (sun_path in unix(7)), without the byte that ends it.
_LONGEST_SOCKET_PATH = 107


class LocalSettings(BaseSettings):
    """Read from ``PENSTOCK_*``; all ports are those of 127.0.0.1."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_")

    home: Path = Path(".penstock")
    gateway_port: int = 8080
    registry_port: int = 8081
    #: metrics port of the first worker; those of the other workers follow.
    worker_metrics_port: int = 9200
    #: bytes of the log of one part, in four files; the oldest is deleted.
    log_bytes: int = Field(default=32 * 1024 * 1024, ge=64 * 1024)
    #: where traces are sent; if empty, there are none.
    collector: str = Field(default="", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    #: the source tree, which has Envoy's configuration.
    source: Path = Field(default=Path(__file__).resolve().parents[3])

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

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

    def secret(self, name: str) -> str:
        """Return the content of a private file of the home folder, or an empty string if there is no such file."""
        path = self.home / name
        return path.read_text().strip() if path.exists() else ""

    def write_secret(self, name: str, value: str) -> None:
        """Write a file that only its owner can read."""
        descriptor = os.open(self.home / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")
