"""The seam of what answers: a version in pods today."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature


class Servable(Protocol):
    """Something that answers requests for one version of a model."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def version(self) -> str:
        """The version's number, as the protocols write it."""

    @property
    def signature(self) -> Signature: ...

    async def ready(self) -> bool:
        """Whether a request would be answered now."""

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        """Start answering checked rows.

        Args:
            deadline: on ``time.monotonic``'s clock.

        Returns:
            A future of the outputs. Cancelling it drops the rows. It fails with a ``PenstockError``.

        Raises:
            PenstockError: 503 ``overloaded``.
        """

    def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        """Yield the chunks of the answer to checked rows as they come; one chunk if the model does not stream.

        Closing the generator ends the work. Whoever reads slowly slows the model down.

        Args:
            deadline: of the whole stream, on ``time.monotonic``'s clock.

        Raises:
            PenstockError: as the future of ``infer``; 422 ``invalid-input`` if a model that streams gets several rows.
        """
