"""Rows that differ in one field: a value, or a list of values, as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.signature.row_decoder import RowDecoder
from penstock_gateway.signature.rows import Rows

_LIST = msgspec.json.Decoder(list[msgspec.Raw])


class Column(msgspec.Struct):
    """The values of one field, with what the other fields have in every row.

    Attributes:
        values: JSON, read in a request already; a list has a row for each of its elements.
        is_row: whether a list is the value of a single row too.
    """

    field: str
    values: msgspec.Raw
    others: dict[str, Any] = {}
    is_row: bool = False

    def rows(self, decoder: RowDecoder) -> Rows:
        """The checked rows.

        Raises:
            PenstockError: of ``RowDecoder.decode_json``; a 400 ``bad-json`` names the field and not the byte.
        """
        try:
            values = (
                [self.values]
                if self.is_row or bytes(memoryview(self.values)[:1]) != b"["
                else _LIST.decode(self.values)
            )
            decoder.check_row_count(len(values))
            rows = [{self.field: value, **self.others} for value in values]
            return decoder.decode_json(msgspec.json.encode(rows if len(rows) > 1 else rows[0]))
        except (msgspec.DecodeError, PenstockError) as err:
            if isinstance(err, PenstockError) and err.code != "bad-json":
                raise
            text = f"Field '{self.field}': cannot be read as JSON in UTF-8; encode it with a library."
            raise PenstockError(400, "bad-json", text, extra={"field": self.field}) from None
