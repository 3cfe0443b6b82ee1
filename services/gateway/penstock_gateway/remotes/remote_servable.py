"""What the servables of remotes have in common."""

from __future__ import annotations

from collections.abc import Callable

from penstock_gateway.remotes.server import RemoteServer
from penstock_gateway.signature.signature import Signature

#: The version of every remote: what its server has under a name is not known here.
VERSION = "1"


class RemoteServable:
    """A model that a remote answers for.

    Args:
        model: its name here.
        signature: that has checked its rows: its own, or that of the model for which it stands in.
        spend: is told the tokens of each answer, also of one that was broken off.
    """

    version = VERSION

    def __init__(
        self, model: str, server: RemoteServer, signature: Signature, spend: Callable[[int], None] = lambda _: None
    ) -> None:
        self.model = model
        self.signature = signature
        self._server = server
        self._spend = spend

    async def ready(self) -> bool:
        return self._server.ready
