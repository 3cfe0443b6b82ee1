"""The installation that all integration tests share, and clients for it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.installation import Installation
from tests.integration.echo_model import write_echo


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with two workers behind a real Envoy and the trained example models; stopped afterwards."""
    environment = {"PENSTOCK_INFERENCE_ALLOW_CODE": "true"}  # for the slow model
    running = Installation(tmp_path_factory.mktemp("penstock"), workers=2, environment=environment)
    try:
        running.up()
        shutil.copytree(running.home / "store", _trained(running))  # before a test adds to it
        yield running
    finally:
        running.down()


def _trained(installation: Installation) -> Path:
    return installation.home / "trained"


@pytest.fixture
def alone(installation: Installation, tmp_path: Path) -> Callable[..., Installation]:
    """Prepares an installation with one worker in ``tmp_path``, given what its environment has beside the usual.

    It has the example models from the start, and its worker ends at once: training and draining take long.
    """

    def prepare(**environment: str) -> Installation:
        shutil.copytree(_trained(installation), tmp_path / "store")
        return Installation(tmp_path, workers=1, environment={"PENSTOCK_INFERENCE_DRAIN_SECONDS": "0", **environment})

    return prepare


@pytest.fixture(scope="session")
def echoing(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose model ``echo`` answers chats, for tests that kill its gateway.

    A batch of a gateway that was killed is free for another one after 2 s.
    """
    home = tmp_path_factory.mktemp("echoing")
    shutil.copytree(_trained(installation), home / "store")
    environment = {
        "PENSTOCK_INFERENCE_DRAIN_SECONDS": "0",
        "PENSTOCK_INFERENCE_ALLOW_CODE": "true",
        "PENSTOCK_GATEWAY_BATCH_LEASE_SECONDS": "2",
    }
    running = Installation(home, workers=1, environment=environment)
    try:
        running.up()
        asyncio.run(running.serve("echo", write_echo(home / "echo")))
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
