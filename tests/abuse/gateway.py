"""One real gateway for the attacks: its own process, two keys, and a registry without models."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil

from tests.installation import ROOT, free_ports

KEYS = {"attacker": "psk_aaaaaaaaaaaa_attacker", "innocent": "psk_bbbbbbbbbbbb_innocent"}


@dataclass
class Gateway:
    process: psutil.Process
    port: int
    log: Path

    @property
    def rss(self) -> int:
        """Bytes of its memory that are in RAM."""
        return int(self.process.memory_info().rss)


class _EmptyRegistry(BaseHTTPRequestHandler):
    """Answers the watch: there are no models, and nothing changes."""

    def do_GET(self) -> None:
        if "cursor=1" in self.path:
            time.sleep(5)
        body = b'{"cursor": "1", "models": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def running_gateway(home: Path, **settings: str) -> Iterator[Gateway]:
    """A gateway, from when it answers until the block ends.

    Args:
        settings: environment variables; without them, it has its default bounds.
    """
    keys = home / "keys"
    keys.mkdir()
    for name, key in KEYS.items():
        digest = hashlib.sha256(key.encode()).hexdigest()
        record = {"id": key[4:16], "name": name, "hash": digest, "rate": 1e6, "burst": 1e6}
        (keys / f"{name}.json").write_text(json.dumps(record))
    port, registry_port = free_ports(2)
    registry = ThreadingHTTPServer(("127.0.0.1", registry_port), _EmptyRegistry)
    registry.daemon_threads = True
    threading.Thread(target=registry.serve_forever, daemon=True).start()
    environment = os.environ | {
        "PENSTOCK_GATEWAY_PORT": str(port),
        "PENSTOCK_GATEWAY_REGISTRY_URL": f"http://127.0.0.1:{registry_port}",
        "PENSTOCK_GATEWAY_KEYS_URL": str(keys),
        "PENSTOCK_GATEWAY_UPSTREAM": "127.0.0.1:1",
        **settings,
    }
    log = home / "gateway.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "penstock_gateway"], env=environment, cwd=ROOT, stdout=out, stderr=out
        )
    try:
        give_up = time.monotonic() + 60
        while True:
            try:
                headers = {"API-Key": KEYS["innocent"]}
                if httpx.post(f"http://127.0.0.1:{port}/predict", headers=headers).status_code == 404:
                    break
            except httpx.HTTPError:
                pass
            assert child.poll() is None and time.monotonic() < give_up, log.read_text()
            time.sleep(0.1)
        yield Gateway(psutil.Process(child.pid), port, log)
        assert child.poll() is None, "the gateway died"
    finally:
        child.terminate()
        child.wait(30)
        registry.shutdown()
