"""A message from a program that has no actorq: the standard library's json is enough."""

import hashlib
import hmac
import json
import struct
import time
import uuid

import trio

import actorq


def task_message(task_name: str, *args: object, **kwargs: object) -> bytes:
    """What any language can write: one JSON object in UTF-8."""
    envelope = {
        "version": 1,
        "task_id": uuid.uuid4().hex,
        "task_name": task_name,
        "args": args,
        "kwargs": kwargs,
        "enqueued_at": time.time(),
    }
    return json.dumps(envelope).encode()


def signed(message: bytes, key_id: str, key: bytes) -> bytes:
    """The same in a frame, with a signature."""
    task_id = json.loads(message)["task_id"]
    texts = [text.encode() for text in ("json", task_id, "HS256", key_id, "", "")]
    header = b"\xffAQ\x01T" + b"".join(struct.pack(">H", len(text)) + text for text in texts)
    return header + message + hmac.digest(key, header + message, hashlib.sha256)


@actorq.task(name="resize")
async def resize(photo: str, width: int = 64) -> str:
    return f"{photo}@{width}"


async def main() -> None:
    broker = actorq.InMemoryBroker().register(resize)
    async with actorq.open_system(broker) as sys:
        handle = await sys.send_encoded(task_message("resize", "cat.jpg", width=640))
        print(await handle.result())

    key = bytes(range(32))  # yours is a secret: secrets.token_bytes(32)
    broker = actorq.InMemoryBroker().register(resize).with_signing({"2025-01": key})
    async with actorq.open_system(broker) as sys:
        message = task_message("resize", "dog.jpg")
        handle = await sys.send_encoded(signed(message, "2025-01", key))
        print(await handle.result())
        try:
            await sys.send_encoded(message)
        except actorq.EnvelopeError as error:
            print(error)


if __name__ == "__main__":
    trio.run(main)
