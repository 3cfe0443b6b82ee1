"""``make abuse``: attacks on a real gateway, with an innocent client beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.abuse.attacks import ATTACKS
from tests.abuse.gateway import Gateway, running_gateway
from tests.abuse.innocent import Innocent
from tests.abuse.model_pod import MODELS, running_pod
from tests.installation import ROOT, until

#: The innocent's p99 during an attack, as a multiple of the one without: an attacker takes its share of the
#: machine, and opens and closes connections that have to be answered.
MOST_SLOWER = 100
#: The same for the slowest request of all. An event loop that stands still for seconds is a multiple of thousands.
MOST_STALLED = 300
MOST_RSS = 300 * 1024 * 1024
#: Of a process that decodes large JSON (docs/limits.md: ``decoders``).
MOST_DECODER_RSS = 300 * 1000 * 1000
REQUESTS = 200

#: What each attacker must see: conditions on the JSON that it prints.
MB = 1024 * 1024
EXPECTED: dict[str, Any] = {
    "short_header_lines": lambda saw: saw["status"] == 431 and saw["sent"] < 16 * MB,
    "endless_header_line": lambda saw: saw["status"] == 431 and saw["sent"] < 16 * MB,
    "endless_url": lambda saw: saw["status"] == 414 and saw["sent"] < 16 * MB,
    "endless_trailer": lambda saw: saw["status"] == 431 and saw["sent"] < 16 * MB,
    "endless_body_after_401": lambda saw: saw["status"] == 401 and saw["sent"] < 16 * MB,
    "pipelined_requests": lambda saw: saw["status"] == 401 and saw["sent"] < 8 * MB,
    "headers_without_body": lambda saw: saw["statuses"] == {"504": 500},
    "silent_connections": lambda saw: set(saw["statuses"]) == {"503"} and saw["statuses"]["503"] > 10_000,
    # Eight are read, 128 wait, the others are refused at once; then all that came is late.
    "half_sent_bodies": lambda saw: set(saw["statuses"]) == {"408", "429"} and saw["statuses"]["429"] >= 190 - 8 - 128,
    "bodies_without_a_key": lambda saw: saw["statuses"] == {"401": 800},
    "refusals_without_a_key": lambda saw: set(saw["statuses"]) == {"401", "404"} and saw["answers"] > 500,
    "h2c_offers": lambda saw: saw["answers"] == {"404": 100},
    "reuse_after_idling": lambda saw: saw["statuses"] == {"404": 92},
    # One decoder takes them in turn, so that on a busy machine some are late.
    "many_numbers": lambda saw: "200" in saw["statuses"] and set(saw["statuses"]) <= {"200", "504"},
    "endless_number": lambda saw: set(saw["statuses"]) == {"422"},
    "deep_nesting": lambda saw: set(saw["statuses"]) == {"422"},
    "unknown_members": lambda saw: set(saw["statuses"]) == {"422"},
    "small_rows": lambda saw: set(saw["statuses"]) == {"413"},
    "objects_in_a_text": lambda saw: set(saw["statuses"]) == {"422"},
    "compressed_zeros": lambda saw: set(saw["statuses"]) == {"413"},
    "repeated_outputs": lambda saw: set(saw["statuses"]) == {"400"},
    "scans_without_end": lambda saw: set(saw["statuses"]) == {"413"},
    "pixels_without_end": lambda saw: set(saw["statuses"]) == {"413"},
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """It has models, which the innocent does not ask for."""
    with (
        running_pod() as pod,
        running_gateway(tmp_path_factory.mktemp("abuse"), MODELS, PENSTOCK_GATEWAY_UPSTREAM=pod) as running,
    ):
        until(
            lambda: httpx.get(f"http://127.0.0.1:{running.port}/readyz").status_code == 200, "the gateway to be ready"
        )
        yield running


@pytest.fixture(scope="module")
def quiet(gateway: Gateway) -> Innocent:
    """How the innocent is served before the first attack."""
    with Innocent(gateway) as innocent:
        innocent.wait_for(5 * REQUESTS)
    return innocent


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_the_attackers_problem(gateway: Gateway, quiet: Innocent, name: str) -> None:
    """The attacker is refused; the innocent gets every answer about as fast as before; memory stays bounded."""
    with Innocent(gateway) as before:
        before.wait_for(REQUESTS)
    with Innocent(gateway) as during:
        command = [sys.executable, "-m", "tests.abuse.attacks", name, str(gateway.port)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as attack:
            assert attack.stdout is not None
            assert attack.stdout.readline() == "started\n"
            first = len(during.seconds)
            saw = json.loads(attack.stdout.readline())
        during.wait_for(first + REQUESTS)
    during.seconds = during.seconds[first:]
    print(
        f"{name}: {saw}; p99 {1000 * quiet.p99:.1f}, {1000 * before.p99:.1f} -> {1000 * during.p99:.1f} ms, "
        f"slowest {1000 * max(during.seconds):.0f} of {len(during.seconds)}; most memory {during.most_rss // MB} MB, "
        f"of a decoder {gateway.decoder_peak // MB} MB"
    )
    assert during.errors == before.errors == []
    assert EXPECTED[name](saw), saw
    p99 = max(quiet.p99, before.p99)
    assert during.p99 < MOST_SLOWER * p99
    assert max(during.seconds) < MOST_STALLED * p99
    assert during.most_rss < MOST_RSS
    assert gateway.decoder_peak < MOST_DECODER_RSS


def test_the_refusals_did_not_fill_the_log(gateway: Gateway) -> None:
    """All attacks together: a bounded number of lines a second, none of them long."""
    # Each refusal of a caller with a key has its line: for want of a model 404, for what a body holds 400, 413 or 422.
    of_a_key = ('"status": 404', '"code": "bad-tensor"', '"status": 413', '"status": 422')
    lines = [line for line in gateway.log.read_text().splitlines() if not any(status in line for status in of_a_key)]
    print(f"the log has {len(lines)} lines about refusals, {sum(map(len, lines))} bytes")
    assert len(lines) < 2000
    assert max(map(len, lines)) < 3000
