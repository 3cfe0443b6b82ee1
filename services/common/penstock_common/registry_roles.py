"""The roles of the registry's tokens. Each token is in a file that is named after its role."""

from __future__ import annotations

from collections.abc import Mapping

#: Each role with the rights that it gives.
ROLES: Mapping[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "publish": frozenset({"read", "publish"}),
    "promote": frozenset({"read", "promote"}),
    "train": frozenset({"read", "publish", "promote"}),
    "admin": frozenset({"read", "publish", "promote", "admin"}),
}
