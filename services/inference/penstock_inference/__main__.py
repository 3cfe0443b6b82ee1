"""``python -m penstock_inference``: run a pod's server."""

from __future__ import annotations

import uvloop

from penstock_common.settings import load_settings
from penstock_common.telemetry import configure_logging
from penstock_inference.server import serve
from penstock_inference.settings import InferenceSettings


def main() -> None:
    settings = load_settings(InferenceSettings)
    configure_logging("inference", settings.log_level)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
