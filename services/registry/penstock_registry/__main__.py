"""``python -m penstock_registry``: run the registry."""

from __future__ import annotations

import uvicorn

from penstock_common.settings import load_settings
from penstock_common.telemetry import configure_logging, configure_tracing
from penstock_registry.app import build_app
from penstock_registry.settings import RegistrySettings


def main() -> None:
    settings = load_settings(RegistrySettings)
    configure_logging("registry", settings.log_level)
    stop_tracing = configure_tracing("registry")
    uvicorn.run(
        build_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        # Long polls end here; their callers ask again.
        timeout_graceful_shutdown=2,
    )
    stop_tracing()


if __name__ == "__main__":
    main()
