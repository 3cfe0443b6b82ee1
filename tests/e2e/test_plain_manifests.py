"""Installation without Helm: kubectl apply -k, keys from the command line, and Locust inside the cluster."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator

import pytest
import yaml

from penstock_common.registry_roles import ROLES
from penstock_common.version import VERSION
from tests.e2e.cluster import ROOT, Namespace, python_pod, run, until
from tests.e2e.conftest import REPOSITORY, TABLE, TAG, Release
from tests.e2e.test_autoscaling import sent
from tests.e2e.test_policies import part

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def manifests(folder: str, namespace: str) -> str:
    """Return a kustomization as a list for kubectl, moved to another namespace, with the images under test."""
    text = run("kubectl", "kustomize", str(ROOT / "deploy" / "k8s" / folder))
    documents = []
    for document in yaml.safe_load_all(text):
        if document["kind"] == "Namespace":
            document["metadata"]["name"] = namespace
        else:
            document["metadata"]["namespace"] = namespace
        documents.append(document)
    moved = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    return (
        moved.replace("ghcr.io/penstock", REPOSITORY)
        .replace(f":{VERSION}", f":{TAG}")
        .replace(".penstock.svc", f".{namespace}.svc")
    )


@pytest.fixture
def plain(release: Release) -> Iterator[Namespace]:
    namespace = Namespace("penstock-e2e-plain")
    namespace.delete()
    yield namespace
    namespace.delete()


def test_plain_manifests_serve_and_carry_a_load_test(plain: Namespace) -> None:
    """After the steps of deploy/k8s/README.md, the model answers, and Locust in the cluster meets its thresholds."""
    run("kubectl", "apply", "-f", "-", stdin=manifests("overlays/small", plain.name))
    tokens = [f"--from-literal={role}={secrets.token_hex(32)}" for role in ROLES]
    plain.kubectl("create", "secret", "generic", "penstock-registry-tokens", *tokens)
    in_cluster = ["--kubernetes", "--namespace", plain.name]
    limits = ["--rate", "1000", "--burst", "1000"]
    key = run(sys.executable, "-m", "penstock_cli", "keys", "create", "--name", "first", *limits, *in_cluster).strip()
    plain.kubectl("create", "secret", "generic", "penstock-first-key", f"--from-literal=key={key}")
    for deployment in ("registry", "inference", "gateway"):
        plain.rolled_out(f"penstock-{deployment}")

    training = python_pod(
        "train",
        f"{REPOSITORY}/training:{TAG}",
        "",
        {"PENSTOCK_REGISTRY_TOKEN_FILE": "/registry-token/train"},
        part("example"),
    )
    container = training["spec"]["containers"][0]
    container["command"] = [
        "python",
        "-m",
        "penstock_training",
        "spam",
        "--registry-url",
        "http://penstock-registry:8081",
    ]
    container["resources"]["limits"] = {"memory": "2Gi"}
    container["volumeMounts"] = [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "registry-token", "mountPath": "/registry-token"},
    ]
    token = {"secretName": "penstock-registry-tokens", "items": [{"key": "train", "path": "train"}]}
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "registry-token", "secret": token}]
    training["spec"] |= {"volumes": volumes, "restartPolicy": "OnFailure"}
    plain.apply(training)
    until(lambda: plain.get("pod", "train")["status"]["phase"] == "Succeeded", "the training", seconds=240)

    load = (
        manifests("loadtest", plain.name)
        .replace('"SECONDS": "120"', '"SECONDS": "30"')
        .replace('"USERS": "20"', '"USERS": "6"')
    )
    plain.kubectl("apply", "-f", "-", stdin=load)
    until(
        lambda: plain.get("job", "loadtest-master")["status"].get("conditions"), "Locust's master", seconds=240, every=2
    )
    log = plain.kubectl("logs", "job/loadtest-master")
    assert plain.get("job", "loadtest-master")["status"].get("succeeded") == 1, log[-3000:]
    TABLE.append(("Locust's master and workers in the cluster", sent(log), 0))
