"""What a task's route is: the services whose models answer it, what it takes and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols.openai.request import ModelName
from penstock_gateway.signature.field_check import invalid, shown

#: A value or a list of values; the model's own checks read it.
Values = msgspec.Raw | msgspec.UnsetType
#: How much of something is asked for, a whole number; JSON's 1.0 is one too.
Count = int | float
MAX_COUNT = 100


class TaskRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The members of a request that all routes have; absent, the model is the default one of the service.

    ``counts`` names the members that are a ``Count``.

    Raises:
        PenstockError: 422 ``invalid-input`` for a count that is not a whole number from 1 to ``MAX_COUNT``.
    """

    counts: ClassVar[tuple[str, ...]] = ()

    model: ModelName | None = None

    def __post_init__(self) -> None:
        for name in self.counts:
            count = getattr(self, name)
            if count is not None and (not 1 <= count <= MAX_COUNT or count % 1):
                raise invalid(name, f"{shown(count)} is not a whole number from 1 to {MAX_COUNT}")


R = TypeVar("R", bound=TaskRequest)


@dataclass(frozen=True)
class TaskRoute(Generic[R]):
    """A route.

    Attributes:
        path: of the route.
        summary: for the documentation.
        services: by the member of a request that is asked about, of which a request has exactly one.
        request: its members; one that the service's contract has as an input goes to the model.
        result: what is answered for each row.
        present: makes the results of an answer, one a row.
        examples: values of members, for the documentation of a model that has no example.
        lists: whether the member that is asked about may be a list, with a row for each element.
    """

    path: str
    summary: str
    services: Mapping[str, Service]
    request: type[R]
    result: type[msgspec.Struct]
    present: Callable[[Answer, R], list[Any]]
    examples: Mapping[str, Any]
    lists: bool = True

    @property
    def name(self) -> str:
        """Of the route in metrics and logs."""
        return self.path.rpartition("/")[2]

    @property
    def takes_pictures(self) -> bool:
        return "image" in self.services

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[R]:
        return msgspec.json.Decoder(self.request)
