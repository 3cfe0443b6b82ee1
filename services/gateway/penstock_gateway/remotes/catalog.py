"""The catalog with remotes in it: a name that the registry has is its model, any other may be a remote's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock_common.errors import PenstockError
from penstock_common.pools import matches
from penstock_gateway.dataplane.catalog import Catalog, MakeServable, Readiness
from penstock_gateway.dataplane.model_entry import ModelListing
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.remotes.remote_models import RemoteModels


class CatalogWithRemotes(Catalog):
    """Arguments as those of ``Catalog``, and the remotes."""

    def __init__(
        self, readiness: Readiness, make_servable: MakeServable, probes: Callable[[str], int], remotes: RemoteModels
    ) -> None:
        super().__init__(readiness, make_servable, probes)
        self._remotes = remotes

    def resolve(self, name: str, version: str = "", allowed: Sequence[str] | None = None) -> Servable:
        """As ``Catalog.resolve``; a model for which remotes stand in comes with them, unless a version is asked for."""
        model, _, alias = name.partition("@")
        try:
            local = super().resolve(name, version, allowed)
        except PenstockError as err:
            if model not in self._entries and (remote := self._remotes.servable(model, alias, version)):
                return remote
            if err.status == 503 and not version and (other := self._remotes.instead(model, err.copy())):
                return other
            raise
        return local if version else self._remotes.behind(local)

    def _names(self, allowed: Sequence[str] | None) -> list[str]:
        names = sorted({*self._entries, *self._remotes.names()})
        return [name for name in names if allowed is None or matches(name, allowed)]

    def models(self, allowed: Sequence[str] | None = None) -> list[ModelListing]:
        return [self.listing(name) for name in self._names(allowed)]

    def listing(self, name: str, allowed: Sequence[str] | None = None) -> ModelListing:
        remote = None if name in self._entries else self._remotes.listing(name)
        return remote or super().listing(name, allowed)

    def production(self) -> list[Servable]:
        remotes = [servable for servable in self._remotes.servables() if servable.model not in self._entries]
        return [*super().production(), *remotes]
