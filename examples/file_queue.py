"""A queue that outlives its process: `FileBroker`, and `FileResultBackend` beside it.

Run it again in the same folder, and it goes on.  Run it: python examples/file_queue.py [folder]
"""

from __future__ import annotations

import tempfile
from sys import argv

import trio

import actorq
from file_broker import FileBroker
from file_result_backend import FileResultBackend


@actorq.task
async def resize(photo: str, width: int) -> str:
    await trio.sleep(0.1)
    return f"{photo}@{width}"


def broker_in(folder: str) -> FileBroker:
    return FileBroker(folder).with_result_backend(FileResultBackend(folder + "/results"))


async def main(folder: str) -> None:
    async with actorq.open_system(broker_in(folder), grace=0) as sys:
        handle = await sys.enqueue(resize, "cat.jpg", 640)
        try:
            await sys.enqueue(resize.using(priority=10), "front-page.jpg", 1920)
        except actorq.UnsupportedOption as error:
            print("refused:", error)
    print("closed before it was done")

    async with actorq.open_system(broker_in(folder), tasks=[resize]) as sys:
        print("the next system:", await sys.handle(handle.task_id, resize).result())


if __name__ == "__main__":
    if len(argv) > 1:
        trio.run(main, argv[1])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            trio.run(main, temporary)
