"""Rows of a model's signature from request bodies: the format check of the hot path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import astuple

from penstock_common.dimensions import check_named_sizes, fits, shapes_vary
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_gateway.edge.bounds import over_bound
from penstock_gateway.edge.json_body import bad_json, decode_json
from penstock_gateway.signature.audio_check import AudioCheck
from penstock_gateway.signature.bytes_checks import CategoryCheck, TextCheck
from penstock_gateway.signature.field_check import FieldCheck, shown
from penstock_gateway.signature.image_check import ImageCheck
from penstock_gateway.signature.images_check import ImagesCheck
from penstock_gateway.signature.numeric_checks import NumericCheck
from penstock_gateway.signature.request_bounds import DEFAULT_BOUNDS, RequestBounds
from penstock_gateway.signature.row_type import row_type
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.tensor import Tensor
from penstock_gateway.signature.tensor_checks import BytesTensorCheck, TensorCheck, check_row

_MISSING: Any = object()
_ABSENT: Any = object()
_SPACE = b" \t\r\n"  # JSON's
#: Up to this size a refused body is parsed once more for its error; generic parsing takes 25 times its memory.
_EXPLAINED_BYTES = 64 * 1024

_CHECKS: dict[FieldKind, type[FieldCheck]] = {
    FieldKind.TEXT: TextCheck,
    FieldKind.CATEGORY: CategoryCheck,
    FieldKind.NUMBER: NumericCheck,
    FieldKind.INTEGER: NumericCheck,
    FieldKind.BOOLEAN: NumericCheck,
    FieldKind.TENSOR: TensorCheck,
}


class RowDecoder:
    """Checks and encodes the rows of one model version; built once from its manifest.

    Args:
        bounds: what one request may hold.

    Raises of all methods: ``PenstockError`` 400 ``bad-json``, 413 ``too-many-rows``, ``image-too-large`` or
    ``audio-too-large``, 415 ``unsupported-image`` or ``unsupported-audio``, 422 ``invalid-input``.
    """

    def __init__(self, manifest: Manifest, bounds: RequestBounds = DEFAULT_BOUNDS) -> None:
        self._batch = manifest.batch
        self._max_rows = bounds.max_rows
        #: Whether two requests may differ in shape, so that rows carry theirs.
        self._vary = shapes_vary(manifest)
        self._checks = [_check_of(field, bounds) for field in manifest.client_inputs]
        self._names = [check.name for check in self._checks]
        # (name, check, checked default): what the hot path needs, without attribute look-ups.
        self._row_plan: list[tuple[str, Callable[[Any], Any], Any]] = [
            (check.name, check.json, _default(check)) for check in self._checks
        ]
        self._packs = [check.pack for check in self._checks]
        self._encoders = [_encoder(*plan) for plan in zip(self._row_plan, self._packs, strict=True)]
        row: Any = row_type(manifest)
        self._row = msgspec.json.Decoder(row)
        self._list = msgspec.json.Decoder(list[row])

    def decode_json(self, body: bytes) -> Rows:
        """The rows of a JSON body: one object, or a list of them."""
        try:
            if body[:1] == b"{" or not body.lstrip(_SPACE).startswith(b"["):
                row = astuple(self._row.decode(body))
                if self._vary:
                    return self._rows([self._checked(row)])
                return Rows([encode(value) for encode, value in zip(self._encoders, row, strict=True)], 1)
            if not self._batch:
                raise _one_object()
            values = self._list.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
            raise self._explained(body, err) from None
        self.check_row_count(len(values))
        rows = []
        for i, value in enumerate(values):
            try:
                rows.append(self._checked(astuple(value)))
            except PenstockError as err:
                raise _of_row(i, err) from None
        return self._rows(rows, is_list=True)

    def decode_form(self, values: Mapping[str, str | bytes]) -> Rows:
        """One row from a multipart form: texts are parsed by kind, files are bytes."""
        return self._rows([self._form_row(values)])

    def decode_forms(self, forms: Sequence[Mapping[str, str | bytes]]) -> Rows:
        """A row from each of several forms."""
        self.check_row_count(len(forms))
        if len(forms) > 1 and not self._batch:
            raise _one_object()
        rows = []
        for i, values in enumerate(forms):
            try:
                rows.append(self._form_row(values))
            except PenstockError as err:
                raise _of_row(i, err) from None
        return self._rows(rows, is_list=True)

    def _form_row(self, values: Mapping[str, str | bytes]) -> list[Any]:
        self._refuse_unknown(values)
        row = []
        for check, (name, _, default) in zip(self._checks, self._row_plan, strict=True):
            if name in values:
                row.append(check.form(values[name]))
            elif default is not _MISSING:
                row.append(default)
            else:
                raise self._missing(name)
        return row

    def decode_tensors(self, tensors: Sequence[Tensor]) -> Rows:
        """The rows of an Open Inference Protocol request, whose tensors differ in their names.

        The names, datatypes and shapes of all are checked before the data of any is read.
        """
        given = {tensor.name: tensor for tensor in tensors}
        self._refuse_unknown(given)
        rows = self._row_count(given) if self._batch else 1
        shapes: list[tuple[int, ...] | None] = []
        for check, (name, _, default) in zip(self._checks, self._row_plan, strict=True):
            if name in given:
                shapes.append(_row_shape(check.field, given[name], rows if self._batch else None))
            elif default is _MISSING:
                raise self._missing(name)
            else:
                shapes.append(None if default is _ABSENT else check.row_shape(default))
        if self._vary:
            self._check_names(shapes)
        raw = []
        for check, (name, _, default), shape in zip(self._checks, self._row_plan, shapes, strict=True):
            if name in given:
                raw.append(check.array(given[name].array().reshape(rows, *(shape or ()))))
            else:
                raw.append(b"" if default is _ABSENT else check.pack([default] * rows))
        return Rows(raw, rows, shapes=tuple(shapes) if self._vary else None)

    def check_row_count(self, rows: int) -> None:
        """Refuse a request of no rows, or of too many.

        Raises:
            PenstockError: 422 ``invalid-input``, 413 ``too-many-rows``.
        """
        if rows == 0:
            raise _invalid("There are no rows; send at least one.")
        if rows > self._max_rows:
            text = f"{rows} rows in one request, {self._max_rows} are allowed; split them over several requests."
            raise over_bound(413, "too-many-rows", "max_rows", self._max_rows, text)

    def _row_count(self, given: Mapping[str, Tensor]) -> int:
        """How many rows the tensors of a batch have."""
        counts = {name: tensor.shape[0] if tensor.shape else 0 for name, tensor in given.items()}
        if len(set(counts.values())) > 1:
            raise _invalid(f"The inputs differ in their number of rows: {counts}; give all the same.")
        rows = next(iter(counts.values()), 0)
        self.check_row_count(rows)
        return rows

    def _rows(self, rows: list[list[Any]], *, is_list: bool = False) -> Rows:
        """Rows of checked elements, which agree in their shapes."""
        columns = zip(*rows, strict=True)
        if not self._vary:
            raw = [pack(column) for pack, column in zip(self._packs, columns, strict=True)]
            return Rows(raw, len(rows), is_list=is_list)
        raw, shapes = [], []
        for check, column in zip(self._checks, columns, strict=True):
            of_rows = [None if element is _ABSENT else check.row_shape(element) for element in column]
            for i, shape in enumerate(of_rows):
                if shape != of_rows[0]:
                    raise _of_row(i, _differs(check.name, shape, of_rows[0]))
            shapes.append(of_rows[0])
            raw.append(b"" if of_rows[0] is None else check.pack(column))
        self._check_names(shapes)
        return Rows(raw, len(rows), is_list=is_list, shapes=tuple(shapes))

    def _check_names(self, shapes: Sequence[tuple[int, ...] | None]) -> None:
        """Refuse a request in which a named dimension has two sizes."""
        try:
            check_named_sizes(zip([check.field for check in self._checks], shapes, strict=True))
        except ValueError as err:
            raise _invalid(f"{str(err)[0].upper()}{str(err)[1:]}.") from None

    def _checked(self, values: tuple[Any, ...]) -> list[Any]:
        """The elements of a row that has the signature's names and types."""
        return [
            default if value is msgspec.UNSET else check(value)
            for value, (_, check, default) in zip(values, self._row_plan, strict=True)
        ]

    def _explained(self, body: bytes, err: Exception) -> PenstockError:
        """The error for a body that msgspec could not read as rows because of ``err``.

        A short body is read once more without types, to name the row, the field and what it takes.
        """
        if not isinstance(err, msgspec.ValidationError):
            return bad_json(body, err)
        if len(body) <= _EXPLAINED_BYTES:
            value = decode_json(body)
            try:
                self._refuse_rows(value)
            except PenstockError as explained:
                return explained
        return _invalid(f"The body does not fit the fields {', '.join(self._names)}: {str(err)[:200]}.")

    def _refuse_rows(self, value: Any) -> None:
        if type(value) is not list:
            return self._refuse_row(value)
        if not self._batch:
            raise _one_object()
        self.check_row_count(len(value))
        for i, row in enumerate(value):
            try:
                self._refuse_row(row)
            except PenstockError as err:
                raise _of_row(i, err) from None
        return None

    def _refuse_row(self, row: Any) -> None:
        """Raise the error of the first field that does not fit."""
        if type(row) is not dict:
            raise _invalid(f"A row is an object of the fields {', '.join(self._names)}; got {shown(row)}.")
        for name, check, default in self._row_plan:
            if name in row:
                check(row[name])
            elif default is _MISSING:
                self._refuse_unknown(row)  # a misspelt name is a better explanation than a missing one
                raise self._missing(name)
        self._refuse_unknown(row)

    def _refuse_unknown(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._names:
                text = f"Unknown field {shown(name)}; this model takes {', '.join(self._names)}."
                raise PenstockError(422, "invalid-input", text, extra={"field": name[:80]})

    def _missing(self, name: str) -> PenstockError:
        text = f"Field '{name}' is missing; this model takes {', '.join(self._names)}."
        return PenstockError(422, "invalid-input", text, extra={"field": name})


def _row_shape(field: Field, tensor: Tensor, rows: int | None) -> tuple[int, ...]:
    """The shape of a row of a tensor; refuses one that is not of the field.

    Clients send scalars as ``[rows]`` or ``[rows, 1]``, or without a batch as ``[]`` or ``[1]``.

    Args:
        rows: how many it has to have; None if the model has no batch.
    """
    if tensor.datatype != field.datatype:
        text = f"Input '{field.name}' has datatype {tensor.datatype}; send {field.datatype}."
        raise _invalid(text, field.name)
    shape = tuple(tensor.shape)
    before = () if rows is None else (rows,)
    if not field.shape and shape == (*before, 1):
        shape = before
    row = shape[len(before) :]
    if shape[: len(before)] != before or not fits(row, field.shape):
        wanted = [*["rows"] * len(before), *field.shape]
        raise _invalid(f"Input '{field.name}' has shape {list(tensor.shape)}; send {wanted}.", field.name)
    check_row(field, row)
    return row


def _differs(name: str, shape: tuple[int, ...] | None, first: tuple[int, ...] | None) -> PenstockError:
    found, wanted = ("absent" if s is None else f"of shape {list(s)}" for s in (shape, first))
    text = f"Field '{name}' is {found}, that of row 0 is {wanted}; rows that differ take a request each."
    return _invalid(text, name)


def _default(check: FieldCheck) -> Any:
    """The checked default of a field; ``_MISSING`` if it is required, ``_ABSENT`` if the file does without it."""
    if check.field.required:
        return _MISSING
    return _ABSENT if check.field.default is None else check.json(check.field.default)


def _encoder(
    plan: tuple[str, Callable[[Any], Any], Any], pack: Callable[[Sequence[Any]], bytes]
) -> Callable[[Any], bytes]:
    """Checks and packs the value of a single row."""
    _, check, default = plan
    if default is _MISSING or default is _ABSENT:  # rows that may lack a field carry shapes, and are not encoded here
        return lambda value: pack((check(value),))
    packed_default = pack((default,))
    return lambda value: packed_default if value is msgspec.UNSET else pack((check(value),))


def _of_row(i: int, err: PenstockError) -> PenstockError:
    named = err.copy()
    named.detail = f"Row {i}: {err.detail}"
    named.extra["row"] = i
    return named


def _one_object() -> PenstockError:
    return _invalid("This model takes one object a request, not a list; send each in a request of its own.")


def _invalid(detail: str, field: str = "") -> PenstockError:
    return PenstockError(422, "invalid-input", detail, extra={"field": field} if field else None)


def _check_of(field: Field, bounds: RequestBounds) -> FieldCheck:
    if field.kind is FieldKind.IMAGE:
        return ImageCheck(field, bounds)
    if field.kind is FieldKind.AUDIO:
        return AudioCheck(field, bounds)
    if field.kind is FieldKind.TENSOR and field.datatype == "BYTES":
        return BytesTensorCheck(field)
    if field.has_images:
        return ImagesCheck(field)
    return _CHECKS[field.kind](field)
