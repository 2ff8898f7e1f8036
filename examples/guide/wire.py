"""Messages and results as bytes: a format, keys, a size limit, a format and ids of your own."""

import json
import zlib
from typing import Any

import trio

import actorq


@actorq.task
async def charge(customer: str, cents: int) -> str:
    return f"{customer} paid {cents}"


class Squeezed:
    """JSON, compressed."""

    name = "json+zlib"

    def dumps(self, plain: Any) -> bytes:
        return zlib.compress(json.dumps(plain).encode())

    def loads(self, data: bytes) -> Any:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data, 10_000_000)  # a few bytes may claim to be gigabytes
        if unpacker.unconsumed_tail:
            raise ValueError("more than 10 MB")
        return json.loads(text)


async def protected() -> None:
    signing_key, encryption_key = bytes(range(32)), bytes(range(32, 64))  # secrets, really
    broker = (
        actorq.InMemoryBroker(encoded=True)
        .with_serializer(actorq.MsgpackSerializer())
        .with_signing({"2025-01": signing_key})
        .with_encryption({"e1": encryption_key})
        .with_size_limit(2_000)
    )
    async with actorq.open_system(broker) as sys:
        print(await (await sys.enqueue(charge, "ada", 500)).result())
        try:
            await sys.enqueue(charge, "x" * 3_000, 500)
        except actorq.MessageTooLarge as error:
            print(error.size > error.limit == 2_000)
        try:
            await sys.send_encoded(b'{"task_id": "1", "task_name": "charge"}')
        except actorq.EnvelopeError as error:
            print(error)


async def changing_keys() -> None:
    old, new = bytes(32), bytes(range(32))
    broker = actorq.InMemoryBroker(encoded=True).with_signing({"2025-01": old})
    async with actorq.open_system(broker) as sys:
        handle = await sys.enqueue(charge.using(delay=60), "bob", 100)

    broker.with_signing({"2025-01": old, "2025-07": new}, use="2025-07")
    async with actorq.open_system(broker, tasks=[charge]) as sys:
        print(await sys.handle(handle.task_id, charge).result())


async def your_own() -> None:
    numbers = iter(range(1_000_000))
    broker = (
        actorq.InMemoryBroker(encoded=True)
        .with_serializer(Squeezed(), also=[actorq.JSONSerializer()])
        .with_id_generator(lambda: f"charge-{next(numbers)}")
    )
    async with actorq.open_system(broker) as sys:
        handle = await sys.enqueue(charge, "eve", 5)
        print(handle.task_id, await handle.result())


async def main() -> None:
    await protected()
    await changing_keys()
    await your_own()


if __name__ == "__main__":
    trio.run(main)
