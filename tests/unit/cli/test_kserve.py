"""``penstock kserve``: the objects that it creates, and how it reads and explains KServe's status."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiException
from typer.testing import CliRunner

from penstock_cli import kserve_client
from penstock_cli import kserve_objects as kserve
from penstock_cli.__main__ import app
from penstock_common.errors import PenstockError

KSERVE = Path(__file__).resolve().parents[3] / "deploy" / "k8s" / "kserve"


def service(**status: Any) -> dict[str, Any]:
    made = kserve.inference_service("spam", "production", 1, None)
    made["metadata"] |= {"generation": 2, "uid": "u", "namespace": "shop"}
    return made | {"status": status}


def test_the_example_is_what_deploy_makes() -> None:
    """The committed example and the command produce the same objects."""
    example, pods = yaml.safe_load_all((KSERVE / "spam.yaml").read_text())
    made = kserve.inference_service("spam", "production", 1, None)
    assert made == example
    made["metadata"] |= {"uid": "u", "namespace": "shop"}
    headless = kserve.pods_service(made)
    assert headless["spec"] == pods["spec"]
    assert headless["metadata"]["name"] == pods["metadata"]["name"]
    assert headless["metadata"]["ownerReferences"][0]["uid"] == "u"


def test_the_runtime_supports_what_deploy_asks_for() -> None:
    """Format, version and protocol of an InferenceService are the runtime's; otherwise KServe would find no runtime."""
    runtime = yaml.safe_load((KSERVE / "runtime.yaml").read_text())["spec"]
    model = kserve.inference_service("spam", "production", 1, None)["spec"]["predictor"]["model"]
    assert {**model["modelFormat"], "autoSelect": True} in runtime["supportedModelFormats"]
    assert model["protocolVersion"] in runtime["protocolVersions"]


def test_an_image_and_pods_are_passed_on() -> None:
    """--image and --replicas reach the InferenceService, which has a fixed number of pods."""
    predictor = kserve.inference_service("spam", "production", 3, "example.com/inference:2")["spec"]["predictor"]
    assert predictor["model"]["image"] == "example.com/inference:2"
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (3, 3)


def test_another_alias_is_asked_of_the_pod_itself() -> None:
    """The health service reports production only; the program for other aliases compiles and gets both names."""
    probe = kserve.inference_service("spam", "staging", 1, None)["spec"]["predictor"]["model"]["startupProbe"]
    python, flag, program, *names = probe["exec"]["command"]
    assert (python, flag, names) == ("python", "-c", ["spam", "staging"])
    compile(program, "probe", "exec")


@pytest.mark.parametrize(("model", "name"), [("spam", "spam"), ("fraud_v2.eu", "fraud-v2-eu")])
def test_a_model_names_its_service(model: str, name: str) -> None:
    """Dots and underscores, which DNS labels lack, become dashes."""
    assert kserve.service_name(model) == name


@pytest.mark.parametrize("model", ["2024", "*", "a" * 41, "spam-", "Spam"])
def test_a_model_without_a_service_name_is_refused(model: str) -> None:
    """A model name that cannot become a Service's name is refused with an explanation, before KServe refuses it."""
    with pytest.raises(PenstockError, match="cannot name"):
        kserve.service_name(model)


def test_the_pool_comes_before_inference() -> None:
    """The first pool by name that matches serves, so the external pool has to sort before the chart's default."""
    (name,) = kserve.pool_values("a-model-with-a-long-name", "shop")["pools"]
    assert name < "inference"
    assert len(name) <= 22


READY = {"type": "Ready", "status": "True"}
NO_RUNTIME = {
    "transitionStatus": "InvalidSpec",
    "lastFailureInfo": {"reason": "NoSupportingRuntime", "message": "No runtime found"},
}


@pytest.mark.parametrize(
    ("status", "ready", "reason"),
    [
        ({}, False, ""),
        ({"conditions": [READY], "observedGeneration": 2}, True, ""),
        ({"conditions": [READY], "observedGeneration": 1}, False, ""),
        ({"conditions": [{"type": "Ready", "status": "False", "message": "no pods"}]}, False, "no pods"),
        ({"modelStatus": NO_RUNTIME}, False, "no runtime"),
        ({"modelStatus": NO_RUNTIME | {"transitionStatus": "InProgress"}}, False, ""),
    ],
    ids=["new", "ready", "ready before the change", "not ready", "no runtime", "a failure that is over"],
)
def test_a_row_of_status(status: dict[str, Any], ready: bool, reason: str) -> None:
    """Ready refers to the latest specification. A reason is shown only if it still applies."""
    row = kserve.status_row(service(**status))
    assert row["ready"] is ready
    assert reason in row["reason"]
    assert bool(row["reason"]) is bool(reason)


def refused(status: int, body: str) -> PenstockError:
    err = ApiException(status=status, reason="Reason")
    err.body = body
    return kserve_client.refusal(err)


def test_refusals_are_in_kubernetes_own_words() -> None:
    """The error has Kubernetes' message, if there is one; an unknown path means that KServe is not installed."""
    forbidden = refused(403, json.dumps({"message": "alice cannot create inferenceservices"}))
    assert (forbidden.status, "alice cannot" in forbidden.detail) == (403, True)
    assert refused(404, "404 page not found").code == "no-kserve"
    assert "Reason" in refused(500, "").detail


class Fake:
    """KServe's client with InferenceServices in memory."""

    def __init__(self, *services: dict[str, Any]) -> None:
        self.services = {s["metadata"]["name"]: s for s in services}

    def get(self, namespace: str) -> dict[str, Any]:
        return {"items": list(self.services.values())}

    def delete(self, name: str, namespace: str) -> None:
        del self.services[name]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake(service(conditions=[READY], observedGeneration=2))

    def connect(self: kserve_client.KServe, namespace: str) -> None:
        self._namespace, self._client = namespace, fake

    monkeypatch.setattr(kserve_client.KServe, "__init__", connect)
    return fake


def test_status_as_json(fake: Fake) -> None:
    """It prints one object for each of Penstock's InferenceServices and no others; status 3 if one is not ready."""
    fake.services["other"] = {"metadata": {"name": "other", "generation": 1}}
    done = CliRunner().invoke(app, ["kserve", "status", "--json"])
    assert done.exit_code == 0
    assert [(row["name"], row["model"], row["ready"]) for row in json.loads(done.stdout)] == [
        ("spam", "spam@production", True)
    ]
    fake.services["spam"]["metadata"]["generation"] = 3
    assert CliRunner().invoke(app, ["kserve", "status"]).exit_code == 3


def test_delete_takes_only_what_is_ours(fake: Fake) -> None:
    """An InferenceService that was created by other means is not deleted; a missing one is an error."""
    fake.services["other"] = {"metadata": {"name": "other", "generation": 1}}
    assert CliRunner().invoke(app, ["kserve", "delete", "other"]).exit_code == 1
    assert CliRunner().invoke(app, ["kserve", "delete", "nosuch"]).exit_code == 1
    assert CliRunner().invoke(app, ["kserve", "delete", "spam"]).exit_code == 0
    assert set(fake.services) == {"other"}


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for a missing kserve says what to install, and ``sys.argv`` is restored."""
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "kserve":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    before = sys.argv
    done = CliRunner().invoke(app, ["kserve", "status"])
    assert done.exit_code == 1
    assert "penstock-cli[kserve]" in done.stderr
    assert sys.argv is before
