"""The texts of one request for text: each a stream of the model, answered whole or in chunks as they come."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import msgspec
import orjson

from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.openai.generation import (
    Gathered,
    Piece,
    PieceReader,
    Sampling,
    generation_rows,
    usage,
)

MAX_CHOICES = 8
