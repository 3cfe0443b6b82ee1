"""The registry's settings, from ``PENSTOCK_REGISTRY_*``."""

from __future__ import annotations

from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class RegistrySettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_REGISTRY_")

    host: str = "127.0.0.1"
    port: int = 8081
    #: A folder, or s3://, gs:// or az://, with credentials in the environment variables of that store.
    store_url: str
    #: Bearer token that every call must carry.
    token: str = ""
    #: Needs no token; for networks in which something else authenticates.
    allow_anonymous: bool = False
    log_level: str = "info"

    @model_validator(mode="after")
    def _token_or_anonymous(self) -> RegistrySettings:
        if not self.token and not self.allow_anonymous:
            raise ValueError("set PENSTOCK_REGISTRY_TOKEN, or PENSTOCK_REGISTRY_ALLOW_ANONYMOUS=true to go without")
        return self
