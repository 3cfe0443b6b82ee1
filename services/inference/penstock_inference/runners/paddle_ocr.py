"""Folders with the networks of PaddleOCR (github.com/PaddlePaddle/PaddleOCR, Apache-2.0) as ONNX: pictures to lines of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_inference.runners.paddle_ocr_networks.detection import LineFinder
from penstock_inference.runners.paddle_ocr_networks.lines import Line, in_reading_order, line_of
from penstock_inference.runners.paddle_ocr_networks.network import Network
from penstock_inference.runners.paddle_ocr_networks.page import Page, page_of
from penstock_inference.runners.paddle_ocr_networks.recognition import Reader, Reading, Turner, read_characters
from penstock_inference.runners.pictures import decode_picture, picture_field
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError, tell_nobody
from penstock_inference.runners.texts import json_column

#: Lines that are read at once; those of like proportions together, since all become as wide as the widest.
_LINES = 6
#: The score from which a line is part of the answer.
_SURE = 0.5
_DIGITS = 2
_EMPTY_LINE = np.full((48, 320, 3), 255, np.uint8)


class PaddleOcrRunner:
    """Takes an encoded picture; gives ``lines``, a JSON list of ``{text, score, box}`` in reading order.

    ``box`` is the four corners ``[x, y]`` of a line, the upper left first, in pixels of the picture as its EXIF data
    turns it. Pictures are read one after the other.

    Args:
        turner: None if lines are never upside down.
    """

    def __init__(self, manifest: Manifest, finder: LineFinder, turner: Turner | None, reader: Reader) -> None:
        self._field = picture_field(manifest)
        self.tell_progress: Callable[[], None] = tell_nobody
        self.inputs = [FileTensor(self._field.source or self._field.name, "BYTES", (-1,))]
        self._finder = finder
        self._turner = turner
        self._reader = reader

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        (pictures,) = inputs
        assert pictures is not None
        return {"lines": json_column(self._lines(data) for data in pictures.tolist())}

    def changed_state(self) -> list[str]:
        return []  # sessions of ONNX Runtime keep nothing between runs

    def _lines(self, data: bytes) -> list[dict[str, Any]]:
        page = page_of(decode_picture(self._field.name, data, on_white=True))
        self.tell_progress()
        corners = in_reading_order(self._finder.find(page.pixels))
        self.tell_progress()
        lines = [line_of(each) for each in corners]
        return [
            {
                "text": reading.text,
                "score": round(reading.score, 6),
                "box": page.in_picture(line.corners).round(_DIGITS).tolist(),
            }
            for line, reading in zip(lines, self._read(page, lines), strict=True)
            if reading.score >= _SURE
        ]

    def _read(self, page: Page, lines: Sequence[Line]) -> list[Reading]:
        """Return what each line says."""
        readings: dict[int, Reading] = {}
        by_proportion = np.argsort([line.proportion for line in lines], kind="stable").tolist()
        for start in range(0, len(lines), _LINES):
            together = by_proportion[start : start + _LINES]
            pieces = [lines[i].cut_out(page.pixels) for i in together]
            if self._turner is not None:
                pieces = self._turner.turned(pieces)
            readings |= zip(together, self._reader.read(pieces), strict=True)
            self.tell_progress()
        return [readings[i] for i in range(len(lines))]


def load(path: Path, manifest: Manifest, threads: int) -> PaddleOcrRunner:
    """Load a folder with ``detection.onnx`` and ``recognition.onnx``, and perhaps ``angle.onnx`` and ``characters.txt``.

    Raises:
        ModelMismatchError: it lacks one, or the manifest does not take one picture.
        PenstockError: 500 ``bad-model-answer`` if the characters are not those of the network.
    """
    cv2.setNumThreads(threads)
    finder = LineFinder(_network(path, "detection.onnx", threads))
    turner = Turner(_network(path, "angle.onnx", threads)) if (path / "angle.onnx").exists() else None
    recognition = _network(path, "recognition.onnx", threads)
    reader = Reader(recognition, read_characters(recognition, path))
    reader.read([_EMPTY_LINE])  # the characters may be those of another network
    return PaddleOcrRunner(manifest, finder, turner, reader)


def _network(folder: Path, name: str, threads: int) -> Network:
    if not (folder / name).exists():
        raise ModelMismatchError(f"{folder.name} has no {name}: name the networks detection.onnx and recognition.onnx.")
    return Network(folder / name, threads)
