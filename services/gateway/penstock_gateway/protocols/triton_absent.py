"""Calls of Triton's HTTP interface that have no meaning here, and what does the same job.

They are answered with 404: a 5xx would look like a failure to whatever counts those.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from penstock_common.errors import PenstockError
from penstock_gateway.edge.call import Call, Reply

_STATISTICS = (
    "Statistics of one gateway would be a share of the installation's; Prometheus has them all, from /metrics."
)
_REPOSITORY = "Pods load what the registry's aliases point at: penstock promote MODEL VERSION, or --alias NAME."
_TRACE = "Traces go to the OTLP endpoint that the deployment names; no call changes that."
_LOGGING = "Logs are configured by the deployment; no call changes that."
_MEMORY = "Clients share no memory with the pods; send tensors as binary data (binary_data_size)."

#: (method, path, what to do instead).
ABSENT = [
    ("GET", "/v2/models/stats", _STATISTICS),
    ("GET", "/v2/models/{model}/stats", _STATISTICS),
    ("GET", "/v2/models/{model}/versions/{version}/stats", _STATISTICS),
    ("POST", "/v2/repository/models/{model}/load", _REPOSITORY),
    ("POST", "/v2/repository/models/{model}/unload", _REPOSITORY),
    ("GET", "/v2/trace/setting", _TRACE),
    ("POST", "/v2/trace/setting", _TRACE),
    ("GET", "/v2/models/{model}/trace/setting", _TRACE),
    ("POST", "/v2/models/{model}/trace/setting", _TRACE),
    ("GET", "/v2/logging", _LOGGING),
    ("POST", "/v2/logging", _LOGGING),
    ("GET", "/v2/systemsharedmemory/{rest:path}", _MEMORY),
    ("POST", "/v2/systemsharedmemory/{rest:path}", _MEMORY),
    ("GET", "/v2/cudasharedmemory/{rest:path}", _MEMORY),
    ("POST", "/v2/cudasharedmemory/{rest:path}", _MEMORY),
]


def absent(instead: str) -> Callable[[Call], Awaitable[Reply]]:
    """A handler that refuses with 404 ``not-supported``."""

    async def refuse(_: Call) -> Reply:
        raise PenstockError(404, "not-supported", f"This part of Triton's interface does not exist here. {instead}")

    return refuse
