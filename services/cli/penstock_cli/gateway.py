"""Access to the gateway that the commands use."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import httpx

from penstock_cli.settings import LocalSettings
from penstock_common.errors import PenstockError
from penstock_common.registry_models import AliasTarget

_LOOK_SECONDS = 0.5


def ask_gateway(settings: LocalSettings, method: str, path: str, **request: Any) -> httpx.Response:
    """Return the gateway's answer, of the environment's ``PENSTOCK_URL`` and ``PENSTOCK_KEY`` or else of this machine.

    Raises:
        PenstockError: the gateway's own, or 503 ``unreachable``.
    """
    url = os.environ.get("PENSTOCK_URL", settings.client_url) + path
    headers = {"API-Key": os.environ.get("PENSTOCK_KEY") or settings.secret("key")} | request.pop("headers", {})
    trusted = httpx.create_ssl_context()
    if settings.authority is not None:
        trusted.load_verify_locations(settings.authority)
    try:
        answer = httpx.request(method, url, headers=headers, timeout=30, verify=trusted, **request)
    except httpx.HTTPError as err:
        raise PenstockError(503, "unreachable", f"{url}: {err}; start it with penstock up.") from None
    if answer.is_error:
        raise PenstockError(answer.status_code, "refused", _detail(answer))
    return answer


def wait_until_in_effect(
    settings: LocalSettings, model: str, alias: str, targets: Sequence[AliasTarget], seconds: float
) -> None:
    """Return once the gateway answers requests for an alias with the versions ``targets``.

    Raises:
        PenstockError: 503 ``not-loaded`` with the pods' reason if they cannot load one of them; 504
            ``not-in-effect`` after ``seconds``; what ``ask_gateway`` raises.
    """
    versions = {str(target.version) for target in targets}
    give_up = time.monotonic() + seconds
    while True:
        listed = ask_gateway(settings, "GET", "/v1/models").json()["data"]
        absent: dict[str, Any] = {"aliases": {}, "loading": []}
        entry = next((entry for entry in listed if entry["id"] == model), absent)
        if {share["version"] for share in entry["aliases"].get(alias, [])} == versions:
            return
        for load in entry["loading"]:
            if load["version"] in versions and load["state"] == "failed":
                text = f"Version {load['version']} of {model!r} could not be loaded: {load['reason']}"
                raise PenstockError(503, "not-loaded", text)
        if time.monotonic() > give_up:
            text = f"{model}@{alias} is not in effect after {seconds:g} s; penstock models shows what it waits for."
            raise PenstockError(504, "not-in-effect", text)
        time.sleep(_LOOK_SECONDS)


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text
