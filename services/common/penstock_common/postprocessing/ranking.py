"""``ranking``: a score for each item into the names of those with the best scores."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import bad_model_answer
from penstock_common.item_names import FILE, check_inside, read_item_names
from penstock_common.manifest import FieldKind, Manifest, Output
from penstock_common.postprocessing.step import Batch, Step, described
from penstock_common.tensors import kind_of

#: Of the items of an answer.
MAX_COUNT = 1000


class RankingParams(msgspec.Struct, forbid_unknown_fields=True):
    """``file``: the items in the order of the scores, one a line, in UTF-8, in the artifact. ``exclude``: an input of
    the model with items that are not given. ``count``: how many are given, or the input that says it.
    """

    file: str = FILE
    exclude: str = ""
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)] | str = 10

    def __post_init__(self) -> None:
        check_inside(self.file)


def _ranking(batch: Batch, params: RankingParams) -> list[NDArray[Any]]:
    """Return a JSON list of ``{item, score}`` for each row, the best first; items without a finite score are left out."""
    (scores,) = batch.tensors
    items = read_item_names(batch.folder / params.file)
    if kind_of(scores.dtype) != "f" or scores.ndim != 2 or scores.shape[1] != len(items.names):
        raise bad_model_answer(
            f"output {batch.output.name!r} as {described(scores)}; postprocess ranking takes floats [rows, "
            f"{len(items.names)}], a score for each item of {params.file}"
        )
    ranked = np.where(np.isfinite(scores), scores, -np.inf).astype(np.float32)
    if params.exclude:
        for row, names in zip(ranked, batch.inputs[params.exclude].tolist(), strict=True):
            row[[items.positions[name] for name in names if name in items.positions]] = -np.inf
    given: list[int] = (
        batch.inputs[params.count].tolist() if isinstance(params.count, str) else [params.count] * len(ranked)
    )
    documents = np.empty(len(ranked), dtype=np.object_)
    for i, (row, count) in enumerate(zip(ranked, given, strict=True)):
        best = [at for at in np.argsort(-row, kind="stable")[:count] if row[at] > -np.inf]
        answer = [{"item": items.names[at], "score": round(float(row[at]), 6)} for at in best]
        documents[i] = json.dumps(answer, ensure_ascii=False).encode()
    return [documents]


def _check(manifest: Manifest, output: Output, params: RankingParams) -> None:
    if output.datatype != "BYTES" or output.shape:
        raise ValueError(
            f"outputs.{output.name}: postprocess ranking gives a JSON list, BYTES []; got {output.datatype} {output.shape}"
        )
    fields = {field.name: field for field in manifest.client_inputs}
    if params.exclude:
        field = fields.get(params.exclude)
        if field is None or field.kind is not FieldKind.TENSOR or field.datatype != "BYTES" or len(field.shape) != 1:
            raise ValueError(f"postprocess.params.exclude: {params.exclude!r} is not an input that is a list of texts")
    if isinstance(params.count, str):
        field = fields.get(params.count)
        if field is None or field.kind is not FieldKind.INTEGER or field.may_be_absent:
            raise ValueError(
                f"postprocess.params.count: {params.count!r} is not an input of kind integer that is required or has a "
                "default"
            )
        if field.minimum is None or field.minimum < 1 or field.maximum is None or field.maximum > MAX_COUNT:
            raise ValueError(f"inputs.{field.name}: as a count of items it needs bounds within 1 and {MAX_COUNT}")


RANKING = Step(RankingParams, _check, _ranking, files=lambda params: [params.file])
