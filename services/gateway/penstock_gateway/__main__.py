"""``python -m penstock_gateway``: run the gateway."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import socket
from pathlib import Path
from typing import Any, cast

import uvicorn
import uvloop
from prometheus_client import start_http_server

from penstock_common.settings import load_settings
from penstock_common.telemetry import configure_logging, configure_tracing
from penstock_gateway.app import build_app
from penstock_gateway.edge.bounds import Bounds
from penstock_gateway.edge.connection_phases import patience
from penstock_gateway.edge.door import Door
from penstock_gateway.edge.front import listen_to_front
from penstock_gateway.edge.health import Health
from penstock_gateway.edge.http_protocol import FrontDoorProtocol
from penstock_gateway.edge.open_files import connections_that_fit
from penstock_gateway.settings import GatewaySettings


class _Server(uvicorn.Server):
    """Reports "not ready" for a while before it stops listening, so that balancers stop sending first."""

    def __init__(self, config: uvicorn.Config, health: Health, drain_seconds: float, front_socket: str) -> None:
        super().__init__(config)
        self._health = health
        self._drain_seconds = drain_seconds
        self._front_socket = front_socket

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._front_socket and self.started:
            make = functools.partial(
                cast(Any, self.config.http_protocol_class),
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )
            self.servers.append(await listen_to_front(Path(self._front_socket), make))

    def handle_exit(self, sig: int, frame: object) -> None:
        if self._health.draining:  # a second signal: stop at once
            self.should_exit = self.force_exit = True
            return
        self._health.draining = True
        asyncio.get_running_loop().call_later(self._drain_seconds, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


def open_door(settings: GatewaySettings) -> Door:
    """The bounds of the settings, for all connections."""
    bounds = Bounds(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(Bounds)})
    bounds = dataclasses.replace(bounds, max_connections=connections_that_fit(bounds.max_connections))
    return Door(bounds, patience(bounds))


async def serve(settings: GatewaySettings) -> None:
    stop_tracing = configure_tracing("gateway")
    health = Health()
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_host or settings.host)
    door = open_door(settings)
    config = uvicorn.Config(
        build_app(settings, health),
        host=settings.host,
        port=settings.port,
        # uvicorn calls it as it would call a class of its own.
        http=cast(Any, functools.partial(FrontDoorProtocol, door)),
        ws="none",
        access_log=False,
        log_config=None,
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=int(max(settings.timeout_seconds, settings.stream_grace_seconds)) + 1,
    )
    server = _Server(config, health, settings.drain_seconds, settings.front_socket)
    watch = asyncio.create_task(door.watch())
    await server.serve()
    watch.cancel()
    stop_tracing()


def main() -> None:
    settings = load_settings(GatewaySettings)
    configure_logging("gateway", settings.log_level)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
