"""A batch on a cluster, over S3 and PostgreSQL, whose gateway is killed while it works."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import CHART, Namespace, until
from tests.e2e.conftest import SMALL
from tests.e2e.faults import signal_service
from tests.e2e.gateway_metrics import gateway_metric
from tests.e2e.postgresql import postgresql
from tests.e2e.publish import publish
from tests.e2e.s3 import s3_server
from tests.echo_batches import answered, check_outputs, client_of, create, line
from tests.integration.echo_model import write_echo

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
LINES = int(os.environ.get("PENSTOCK_BATCH_LINES", "10000"))
#: Models and files lie in one bucket, below prefixes of their own.
_VALUES = """
store: {url: "s3://penstock/models", credentialsSecret: s3, ports: [7070]}
gateway: {files: {url: "s3://penstock/files", credentialsSecret: s3, ports: [7070]}}
auth: {postgresqlSecret: db}
service: {type: NodePort}
example: {enabled: false}
poolDefaults:
  replicas: 1
  env: [{name: PENSTOCK_INFERENCE_ALLOW_CODE, value: "true"}]
"""
_OBJECTS = "/data/penstock/files"


@pytest.fixture
def namespace(cluster: None, tmp_path: Path) -> Iterator[Namespace]:
    """An installation with two gateways and one pod, without a volume, whose model echoes."""
    namespace = Namespace("penstock-e2e-batches")
    namespace.delete()
    namespace.create()
    namespace.apply(*s3_server("penstock"), *postgresql())
    namespace.kubectl("wait", "--for=condition=ready", "pod/s3", "pod/postgres", "--timeout=120s")
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "batches.yaml").write_text(_VALUES)
    values = ["-f", str(tmp_path / "small.yaml"), "-f", str(tmp_path / "batches.yaml")]
    namespace.helm("install", "penstock", CHART, *values, "--wait", "--timeout=300s")
    publish(namespace, "echo", {file.name: file.read_text() for file in write_echo(tmp_path / "echo").iterdir()})
    yield namespace
    if not os.environ.get("PENSTOCK_E2E_KEEP"):
        namespace.delete(wait=False)


def node_port(namespace: Namespace) -> str:
    """Return the URL of the gateways at a node that has one of them: in clusters with fake nodes, not all answer."""
    address = namespace.pods("gateway")[0]["status"]["hostIP"]
    return f"http://{address}:{namespace.get('service', 'penstock')['spec']['ports'][0]['nodePort']}"


def objects(namespace: Namespace, folder: str) -> set[str]:
    """Return the names of the objects directly below a key."""
    found = namespace.kubectl("exec", "s3", "-c", "s3", "--", "find", _OBJECTS, "-type", "f").splitlines()
    return {name for path in found for parent, _, name in [path.rpartition("/")] if parent == f"{_OBJECTS}/{folder}"}


def test_a_batch_outlives_the_gateway_that_works_on_it(namespace: Namespace) -> None:
    """After SIGKILL of one of two and the loss of its pod, each custom_id has one answer; all of it lies in S3."""
    command = ["exec", "deploy/penstock-gateway", "-c", "gateway", "--", "penstock", "keys", "create"]
    created = json.loads(namespace.kubectl(*command, "--name", "night", "--json"))
    client = client_of(node_port(namespace), created["key"])
    until(lambda: "echo" in {model.id for model in client.models.list()}, "the model", seconds=60)
    batch = create(client, "".join(line(i) for i in range(LINES)))
    until(lambda: answered(client, batch) >= LINES // 4, "a quarter of the answers", seconds=60 + LINES / 20)
    gateways = namespace.ready_pods("gateway")
    [owner] = [pod for pod in gateways if gateway_metric(namespace, pod, "penstock_gateway_batches_running")]
    signal_service(namespace, owner, "gateway", 9)
    namespace.kubectl("delete", "pod", owner, "--grace-period=0", "--force")
    before = answered(client, batch)
    assert before < LINES, "the batch was over too soon for this test; give it more lines"
    assert objects(namespace, f"batches/{batch.id}")

    until(lambda: client.batches.retrieve(batch.id).status == "completed", "the batch", seconds=60 + LINES / 20)
    done = client.batches.retrieve(batch.id)
    check_outputs(client, done, LINES)
    assert objects(namespace, "files") == {done.input_file_id, done.output_file_id, done.error_file_id}
    assert not objects(namespace, f"batches/{batch.id}")
    output = done.output_file_id or ""
    stored = namespace.kubectl("exec", "s3", "-c", "s3", "--", "cat", f"{_OBJECTS}/files/{output}")
    assert stored == client.files.content(output).text
