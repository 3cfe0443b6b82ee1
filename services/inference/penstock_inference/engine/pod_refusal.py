"""What one pod cannot answer, though another may."""

from __future__ import annotations

from penstock_common.errors import PenstockError

#: Trailing metadata of a refusal; Envoy's ``retriable_headers`` name it.
ANOTHER_POD = ("penstock-retry", "another-pod")


class PodRefusalError(PenstockError):
    """An error of this pod alone, after which Envoy asks another pod.

    Its status is 429 (gRPC's RESOURCE_EXHAUSTED) or 404. It is never 503 (UNAVAILABLE), for which Envoy would
    take the pod out of rotation, with all its other models.
    """
