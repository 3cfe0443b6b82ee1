"""Calls as a user can paste them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from penstock_cli.settings import LocalSettings


def curl_call(settings: LocalSettings, path: str, *, body: Mapping[str, object] | None = None, image: str = "") -> str:
    """Return a curl command that sends JSON, or a picture if there is one; the key is in the variable KEY."""
    trust = f" --cacert {settings.authority}" if settings.authority else ""
    sent = f"-F image=@{image}" if image else f"-d {shlex.quote(json.dumps(body))}"
    return f'curl -s{trust} {settings.client_url}{path} -H "API-Key: $KEY" {sent}'
