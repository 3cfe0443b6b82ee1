"""``python -m penstock_gateway.protocols.decoder_process``: decodes bodies for a gateway until its input ends.

It has no secrets, and as much memory as the largest body may need.
"""

from __future__ import annotations

import resource
import sys
from functools import lru_cache
from typing import BinaryIO

import msgspec

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_gateway.decoders.messages import LENGTH, Job, Refusal, Result, pack
from penstock_gateway.protocols import oip_request
from penstock_gateway.signature.column import Column
from penstock_gateway.signature.request_bounds import RequestBounds
from penstock_gateway.signature.row_decoder import RowDecoder

#: Of address space; 8 MB of JSON become 4 million numbers, which take 250 MB while they are checked.
_MOST_BYTES = 1024 * 1024 * 1024
_JOB = msgspec.msgpack.Decoder(Job)
_COLUMN = msgspec.json.Decoder(Column)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(jobs: BinaryIO, results: BinaryIO) -> None:
    """Answer each job of ``jobs`` in ``results``."""
    while head := jobs.read(LENGTH.size):
        job = _JOB.decode(jobs.read(*LENGTH.unpack(head)))
        results.writelines(pack(*decode(job, jobs.read(job.size))))
        results.flush()


def decode(job: Job, body: bytes) -> tuple[Result, list[bytes]]:
    """The result of a job, and the raw tensors that follow it."""
    try:
        decoder = _decoder(job.manifest, job.bounds)
        if job.protocol == "v1":
            rows = decoder.decode_json(body)
            request = b""
        elif job.protocol == "column":
            rows = _COLUMN.decode(body).rows(decoder)
            request = b""
        else:
            described = oip_request.decode(body, job.json_length)
            rows = decoder.decode_tensors(described.tensors)
            described.tensors = []
            request = msgspec.msgpack.encode(described)
    except PenstockError as err:
        return Result(refusal=Refusal(err.status, err.code, err.detail, err.headers, err.extra)), []
    sizes = [len(raw) for raw in rows.inputs]
    return Result(sizes, rows.count, rows.is_list, rows.shapes, request), rows.inputs


@lru_cache(maxsize=16)
def _decoder(manifest: bytes, bounds: RequestBounds) -> RowDecoder:
    return RowDecoder(msgspec.msgpack.decode(manifest, type=Manifest), bounds)


if __name__ == "__main__":
    main()
