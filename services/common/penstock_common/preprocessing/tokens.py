"""Turns texts, or pairs of texts, into the tokens of a ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind, Manifest
from penstock_common.preprocessing.step import ModelTensor, Step


class TokenizerParams(msgspec.Struct, forbid_unknown_fields=True):
    """``file`` is relative to the artifact; ``ids``, ``mask`` and ``types`` are the names of the file's inputs.

    ``max_tokens``: the rest is cut off; the width is rounded up to a multiple of ``multiple``. ``pad_id``: of the token
    that fills up; None for that of the tokenizer.
    """

    file: str = "tokenizer.json"
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 512
    multiple: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    pad_id: Annotated[int, msgspec.Meta(ge=0)] | None = None
    ids: str = "input_ids"
    mask: str = "attention_mask"
    types: str = "token_type_ids"

    def __post_init__(self) -> None:
        if self.file.startswith("/") or ".." in Path(self.file).parts:
            raise ValueError(f"file {self.file!r} must lie inside the artifact")
        if self.max_tokens % self.multiple:
            raise ValueError(f"max_tokens {self.max_tokens} is not a multiple of `multiple`, {self.multiple}")
        if len({self.ids, self.mask, self.types}) < 3:
            raise ValueError("ids, mask and types are three inputs; give each a name of its own")


def _tokens(
    manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: TokenizerParams, folder: Path
) -> list[NDArray[Any]]:
    """Return ids, mask and types, ``int64 [N, L]`` each; ``L`` is that of the longest row, rounded up.

    Raises:
        PenstockError: 422 ``invalid-input`` for a text that is not UTF-8.
    """
    tokenizer, pad_id = _tokenizer(folder / params.file, params.max_tokens)
    columns = [inputs[field.name].tolist() for field in manifest.client_inputs]
    names = [field.name for field in manifest.client_inputs]
    encodings = [
        tokenizer.encode(*[_text(name, element) for name, element in zip(names, row, strict=True)])
        for row in zip(*columns, strict=True)
    ]
    longest = max([len(encoding.ids) for encoding in encodings])
    width = max(1, -(-longest // params.multiple)) * params.multiple
    ids = np.full((len(encodings), width), pad_id if params.pad_id is None else params.pad_id, np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for row, encoding in enumerate(encodings):
        length = len(encoding.ids)
        ids[row, :length] = encoding.ids
        mask[row, :length] = 1
        types[row, :length] = encoding.type_ids
    return [ids, mask, types]


@cache
def _tokenizer(path: Path, max_tokens: int) -> tuple[Any, int]:
    """Return a ``tokenizers.Tokenizer`` that cuts off and does not fill up, and the id of its token for that."""
    # Imported here because only pods that run such models need it.
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    padding = tokenizer.padding
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    known = [tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>")]
    pad_id = padding["pad_id"] if padding else next((token for token in known if token is not None), 0)
    return tokenizer, pad_id


def _text(field: str, element: bytes) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as err:
        raise PenstockError(
            422, "invalid-input", f"{field}: a text is not UTF-8 (byte {err.start}); send texts in UTF-8."
        ) from None


def _tensors(manifest: Manifest, params: TokenizerParams) -> list[ModelTensor]:
    kinds = [field.kind for field in manifest.client_inputs]
    if set(kinds) != {FieldKind.TEXT} or len(kinds) > 2:
        raise ValueError(f"takes one text, or a pair of texts; inputs has {', '.join(kinds)}")
    for field in manifest.client_inputs:
        if field.source:
            raise ValueError(
                f"gives tokens, whose names are its parameters ids, mask and types; {field.name} has a source"
            )
    return [
        ModelTensor(params.ids, "INT64", (-1,), any_datatype=True),
        ModelTensor(params.mask, "INT64", (-1,), optional=True, any_datatype=True),
        ModelTensor(params.types, "INT64", (-1,), optional=True, any_datatype=True),
    ]


TOKENIZER = Step(TokenizerParams, _tensors, _tokens, files=lambda params: [params.file])
