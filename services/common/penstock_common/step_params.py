"""Reads the parameters of a step that a manifest names: pre- and post-processing have the same rules."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from penstock_common.manifest import bad_manifest

P = TypeVar("P", bound=msgspec.Struct)


def read_params(where: str, step: str, given: dict[str, Any], params: type[P]) -> P:
    """Return the parameters of a step.

    Args:
        where: the manifest's key of the step.
        given: as the manifest has them.
        params: the ``msgspec.Struct`` that they are.

    Raises:
        PenstockError: 422 ``bad-manifest``, naming the parameter that is unknown and those that are not, or the value
            that is wrong.
    """
    known = params.__struct_fields__
    for key in given:
        if key not in known:
            raise bad_manifest(
                f"{where}.params.{key}: {step} has no such parameter; it has {', '.join(known) or 'none'}"
            )
    try:
        return msgspec.convert(given, params)
    except (msgspec.ValidationError, ValueError) as err:
        raise bad_manifest(f"{where}.params of {step}: {err}") from None
