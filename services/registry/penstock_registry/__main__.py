"""``python -m penstock_registry``: run the registry."""

from __future__ import annotations

import sys

import uvicorn
import uvloop

from penstock_common.settings import load_settings
from penstock_common.telemetry import configure_logging, configure_tracing
from penstock_registry.app import build_app
from penstock_registry.settings import RegistrySettings


class _Server(uvicorn.Server):
    """Exits with status 0 after SIGTERM; uvicorn would raise the signal again, before the last spans are sent."""

    def handle_exit(self, sig: int, frame: object) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def main() -> None:
    settings = load_settings(RegistrySettings)
    configure_logging("registry", settings.log_level)
    stop_tracing = configure_tracing("registry")
    try:
        app = build_app(settings)
    except ValueError as err:  # of a store's URL, or of a folder without tokens
        print(err, file=sys.stderr)
        raise SystemExit(2) from None
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        # Cuts off the long polls that are still open; their callers ask again.
        timeout_graceful_shutdown=2,
    )
    uvloop.run(_Server(config).serve())
    stop_tracing()


if __name__ == "__main__":
    main()
