"""Waits for an installation that is still starting."""

from __future__ import annotations

import time

from penstock_cli.gateway import ask_gateway
from penstock_cli.registry import ask_registry
from penstock_cli.settings import LocalSettings
from penstock_common.errors import PenstockError

_LOOK_SECONDS = 0.5


def wait_until_started(settings: LocalSettings, seconds: float, *, gateway: bool) -> None:
    """Return once the registry answers, and the gateway too if ``gateway`` is true.

    Raises:
        PenstockError: what they answer, if that is another error than 502 or 503; the last of these after ``seconds``.
    """
    give_up = time.monotonic() + seconds
    while True:
        try:
            ask_registry(settings, "read", lambda client: client.models())
            if gateway:
                ask_gateway(settings, "GET", "/v1/models")
            return
        except PenstockError as err:
            if err.status not in (502, 503) or time.monotonic() > give_up:
                raise
        time.sleep(_LOOK_SECONDS)
