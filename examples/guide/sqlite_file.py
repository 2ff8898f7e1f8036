"""A queue in one file, and the care of that file while it is in use."""

import sqlite3

import trio

import actorq


broker = actorq.SQLiteBroker("album.db")


@broker.task(name="resize")
async def resize(photo: str, width: int) -> str:
    return f"{photo}@{width}"


async def look_after(storage: actorq.SQLiteStorage) -> None:
    await storage.backup("album-backup.db")  # one moment of it, while tasks go on
    problems = await storage.check()
    print(problems or "sound")
    await storage.vacuum()  # little by little; also done unasked when much is free
    information = await storage.information()
    print(information.path.name, information.journal_mode, information.free_pages, "pages free")


async def main() -> None:
    async with actorq.open_system(broker) as sys:
        handle = await resize.kiq("cat.jpg", 640)
        print(await handle.result())
        await resize.using(delay=3600).kiq("dog.jpg", 640)
        await look_after(broker.storage)

    # by hand, with the `sqlite3` program or from Python
    connection = sqlite3.connect("file:album.db?mode=ro", uri=True)
    for row in connection.execute("select name, queue, state from actorq_tasks"):
        print(row)
    connection.close()

    # the backup is a queue like any other: one process later, nothing is lost
    restored = actorq.SQLiteBroker("album-backup.db")
    async with actorq.open_system(restored, tasks=[resize]) as sys:
        print((await sys.queue_statistics()).scheduled, "is scheduled")


if __name__ == "__main__":
    trio.run(main)
