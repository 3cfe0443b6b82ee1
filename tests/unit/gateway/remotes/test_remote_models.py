"""The remotes in the catalogue: how the list is followed, and what a name finds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from penstock_common import text_generation
from penstock_common.errors import PenstockError
from penstock_common.manifest import Format, Manifest, Task
from penstock_common.registry_models import AliasTarget, Model, Snapshot, Version
from penstock_common.remotes import parse_remotes
from penstock_common.service import Service
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.protocols.openai.generation import ModelInputs, generation_rows
from penstock_gateway.remotes.catalog import CatalogWithRemotes
from penstock_gateway.remotes.remote_files import ReadRemote, RemoteFiles
from penstock_gateway.remotes.remote_models import RemoteModels
from penstock_gateway.remotes.stand_ins import WithStandIns
from penstock_gateway.remotes.text import RemoteText
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature
from tests.unit.gateway.remotes.foreign_server import HELLO, ForeignServer, answers

LIST = """
remotes:
  gpt: {url: "%s", model: foreign, key_file: gpt.key, description: Another server's.}
  vectors: {url: "%s", model: minilm, routes: [embeddings], width: 3}
fallbacks:
  chat: {to: [gpt]}
"""


class Pods:
    """Has loaded all, or nothing."""

    def __init__(self, ready: bool) -> None:
        self.ready = ready

    async def model_ready(self, model: str, version: int) -> bool:
        return self.ready

    async def load_failure(self, model: str, version: int) -> str:
        return "no memory"


class Local:
    """A model in pods that are away."""

    def __init__(self, version: Version) -> None:
        self.model, self.version = version.model, str(version.version)
        self.signature = Signature(version.manifest, version.model)

    async def ready(self) -> bool:
        return False

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        raise AssertionError("a stream is asked for")

    async def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        raise PenstockError(503, "upstream-unavailable", "No pod.")
        yield RawOutputs([])


def snapshot(*names: str) -> Snapshot:
    manifest = Manifest(
        Format.TRANSFORMERS,
        "m",
        Task.GENERATION,
        list(text_generation.INPUTS),
        list(text_generation.OUTPUTS),
        stream=True,
    )
    models = [
        Model(name, 1, {1: Version(name, 1, manifest, [], "2026-01-01T00:00:00Z")}, {"production": [AliasTarget(1)]})
        for name in names
    ]
    return Snapshot("cursor", models)


class Gateway:
    """A catalogue with the remotes of a folder."""

    def __init__(self, folder: Path, ready: bool = True) -> None:
        self.list = folder / "remotes.yaml"
        self.key = folder / "gpt.key"
        self.remotes = RemoteModels(RemoteFiles(self.list), 1_000_000, lambda: 1)
        self.catalog = CatalogWithRemotes(Pods(ready), Local, lambda _: 1, self.remotes)

    def write(self, url: str = "http://127.0.0.1:9/v1", key: str = "sk-1") -> None:
        self.key.write_text(f"{key}\n")
        self.list.write_text(LIST % (url, url))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncGenerator[Gateway, None]:
    made = Gateway(tmp_path)
    made.write()
    await made.remotes.refresh()
    yield made
    await made.catalog.close()
    await made.remotes.close()


async def ask(servable: Servable) -> str:
    rows = generation_rows(servable.signature, ModelInputs({"messages": "[]"}))
    async for _ in servable.stream(rows, time.monotonic() + 20):
        pass
    return rows.served_by


async def test_a_list_that_changes_is_in_effect(gateway: Gateway) -> None:
    """Without a restart: also a credential that is renewed, and a remote that is removed."""
    assert not await gateway.remotes.refresh()
    async with ForeignServer(HELLO) as foreign:
        gateway.write(foreign.url)
        assert await gateway.remotes.refresh()
        assert await ask(gateway.catalog.resolve("gpt")) == "remote:gpt"
        gateway.write(foreign.url, key="sk-2")
        assert await gateway.remotes.refresh()
        await ask(gateway.catalog.resolve("gpt"))
        assert [r.headers["authorization"] for r in foreign.requests] == ["Bearer sk-1", "Bearer sk-2"]
    gateway.list.unlink()
    assert await gateway.remotes.refresh()
    with pytest.raises(PenstockError, match="not been reached"):
        gateway.catalog.resolve("gpt")


async def test_a_list_that_cannot_be_read_changes_nothing(gateway: Gateway) -> None:
    """The last one stays in effect until it is mended."""
    gateway.list.write_text("remotes: {gpt: {url: nonsense, model: x}}")
    assert not await gateway.remotes.refresh()
    assert gateway.catalog.resolve("gpt").model == "gpt"


async def test_a_remote_without_its_credential_is_left_out(gateway: Gateway) -> None:
    """And the others stay."""
    gateway.key.unlink()
    assert await gateway.remotes.refresh()
    assert gateway.remotes.names() == ["vectors"]


async def test_a_remote_is_listed_as_a_model(gateway: Gateway) -> None:
    """Beside those of the registry, ready if it answered, and only for keys that may ask it."""
    await gateway.catalog.update(snapshot("chat"))
    async with ForeignServer(answers(200, {"data": []})) as foreign:
        gateway.write(foreign.url)
        following = asyncio.ensure_future(gateway.remotes.follow())
        while not all(gateway.catalog.listing(name).ready for name in ("gpt", "vectors")):
            await asyncio.sleep(0.01)
        following.cancel()
    listed = gateway.catalog.models()
    assert [(model.id, model.owned_by) for model in listed] == [
        ("chat", "penstock"),
        ("gpt", "remote:gpt"),
        ("vectors", "remote:vectors"),
    ]
    assert (listed[1].description, listed[1].versions) == ("Another server's.", ["1"])
    assert [model.id for model in gateway.catalog.models(["chat", "vec*"])] == ["chat", "vectors"]
    assert "sk-1" not in repr(listed)


async def test_a_name_of_the_registry_is_its_model(gateway: Gateway) -> None:
    """A remote of the same name does not send anybody's texts elsewhere."""
    await gateway.catalog.update(snapshot("gpt"))
    while not gateway.catalog.listing("gpt").ready:
        await asyncio.sleep(0.001)
    assert isinstance(gateway.catalog.resolve("gpt"), Local)
    assert [model.owned_by for model in gateway.catalog.models()] == ["penstock", "remote:vectors"]


@pytest.mark.parametrize(
    ("name", "version", "code"),
    [("gpt@candidate", "", "unknown-alias"), ("gpt", "2", "unknown-version"), ("gtp", "", "unknown-model")],
)
async def test_what_a_remote_does_not_have(gateway: Gateway, name: str, version: str, code: str) -> None:
    """It has one version, which its production alias points at."""
    await gateway.catalog.update(snapshot())
    with pytest.raises(PenstockError) as caught:
        gateway.catalog.resolve(name, version)
    assert (caught.value.status, caught.value.code) == (404, code)
    if code == "unknown-model":
        assert "gpt" in caught.value.detail.partition("models here")[2]
    assert isinstance(gateway.catalog.resolve("gpt@production", "1"), RemoteText)


async def test_a_model_comes_with_its_stand_ins(gateway: Gateway) -> None:
    """Whether its pods are away or have never loaded it; not if a version is asked for."""
    async with ForeignServer(HELLO) as foreign:
        gateway.write(foreign.url)
        await gateway.remotes.refresh()
        assert await ask(gateway.catalog.resolve("chat")) == "remote:gpt"  # the registry has not been reached
        await gateway.catalog.update(snapshot("chat"))
        while not gateway.catalog.listing("chat").ready:
            await asyncio.sleep(0.001)
        assert await ask(gateway.catalog.resolve("chat")) == "remote:gpt"
    assert isinstance(gateway.catalog.resolve("chat", "1"), Local)


async def test_a_model_that_cannot_be_loaded_has_stand_ins(tmp_path: Path) -> None:
    """Until it can be."""
    gateway = Gateway(tmp_path, ready=False)
    gateway.write()
    await gateway.remotes.refresh()
    await gateway.catalog.update(snapshot("chat", "other"))
    assert isinstance(gateway.catalog.resolve("chat"), WithStandIns)
    with pytest.raises(PenstockError):
        gateway.catalog.resolve("other")
    await gateway.catalog.close()


def test_a_credential_is_in_no_representation() -> None:
    """What a log or a traceback could show."""
    remote = parse_remotes(LIST % ("http://a/v1", "http://a/v1")).remotes["gpt"]
    assert "sk-1" not in repr(ReadRemote(remote, "sk-1", ""))


async def test_a_service_is_answered_by_a_model_of_the_registry(gateway: Gateway) -> None:
    """A remote is for no service, since no manifest of ours says so; it does not disturb the models that are."""
    await gateway.catalog.update(Snapshot("c", []))
    with pytest.raises(PenstockError, match="No model that this key may ask"):
        gateway.catalog.default_model(Service.OCR)
    shot = snapshot("reader")
    shot.models[0].versions[1].manifest.service = Service.OCR
    await gateway.catalog.update(shot)
    assert gateway.catalog.default_model(Service.OCR) == "reader"
