"""A message of more rows than a run should have, in parts that take turns with the messages of others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock_inference.engine.batch import merge_outputs
from penstock_inference.engine.message import Outputs


def joined(answers: Sequence[asyncio.Future[Outputs]]) -> asyncio.Future[Outputs]:
    """Return the answer to the whole message, from its parts'. If one fails, it fails; cancelling it cancels them."""
    whole: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
    parts = asyncio.gather(*answers)

    def settle(_: asyncio.Future[list[Outputs]]) -> None:
        if whole.done():
            return
        if parts.cancelled():
            whole.cancel()
        elif error := parts.exception():
            whole.set_exception(error)
        else:
            whole.set_result(merge_outputs(parts.result()))

    def drop(_: asyncio.Future[Outputs]) -> None:
        for answer in answers:
            answer.cancel()

    parts.add_done_callback(settle)
    whole.add_done_callback(drop)
    return whole
