"""Finds the version that a request names, among those on this pod."""

from __future__ import annotations

import random

from penstock_common.errors import PenstockError
from penstock_common.registry_models import PRODUCTION
from penstock_inference.versions.hosted import HostedVersion, State
from penstock_inference.versions.reconciler import Reconciler


class VersionLookup:
    """Answers what is here. A ``version`` is a number, an alias, or empty for production."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._desired = reconciler.desired
        self._hosted = reconciler.hosted

    async def find(self, model: str, version: str = "") -> HostedVersion:
        """Return the READY version of a request; wait if its first load is not finished. The wait has no limit.

        Raises:
            PenstockError: 404 ``unknown-model`` or ``unknown-version``; 503 ``model-unavailable``.
        """
        hosted = self._look_up(model, version)
        if hosted is None:
            # A gateway may have heard of the version before this pod has.
            await self._reconciler.refresh()
            hosted = self._look_up(model, version)
        if hosted is None:
            if not self._desired.has_model(model):
                raise PenstockError(404, "unknown-model", f"This pool does not serve a model {model!r}.")
            raise PenstockError(
                404,
                "unknown-version",
                f"Version {version or PRODUCTION!r} of {model!r} is not served; no alias names it.",
            )
        if hosted.state is State.LOADING:
            await hosted.settled.wait()
        if hosted.state is not State.READY:
            raise PenstockError(
                503, "model-unavailable", f"Version {hosted.version.version} of {model!r} could not be loaded here."
            )
        return hosted

    def model_ready(self, model: str, version: str = "") -> bool:
        """Return whether the version is loaded and warm; for an alias, whether all that it names are."""
        if not self._desired.has_model(model):
            return False
        targets = self._desired.targets(model, version)
        numbers = [int(version)] if version.isdecimal() else [target.version for target in targets]
        named = [self._hosted.get((model, number)) for number in numbers]
        return bool(named) and all(hosted is not None and hosted.state is State.READY for hosted in named)

    def ready_models(self) -> set[str]:
        """Return the models whose production alias is ready."""
        return {model for model, _ in self._hosted if self.model_ready(model)}

    def index(self) -> list[tuple[str, int, State, str]]:
        """Return the name, version, state and reason of each version that is here or should be."""
        return [
            (model, number, hosted.state, hosted.reason) for (model, number), hosted in sorted(self._hosted.items())
        ]

    def _look_up(self, model: str, version: str) -> HostedVersion | None:
        if version.isdecimal():
            return self._hosted.get((model, int(version)))
        targets = self._desired.targets(model, version)
        if not targets:
            return None
        chosen = random.choices(targets, [target.weight for target in targets])[0]  # noqa: S311 (traffic split)
        return self._hosted.get((model, chosen.version))
