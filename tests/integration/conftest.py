"""One installation for all the integration tests of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.installation import Installation


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two workers behind a real Envoy, the example models trained; gone afterwards."""
    running = Installation(tmp_path_factory.mktemp("penstock"), workers=2)
    try:
        running.up()
        yield running
    finally:
        running.down()


@pytest.fixture(scope="session")
def unlimited_key(installation: Installation) -> str:
    """A key whose limit no test reaches."""
    created = installation.json("keys", "create", "--name", "tests", "--rate", "100000", "--burst", "100000")
    key = str(created["key"])
    give_up = time.monotonic() + 30
    while httpx.get(f"{installation.url}/v1/models", headers={"API-Key": key}).status_code == 401:
        assert time.monotonic() < give_up, "the gateway never noticed the new key"
    return key


@pytest.fixture
def client(installation: Installation, unlimited_key: str) -> Iterator[httpx.Client]:
    """An HTTP client with a valid key."""
    with httpx.Client(base_url=installation.url, headers={"API-Key": unlimited_key}, timeout=30) as c:
        yield c
