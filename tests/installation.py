"""A complete local installation on free ports, started with the command line as a user starts it."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]


#: Below the ranges of the kernel's outgoing connections and of Kubernetes' node ports, which could otherwise take a
#: port between its choice and its use.
_PORTS = range(10_000, 30_000)


def free_ports(count: int) -> list[int]:
    """Return consecutive ports of 127.0.0.1 on which nothing listens."""
    while True:
        first = random.choice(_PORTS[:-count])
        ports = list(range(first, first + count))
        try:
            for port in ports:
                with socket.socket() as s:
                    s.bind(("127.0.0.1", port))
        except OSError:
            continue
        return ports


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
        gateway, registry, envoy, admin, *ports = free_ports(4 + 2 * workers)
        self.environment = os.environ | {
            "PENSTOCK_HOME": str(home),
            "PENSTOCK_GATEWAY_PORT": str(gateway),
            "PENSTOCK_REGISTRY_PORT": str(registry),
            "PENSTOCK_ENVOY_PORT": str(envoy),
            "PENSTOCK_ENVOY_ADMIN_PORT": str(admin),
            "PENSTOCK_WORKER_PORT": str(ports[0]),
            "PENSTOCK_WORKER_METRICS_PORT": str(ports[workers]),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "160",
            **(environment or {}),
        }
        self.url = f"http://127.0.0.1:{gateway}"
        self.registry_url = f"http://127.0.0.1:{registry}"
        self.envoy_address = f"127.0.0.1:{envoy}"
        self.envoy_admin_url = f"http://127.0.0.1:{admin}"
        self.keys_db = ""

    def penstock(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line; its output is in the error where it fails."""
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

    def unlimited_key(self) -> str:
        """Create a key whose limit no test reaches; return it once the gateway knows it."""
        key = str(self.json("keys", "create", "--name", "unlimited", "--rate", "1000000", "--burst", "1000000")["key"])
        give_up = time.monotonic() + 30
        while httpx.get(f"{self.url}/v1/models", headers={"API-Key": key}).status_code == 401:
            assert time.monotonic() < give_up, "the gateway never noticed the new key"
        return key

    @property
    def key(self) -> str:
        return (self.home / "key").read_text().strip()

    @property
    def registry_token(self) -> str:
        return (self.home / "registry-token").read_text().strip()
