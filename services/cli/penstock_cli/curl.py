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
    save_as: str = "",
) -> str:
    """Return a curl command that sends JSON or a form, of which a field ``@NAME`` is a file; the key is in KEY.

    Args:
        save_as: the file for the answer; it is printed if this is empty.
    """
    trust = f" --cacert {settings.authority}" if settings.authority else ""
    fields = [f"-F {shlex.quote(f'{name}={value}')}" for name, value in (form or {}).items()]
    sent = " ".join(fields) or f"-d {shlex.quote(json.dumps(body))}"
    saved = f" -o {shlex.quote(save_as)}" if save_as else ""
    return f'curl -s{trust}{saved} {settings.client_url}{path} -H "API-Key: $KEY" {sent}'
