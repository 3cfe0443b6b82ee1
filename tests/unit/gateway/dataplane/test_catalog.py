"""The catalog: which version answers, and when an alias's move takes effect."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_models import AliasTarget, Model, Snapshot, Version
from penstock_common.service import Service
from penstock_gateway.dataplane import catalog as catalog_module
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "_PROBE_INTERVAL", 0.001)


class Stub:
    """A servable that nobody asks."""

    def __init__(self, version: Version) -> None:
        self.model = version.model
        self.version = str(version.version)
        self.signature = Signature(version.manifest, version.model)

    async def ready(self) -> bool:
        return True

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        raise AssertionError("not called here")


class Pods:
    """Says which versions are loaded."""

    def __init__(self, *ready: int) -> None:
        self.ready = set(ready)
        self.failures: dict[int, str] = {}
        self.asked = asyncio.Event()

    async def model_ready(self, model: str, version: int) -> bool:
        self.asked.set()
        return version in self.ready

    async def load_failure(self, model: str, version: int) -> str:
        return self.failures.get(version, "")


def version(number: int) -> Version:
    manifest = Manifest(
        format=Format.ONNX,
        file="model.onnx",
        task=Task.CLASSIFICATION,
        inputs=[Field("text", FieldKind.TEXT, "BYTES")],
        outputs=[Output("probabilities", "FP32", [2])],
        labels=["ham", "spam"],
    )
    return Version("spam", number, manifest, [], "2026-01-01T00:00:00Z")


def snapshot(aliases: dict[str, dict[int, int]], versions: int = 3, before: tuple[int, ...] = ()) -> Snapshot:
    targets = {name: [AliasTarget(v, w) for v, w in weights.items()] for name, weights in aliases.items()}
    earlier = {"production": [[AliasTarget(v)] for v in before]} if before else {}
    model = Model("spam", 1, {n: version(n) for n in range(1, versions + 1)}, targets, earlier=earlier)
    return Snapshot("c", [model])


def make(pods: Pods) -> Catalog:
    return Catalog(pods, Stub, probes=lambda _: 3)


async def until_served(c: Catalog, name: str, number: str) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                if c.resolve(name).version == number:
                    return
            except PenstockError:
                pass
            await asyncio.sleep(0.001)


def refused(c: Catalog, name: str, version: str = "") -> tuple[int, str]:
    with pytest.raises(PenstockError) as caught:
        c.resolve(name, version)
    return caught.value.status, caught.value.code


async def test_before_the_first_snapshot_it_says_to_come_back() -> None:
    """Until the registry was reached a model is not unknown but loading: 503 with Retry-After."""
    assert refused(make(Pods()), "spam") == (503, "model-loading")


async def test_the_production_alias_answers() -> None:
    """A model's bare name means its alias production."""
    c = make(Pods(1))
    await c.update(snapshot({"production": {1: 100}}))
    await until_served(c, "spam", "1")
    assert c.models()[0].ready is True


async def test_a_move_waits_for_the_pods() -> None:
    """Traffic stays on the old version until the pods say that the new one is loaded, then moves."""
    pods = Pods(1)
    c = make(pods)
    await c.update(snapshot({"production": {1: 100}}))
    await until_served(c, "spam", "1")
    pods.asked.clear()
    await c.update(snapshot({"production": {2: 100}}))
    await asyncio.wait_for(pods.asked.wait(), 5)
    assert c.resolve("spam").version == "1"
    pods.ready.add(2)
    await until_served(c, "spam", "2")


async def test_a_move_waits_for_every_pod() -> None:
    """While one of the pods lacks the new version, its refusals start the count again and traffic stays."""

    class TwoPods(Pods):
        """The second pod, which every other question reaches, lacks version 2 at first."""

        lacking = True
        questions = 0

        async def model_ready(self, model: str, version: int) -> bool:
            self.questions += version == 2
            return not (version == 2 and self.lacking and self.questions % 2)

    pods = TwoPods()
    c = make(pods)
    await c.update(snapshot({"production": {1: 100}}))
    await until_served(c, "spam", "1")
    await c.update(snapshot({"production": {2: 100}}))
    async with asyncio.timeout(5):
        while pods.questions < 20:
            await asyncio.sleep(0.001)
    assert c.resolve("spam").version == "1"
    pods.lacking = False
    await until_served(c, "spam", "2")


async def test_a_canary_gets_its_share() -> None:
    """An alias with two targets splits by weight."""
    c = make(Pods(1, 2))
    await c.update(snapshot({"production": {1: 90, 2: 10}}))
    await until_served(c, "spam", "1")
    counts = Counter(c.resolve("spam").version for _ in range(5000))
    assert 0.06 < counts["2"] / 5000 < 0.14


async def test_other_aliases_and_numbers_answer_too() -> None:
    """model@alias and an explicit version reach what an alias points at."""
    c = make(Pods(1, 2))
    await c.update(snapshot({"production": {1: 100}, "candidate": {2: 100}}))
    await until_served(c, "spam@candidate", "2")
    await until_served(c, "spam", "1")
    assert c.resolve("spam", "2").version == "2"


async def test_what_cannot_be_answered_says_why() -> None:
    """Unknown model, alias and version, and one that no alias names, each have a problem of their own."""
    c = make(Pods(1))
    await c.update(snapshot({"production": {1: 100}}))
    await until_served(c, "spam", "1")
    assert refused(c, "ham") == (404, "unknown-model")
    assert refused(c, "spam@canary") == (404, "unknown-alias")
    assert refused(c, "spam", "9") == (404, "unknown-version")
    assert refused(c, "spam", "latest") == (404, "unknown-version")
    assert refused(c, "spam", "3") == (409, "version-not-served")


async def test_a_version_still_loading_is_503() -> None:
    """The first version of a model is not ready before its pods are; the refusal says since when, and how large it is."""
    c = make(Pods())
    await c.update(snapshot({"production": {1: 100}}))
    assert refused(c, "spam") == (503, "model-loading")
    assert refused(c, "spam", "1") == (503, "model-loading")
    with pytest.raises(PenstockError) as caught:
        c.resolve("spam")
    assert caught.value.extra["load"] == msgspec.to_builtins(c.models()[0].loading[0])
    await c.close()


async def test_a_version_that_cannot_be_loaded_says_why() -> None:
    """The refusal and the listing carry the pod's reason, the size, and that it failed; it stays failed while tried."""
    pods = Pods()
    pods.failures = {1: "OSError: no such file"}
    c = make(pods)
    await c.update(snapshot({"production": {1: 100}}))
    async with asyncio.timeout(5):
        while refused(c, "spam") != (503, "model-unavailable"):
            await asyncio.sleep(0.001)
    assert refused(c, "spam", "1") == (503, "model-unavailable")
    with pytest.raises(PenstockError, match="no such file"):
        c.resolve("spam")
    [state] = c.models()[0].loading
    assert (state.version, state.state, state.reason, state.bytes) == ("1", "failed", "OSError: no such file", 0)
    assert c.models()[0].ready is False
    pods.failures = {}
    pods.ready.add(1)
    await until_served(c, "spam", "1")
    assert c.models()[0].loading == []


async def test_after_a_restart_the_version_before_a_broken_one_answers() -> None:
    """A gateway that never saw another version in effect goes back to the newest earlier one that is loaded."""
    pods = Pods(1)
    pods.failures = {3: "bad file", 2: "bad file too"}
    c = make(pods)
    await c.update(snapshot({"production": {3: 100}}, before=(2, 1)))
    await until_served(c, "spam", "1")
    async with asyncio.timeout(5):
        while not c.settled:
            await asyncio.sleep(0.001)
    pods.ready.add(3)
    await until_served(c, "spam", "3")
    await c.close()


async def test_an_earlier_version_does_not_answer_while_the_present_one_loads() -> None:
    """Only a failure brings an earlier version back: a restarted gateway does not answer with an old version."""
    pods = Pods(1)
    c = make(pods)
    await c.update(snapshot({"production": {2: 100}}, before=(1,)))
    await asyncio.wait_for(pods.asked.wait(), 5)
    assert refused(c, "spam") == (503, "model-loading")
    pods.ready.add(2)
    await until_served(c, "spam", "2")


async def test_a_gateway_is_ready_at_once_if_a_model_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure without an earlier version is known, so there is nothing to wait for."""
    monkeypatch.setattr(catalog_module, "_FIRST_PATIENCE", 1000.0)
    pods = Pods()
    pods.failures = {1: "bad file"}
    c = make(pods)
    await c.update(snapshot({"production": {1: 100}}))
    async with asyncio.timeout(5):
        while not c.settled:
            await asyncio.sleep(0.001)
    await c.close()


async def test_a_move_back_while_loading_leaves_traffic_where_it_is() -> None:
    """Rolling back before the new version was ready ends its probe and changes nothing."""
    pods = Pods(1)
    c = make(pods)
    await c.update(snapshot({"production": {1: 100}}))
    await until_served(c, "spam", "1")
    pods.asked.clear()
    await c.update(snapshot({"production": {2: 100}}))
    await asyncio.wait_for(pods.asked.wait(), 5)
    await c.update(snapshot({"production": {1: 100}}))
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) > 1:  # version 2 never gets ready, so only the move back can end its probe
            await asyncio.sleep(0.001)
    assert c.resolve("spam").version == "1"
    assert [servable.version for servable in c.servables()] == ["1"]


async def test_a_caller_sees_the_names_that_it_may_ask() -> None:
    """In the list, and in the refusal of a model that there is not."""
    c = make(Pods(1))
    await c.update(snapshot({"production": {1: 100}}))
    assert [model.id for model in c.models(["sp*"])] == ["spam"]
    assert c.models(["ham*"]) == []
    with pytest.raises(PenstockError, match="models here: none yet"):
        c.resolve("ham2", "", ["ham*"])
    with pytest.raises(PenstockError, match="models here: spam"):
        c.listing("ham", None)


async def test_a_model_that_is_gone_is_unknown() -> None:
    """A model that the registry no longer has is answered 404."""
    c = make(Pods(1))
    await c.update(snapshot({"production": {1: 100}}))
    await until_served(c, "spam", "1")
    await c.update(Snapshot("d", []))
    assert refused(c, "spam") == (404, "unknown-model")


async def test_a_gateway_settles_once_the_first_models_are_in_effect() -> None:
    """Not ready before the pods have what the first snapshot names; a later promotion does not take readiness away."""
    pods = Pods()
    c = make(pods)
    await c.update(snapshot({"production": {1: 100}}))
    await pods.asked.wait()
    assert not c.settled
    pods.ready.add(1)
    await until_served(c, "spam", "1")
    async with asyncio.timeout(5):
        while not c.settled:
            await asyncio.sleep(0.001)
    await c.update(snapshot({"production": {2: 100}}))
    assert c.settled
    await c.close()


async def test_a_model_that_never_loads_does_not_keep_a_gateway_from_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the gateway serves what there is."""
    monkeypatch.setattr(catalog_module, "_FIRST_PATIENCE", 0.01)
    c = make(Pods())
    await c.update(snapshot({"production": {1: 100}}))
    async with asyncio.timeout(5):
        while not c.settled:
            await asyncio.sleep(0.001)
    await c.close()


async def test_a_rebuilt_store_has_other_versions_under_the_same_names() -> None:
    """Version 1 of another store is probed and made anew, though name and number are the same."""
    pods = Pods(1)
    c = make(pods)
    await c.update(snapshot({"production": {1: 100}}))
    await until_served(c, "spam", "1")
    before = c.resolve("spam")
    rebuilt = snapshot({"production": {1: 100}})
    rebuilt.store = "another"
    await c.update(rebuilt)
    await until_served(c, "spam", "1")
    assert c.resolve("spam") is not before


async def test_a_service_is_answered_by_a_model_in_production() -> None:
    """Also while its first version is being loaded, and only if the caller may ask it."""
    pods = Pods()
    c = make(pods)
    with pytest.raises(PenstockError) as early:
        c.default_model(Service.TEXT_CLASSIFICATION)
    assert (early.value.status, early.value.code) == (503, "model-loading")
    shot = snapshot({"production": {1: 100}})
    for each in shot.models[0].versions.values():
        each.manifest.service = Service.TEXT_CLASSIFICATION
    await c.update(shot)
    assert c.default_model(Service.TEXT_CLASSIFICATION, ["sp*"]) == "spam"
    assert c.models()[0].service is Service.TEXT_CLASSIFICATION
    for service, allowed in ((Service.OCR, None), (Service.TEXT_CLASSIFICATION, ["other"])):
        with pytest.raises(PenstockError) as absent:
            c.default_model(service, allowed)
        assert absent.value.code == "no-model-for-service"
    pods.ready.add(1)
    await until_served(c, "spam", "1")
    assert c.default_model(Service.TEXT_CLASSIFICATION) == "spam"


async def test_a_model_without_a_production_alias_answers_for_no_service() -> None:
    """A candidate is asked by its name only."""
    c = make(Pods(1))
    shot = snapshot({"candidate": {1: 100}})
    shot.models[0].versions[1].manifest.service = Service.TEXT_CLASSIFICATION
    await c.update(shot)
    await until_served(c, "spam@candidate", "1")
    with pytest.raises(PenstockError) as absent:
        c.default_model(Service.TEXT_CLASSIFICATION)
    assert absent.value.code == "no-model-for-service"
    assert c.models()[0].service is None
