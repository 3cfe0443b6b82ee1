"""What is checked before a version is committed: its files, their blobs, its manifest."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, Format, Manifest, bad_manifest, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.postprocessing.steps import Postprocessing
from penstock_common.preprocessing.steps import files_of_step
from penstock_common.registry_models import FileRef
from penstock_registry.blobs import Blobs

_MAX_PATH = 512  # characters
#: Of the formats whose `file` is a folder, one that such a folder always has.
_FILE_IN_FOLDER = {
    Format.TRANSFORMERS: "config.json",
    Format.CTRANSLATE2: "model.bin",
    Format.SPACY: "config.cfg",
    Format.AOT_INDUCTOR: "archive_format",
    Format.PADDLE_OCR: "recognition.onnx",
}


async def checked_manifest(
    blobs: Blobs, files: list[FileRef], *, is_named: Callable[[str], bool], max_bytes: int
) -> Manifest:
    """The manifest of an artifact, whose files all are as declared.

    Args:
        is_named: whether a version names the blob of a digest already.
        max_bytes: of ``model.yaml``.

    Raises:
        PenstockError: 422 ``incomplete-upload`` naming each missing or wrong blob; 422 ``bad-manifest``.
    """
    found = [await blobs.take_in(file, named=is_named(file.sha256)) for file in files]
    wrong = [problem for problem in found if problem is not None]
    if wrong:
        raise PenstockError(422, "incomplete-upload", "; ".join(wrong) + ".", extra={"problems": wrong})
    by_path = {file.path: file for file in files}
    file = by_path.get(MANIFEST_FILE)
    if file is None or file.size > max_bytes:
        raise PenstockError(
            422,
            "bad-manifest",
            f"The files need a {MANIFEST_FILE} of at most {max_bytes} bytes (PENSTOCK_REGISTRY_MAX_MANIFEST_BYTES).",
        )
    # Megabytes of YAML take seconds, so it is not done on the event loop.
    manifest = await asyncio.to_thread(parse_manifest, await blobs.read(file))
    check_manifest_values(manifest)
    inside = None if manifest.file.endswith(".gguf") else _FILE_IN_FOLDER.get(manifest.format)
    needed = f"{manifest.file}/{inside}" if inside else manifest.file
    if posixpath.normpath(needed) not in by_path:
        raise bad_manifest(f"file: {needed!r} is not among the files; upload it too, or correct the name.")
    for path in [*files_of_step(manifest), *Postprocessing(manifest).files()]:
        if posixpath.normpath(path) not in by_path:
            raise bad_manifest(f"file of a step: {path!r} is not among the files; upload it too.")
    return manifest


def check_files(files: list[FileRef]) -> None:
    """Refuse paths that cannot all be files in one folder.

    Raises:
        PenstockError: 422 ``bad-request``.
    """
    paths = {file.path for file in files}
    if len(paths) != len(files):
        raise PenstockError(422, "bad-request", "files: two files have the same path; give each its own.")
    for path in paths:
        clean = posixpath.normpath(path)
        if (
            path != clean
            or clean.startswith(("/", ".."))
            or clean == "."
            or len(path) > _MAX_PATH
            or "\\" in path
            or not path.isprintable()
        ):
            raise PenstockError(
                422,
                "bad-request",
                f"files: path {path[:80]!r} must be relative, lie inside the artifact, and have at most {_MAX_PATH} "
                "printable characters.",
            )
        parts = path.split("/")
        for end in range(1, len(parts)):
            folder = "/".join(parts[:end])
            if folder in paths:
                raise PenstockError(
                    422, "bad-request", f"files: {folder[:80]!r} cannot be a file and the folder of {path[:80]!r}."
                )
