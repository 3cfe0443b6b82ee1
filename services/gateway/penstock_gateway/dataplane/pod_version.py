"""A model version that pods serve."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from opentelemetry import trace

from penstock_common.errors import PenstockError
from penstock_common.registry_models import Version
from penstock_common.telemetry import tracing_enabled
from penstock_common.tensors import NUMPY_DTYPES
from penstock_gateway.dataplane.coalescer import Coalescer
from penstock_gateway.dataplane.large_request import LargeRequest
from penstock_gateway.signature.request_bounds import DEFAULT_BOUNDS, RequestBounds
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature


class PodVersion:
    """A servable whose rows wait in a coalescer for the next call to the pods; a stream is a call of its own."""

    __slots__ = ("_answer_bytes", "_large", "_ready", "_stream", "coalescer", "model", "signature", "version")

    def __init__(
        self,
        version: Version,
        coalescer: Coalescer[Rows, RawOutputs],
        ready: Callable[[], Awaitable[bool]],
        stream: Callable[[Rows, float], AsyncGenerator[RawOutputs, None]],
        bounds: RequestBounds = DEFAULT_BOUNDS,
    ) -> None:
        self.model = version.model
        self.version = str(version.version)
        self.signature = Signature(version.manifest, version.model, bounds)
        self.coalescer = coalescer
        self._large = LargeRequest(version.manifest)
        self._stream = stream
        self._ready = ready
        #: Bytes of a row's answer, as far as the signature tells.
        self._answer_bytes = sum(
            math.prod([size for size in output.shape if isinstance(size, int) and size > 0])
            * NUMPY_DTYPES[output.datatype].itemsize
            for output in version.manifest.outputs
            if output.datatype != "BYTES"
        )

    async def ready(self) -> bool:
        return await self._ready()

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        if tracing_enabled():
            rows.span = trace.get_current_span()
        size = max(sum(map(len, rows.inputs)), rows.count * self._answer_bytes, rows.image_work)
        most = self._large.most_rows
        if most is None or rows.count <= most:
            return self.coalescer.submit(rows, rows.count, size, rows.principal, deadline, rows.shapes)
        parts = [(part, part.count) for part in self._large.cut(rows)]
        answers = self.coalescer.submit_all(parts, size, rows.principal, deadline, rows.shapes)
        return asyncio.create_task(self._large.joined(answers))

    async def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        if not self.signature.manifest.stream:
            yield await self.infer(rows, deadline)
            return
        if rows.count != 1:
            text = f"{rows.count} rows; model {self.model!r} streams and takes one row a request."
            raise PenstockError(422, "invalid-input", text)
        if tracing_enabled():
            rows.span = trace.get_current_span()
        async with aclosing(self._stream(rows, deadline)) as chunks:
            async for outputs in chunks:
                yield outputs
