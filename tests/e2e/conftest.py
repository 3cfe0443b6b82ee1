"""The release that all e2e tests share, in its own namespace of the cluster that KUBECONFIG names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from tests.e2e.cluster import CHART, CommandFailed, Namespace, run
from tests.e2e.load import Load

REPOSITORY = os.environ.get("PENSTOCK_IMAGES", "ghcr.io/penstock")
TAG = os.environ.get("TAG", "dev")
#: Resources that a machine with two cores has; everything else is the chart's default.
SMALL = """
image: {tag: "TAG", repository: REPOSITORY}
gateway:
  replicas: 2
  rate: 10000
  burst: 10000
  resources: {requests: {cpu: 50m, memory: 160Mi}, limits: {memory: 512Mi}}
envoy: {resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {memory: 256Mi}}}
registry: {resources: {requests: {cpu: 20m, memory: 128Mi}, limits: {memory: 512Mi}}}
poolDefaults:
  resources: {requests: {cpu: 50m, memory: 400Mi}, limits: {memory: 2Gi}}
  autoscaling: {enabled: false}
example: {models: [spam], resources: {requests: {cpu: 50m, memory: 384Mi}, limits: {memory: 2Gi}}}
""".replace("TAG", TAG).replace("REPOSITORY", REPOSITORY)


@dataclass
class Release:
    """An installation of the chart."""

    namespace: Namespace
    values: str  # path of the values file

    url = "http://penstock"
    image = f"{REPOSITORY}/gateway:{TAG}"

    @property
    def key(self) -> str:
        return self.namespace.secret("penstock-first-key", "key")

    def upgrade(self, *options: str) -> None:
        self.namespace.helm("upgrade", "penstock", CHART, "-f", self.values, "--wait", "--timeout=300s", *options)

    def load(self, **options: object) -> Load:
        return Load(self.namespace, self.image, self.url, self.key, **options)  # type: ignore[arg-type]

    def model_answers(self) -> None:
        """Wait until the example's model is in effect."""
        selector = "app.kubernetes.io/component=example"
        self.namespace.kubectl("wait", "--for=condition=complete", "job", "-l", selector, "--timeout=240s")
        self.namespace.helm("test", "penstock", "--timeout=180s")


@pytest.fixture(scope="session")
def cluster() -> None:
    """Skip what needs a cluster if there is none."""
    for program in ("kubectl", "helm"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} on the PATH")
    try:
        run("kubectl", "version", "--request-timeout=10s")
    except CommandFailed as err:
        pytest.skip(f"needs a cluster; set KUBECONFIG: {err}")


@pytest.fixture(scope="session")
def release(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """An installation with two gateways, two pods and the trained example model."""
    namespace = Namespace("penstock-e2e")
    namespace.delete()
    namespace.create()
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    values.write_text(SMALL)
    installed = Release(namespace, str(values))
    namespace.helm("install", "penstock", CHART, "-f", str(values), "--wait", "--timeout=300s")
    installed.model_answers()
    yield installed
    if not os.environ.get("PENSTOCK_E2E_KEEP"):
        namespace.delete()


#: The counts of the tests under load: (what happened, sent, failed).
TABLE: list[tuple[str, int, int]] = []


@pytest.fixture
def nothing_lost(release: Release) -> Callable[[str], AbstractContextManager[Load]]:
    """A block under steady load, in which no request may fail; its counts go into the table at the end of the run."""

    @contextmanager
    def block(what: str) -> Iterator[Load]:
        with release.load() as load:
            yield load
            count = load.more(60)
        TABLE.append((what, count.sent, sum(count.failed.values())))
        assert not count.failed, count.failed

    return block


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE:
        terminalreporter.section("requests under load")
        terminalreporter.write_line(f"{'sent':>7} {'failed':>7}  what happened")
        for what, sent, failed in TABLE:
            terminalreporter.write_line(f"{sent:>7} {failed:>7}  {what}")
