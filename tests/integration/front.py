"""A real Envoy as the front, and clients for it."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import psutil
import yaml

from penstock_cli.front import front
from penstock_cli.local_certificate import ensure_certificate
from penstock_cli.settings import LocalSettings
from tests.installation import free_ports, until


@dataclass
class Front:
    """A running front."""

    settings: LocalSettings
    process: psutil.Process

    @property
    def url(self) -> str:
        return self.settings.tls_url

    @property
    def port(self) -> int:
        return self.settings.tls_port

    def trust(self) -> ssl.SSLContext:
        """What a client needs to know of the installation."""
        return ssl.create_default_context(cafile=self.settings.certificates / "ca.crt")

    def client(self, *, http2: bool, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """A client at ``address`` with connections of its own."""
        transport = httpx.AsyncHTTPTransport(
            verify=self.trust(), http1=not http2, http2=http2, local_address=address, retries=0
        )
        return httpx.AsyncClient(base_url=f"https://127.0.0.1:{self.port}", transport=transport, timeout=20)

    def metric(self, series: str) -> float:
        """The value of one of its series, without labels, as Prometheus reads it."""
        transport = httpx.HTTPTransport(uds=str(self.settings.socket("front-admin")))
        with httpx.Client(transport=transport) as admin:
            page = admin.get("http://front/stats/prometheus").text
        [value] = [line.split()[-1] for line in page.splitlines() if line.startswith(f"{series}{{")]
        return float(value)

    def connect(self, protocol: str, address: str = "127.0.0.1") -> ssl.SSLSocket:
        """A connection from ``address`` after its handshake, in which ``protocol`` was agreed on."""
        context = self.trust()
        context.set_alpn_protocols([protocol])
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=20, source_address=(address, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(sock, server_hostname="localhost")


def front_socket(home: Path) -> Path:
    """Where the front of an installation in ``home`` expects the gateway; make the folder of that socket."""
    settings = LocalSettings(home=home)
    settings.sockets.mkdir(exist_ok=True)
    return settings.socket("front")


@contextmanager
def running_front(home: Path, **manager: Any) -> Iterator[Front]:
    """The front of an installation in ``home``, from when it listens until the block ends.

    Args:
        manager: settings of its connection manager that differ, so that a test need not wait for seconds.
    """
    (port,) = free_ports(1)
    settings = LocalSettings(home=home, tls_port=port)
    settings.sockets.mkdir(exist_ok=True)
    ensure_certificate(settings.certificates, datetime.datetime.now(datetime.UTC))
    settings.sockets.mkdir(exist_ok=True)
    part = front(settings)
    path = home / "front.yaml"
    config = yaml.safe_load(path.read_text())
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    chain["transport_socket_connect_timeout"] = manager.pop("handshake", chain["transport_socket_connect_timeout"])
    for name, value in manager.items():
        held = chain["filters"][0]["typed_config"]
        *folders, last = name.split("__")
        for folder in folders:
            held = held[folder]
        assert last in held
        held[last] = value
    config["admin"] = {
        "address": {"pipe": {"path": str(settings.socket("front-admin")), "mode": 0o600}}
    }  # as in the chart
    path.write_text(yaml.safe_dump(config))
    log = home / "front.log"
    with log.open("wb") as out:
        child = subprocess.Popen(part.command, stdout=out, stderr=out)
    try:

        def listens() -> bool:
            assert child.poll() is None, log.read_text()
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        until(listens, f"the front to listen; see {log}")
        yield Front(settings, psutil.Process(child.pid))
        assert child.poll() is None, log.read_text()
    finally:
        child.terminate()
        child.wait(30)


class Http2:
    """One HTTP/2 connection, frame by frame."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._socket = sock
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
        self._connection.initiate_connection()
        self._flush()
        self.settings: dict[int, int] = {}
        self.goaway = False
        self._unframed = b""
        self._answers: dict[int, dict[str, Any]] = {}

    def _flush(self) -> None:
        self._socket.sendall(self._connection.data_to_send())

    def request(
        self, path: str, fields: Sequence[tuple[str, str]] = (), *, method: str = "GET", end: bool = True
    ) -> int:
        """Send a request's headers; return its stream."""
        stream = self._connection.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost"), *fields]
        self._connection.send_headers(stream, head, end_stream=end)
        self._flush()
        self._answers[stream] = {"status": 0, "body": b"", "ended": False, "reset": False}
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self._connection.send_data(stream, data, end_stream=end)
        self._flush()

    def end(self, stream: int) -> None:
        self._connection.end_stream(stream)
        self._flush()

    def reset(self, stream: int) -> None:
        self._connection.reset_stream(stream)
        self._flush()

    def answer(self, stream: int) -> dict[str, Any]:
        """Wait for the end of a stream.

        Raises:
            EOFError: the connection ended first.
        """
        found = self._answers[stream]
        while not (found["ended"] or found["reset"]):
            self._read()
        return found

    def first_answer(self) -> dict[str, Any]:
        """Wait until any stream has ended."""
        while True:
            for found in self._answers.values():
                if found["ended"] or found["reset"]:
                    return found
            self._read()

    def until_closed(self) -> None:
        """Read until the server closes."""
        try:
            while True:
                self._read()
        except TimeoutError:
            raise
        except (EOFError, OSError):
            return

    def _read(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise EOFError
        self._unframed += data
        for event in self._connection.receive_data(self._without_goaway()):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                self.settings |= {int(code): change.new_value for code, change in event.changed_settings.items()}
            elif isinstance(event, h2.events.ResponseReceived):
                self._answers[event.stream_id]["status"] = int(dict(event.headers)[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                self._answers[event.stream_id]["body"] += event.data
                self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self._answers[event.stream_id]["ended"] = True
            elif isinstance(event, h2.events.StreamReset):
                self._answers[event.stream_id]["reset"] = True
        self._flush()

    def _without_goaway(self) -> bytes:
        """The whole frames that have come. After GOAWAY, h2 would accept no answer (python-hyper/h2, issue 1181)."""
        frames = b""
        while len(self._unframed) >= 9:
            end = 9 + int.from_bytes(self._unframed[:3], "big")
            if len(self._unframed) < end:
                break
            if self._unframed[3] == 7:
                self.goaway = True
            else:
                frames += self._unframed[:end]
            self._unframed = self._unframed[end:]
        return frames
