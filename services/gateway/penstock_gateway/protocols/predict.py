"""The friendly route: fields in, a prediction out."""

from __future__ import annotations

from collections.abc import AsyncIterator

from opentelemetry import trace
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind
from penstock_gateway.dataplane.catalog import Catalog, Route
from penstock_gateway.dataplane.upstream import Rows
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.edge.endpoint import Call, Reply


async def infer(route: Route, inputs: list[bytes], rows: int, call: Call, disconnects: DisconnectWatch) -> list[bytes]:
    """Raw tensor data per output, in the order of the signature."""
    future = route.coalescer.submit(Rows(inputs, rows, trace.get_current_span()), rows, call.deadline)
    return await disconnects.wait(future, call.receive)


class Predict:
    """``POST /v1/models/{model}/predict`` and its shorter and longer forms."""

    def __init__(self, catalog: Catalog, disconnects: DisconnectWatch, default_model: str) -> None:
        self._catalog = catalog
        self._disconnects = disconnects
        self._default_model = default_model

    async def __call__(self, call: Call) -> Reply:
        path = call.path
        route = self._catalog.resolve(path.get("model") or self._default_model, path.get("version", ""))
        content_type = call.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        was_list = False
        rows = 1
        # curl -d says x-www-form-urlencoded of whatever it sends; what arrives is JSON.
        if content_type in (b"application/json", b"application/x-www-form-urlencoded", b""):
            inputs, rows, was_list = route.decoder.encode(call.body)
        elif content_type == b"multipart/form-data":
            inputs = route.decoder.fields(await _form(call))
        elif content_type.startswith(b"image/"):
            inputs = route.decoder.fields({_only_image_field(route): call.body})
        else:
            raise PenstockError(
                415,
                "unsupported-media-type",
                f"Content-Type {content_type[:80].decode('latin-1')!r} is not understood here; "
                "send application/json, multipart/form-data or, to an image model, image/png.",
            )
        outputs = await infer(route, inputs, rows, call, self._disconnects)
        return Reply(
            route.presenter.present(outputs, rows, route.version, was_list),
            headers=[(b"x-model-version", route.version.encode())],
        )


def _only_image_field(route: Route) -> str:
    names = [field.name for field in route.manifest.inputs if field.kind is FieldKind.IMAGE]
    if len(names) != 1 or len(route.manifest.inputs) != 1:
        raise PenstockError(
            415,
            "unsupported-media-type",
            f"Model {route.model!r} does not take a bare image; send its fields as application/json.",
        )
    return names[0]


async def _form(call: Call) -> dict[str, str | bytes]:
    """The fields of a multipart form; files as their bytes."""

    async def stream() -> AsyncIterator[bytes]:
        yield call.body

    headers = Headers(raw=list(call.headers.items()))
    try:
        form = await MultiPartParser(headers, stream(), max_files=16, max_fields=256).parse()  # type: ignore[arg-type]
    except (MultiPartException, KeyError, ValueError, UnicodeDecodeError) as err:
        reason = err.message if isinstance(err, MultiPartException) else "its boundary or headers are broken"
        raise PenstockError(400, "bad-form", f"The multipart form cannot be read: {reason}.") from None
    values: dict[str, str | bytes] = {}
    try:
        for name, value in form.multi_items():
            if name in values:
                raise PenstockError(422, "invalid-input", f"Field {name!r} is given twice; send one row a form.")
            values[name] = await value.read() if isinstance(value, UploadFile) else value
    finally:
        await form.close()
    return values
