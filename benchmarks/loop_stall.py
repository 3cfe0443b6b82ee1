"""How long large JSON keeps the event loop from everybody else: decoded on it, and in a decoder process.

    python -m benchmarks.loop_stall

Ten bodies of each kind are decoded one after the other while a ticker measures the most CPU time that the loop
takes between two turns; elapsed time would depend on what else the machine does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import uvloop

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.decoders.messages import Job
from penstock_gateway.decoders.pool import DecoderPool
from penstock_gateway.protocols.large_json import PROCESS
from penstock_gateway.signature.signature import Signature

ROUNDS = 10
KINDS: dict[str, tuple[int, Callable[[], str]]] = {
    "256 kB of digits": (128_000, lambda: "1"),
    "5 MB of digits": (2_500_000, lambda: "1"),
    "5 MB of fractions": (550_000, lambda: "0.723415"),
}


async def longest_stall(work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """The loop's longest stall (CPU), and the elapsed time of one decoding, in seconds."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        last = time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            longest = max(longest, now - last)
            last = now

    await work()  # starts the process
    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    started = time.perf_counter()
    for _ in range(ROUNDS):
        await work()
    took = (time.perf_counter() - started) / ROUNDS
    ticker.cancel()
    return longest, took


async def main() -> None:
    pool = DecoderPool(PROCESS, 1)
    print(f"{'body':20} {'on the loop: stall':>20} {'in a process: stall':>20} {'time':>9}")
    for name, (count, number) in KINDS.items():
        field = Field("x", FieldKind.TENSOR, "FP32", [count])
        signature = Signature(Manifest(Format.ONNX, "m.onnx", Task.TENSOR, [field], [Output("y", "FP32")]), "m")
        body = ('{"x":[' + ",".join(number() for _ in range(count)) + "]}").encode()
        job = Job("v1", signature.encoded, len(body))

        async def inline(signature: Signature = signature, body: bytes = body) -> None:
            signature.decoder.decode_json(body)
            await asyncio.sleep(0)

        async def offloaded(job: Job = job, body: bytes = body) -> None:
            await pool.decode(job, body, time.monotonic() + 60)

        stall, _ = await longest_stall(inline)
        off_loop, took = await longest_stall(offloaded)
        print(f"{name:20} {1000 * stall:17.1f} ms {1000 * off_loop:17.1f} ms {1000 * took:6.0f} ms")
    await pool.close()


if __name__ == "__main__":
    uvloop.run(main())
