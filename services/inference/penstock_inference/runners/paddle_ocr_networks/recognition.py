"""Reads lines that are cut out of a page: turns those that are upside down, and decodes what the network sees.

The sizes are those of rapidocr-onnxruntime (github.com/RapidAI/RapidOCR, Apache-2.0), which has them from PaddleOCR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import bad_model_answer
from penstock_inference.runners.paddle_ocr_networks.network import Network, Pixels, resized
from penstock_inference.runners.runner import ModelMismatchError

_HEIGHT = 48
#: Of the image in which the other network looks for the way up.
_ANGLE_WIDTH = 192
#: The probability above which a line counts as upside down.
_UPSIDE_DOWN = 0.9
#: How many times as wide as high the image is at least, and at most: a longer line is squeezed.
_LEAST_PROPORTION, _MOST_PROPORTION = 320 / 48, 100.0
_MAX_CHARACTERS_BYTES = 4_000_000


class Reading(NamedTuple):
    """The text of a line, and the mean probability of its characters; 0 if there are none."""

    text: str
    score: float


class Turner:
    """Turns lines that are upside down."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def turned(self, pieces: Sequence[Pixels]) -> list[Pixels]:
        """Return lines the right way up."""
        images = np.stack([_padded(piece, _ANGLE_WIDTH) for piece in pieces])
        answer = self._network.run(images)
        if answer.shape != (len(pieces), 2):
            raise bad_model_answer(
                f"{answer.shape} for the angles of {len(pieces)} lines; the network gives (lines, 2)"
            )
        return [
            cv2.rotate(piece, cv2.ROTATE_180) if upside_down > _UPSIDE_DOWN else piece
            for piece, upside_down in zip(pieces, answer[:, 1].tolist(), strict=True)
        ]


class Reader:
    """Reads lines.

    Args:
        characters: one for each class but the first, which is none.
    """

    def __init__(self, network: Network, characters: Sequence[str]) -> None:
        self._network = network
        self._alphabet = ["", *characters]

    def read(self, pieces: Sequence[Pixels]) -> list[Reading]:
        """Return what lines say; the widest sets how wide the images of all are.

        Raises:
            PenstockError: 500 ``bad-model-answer`` if the classes are not those of the characters.
        """
        widest = max(_LEAST_PROPORTION, *[piece.shape[1] / piece.shape[0] for piece in pieces])
        width = int(_HEIGHT * min(widest, _MOST_PROPORTION))
        answer = self._network.run(np.stack([_padded(piece, width) for piece in pieces]))
        if answer.ndim != 3 or answer.shape[::2] != (len(pieces), len(self._alphabet)):
            raise bad_model_answer(
                f"{answer.shape} for {len(pieces)} lines; with {len(self._alphabet) - 1} characters the recognition gives "
                f"(lines, steps, {len(self._alphabet)})"
            )
        return [self._decoded(row) for row in answer]

    def _decoded(self, probabilities: NDArray[np.float32]) -> Reading:
        """Take the best class of each step; of equal ones in a row one is kept, and the class for none is dropped."""
        best = probabilities.argmax(axis=1)
        kept = best != 0
        kept[1:] &= best[1:] != best[:-1]
        text = "".join([self._alphabet[i] for i in best[kept]])
        return Reading(text, float(probabilities.max(axis=1)[kept].mean()) if text else 0.0)


def _padded(piece: Pixels, width: int) -> NDArray[np.float32]:
    """Return a line as ``[3, 48, width]``, squeezed if it is too long, and else with grey behind it."""
    height, own = piece.shape[:2]
    own = min(width, math.ceil(_HEIGHT * (own / height)))
    image = np.zeros((3, _HEIGHT, width), np.float32)
    image[:, :, :own] = resized(piece, own, _HEIGHT)
    return image


def read_characters(network: Network, folder: Path) -> list[str]:
    """Return the characters that a network knows: those of ``characters.txt``, one a line, or of the network's own file.

    As PaddleOCR does it, a space comes after the last one.

    Raises:
        ModelMismatchError: there are none.
    """
    path = folder / "characters.txt"
    if path.exists():
        if path.stat().st_size > _MAX_CHARACTERS_BYTES:
            raise ModelMismatchError(f"{path.name} has more than {_MAX_CHARACTERS_BYTES} bytes.")
        text = path.read_bytes().decode()
    else:
        text = network.metadata.get("character", "")
    if not text:
        raise ModelMismatchError(
            f"{folder.name} does not say the characters that recognition.onnx knows: add characters.txt, the dictionary "
            "that PaddleOCR has for the network, with a character a line."
        )
    return [*text.replace("\r\n", "\n").removesuffix("\n").split("\n"), " "]
