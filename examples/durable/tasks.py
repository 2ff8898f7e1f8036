import actorq


broker = actorq.SQLiteBroker("queue.db")  # one file: it survives, and processes share it


@broker.task(retries=3, timeout=60)
async def greet(name: str) -> str:
    return f"hello, {name}"
