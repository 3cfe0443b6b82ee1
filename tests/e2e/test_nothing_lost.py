"""No request fails during rollouts, rollbacks, promotions, scale-ins, drains, or the loss of a part."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.e2e.cluster import run, until
from tests.e2e.conftest import Release
from tests.e2e.load import Load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
Block = Callable[[str], AbstractContextManager[Load]]


def settled(release: Release, gateways: int = 2, pods: int = 2) -> None:
    """Wait until the installation has exactly these pods, all of them ready."""
    namespace = release.namespace
    until(
        lambda: (
            (len(namespace.ready_pods("gateway")), len(namespace.ready_pods("inference"))) == (gateways, pods)
            and len(namespace.pods("gateway")) == gateways
            and len(namespace.pods("inference")) == pods
        ),
        f"{gateways} gateways and {pods} pods",
    )


def test_a_rolling_update_to_a_new_image(release: Release, nothing_lost: Block) -> None:
    """Every pod of every part is replaced, with another image if NEXT_TAG names one."""
    settled(release)
    with nothing_lost("rolling update to a new image"):
        if tag := os.environ.get("NEXT_TAG"):
            release.upgrade("--set", f"image.tag={tag}")
        else:
            release.namespace.kubectl("rollout", "restart", "deployment")
        for part in ("gateway", "inference", "registry"):
            release.namespace.rolled_out(f"penstock-{part}")
        settled(release)


def test_a_helm_rollback(release: Release, nothing_lost: Block) -> None:
    """``helm upgrade`` changes values, then ``helm rollback`` returns to the previous ones."""
    with nothing_lost("helm upgrade of a config value"):
        release.upgrade("--set", "gateway.accessLog=all", "--set", "poolDefaults.retainSeconds=31")
        settled(release)
    with nothing_lost("helm rollback"):
        release.namespace.helm("rollback", "penstock", "--wait", "--timeout=300s")
        settled(release)


def test_a_promotion(release: Release, nothing_lost: Block) -> None:
    """Another version is trained and promoted: each version answers under its number, and no request fails."""
    namespace = release.namespace
    jobs = namespace.get("jobs", "-l", "app.kubernetes.io/component=example")["items"]
    job = jobs[0]
    template = job["spec"]["template"]
    for label in ("controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"):
        template["metadata"]["labels"].pop(label, None)
    container = template["spec"]["containers"][0]
    container["args"] = [a for a in container["args"] if a != "--if-missing"] + ["--seed", "3", "--no-promote"]
    train = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "train-again"},
        "spec": {"template": template, "backoffLimit": 4},
    }
    namespace.apply(train)
    namespace.kubectl("wait", "--for=condition=complete", "job/train-again", "--timeout=240s")
    with nothing_lost("promotion of a new model version") as load:
        move_alias(release, 2)
        until(lambda: load.count().versions.get("2", 0) > 50, "answers of version 2")
        assert load.count().versions["1"] > 0
    with nothing_lost("rollback of the model") as load:
        move_alias(release, 1)
        until(lambda: load.count().versions.get("1", 0) > 50, "answers of version 1")


def move_alias(release: Release, version: int) -> None:
    """Point production at a version through the registry's API, from inside its pod."""
    program = (
        "import httpx, pathlib; token = pathlib.Path('/registry-tokens/promote').read_text(); "
        "httpx.put('http://127.0.0.1:8081/v1/models/spam/aliases/production', "
        f"json={{'targets': [{{'version': {version}}}]}}, "
        "headers={'Authorization': 'Bearer ' + token}).raise_for_status()"
    )
    release.namespace.kubectl("exec", "deploy/penstock-registry", "--", "python", "-c", program)


def test_a_scale_in(release: Release, nothing_lost: Block) -> None:
    """The pool shrinks from three pods to one."""
    namespace = release.namespace
    namespace.kubectl("scale", "deployment/penstock-inference", "--replicas=3")
    settled(release, pods=3)
    with nothing_lost("scale-in from 3 pods to 1"):
        namespace.kubectl("scale", "deployment/penstock-inference", "--replicas=1")
        settled(release, pods=1)
        until(
            lambda: len(namespace.get("pods", "-l", "app.kubernetes.io/component=inference")["items"]) == 1,
            "leaving pods",
        )
    namespace.kubectl("scale", "deployment/penstock-inference", "--replicas=2")
    settled(release)


@pytest.mark.parametrize("part", ["gateway", "inference"])
def test_a_deleted_pod(release: Release, nothing_lost: Block, part: str) -> None:
    """``kubectl delete pod`` shuts a pod down in order; a gateway's Envoy is in the same pod."""
    settled(release)
    namespace = release.namespace
    what = "delete pod of a gateway with its Envoy" if part == "gateway" else "delete pod of inference"
    with nothing_lost(what) as load:
        for _ in range(2):
            namespace.kubectl("delete", "pod", namespace.ready_pods(part)[0], "--wait=true")
            settled(release)
            load.more(20)


def test_a_pod_killed_by_force(release: Release, nothing_lost: Block) -> None:
    """After ``--grace-period=0 --force`` on one of two pods, the other answers its requests."""
    settled(release)
    namespace = release.namespace
    with nothing_lost("delete pod --grace-period=0 --force of inference"):
        namespace.kubectl("delete", "pod", namespace.ready_pods("inference")[0], "--grace-period=0", "--force")
        settled(release)


def test_the_registry_is_gone(release: Release, nothing_lost: Block) -> None:
    """A minute without a registry does not affect predictions."""
    namespace = release.namespace
    with nothing_lost("registry gone for a minute") as load:
        namespace.kubectl("scale", "deployment/penstock-registry", "--replicas=0")
        until(lambda: not namespace.pods("registry"), "the registry to leave")
        began = load.count().at
        until(lambda: load.count().at - began > 60, "a minute", every=2)
        namespace.kubectl("scale", "deployment/penstock-registry", "--replicas=1")
        namespace.rolled_out("penstock-registry")


def test_a_node_is_drained(release: Release, nothing_lost: Block) -> None:
    """``kubectl drain`` moves the pods of a node within their disruption budgets, and no request is lost."""
    nodes = json.loads(run("kubectl", "get", "nodes", "-l", "type!=fake", "-o", "json"))["items"]
    if len(nodes) < 2:
        pytest.skip("needs a second node")
    settled(release)
    namespace = release.namespace
    with_load = {pod["spec"]["nodeName"] for pod in namespace.pods("gateway") + namespace.pods("inference")}
    with nothing_lost("drain of a node"):
        # The registry's volume cannot leave its node, and without a registry no new pod becomes ready.
        at = namespace.pods("registry")[0]["spec"]["nodeName"]
        node = next(name for name in sorted(with_load) if name != at)
        try:
            run("kubectl", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s",
                "--pod-selector=app.kubernetes.io/name=penstock")  # fmt: skip
            settled(release)
        finally:
            run("kubectl", "uncordon", node)
