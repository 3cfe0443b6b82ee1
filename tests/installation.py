"""A complete local installation on free ports, started with the command line as a user starts it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from rich.console import Console

from penstock_cli.local_installation import LocalInstallation
from penstock_cli.settings import LocalSettings
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION, AliasTarget

ROOT = Path(__file__).resolve().parents[1]


def _port_range() -> range:
    """Ports below the ranges of the kernel's outgoing connections and of Kubernetes' node ports.

    Both could otherwise take a port between its choice and its use, as could another process of pytest-xdist: each of
    its first twenty has a thousand ports of its own.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return range(10_000, 30_000)
    first = 10_000 + int(worker.removeprefix("gw")) % 20 * 1_000
    return range(first, first + 1_000)


def free_ports(count: int) -> list[int]:
    """Return consecutive ports of 127.0.0.1 on which nothing listens."""
    chosen_from = _port_range()[:-count]
    while True:
        first = random.choice(chosen_from)
        ports = list(range(first, first + count))
        try:
            for port in ports:
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
        except OSError:
            continue
        return ports


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for a condition; fail the test if it does not become true in time."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"waited {seconds} s in vain for {what}"
        time.sleep(0.02)


def _status(url: str, key: str = "") -> int:
    try:
        return httpx.get(url, headers={"API-Key": key} if key else {}).status_code
    except httpx.HTTPError:
        return 0


class Gateway(NamedTuple):
    """An additional gateway of an installation."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path


class Installation:
    """``penstock up`` in a home folder of its own.

    Args:
        home: folder for state, logs and keys.
        workers: inference processes behind Envoy.
        prefix: words put before each command, e.g. ``taskset -c 0``.
        environment: additional environment variables of the services.
    """

    def __init__(
        self, home: Path, *, workers: int, prefix: tuple[str, ...] = (), environment: dict[str, str] | None = None
    ) -> None:
        self.home = home
        self.workers = workers
        self._prefix = prefix
        gateway, registry, tls, *metrics = free_ports(3 + workers)
        self.environment = os.environ | {
            "PENSTOCK_HOME": str(home),
            "PENSTOCK_GATEWAY_PORT": str(gateway),
            "PENSTOCK_REGISTRY_PORT": str(registry),
            "PENSTOCK_TLS_PORT": str(tls),
            "PENSTOCK_WORKER_METRICS_PORT": str(metrics[0]),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "160",
            **(environment or {}),
        }
        self.url = f"http://127.0.0.1:{gateway}"
        self.registry_url = f"http://127.0.0.1:{registry}"
        self.envoy_address = f"unix:{self.socket('envoy')}"

    def socket(self, part: str) -> Path:
        """The unix socket of ``envoy``, ``envoy-admin`` or ``worker-1``."""
        return self.home.absolute() / "sockets" / f"{part}.sock"

    def penstock(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line; its output is in the error if it fails."""
        command = [*self._prefix, sys.executable, "-m", "penstock_cli", *arguments]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"penstock {' '.join(arguments)} -> {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.penstock(*arguments, "--json").stdout)

    def up(self) -> None:
        self.penstock("up", "--workers", str(self.workers))

    def down(self) -> None:
        self.penstock("down")

    def status(self) -> list[dict[str, object]]:
        """What ``penstock status --json`` prints, without the time in which a program starts."""
        return LocalInstallation(LocalSettings(home=self.home), Console()).status()

    async def publish(self, model: str, folder: Path) -> int:
        """Register a version and return its number, as ``penstock push --no-check`` does, which takes a program's start."""
        async with RegistryClient(self.registry_url, self.registry_token_file("publish")) as registry:
            return (await registry.publish(model, folder, metrics={}, lineage={})).version

    async def serve(self, model: str, folder: Path) -> None:
        """Register the first version of a model and promote it; return once it is ready."""
        version = await self.publish(model, folder)
        async with RegistryClient(self.registry_url, self.registry_token_file("promote")) as registry:
            await registry.set_alias(model, PRODUCTION, [AliasTarget(version)])
        ready = lambda: _status(f"{self.url}/v2/models/{model}/ready", self.key) == 200  # noqa: E731
        await asyncio.to_thread(until, ready, f"{model} to be ready")

    def unlimited_key(self) -> str:
        """Create a key whose limit no test reaches; return it once the gateway knows it."""
        return self.known_key("--name", "unlimited", "--rate", "1000000", "--burst", "1000000")

    def known_key(self, *options: str) -> str:
        """Create a key with options of ``penstock keys create``; return it once the gateway knows it."""
        key = str(self.json("keys", "create", *options)["key"])
        known = lambda: httpx.get(f"{self.url}/v1/models", headers={"API-Key": key}).status_code != 401  # noqa: E731
        until(known, "the gateway to know the new key")
        return key

    @contextmanager
    def another_gateway(self, **environment: str) -> Iterator[Gateway]:
        """Start another gateway with the same registry, keys and pods; yield it once it is ready.

        Args:
            environment: settings that differ from those of the first gateway.
        """
        (port,) = free_ports(1)
        settings = {
            "PENSTOCK_GATEWAY_PORT": str(port),
            "PENSTOCK_GATEWAY_UPSTREAM": self.envoy_address,
            "PENSTOCK_GATEWAY_ENVOY_ADMIN_SOCKET": str(self.socket("envoy-admin")),
            "PENSTOCK_GATEWAY_REGISTRY_URL": self.registry_url,
            "PENSTOCK_GATEWAY_REGISTRY_TOKEN_FILE": str(self.registry_token_file("read")),
            "PENSTOCK_GATEWAY_KEYS_URL": str(self.home / "keys.db"),
            "PENSTOCK_GATEWAY_FILES_URL": str(self.home / "files"),
        }
        url = f"http://127.0.0.1:{port}"
        command = [*self._prefix, sys.executable, "-m", "penstock_gateway"]
        log = self.home / f"gateway-{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=self.environment | settings | environment, cwd=ROOT, stdout=output, stderr=output
            )
        try:
            until(lambda: _status(f"{url}/readyz") == 200, f"another gateway to be ready; see {log}")
            yield Gateway(process, url, log)
        finally:
            process.kill()
            process.wait()

    @property
    def key(self) -> str:
        return (self.home / "key").read_text().strip()

    def registry_token_file(self, role: str) -> Path:
        return self.home / "registry-tokens" / role
