"""A remote that generates text, as a model of this catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from penstock_common import text_generation
from penstock_common.errors import PenstockError
from penstock_common.manifest import Format, Manifest, Task
from penstock_common.remotes import Remote
from penstock_gateway.remotes.errors import bad_remote_answer, unavailable
from penstock_gateway.remotes.remote_servable import RemoteServable
from penstock_gateway.remotes.server import TOKENS
from penstock_gateway.remotes.text_chunks import CHUNK, GIVEN, Chunk, Gathered, raw_outputs
from penstock_gateway.remotes.text_request import CARRIED, text_request
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature


def text_manifest(remote: Remote) -> Manifest:
    """The signature of a remote: the well-known inputs that OpenAI's API has too."""
    takes = {name for route in remote.routes for name in CARRIED[route]}
    inputs = [field for field in text_generation.INPUTS if field.name in takes]
    if remote.images:
        inputs.append(text_generation.IMAGES)
    outputs = [output for output in text_generation.OUTPUTS if output.name in GIVEN]
    return Manifest(
        Format.TRANSFORMERS, "remote", Task.GENERATION, inputs, outputs, stream=True, description=remote.description
    )


class RemoteText(RemoteServable):
    """A servable whose answers a remote streams."""

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        raise PenstockError(422, "model-streams", f"Model {self.model!r} answers with a stream; ask for the stream.")

    async def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        path, body = text_request(self._server.remote, rows, self.signature.manifest)
        outputs = self.signature.manifest.outputs
        rows.served_by = f"remote:{self._server.name}"
        gathered = Gathered()
        try:
            stream = self._server.events(path, body, deadline, whole=lambda: bool(gathered.finish_reason))
            async with aclosing(stream) as events:
                async for data in events:
                    if values := gathered.add(self._chunk(data)):
                        yield raw_outputs(outputs, values)
        except PenstockError:
            if not gathered.finish_reason:  # what is missing of a finished text is at most its usage
                raise
        finally:
            tokens = gathered.tokens
            self._spend(tokens.prompt_tokens + tokens.completion_tokens)
            TOKENS.labels(self._server.name, "prompt").inc(tokens.prompt_tokens)
            TOKENS.labels(self._server.name, "written").inc(tokens.completion_tokens)
        yield raw_outputs(outputs, gathered.last())

    def _chunk(self, data: bytes) -> Chunk:
        try:
            chunk = CHUNK.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise bad_remote_answer(self._server.name, "an event that is not a chunk of OpenAI's API") from None
        if chunk.failed:
            raise unavailable(self._server.name, "failed on its way")
        return chunk


def stands_in_for_text(signature: Signature) -> bool:
    """Whether a remote can answer in the form of a model: all its outputs are well-known ones."""
    manifest = signature.manifest
    return manifest.stream and all(
        GIVEN.get(output.name) == output.datatype and not output.shape for output in manifest.outputs
    )
