"""What a task needs is asked for, made before it runs, and cleaned up after it."""

from collections.abc import AsyncIterator
from typing import Annotated

import attrs
import trio

import actorq
from actorq import Depends


broker = actorq.InMemoryBroker()


class Pool:
    """Stands for a pool of connections."""

    def __init__(self, url: str) -> None:
        self.url = url


class Session:
    """Stands for a session with your database."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def name_of(self, user: int) -> str:
        if user == 0:
            raise LookupError("nobody has the number 0")
        return f"user {user}"


class AppState(actorq.State):
    """`broker.state`, with types."""

    pool: Pool


def get_pool(state: AppState = Depends()) -> Pool:
    return state.pool


async def get_session(pool: Pool = Depends(get_pool)) -> AsyncIterator[Session]:
    session = Session(pool)
    try:
        yield session
    except Exception:
        print("rolled back")
        raise
    else:
        print("committed")
    finally:
        await trio.sleep(0.1)  # closing may take its time, cancelled or not
        print("closed")


class Mailer:
    """A class is a dependency too: its parameters are filled in."""

    def __init__(self, session: Session = Depends(get_session)) -> None:
        self.session = session

    async def send(self, user: int, text: str) -> str:
        return f"to {await self.session.name_of(user)}: {text}"


@attrs.frozen
class Settings:
    """What the application knows, and tasks ask for by its type."""

    greeting: str


broker.state = AppState()
broker.with_dependency(Settings, Settings("Hello"))


@broker.on_startup
async def connect(state: actorq.State) -> None:
    state.pool = Pool("db://here")


@broker.task
async def greet(
    user: int,
    session: Session = Depends(get_session),
    mailer: Mailer = Depends(),
    settings: Settings = Depends(),
) -> str:
    assert mailer.session is session  # made once for this attempt
    return await mailer.send(user, settings.greeting)


SessionDependency = Annotated[Session, Depends(get_session)]


@broker.task
async def rename(user: int, name: str, session: SessionDependency = Depends()) -> str:
    return f"{await session.name_of(user)} is {name} now, in {session.pool.url}"


@broker.task
async def index(words: list[str], progress: actorq.Progress = Depends()) -> int:
    letters = 0
    async for word in progress.track(words):
        letters += len(word)
    await progress.set(len(words), len(words), status="done", meta={"letters": letters})
    return letters


async def translated(session: Session = Depends(get_session)) -> AsyncIterator[Session]:
    try:
        yield session
    except LookupError as error:
        raise ValueError("no such user") from error


@broker.task
async def check(user: int, session: Session = Depends(translated)) -> str:
    return await session.name_of(user)


async def main() -> None:
    async with actorq.open_system(broker):
        print(await (await greet.kiq(7)).result())
        print(await (await rename.kiq(7, "Ada")).result())
        for task in (greet, check):
            outcome = await (await task.kiq(0)).wait_result()
            print(repr(outcome.error))
        async for progress in (await index.kiq(["a", "bc", "def"])).progress():
            print(f"{progress.progress:.0%} {progress.status}")


if __name__ == "__main__":
    trio.run(main)
