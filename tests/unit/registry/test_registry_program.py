"""``python -m penstock_registry``: what it says if it cannot start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import free_ports, until


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"PENSTOCK_REGISTRY_STORE_URL": "ftp://x", "PENSTOCK_REGISTRY_ALLOW_ANONYMOUS": "true"},
            "use a folder, s3://",
        ),
        ({"PENSTOCK_REGISTRY_STORE_URL": "store", "PENSTOCK_REGISTRY_TOKENS_DIR": "nothing"}, "no token"),
        ({"PENSTOCK_REGISTRY_STORE_URL": "store"}, "PENSTOCK_REGISTRY_TOKENS_DIR"),
    ],
)
def test_a_bad_setting_ends_the_program_with_one_line(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    """Status 2, and no traceback."""
    command = [sys.executable, "-m", "penstock_registry"]
    result = subprocess.run(
        command, env=os.environ | variables, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert said in result.stderr


def test_callers_without_a_token_cannot_fill_the_log(tmp_path: Path) -> None:
    """Malformed, unknown and unauthorized requests with long URLs: a few short lines for a thousand of them."""
    [port] = free_ports(1)
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "read").write_text("t\n")
    environment = os.environ | {
        "PENSTOCK_REGISTRY_PORT": str(port),
        "PENSTOCK_REGISTRY_STORE_URL": str(tmp_path / "store"),
        "PENSTOCK_REGISTRY_TOKENS_DIR": str(tmp_path / "tokens"),
    }
    url = b"/v1/models/" + b"u" * 8000
    requests = [
        b"NONSENSE\r\n\r\n",
        b"GET %b HTTP/1.1\r\n\r\n" % url,
        b"GET %b HTTP/1.1\r\nAuthorization: Bearer wrong\r\nUser-Agent: %b\r\n\r\n" % (url, b"a" * 8000),
        b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock_registry"], env=environment, stdout=output, stderr=output
        )
    try:
        until(lambda: _answers(port), "the registry")
        before = log.stat().st_size
        for _ in range(250):
            for request in requests:
                with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
                    sock.sendall(request)
                    assert sock.recv(65536).startswith(b"HTTP/1.1 4")
        assert log.stat().st_size - before < 50_000
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
