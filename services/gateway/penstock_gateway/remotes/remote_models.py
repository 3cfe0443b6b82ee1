"""The remotes of this gateway, as its list names them now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from prometheus_client import Counter

from penstock_common.errors import PenstockError
from penstock_common.registry_models import PRODUCTION
from penstock_gateway.dataplane.model_entry import AliasShare, ModelListing
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.remotes.embeddings import RemoteEmbeddings, embeddings_manifest
from penstock_gateway.remotes.remote_files import ReadList, ReadRemote, RemoteFiles, trusted
from penstock_gateway.remotes.remote_servable import VERSION
from penstock_gateway.remotes.server import RemoteServer, forget
from penstock_gateway.remotes.stand_ins import StandIns, WithStandIns
from penstock_gateway.remotes.text import RemoteText, text_manifest
from penstock_gateway.signature.request_bounds import DEFAULT_BOUNDS, RequestBounds
from penstock_gateway.signature.signature import Signature

logger = structlog.get_logger()

_FAILURES = Counter(
    "penstock_gateway_remote_list_failures_total", "Readings of the list of remotes that failed; the last list stays."
)
_REFRESH_SECONDS = 1.0
_LOOK_SECONDS = 15.0  # between two questions to each remote whether it answers


class RemoteModel:
    """A remote in effect."""

    def __init__(self, name: str, read: ReadRemote, max_answer_bytes: int, bounds: RequestBounds) -> None:
        self.read = read
        self.since = int(time.time())
        self.server = RemoteServer(name, read.remote, trusted(read.authority), read.credential, max_answer_bytes)
        self.servable: Servable = (
            RemoteText(name, self.server, Signature(text_manifest(read.remote), name, bounds))
            if read.remote.width is None
            else RemoteEmbeddings(name, self.server, Signature(embeddings_manifest(read.remote), name, bounds))
        )

    def listing(self) -> ModelListing:
        name = self.server.name
        return ModelListing(
            id=name,
            created=self.since,
            ready=self.server.ready,
            description=self.read.remote.description,
            aliases={PRODUCTION: [AliasShare(VERSION, 100)]},
            versions=[VERSION],
            loading=[],
            owned_by=f"remote:{name}",
        )


class RemoteModels:
    """Finds what answers for a name, or instead of a model of this installation.

    Args:
        files: the list and what it names; None if the gateway has none.
        max_answer_bytes: the largest answer of a remote that is read.
        gateways: how many gateways there are now.
        bounds: what one request may hold.
    """

    def __init__(
        self,
        files: RemoteFiles | None,
        max_answer_bytes: int,
        gateways: Callable[[], int],
        bounds: RequestBounds = DEFAULT_BOUNDS,
    ) -> None:
        self._files = files
        self._max_answer_bytes = max_answer_bytes
        self._gateways = gateways
        self._bounds = bounds
        self._models: dict[str, RemoteModel] = {}
        self._stand_ins: dict[str, StandIns] = {}
        self._unreadable = False

    async def follow(self) -> None:
        """Keep to the list, and ask each remote now and then whether it answers, until cancelled."""
        looked = 0.0
        while True:
            changed = await self.refresh()
            if changed or time.monotonic() - looked >= _LOOK_SECONDS:
                looked = time.monotonic()
                await asyncio.gather(*(model.server.look() for model in self._models.values()))
            await asyncio.sleep(_REFRESH_SECONDS)

    async def refresh(self) -> bool:
        """Read the list; whether it has changed. One that cannot be read leaves the last one in effect."""
        if self._files is None:
            return False
        try:
            read = await asyncio.to_thread(self._files.read)
        except (PenstockError, OSError) as err:
            _FAILURES.inc()
            if not self._unreadable:
                logger.warning("the list of remotes cannot be read; keeping the last one", error=str(err))
            self._unreadable = True
            return False
        self._unreadable = False
        if read is not None:
            await self._use(read)
        return read is not None

    async def close(self) -> None:
        await self._use(ReadList())

    async def _use(self, read: ReadList) -> None:
        for name, reason in read.unreadable.items():
            logger.warning("a remote is left out", remote=name, reason=reason)
        before, self._models = self._models, {}
        for name, remote in read.remotes.items():
            model = before.get(name)
            if model is None or model.read != remote:
                model = RemoteModel(name, remote, self._max_answer_bytes, self._bounds)
                logger.info("remote in effect", remote=name, url=remote.remote.url)
            self._models[name] = model
        stand_ins = {}
        for name, fallback in read.listed.fallbacks.items():
            servers = [self._models[to].server for to in fallback.to if to in self._models]
            known = self._stand_ins.get(name) or StandIns(name, fallback, servers, self._gateways)
            known.update(fallback, servers)
            stand_ins[name] = known
        self._stand_ins = stand_ins
        for name, model in before.items():
            if self._models.get(name) is not model:
                await model.server.retire()
            if name not in self._models:
                forget(name)

    def servable(self, name: str, alias: str, version: str) -> Servable | None:
        """The remote of a name; None if there is none.

        Raises:
            PenstockError: 404 ``unknown-alias`` or ``unknown-version``.
        """
        model = self._models.get(name)
        if model is None:
            return None
        if alias not in ("", PRODUCTION):
            text = f"The remote model {name!r} has no alias {alias!r}; its aliases: {PRODUCTION}."
            raise PenstockError(404, "unknown-alias", text)
        if version not in ("", VERSION):
            text = f"The remote model {name!r} has no version {version!r}; its versions: {VERSION}."
            raise PenstockError(404, "unknown-version", text)
        return model.servable

    def behind(self, local: Servable) -> Servable:
        """A model of this installation with the remotes that stand in for it, if there are any."""
        stand_ins = self._stand_ins.get(local.model)
        if stand_ins is None or not stand_ins.servables(local.signature):
            return local
        return WithStandIns(stand_ins, local.version, local.signature, local)

    def instead(self, name: str, refusal: PenstockError) -> Servable | None:
        """What stands in for a model of which no version is in effect."""
        stand_ins = self._stand_ins.get(name)
        if stand_ins is None or not stand_ins.servers:
            return None
        signature = self._models[stand_ins.servers[0].name].servable.signature
        return WithStandIns(stand_ins, VERSION, signature, None, refusal)

    def names(self) -> list[str]:
        return list(self._models)

    def listing(self, name: str) -> ModelListing | None:
        """A remote as ``GET /v1/models`` lists it; None if there is none of that name."""
        model = self._models.get(name)
        return model.listing() if model is not None else None

    def servables(self) -> list[Servable]:
        return [model.servable for model in self._models.values()]
