"""Calls as a user can paste them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from penstock_cli.settings import LocalSettings


def curl_call(
    settings: LocalSettings,
    path: str,
    *,
    body: Mapping[str, object] | None = None,
    form: Mapping[str, str] | None = None,
) -> str:
    """Return a curl command that sends JSON or a form, of which a field ``@NAME`` is a file; the key is in KEY."""
    trust = f" --cacert {settings.authority}" if settings.authority else ""
    fields = [f"-F {shlex.quote(f'{name}={value}')}" for name, value in (form or {}).items()]
    sent = " ".join(fields) or f"-d {shlex.quote(json.dumps(body))}"
    return f'curl -s{trust} {settings.client_url}{path} -H "API-Key: $KEY" {sent}'
