"""The registry's settings, from ``PENSTOCK_REGISTRY_*``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class RegistrySettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_REGISTRY_")

    host: str = "127.0.0.1"
    port: int = 8081
    #: A folder, or s3://, gs:// or az://, with credentials in the environment variables of that store.
    store_url: str
    #: Folder with files named after roles (read, publish, promote, train, admin), each with a token on every line.
    tokens_dir: Path | None = None
    #: Needs no token; for networks in which something else authenticates.
    allow_anonymous: bool = False
    #: Refused attempts of one address in a minute that are answered with 401; further ones get 429.
    max_bad_tokens: int = Field(default=20, ge=1)

    #: Seconds between two looks at the store for what other replicas wrote; and at most, while nothing changes.
    poll_seconds: float = Field(default=1.0, gt=0, le=60)
    idle_poll_seconds: float = Field(default=5.0, gt=0, le=600)

    #: Body of a call in JSON.
    max_json_bytes: int = Field(default=1024**2, ge=1024)
    #: One entry of a model's log.
    max_entry_bytes: int = Field(default=2 * 1024**2, ge=1024)
    #: model.yaml.
    max_manifest_bytes: int = Field(default=256 * 1024, ge=1024)
    #: One file of an artifact.
    max_blob_bytes: int = Field(default=20 * 1024**3, ge=1)
    #: Disk space that uploads leave free, so that logs can still be written. For a store in a folder.
    min_free_bytes: int = Field(default=64 * 1024**2, ge=0)
    #: Files that no version names are removed when they are this old.
    upload_grace_seconds: float = Field(default=86400.0, ge=3600)
    log_level: str = "info"

    @model_validator(mode="after")
    def _token_or_anonymous(self) -> RegistrySettings:
        if self.tokens_dir is None and not self.allow_anonymous:
            raise ValueError(
                "set PENSTOCK_REGISTRY_TOKENS_DIR, or PENSTOCK_REGISTRY_ALLOW_ANONYMOUS=true to go without tokens"
            )
        return self
