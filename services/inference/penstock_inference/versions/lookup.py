"""Finds the version that a request names, among those on this pod."""

from __future__ import annotations

import random

from penstock_common.registry_models import PRODUCTION, AliasTarget
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.versions.hosted import HostedVersion, State
from penstock_inference.versions.reconciler import Reconciler


class VersionLookup:
    """Answers what is here. A ``version`` is a number, an alias, or empty for production."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._desired = reconciler.desired
        self._hosted = reconciler.hosted

    async def find(self, model: str, version: str = "") -> HostedVersion:
        """Return the READY version of a request. What is not READY is refused at once, for another pod may have it.

        Raises:
            PodRefusalError: 404 ``unknown-model`` or ``unknown-version``; 429 ``model-loading``, ``model-restarting``
                or ``model-unavailable``.
        """
        hosted = self._look_up(model, version)
        if hosted is None:
            # A gateway may have heard of the version before this pod has.
            await self._reconciler.refresh()
            hosted = self._look_up(model, version)
        if hosted is None:
            raise self._absent(model, version)
        if hosted.state is not State.READY:
            raise _not_ready(hosted)
        return hosted

    def model_ready(self, model: str, version: str = "") -> bool:
        """Return whether the version is loaded and warm; for an alias, whether all that it means now are."""
        if not self._desired.has_model(model):
            return False
        targets = [AliasTarget(int(version))] if version.isdecimal() else self._meant(model, version)
        return self._ready(model, targets)

    def ready_models(self) -> set[str]:
        """Return the models whose production alias is ready."""
        return {model for model, _ in self._hosted if self.model_ready(model)}

    def index(self) -> list[tuple[str, int, State, str]]:
        """Return the name, version, state and reason of each version that is here or should be."""
        return [
            (model, number, hosted.state, hosted.reason) for (model, number), hosted in sorted(self._hosted.items())
        ]

    def _absent(self, model: str, version: str) -> PodRefusalError:
        if not self._desired.has_model(model):
            return PodRefusalError(404, "unknown-model", f"This pool does not serve a model {model!r}.")
        if self._desired.is_unloaded(model):
            detail = f"Model {model!r} was unloaded from this pod; RepositoryModelLoad brings it back."
            return PodRefusalError(429, "model-unavailable", detail)
        detail = f"Version {version or PRODUCTION!r} of {model!r} is not on this pod; no alias names it."
        return PodRefusalError(404, "unknown-version", detail)

    def _look_up(self, model: str, version: str) -> HostedVersion | None:
        if version.isdecimal():
            return self._hosted.get((model, int(version)))
        targets = self._meant(model, version)
        if not targets:
            return None
        chosen = random.choices(targets, [target.weight for target in targets])[0]  # noqa: S311 (traffic split)
        return self._hosted.get((model, chosen.version))

    def _meant(self, model: str, alias: str) -> list[AliasTarget]:
        """Return the targets of an alias or, while one of them is not ready, the newest earlier ones that are."""
        targets = self._desired.targets(model, alias)
        if targets and not self._ready(model, targets):
            for earlier in self._desired.earlier_targets(model, alias):
                if self._ready(model, earlier):
                    return earlier
        return targets

    def _ready(self, model: str, targets: list[AliasTarget]) -> bool:
        named = [self._hosted.get((model, target.version)) for target in targets]
        return bool(named) and all(hosted is not None and hosted.state is State.READY for hosted in named)


def _not_ready(hosted: HostedVersion) -> PodRefusalError:
    name = f"Version {hosted.version.version} of {hosted.version.model!r}"
    if hosted.state is State.LOADING and hosted.reason:
        return PodRefusalError(429, "model-restarting", f"{name} is being started again: {hosted.reason}.")
    if hosted.state is State.LOADING:
        return PodRefusalError(429, "model-loading", f"{name} is still being loaded on this pod; try again shortly.")
    detail = f"{name} could not be loaded on this pod, which tries again; RepositoryIndex has the reason."
    return PodRefusalError(429, "model-unavailable", detail)
