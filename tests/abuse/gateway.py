"""One real gateway for the attacks: its own process, its keys, and a registry that never changes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import msgspec
import psutil

from penstock_common.registry_models import Model, Snapshot
from tests.installation import ROOT, free_ports

KEYS = {
    "attacker": "psk_aaaaaaaaaaaa_attacker",
    "innocent": "psk_bbbbbbbbbbbb_innocent",
    "limited": "psk_cccccccccccc_limited",  # one request, and no second one within the test
    "bound": "psk_dddddddddddd_bound",  # may ask no model
}


@dataclass
class Gateway:
    process: psutil.Process
    port: int
    log: Path

    @property
    def rss(self) -> int:
        """Bytes of its memory that are in RAM."""
        return int(self.process.memory_info().rss)

    @property
    def decoder_peak(self) -> int:
        """The most bytes that a decoder process that runs has had in RAM; 0 if there is none."""
        status = [Path(f"/proc/{child.pid}/status").read_text() for child in self.process.children()]
        return max((1024 * int(text.partition("VmHWM:")[2].split()[0]) for text in status), default=0)


class _Registry(BaseHTTPRequestHandler):
    """Answers the watch: the models are those of ``snapshot``, whose cursor is 1, and nothing changes."""

    snapshot = Snapshot("1", [])

    def do_GET(self) -> None:
        if "cursor=1" in self.path:
            time.sleep(5)
        body = msgspec.json.encode(self.snapshot)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def running_gateway(home: Path, models: Sequence[Model] = (), **settings: str) -> Iterator[Gateway]:
    """A gateway, from when it answers until the block ends.

    Args:
        models: what its registry has.
        settings: environment variables; without them, it has its default bounds.
    """
    keys = home / "keys"
    keys.mkdir()
    for name, key in KEYS.items():
        digest = hashlib.sha256(key.encode()).hexdigest()
        rate, burst = (1e-6, 1) if name == "limited" else (1e6, 1e6)
        record = {"id": key[4:16], "name": name, "hash": digest, "rate": rate, "burst": burst}
        if name == "bound":
            record["models"] = ["nothing"]
        (keys / f"{name}.json").write_text(json.dumps(record))
    port, registry_port = free_ports(2)
    handler = type("Handler", (_Registry,), {"snapshot": Snapshot("1", list(models))})
    registry = ThreadingHTTPServer(("127.0.0.1", registry_port), handler)
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
