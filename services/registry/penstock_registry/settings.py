"""The registry's settings, from ``PENSTOCK_REGISTRY_*``."""

from __future__ import annotations

from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class RegistrySettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_REGISTRY_")

    host: str = "127.0.0.1"
    port: int = 8081
    #: a folder, or s3://, gs://, az:// with the store's own environment variables for credentials.
    store_url: str
    #: bearer token of all calls.
    token: str = ""
    #: lets everybody in; for networks where something else keeps the door.
    allow_anonymous: bool = False
    log_level: str = "info"

    @model_validator(mode="after")
    def _has_a_lock(self) -> RegistrySettings:
        if not self.token and not self.allow_anonymous:
            raise ValueError("set PENSTOCK_REGISTRY_TOKEN, or PENSTOCK_REGISTRY_ALLOW_ANONYMOUS=true to go without")
        return self
