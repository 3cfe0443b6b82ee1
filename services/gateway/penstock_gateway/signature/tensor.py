"""A tensor of a request as the signature sees it: described first, read once the description fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray


class Tensor(Protocol):
    """A named tensor whose data is not decoded yet; the number of rows comes first in its shape."""

    @property
    def name(self) -> str: ...

    @property
    def datatype(self) -> str: ...

    @property
    def shape(self) -> Sequence[int]: ...

    def array(self) -> NDArray[Any]:
        """The data, of this datatype and shape.

        Raises:
            PenstockError: 400 ``bad-tensor``.
        """
