"""The installation that all integration tests share, and clients for it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.installation import Installation


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with two workers behind a real Envoy and the trained example models; stopped afterwards."""
    running = Installation(tmp_path_factory.mktemp("penstock"), workers=2)
    try:
        running.up()
        yield running
    finally:
        running.down()


@pytest.fixture(scope="session")
def unlimited_key(installation: Installation) -> str:
    """A key whose limit no test reaches."""
    return installation.unlimited_key()


@pytest.fixture
def client(installation: Installation, unlimited_key: str) -> Iterator[httpx.Client]:
    """An HTTP client with a valid key."""
    with httpx.Client(base_url=installation.url, headers={"API-Key": unlimited_key}, timeout=30) as c:
        yield c
