import signal

import trio

import actorq


broker = actorq.InMemoryBroker()


@broker.task
async def ring_twice() -> None:
    print("the task begins")
    signal.raise_signal(signal.SIGTERM)  # somebody wants this program to end ...
    await trio.sleep(0.1)
    signal.raise_signal(signal.SIGTERM)  # ... and cannot wait
    await trio.sleep(60)


async def end_on_signals(sys: actorq.System, body: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if body.cancel_called:
                sys.hurry()  # the second: cancel running tasks now, and give them back
            body.cancel("told to end")  # the first: let them finish within the grace


async def main() -> None:
    async with trio.open_nursery() as nursery:
        body = trio.CancelScope()
        async with actorq.open_system(broker, grace=30) as sys:
            nursery.start_soon(end_on_signals, sys, body)
            with body:
                await ring_twice.kiq()
                await trio.sleep_forever()
        print("ended")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
