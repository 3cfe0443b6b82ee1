"""KServe runs Penstock's pods: they become ready, answer OIP v2, and the gateway routes to them."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.e2e.cluster import ROOT, CommandFailed, python_pod, run
from tests.e2e.conftest import REPOSITORY, TAG, Release
from tests.e2e.load import Load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
RUNTIME = str(ROOT / "deploy" / "k8s" / "kserve" / "runtime.yaml")

_INFER = """
import json, os
import grpc
from penstock_common.contract import inference_pb2 as pb, inference_pb2_grpc as rpc

versions = []
for target in os.environ["TARGETS"].split(","):
    stub = rpc.GRPCInferenceServiceStub(grpc.insecure_channel(target))
    request = pb.ModelInferRequest(model_name="spam")
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(b"WINNER!! Claim your free prize now")
    answer = stub.ModelInfer(request, timeout=20, wait_for_ready=True)
    versions.append([answer.model_name, answer.model_version, len(answer.outputs)])
print(json.dumps(versions))
"""


def penstock(release: Release, *arguments: str) -> str:
    return run(
        sys.executable, "-m", "penstock_cli", "kserve", *arguments, "--namespace", release.namespace.name, timeout=400
    )


@pytest.fixture(scope="module")
def predictor(release: Release) -> Iterator[dict[str, Any]]:
    """spam@production served by two pods of KServe's: what ``deploy --json`` printed."""
    # It is not imported here: its copy of the protocol cannot be in one process with ours.
    if importlib.util.find_spec("kserve") is None:
        pytest.skip("needs the Python package kserve")
    try:
        run("kubectl", "get", "crd", "inferenceservices.serving.kserve.io")
    except CommandFailed:
        pytest.skip("needs KServe: the cluster has no CRD inferenceservices.serving.kserve.io")
    there_before = run("kubectl", "get", "clusterservingruntime", "penstock", "--ignore-not-found", "-o", "name")
    run("kubectl", "apply", "-f", RUNTIME)
    try:
        image = f"{REPOSITORY}/inference:{TAG}"
        yield json.loads(penstock(release, "deploy", "spam", "--replicas", "2", "--image", image, "--json"))
    finally:
        release.namespace.kubectl("delete", "inferenceservice", "spam", "--ignore-not-found")
        if not there_before:
            run("kubectl", "delete", "-f", RUNTIME)


def test_it_becomes_ready(release: Release, predictor: dict[str, Any]) -> None:
    """``deploy`` returns once KServe and the model are ready; ``status`` reports the same, and the number of pods."""
    assert predictor["ready"] is True
    (row,) = json.loads(penstock(release, "status", "--json"))
    assert row == {"name": "spam", "model": "spam@production", "ready": True, "pods": 2, "reason": ""}


def test_the_pods_are_ours_alone(release: Release, predictor: dict[str, Any]) -> None:
    """One container and no storage initializer: KServe adds nothing to the pods."""
    pods = release.namespace.get("pods", "-l", "serving.kserve.io/inferenceservice=spam")["items"]
    assert [[c["name"] for c in pod["spec"]["containers"]] for pod in pods] == [["kserve-container"]] * 2
    assert not any(pod["spec"].get("initContainers") for pod in pods)


def test_it_answers_inside_the_cluster(release: Release, predictor: dict[str, Any]) -> None:
    """ModelInfer works through KServe's own Service, and through the headless one that lists the pods."""
    namespace = release.namespace
    targets = {"TARGETS": "spam-predictor:80,spam-pods:9100"}
    namespace.apply(python_pod("ask-kserve", release.image, _INFER, targets, {"app": "ask-kserve"}))
    try:
        namespace.kubectl("wait", "pod/ask-kserve", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
        answers = json.loads(namespace.kubectl("logs", "ask-kserve"))
    finally:
        namespace.kubectl("delete", "pod", "ask-kserve", "--grace-period=0", "--force")
    assert [name for name, _, _ in answers] == ["spam", "spam"]
    assert all(version.isdecimal() and outputs for _, version, outputs in answers)


def test_the_gateway_routes_to_it(
    release: Release, predictor: dict[str, Any], nothing_lost: Callable[[str], AbstractContextManager[Load]]
) -> None:
    """A model moves from the chart's pool to KServe and back under load, and no request is lost."""
    pools = predictor["values"]["pools"]
    external = ["--set-json", f"pools={json.dumps(pools)}"]
    excluded = ["--set-json", 'pools.inference.models=["*", "!spam"]']
    with nothing_lost("a model moves to KServe") as load:
        release.upgrade(*external)
        load.more(60)
    with nothing_lost("the chart's pool stops serving it") as load:
        release.upgrade(*external, *excluded)
        load.more(60)  # only KServe's pods have the model now
    with nothing_lost("the model moves back"):
        release.upgrade(*external)
        release.upgrade()


def test_it_is_deleted(release: Release, predictor: dict[str, Any]) -> None:
    """``delete`` removes the InferenceService together with its Deployment, Services and pods."""
    namespace = release.namespace
    penstock(release, "delete", "spam")
    assert json.loads(penstock(release, "status", "--json")) == []
    for kind in ("deployment/spam-predictor", "service/spam-predictor", "service/spam-pods"):
        namespace.kubectl("wait", kind, "--for=delete", "--timeout=60s")
