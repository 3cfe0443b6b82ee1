"""A version that cannot be loaded never takes the place of one that can."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock_common.registry_client import RegistryClient
from tests.installation import Installation, until

pytestmark = pytest.mark.integration

SPAM = {"text": "WINNER!! Claim your free prize now"}


@pytest.fixture
def broken(installation: Installation, tmp_path: Path) -> Iterator[str]:
    """The number of a version of ``spam`` whose file is no program; afterwards, production points at 1 again."""

    async def fetch() -> None:
        async with RegistryClient(installation.registry_url, installation.registry_token_file("read")) as registry:
            model = await registry.model("spam")
            await registry.fetch(model.versions[1], tmp_path / "spam")

    asyncio.run(fetch())
    (tmp_path / "spam" / "model.pt2").write_bytes(b"not a program")
    yield str(asyncio.run(installation.publish("spam", tmp_path / "spam")))
    installation.penstock("promote", "spam", "1")


def listed(client: httpx.Client) -> dict[str, Any]:
    models = client.get("/v1/models").json()["data"]
    return next(model for model in models if model["id"] == "spam")


def test_a_promotion_of_a_broken_version_fails_with_the_reason(
    installation: Installation, client: httpx.Client, broken: str
) -> None:
    """The command ends with status 1 and what the pod said; the alias points back, and answers never stop."""
    done = installation.penstock("promote", "spam", broken, check=False)
    assert done.returncode == 1
    assert f"Version {broken} of 'spam' could not be loaded" in done.stderr
    assert "production points at 1 again" in done.stderr
    assert client.post("/v1/models/spam/predict", json=SPAM).json()["version"] == "1"


def test_after_a_restart_the_version_before_a_broken_one_answers(
    installation: Installation, client: httpx.Client, broken: str
) -> None:
    """A gateway that starts while production points at a broken version is ready, and says what is wrong."""
    installation.penstock("promote", "spam", broken, "--no-wait")
    until(lambda: [load["state"] for load in listed(client)["loading"]] == ["failed"], "the load to fail")
    with (
        installation.another_gateway() as gateway,
        httpx.Client(base_url=gateway.url, headers=client.headers, timeout=30) as restarted,
    ):
        answer = restarted.post("/v1/models/spam/predict", json=SPAM)
        assert (answer.status_code, answer.json()["version"]) == (200, "1"), answer.text
        named = restarted.post(f"/v1/models/spam/versions/{broken}/predict", json=SPAM)
        assert (named.status_code, named.json()["code"]) == (503, "model-unavailable")
        [load] = listed(restarted)["loading"]
        assert (load["version"], load["state"]) == (broken, "failed")
        assert load["reason"] in named.json()["detail"]
    assert f"version {broken} failed since" in installation.penstock("models").stdout.replace("\n", " ")
