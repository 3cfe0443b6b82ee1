"""Models of other servers: transformers' own server and another Penstock, behind gateways with real clients.

The other Penstock is a second gateway, whose remotes are on the first one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from penstock_common import text_generation
from penstock_common.manifest import Format, Manifest, Task, dump_manifest
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION, AliasTarget
from penstock_common.remotes import Fallback, Remote, RemoteList, dump_remotes
from tests.installation import Gateway, Installation, until
from tests.transformers_server import OpenAIServer, transformers_server
from tests.unit.inference.runners.tiny_language_model import save_language_model

MESSAGES: Any = [{"role": "user", "content": "the river runs"}]
#: A model that says the words of the last message backwards, one a chunk, and without end if it is asked to.
CODE = """
import json
import time
import numpy as np

def text(value):
    array = np.empty(1, np.object_)
    array[:] = [value.encode()]
    return array

class Model:
    most_streams = 4

    def load(self, folder):
        self.open = 0

    def stream(self, inputs):
        words = json.loads(inputs["messages"][0])[-1]["content"].split()[::-1]
        self.open += 1
        try:
            if words == ["open"]:
                words = [str(self.open - 1)]
            while words == ["endless"]:
                time.sleep(0.005)
                yield self.chunk("on ", "")
            for i, word in enumerate(words):
                yield self.chunk(word + " ", "stop" if i == len(words) - 1 else "")
        finally:
            self.open -= 1

    def chunk(self, said, finish):
        numbers = {"tokens": np.array([1], np.int32), "prompt_tokens": np.array([3], np.int32)}
        return {"text": text(said), "finish_reason": text(finish), **numbers}
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with the model ``chat``, and with ``edge``, which no pod can load."""
    running = Installation(
        tmp_path_factory.mktemp("remotes"), workers=1, environment={"PENSTOCK_INFERENCE_ALLOW_CODE": "true"}
    )
    names = ("text", "finish_reason", "tokens", "prompt_tokens")
    manifest = Manifest(
        Format.PYTHON,
        "model.py",
        Task.TENSOR,
        [field for field in text_generation.INPUTS if field.name in ("messages", "max_tokens")],
        [output for output in text_generation.OUTPUTS if output.name in names],
        stream=True,
        examples=[{"messages": json.dumps(MESSAGES)}],
    )
    try:
        running.up()
        for name, code in (("edge", "raise RuntimeError('no such device')"), ("chat", CODE)):
            artifact = tmp_path_factory.mktemp(name)
            (artifact / "model.py").write_text(code)
            (artifact / "model.yaml").write_text(dump_manifest(manifest))
            asyncio.run(put_into_production(running, name, artifact))
        until(lambda: _ready(f"{running.url}/v1", running.key, "chat"), "chat to be ready")
        yield running
    finally:
        running.down()


async def put_into_production(installation: Installation, model: str, artifact: Path) -> None:
    """Point the alias at a first version, without waiting for the pods."""
    version = await installation.publish(model, artifact)
    async with RegistryClient(installation.registry_url, installation.registry_token_file("promote")) as registry:
        await registry.set_alias(model, PRODUCTION, [AliasTarget(version)])


def _ready(url: str, key: str, name: str) -> bool:
    answer = httpx.get(f"{url}/models/{name}", headers={"API-Key": key})
    return answer.status_code == 200 and bool(answer.json()["ready"])


@pytest.fixture(scope="module")
def foreign_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIServer]:
    """``transformers serve`` with a small model."""
    folder = save_language_model(tmp_path_factory.mktemp("tiny"))
    with transformers_server(folder, folder / "serve.log") as server:
        yield server


@pytest.fixture(scope="module")
def credential(installation: Installation) -> str:
    """The key with which the second gateway asks the first one."""
    return installation.unlimited_key()


@pytest.fixture(scope="module")
def gateway(
    installation: Installation,
    foreign_server: OpenAIServer,
    credential: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    """A gateway with the remotes ``foreign``, of transformers, and ``cloud``, the first gateway's ``chat``."""
    folder = tmp_path_factory.mktemp("list")
    (folder / "cloud.key").write_text(credential)
    cloud = Remote(url=f"{installation.url}/v1", model="chat", key_file="cloud.key")
    remotes = {
        "foreign": Remote(url=foreign_server.url, model=foreign_server.model, routes=("chat", "completions")),
        "cloud": cloud,
    }
    fallbacks = {"edge": Fallback(to=("cloud",)), "chat": Fallback(to=("cloud",), in_flight=0, requests_per_day=1)}
    (folder / "remotes.yaml").write_text(dump_remotes(RemoteList(remotes, fallbacks)))
    with installation.another_gateway(PENSTOCK_GATEWAY_REMOTES_FILE=str(folder / "remotes.yaml")) as running:
        yield running


@pytest.fixture
def client(gateway: Gateway, installation: Installation) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=installation.key, max_retries=0) as client:
        yield client


def joined(stream: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_a_foreign_server_answers_as_it_does_itself(client: openai.OpenAI, foreign_server: OpenAIServer) -> None:
    """Word for word, whole and streamed, with the tokens that it counts."""
    model = foreign_server.model
    with openai.OpenAI(base_url=foreign_server.url, api_key="none") as itself:
        own = itself.chat.completions.create(model=model, messages=MESSAGES, max_tokens=12, temperature=0)
    found = client.chat.completions.create(model="foreign", messages=MESSAGES, max_tokens=12, temperature=0)
    assert found.choices[0].message.content == own.choices[0].message.content
    assert found.choices[0].finish_reason == "length"
    assert own.usage is not None and found.usage is not None
    assert found.usage.completion_tokens == own.usage.completion_tokens == 12
    assert found.usage.prompt_tokens == own.usage.prompt_tokens
    stream = client.chat.completions.create(
        model="foreign", messages=MESSAGES, max_tokens=12, temperature=0, stream=True
    )
    assert joined(stream) == own.choices[0].message.content
    text = client.completions.create(model="foreign", prompt="the river", max_tokens=4, temperature=0)
    assert text.usage is not None and text.usage.completion_tokens == 4


def test_a_foreign_servers_failure_shows_nothing_of_its_inside(client: openai.OpenAI) -> None:
    """Such as a role that its chat template does not know."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(
            model="foreign", messages=[{"role": "tool", "content": "x", "tool_call_id": "1"}]
        )
    assert (caught.value.status_code, caught.value.code) == (503, "remote-unavailable")
    assert "no role" not in caught.value.message


def test_the_command_line_adds_and_removes_a_remote(installation: Installation) -> None:
    """For the gateway that runs, which has it without a restart; here another name for a model of its own."""
    url, key_file = f"{installation.url}/v1", str(installation.home / "key")
    options = ["--url", url, "--key-file", key_file]
    refused = installation.penstock("remote", "add", "again", *options, "--model", "x", check=False)
    assert "has no model 'x'" in refused.stderr
    installation.penstock("remote", "add", "again", *options, "--model", "chat")
    until(lambda: _ready(url, installation.key, "again"), "the remote to be ready")
    assert "remote:again, ready" in installation.penstock("models").stdout

    def ask() -> httpx.Response:
        request = {"model": "again", "messages": MESSAGES}
        headers = {"API-Key": installation.key}
        return httpx.post(f"{url}/chat/completions", json=request, headers=headers, timeout=60)

    assert ask().json()["choices"][0]["message"]["content"] == "runs river the "
    installation.penstock("remote", "remove", "again")
    until(lambda: ask().status_code == 404, "the remote to be gone")


def test_another_penstock_answers(client: openai.OpenAI) -> None:
    """With its own key, which is not the client's; who answered is in a header."""
    answer = client.chat.completions.with_raw_response.create(model="cloud", messages=MESSAGES)
    assert answer.headers["x-served-by"] == "remote:cloud"
    found = answer.parse()
    assert found.choices[0].message.content == "runs river the "
    assert found.usage is not None and found.usage.total_tokens == 6
    stream = client.chat.completions.create(model="cloud", messages=MESSAGES, stream=True)
    assert joined(stream) == "runs river the "


def test_it_streams_on_the_other_routes_too(gateway: Gateway, installation: Installation) -> None:
    """As a model in pods does."""
    row = {"messages": json.dumps(MESSAGES)}
    answer = httpx.post(f"{gateway.url}/v1/models/cloud/stream", json=row, headers={"API-Key": installation.key})
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert [json.loads(event)["outputs"]["text"] for event in events[:-1]] == ["runs ", "river ", "the ", ""]


def test_a_client_that_leaves_ends_the_work_there(client: openai.OpenAI) -> None:
    """Through both gateways, to the model in the pod."""

    def still_open() -> str:
        asked: Any = [{"role": "user", "content": "open"}]
        return client.chat.completions.create(model="cloud", messages=asked).choices[0].message.content or ""

    endless: Any = [{"role": "user", "content": "endless"}]
    stream = client.chat.completions.create(model="cloud", messages=endless, stream=True)
    assert next(iter(stream)).choices
    assert still_open() == "1 "
    stream.close()
    until(lambda: still_open() == "0 ", "the stream to end")


def test_a_model_without_pods_is_answered_by_the_remote(client: openai.OpenAI, installation: Installation) -> None:
    """That the first gateway, which has no fallback, refuses."""
    answer = client.chat.completions.with_raw_response.create(model="edge", messages=MESSAGES)
    assert answer.headers["x-served-by"] == "remote:cloud"
    assert answer.parse().choices[0].message.content == "runs river the "
    first = openai.OpenAI(base_url=f"{installation.url}/v1", api_key=installation.key, max_retries=0)
    with first, pytest.raises(openai.APIStatusError) as caught:
        first.chat.completions.create(model="edge", messages=MESSAGES)
    assert caught.value.status_code == 503


def test_overflow_ends_with_its_budget(client: openai.OpenAI) -> None:
    """Then the pods have it all."""
    served = [
        client.chat.completions.with_raw_response.create(model="chat", messages=MESSAGES).headers["x-served-by"]
        for _ in range(3)
    ]
    assert served == ["remote:cloud", "local", "local"]


def test_remotes_are_models_of_the_list(client: openai.OpenAI, gateway: Gateway, credential: str) -> None:
    """Ready, with their owner, and with no credential; nor has the log one."""
    listed = {model.id: model for model in client.models.list()}
    assert {"foreign", "cloud", "chat"} <= set(listed)
    url = f"{gateway.url}/v1"
    for name in ("foreign", "cloud"):
        until(lambda name=name: _ready(url, client.api_key, name), f"{name} to be ready")  # type: ignore[misc]
    assert listed["cloud"].owned_by == "remote:cloud"
    assert credential not in client.models.with_raw_response.list().text + gateway.log.read_text()
