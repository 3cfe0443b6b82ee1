"""An installation whose model sleeps: it keeps a pod busy as a GPU would, and costs the machine no CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster import CHART, Namespace, until
from tests.e2e.conftest import SMALL, Release
from tests.e2e.load import Load
from tests.e2e.pod_metrics import answered
from tests.e2e.publish import publish

#: Seconds of one run, which takes one row.
RUN_SECONDS = 0.1

_MODEL = f"""
import time

class Model:
    def load(self, folder):
        pass

    def predict(self, inputs):
        time.sleep({RUN_SECONDS})
        return {{"y": inputs["x"]}}
"""

_MANIFEST = """
format: python
file: model.py
task: regression
inputs: [{name: x, kind: number, datatype: FP32}]
outputs: [{name: y, datatype: FP32}]
batching: {max_batch_size: 1}
"""


@dataclass
class Throughput:
    """What a pool did for a while: requests/s of all its pods, the requests that failed, and each pod's answers."""

    requests_per_second: float
    failed: dict[str, int]
    answered: dict[str, float]


class SleepingPool(Release):
    """An installation with the model ``sleeping`` alone."""

    def load(self, **options: object) -> Load:
        return super().load(**{"model": "sleeping", "body": {"x": 1.0}, "pause": 0.0, **options})

    def scale(self, pods: int) -> None:
        """Set the number of pods; return once each is ready and no other is left."""
        self.namespace.kubectl("scale", "deployment/penstock-inference", f"--replicas={pods}")
        until(lambda: self._only_ready(pods), f"{pods} pods")

    def _only_ready(self, pods: int) -> bool:
        everyone = self.namespace.get("pods", "-l", "app.kubernetes.io/component=inference")["items"]
        return len(everyone) == len(self.namespace.ready_pods("inference")) == pods

    def throughput(self, load: Load, answers: int) -> Throughput:
        """Measure from when every pod has answered something under ``load`` until there are ``answers`` more."""
        pods = self.namespace.ready_pods("inference")
        idle = {pod: self._answered(pod) for pod in pods}
        until(lambda: all(self._answered(pod) > idle[pod] + 2 for pod in pods), "an answer of every pod")
        before = {pod: self._answered(pod) for pod in pods}
        first = load.count()
        count = load.more(answers).since(first)
        return Throughput(
            (count.sent - sum(count.failed.values())) / (count.at - first.at),
            count.failed,
            {pod: self._answered(pod) - before[pod] for pod in pods},
        )

    def _answered(self, pod: str) -> float:
        return answered(self.namespace, pod)


@contextmanager
def sleeping_pool(name: str, values: Path, *options: str) -> Iterator[SleepingPool]:
    """An installation with two gateways and one pod in a namespace of its own, which is deleted at the end.

    Args:
        name: of the namespace.
        values: a path to write the chart's values to.
        options: more arguments of ``helm install``.
    """
    namespace = Namespace(name)
    namespace.delete()
    namespace.create()
    values.write_text(SMALL)
    try:
        yield _installed(namespace, values, options)
    finally:
        namespace.delete()


def _installed(namespace: Namespace, values: Path, options: tuple[str, ...]) -> SleepingPool:
    code = "poolDefaults.env[0].name=PENSTOCK_INFERENCE_ALLOW_CODE,poolDefaults.env[0].value=true"
    fixed = ["--set", "example.enabled=false", "--set", "poolDefaults.replicas=1", "--set-string", code]
    fixed += ["--wait", "--timeout=300s"]
    namespace.helm("install", "penstock", CHART, "-f", str(values), *fixed, *options)
    publish(namespace, "sleeping", {"model.yaml": _MANIFEST, "model.py": _MODEL})
    return SleepingPool(namespace, str(values))
