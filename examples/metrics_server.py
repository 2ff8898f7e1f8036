"""A page for Prometheus, served by the application itself; it asks itself once, and ends.

Under a web framework, mount `metrics.asgi_app` instead, or return `await metrics.exposition()`.

Run it: python examples/metrics_server.py
"""

from __future__ import annotations

from functools import partial

import trio
import trio.testing
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry

import actorq
from actorq.middlewares import Prometheus


metrics = Prometheus(CollectorRegistry())
broker = actorq.InMemoryBroker().with_middlewares(metrics)


@broker.task(name="nothing")
async def nothing() -> None: ...


async def page(stream: trio.SocketStream) -> None:
    """Answer one request, whatever it asks for."""
    async with stream:
        await stream.receive_some(10_000)
        body = await metrics.exposition()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE_LATEST}\r\nConnection: close\r\n\r\n"
        )
        await stream.send_all(head.encode() + body)


async def main() -> None:
    async with actorq.open_system(broker) as sys, trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, page, port=0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        await sys.enqueue_many(nothing, [()] * 3)
        await sys.wait_idle()

        async with await trio.testing.open_stream_to_socket_listener(listener) as stream:
            await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b"".join([part async for part in stream]).decode()
        print(*[line for line in answer.splitlines() if "_total{" in line], sep="\n")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
