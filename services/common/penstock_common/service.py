"""The services that a model may be for."""

from __future__ import annotations

from enum import StrEnum


class Service(StrEnum):
    """What people use a model for; it decides which of the gateway's routes finds the model.

    What a model of each takes and gives is the table in ``manifest_service``.
    """

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    OCR = "ocr"
    FACES = "faces"
    IMAGE_CLASSIFICATION = "image-classification"
    TEXT_CLASSIFICATION = "text-classification"
    TRANSCRIPTION = "transcription"
    SPEECH = "speech"
    VOICE_ACTIVITY = "voice-activity"
    LANGUAGE = "language"
    ENTITIES = "entities"
    TRANSLATION = "translation"
    SUMMARIZATION = "summarization"
    RECOMMENDATION = "recommendation"
    MODERATION = "moderation"
