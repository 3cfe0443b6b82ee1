"""The attacks, each in a process of its own: ``python -m tests.abuse.attacks NAME PORT``.

Bounded in time and count, and only ever against the loopback interface. Each prints what it saw as JSON.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.abuse.gateway import KEYS
from tests.abuse.model_pod import IMAGES, NUMBERS, TEXTS

#: Attackers come from another address than the innocent.
_ADDRESS = "127.0.0.2"
_SECONDS = 8.0
_MB = 1024 * 1024
_KEY = f"API-Key: {KEYS['attacker']}\r\n".encode()


def connect(port: int) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(_SECONDS)
    sock.bind((_ADDRESS, 0))
    sock.connect(("127.0.0.1", port))
    return sock


def status(sock: socket.socket, seconds: float = _SECONDS) -> int:
    """The status of the next answer; 0 if there is none."""
    sock.settimeout(seconds)
    with contextlib.suppress(OSError):
        head = sock.recv(65536)
        if head.startswith(b"HTTP/1.1 "):
            return int(head[9:12])
    return 0


def pour(port: int, start: bytes, piece: bytes, most: int) -> dict[str, Any]:
    """Send ``start`` and then ``piece`` until ``most`` bytes, the end of the time, or the server's."""
    sock = connect(port)
    sent = 0
    give_up = time.monotonic() + _SECONDS
    try:
        sock.sendall(start)
        while sent < most and time.monotonic() < give_up:
            sock.sendall(piece)
            sent += len(piece)
    except OSError:
        pass
    return {"sent": sent, "status": status(sock)}


def short_header_lines(port: int) -> dict[str, Any]:
    """64 MB of header lines of six bytes."""
    return pour(port, b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 10_000, 64 * _MB)


def endless_header_line(port: int) -> dict[str, Any]:
    return pour(port, b"GET / HTTP/1.1\r\na: ", b"b" * 65536, 64 * _MB)


def endless_url(port: int) -> dict[str, Any]:
    return pour(port, b"GET /", b"u" * 65536, 64 * _MB)


def endless_trailer(port: int) -> dict[str, Any]:
    """A whole head and body, and then a field behind them that never ends."""
    head = b"POST /predict HTTP/1.1\r\n" + _KEY + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\na: "
    return pour(port, head, b"b" * 65536, 64 * _MB)


def endless_body_after_401(port: int) -> dict[str, Any]:
    head = b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    return pour(port, head, b"10000\r\n" + b"x" * 65536 + b"\r\n", 512 * _MB)


def pipelined_requests(port: int) -> dict[str, Any]:
    """Requests by the thousand on one connection, whose answers nobody reads."""
    return pour(port, b"", b"GET /v1/models HTTP/1.1\r\n\r\n" * 2_000, 16 * _MB)


def headers_without_body(port: int) -> dict[str, Any]:
    """500 requests whose body never comes, and that allow a second for their answer."""
    head = b"POST /predict HTTP/1.1\r\n" + _KEY + b"X-Request-Timeout: 1\r\nContent-Length: 100\r\n\r\n"
    socks = [connect(port) for _ in range(500)]
    for sock in socks:
        sock.sendall(head)
    return {"statuses": Counter(status(sock) for sock in socks)}


def silent_connections(port: int) -> dict[str, Any]:
    """20,000 connections that send nothing; those that are refused are closed."""
    held: list[socket.socket] = []
    seen: Counter[int] = Counter()
    for number in range(20_000):
        try:
            held.append(connect(port))
        except OSError:
            seen[0] += 1
        if number % 250 == 249:
            for sock in _readable(held):
                seen[status(sock, 1.0)] += 1
                held.remove(sock)
                sock.close()
    return {"held": len(held), "statuses": seen}


def _readable(socks: list[socket.socket]) -> list[socket.socket]:
    poll = select.poll()
    by_file = {sock.fileno(): sock for sock in socks}
    for file in by_file:
        poll.register(file, select.POLLIN)
    return [by_file[file] for file, _ in poll.poll(0)]


def half_sent_bodies(port: int) -> dict[str, Any]:
    """190 bodies of 8 MB with one key, of which the last byte is missing."""
    head = b"POST /predict HTTP/1.1\r\n" + _KEY + b"Content-Length: %d\r\n\r\n" % (8 * _MB)
    data = memoryview(head + b"x" * (8 * _MB - 1))
    socks = [connect(port) for _ in range(190)]
    left = dict.fromkeys(socks, data)
    give_up = time.monotonic() + _SECONDS
    while left and time.monotonic() < give_up:
        _, ready, _ = select.select([], list(left), [], 0.1)
        for sock in ready:
            sock.setblocking(False)
            try:
                left[sock] = left[sock][sock.send(left[sock]) :]
            except BlockingIOError:
                continue
            except OSError:  # refused and closed
                del left[sock]
            else:
                if not left[sock]:
                    del left[sock]
    return {"statuses": Counter(status(sock) for sock in socks)}


def bodies_without_a_key(port: int) -> dict[str, Any]:
    """800 bodies of 1 MB at once from nobody."""
    head = b"POST /predict HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n" + b"x" * 300_000
    socks = [connect(port) for _ in range(800)]
    for sock in socks:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.send(head)
    return {"statuses": Counter(status(sock) for sock in socks)}


def refusals_without_a_key(port: int) -> dict[str, Any]:
    """Requests with long URLs, as many as fit the time, of a kind that is refused with 401 and one with 404."""
    tail = b"/" + b"u" * 8000 + b" HTTP/1.1\r\nContent-Length: 0\r\nUser-Agent: " + b"a" * 8000 + b"\r\n\r\n"
    seen: Counter[int] = Counter()
    sock = connect(port)
    give_up = time.monotonic() + _SECONDS / 2
    while time.monotonic() < give_up:
        for start in (b"GET /v2/models", b"GET /nowhere"):
            sock.sendall(start + tail)
            seen[status(sock)] += 1
    return {"statuses": seen, "answers": seen.total()}


def h2c_offers(port: int) -> dict[str, Any]:
    """What Java's client sends, with a body that looks like a request."""
    body = b"GET /smuggled HTTP/1.1\r\n\r\n"
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    head = b"POST /predict HTTP/1.1\r\n" + _KEY + offer + b"Content-Length: %d\r\n\r\n" % len(body)
    seen: Counter[bytes] = Counter()
    for _ in range(100):
        sock = connect(port)
        sock.sendall(head + body)
        answer = sock.recv(65536)
        seen[b"unknown-path" if b"unknown-path" in answer else answer[9:12]] += 1
        sock.settimeout(0.01)
        with contextlib.suppress(OSError):
            if sock.recv(65536):
                seen[b"second answer"] += 1
        sock.close()
    return {"answers": {key.decode(): count for key, count in seen.items()}}


def reuse_after_idling(port: int) -> dict[str, Any]:
    """46 connections that are used again after 6 s, as pooled clients do."""
    request = b"POST /predict HTTP/1.1\r\n" + _KEY + b"Content-Length: 2\r\n\r\n{}"
    socks = [connect(port) for _ in range(46)]
    seen: Counter[int] = Counter()
    for pause in (0, 6):
        time.sleep(pause)
        for sock in socks:
            sock.sendall(request)
            seen[status(sock)] += 1
    return {"statuses": seen}


def repeated(
    port: int, body: bytes, path: str = f"/v1/models/{NUMBERS}/predict", content_encoding: str = "identity"
) -> dict[str, Any]:
    """Eight connections with one key, each of which sends ``body`` again as soon as it is answered."""
    give_up = time.monotonic() + _SECONDS
    headers = {
        "API-Key": KEYS["attacker"],
        "Content-Type": "application/json",
        "Content-Encoding": content_encoding,
    }

    def send() -> list[int]:
        seen = []
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(_ADDRESS, 0))
        while time.monotonic() < give_up:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            answer.read()
            seen.append(answer.status)
        connection.close()
        return seen

    with ThreadPoolExecutor(8) as clients:
        statuses = Counter(status for sent in [clients.submit(send) for _ in range(8)] for status in sent.result())
    return {"statuses": statuses, "bytes": len(body)}


def many_numbers(port: int) -> dict[str, Any]:
    """5 MB that are a row of the model: 2.5 million numbers."""
    return repeated(port, b'{"x": [' + b"1," * 2_499_999 + b"1]}")


def endless_number(port: int) -> dict[str, Any]:
    """One number of five million digits."""
    return repeated(port, b'{"x": [' + b"1" * (5 * _MB) + b"]}")


def deep_nesting(port: int) -> dict[str, Any]:
    """2.6 million lists in one another."""
    return repeated(port, b'{"x": ' + b"[" * (5 * _MB // 2) + b"]" * (5 * _MB // 2) + b"}")


def unknown_members(port: int) -> dict[str, Any]:
    """A row with a field that the model does not have, of 5 MB of small objects."""
    return repeated(port, b'{"x": [1], "y": [' + b'{"a":[1]},' * (5 * _MB // 10) + b"1]}")


def small_rows(port: int) -> dict[str, Any]:
    """A hundred thousand rows of one number."""
    return repeated(port, b"[" + b'{"x": [1]},' * 99_999 + b'{"x": [1]}]')


def objects_in_a_text(port: int) -> dict[str, Any]:
    """Eight megabytes of objects in one another where a text belongs."""
    depth = 8 * _MB // 7
    return repeated(port, b'{"text": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}", f"/v1/models/{TEXTS}/predict")


def compressed_zeros(port: int) -> dict[str, Any]:
    """Half a megabyte that becomes 500."""
    body = gzip.compress(bytes(500 * _MB), 9)
    return repeated(port, body, f"/v1/models/{TEXTS}/predict", "gzip")


def repeated_outputs(port: int) -> dict[str, Any]:
    """A request of 100 kB that asks for its output four thousand times."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    request = {"inputs": [tensor], "outputs": [{"name": "y"}] * 4000}
    return repeated(port, json.dumps(request).encode(), f"/v2/models/{TEXTS}/infer")


def scans_without_end(port: int) -> dict[str, Any]:
    """A JPEG of 650 kB with six thousand scans of 12 megapixels."""
    frame = b"\xff\xd8\xff\xc2\0\x11\x08" + struct.pack(">HH", 3000, 4000) + bytes(10)
    return repeated(port, _images([frame + (b"\xff\xda" + bytes(106)) * 6000]), f"/v1/models/{IMAGES}/predict")


def pixels_without_end(port: int) -> dict[str, Any]:
    """Ten rows of a PNG of 49 megapixels."""
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 7000, 7000) + bytes(6000)
    return repeated(port, _images([png] * 10), f"/v1/models/{IMAGES}/predict")


def _images(files: list[bytes]) -> bytes:
    return json.dumps([{"image": base64.b64encode(file).decode()} for file in files]).encode()


ATTACKS: dict[str, Callable[[int], dict[str, Any]]] = {
    attack.__name__: attack
    for attack in (
        short_header_lines,
        endless_header_line,
        endless_url,
        endless_trailer,
        endless_body_after_401,
        pipelined_requests,
        headers_without_body,
        silent_connections,
        half_sent_bodies,
        bodies_without_a_key,
        refusals_without_a_key,
        h2c_offers,
        reuse_after_idling,
        many_numbers,
        endless_number,
        deep_nesting,
        unknown_members,
        small_rows,
        objects_in_a_text,
        compressed_zeros,
        repeated_outputs,
        scans_without_end,
        pixels_without_end,
    )
}


if __name__ == "__main__":
    print("started", flush=True)
    print(json.dumps(ATTACKS[sys.argv[1]](int(sys.argv[2]))))
