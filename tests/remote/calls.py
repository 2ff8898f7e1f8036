"""Calls that are counted on the server, for tests of what becomes of one that is cut: of any engine."""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import strategies as st

from actorq.engines.remote.acts import Reply
from actorq.engines.remote.storage import RemoteStorage
from actorq.errors import EngineUnavailable
from servers.proxy import Proxy, Way


#: After how many bytes of which way it is cut, and whether it is reset.
Cut: TypeAlias = tuple[Way, int, bool]


def cuts(most: int) -> st.SearchStrategy[list[Cut]]:
    """Some, after *most* bytes at most."""
    ways: st.SearchStrategy[Way] = st.sampled_from(["requests", "replies"])
    return st.lists(st.tuples(ways, st.integers(0, most), st.booleans()), min_size=1, max_size=4)


async def announce(storage: RemoteStorage) -> Reply:
    """Something whose repetition would be seen: each is counted."""
    acts: Any = [["swap", "a", None, ["v", "{}"], True], ["swap", "a", "v", None, True]]
    return await storage.call(storage.request(acts), "schedules")


async def announced(storage: RemoteStorage) -> int:
    """How many there were."""
    request = storage.request([["changes", None]], writes=False)
    found: int = (await storage.call(request, "schedules")).answers[0][0]
    return found // 2


async def check_done_once(
    storage: RemoteStorage, proxy: Proxy, some_cuts: list[Cut], calls: int
) -> None:
    """So many calls by a proxy that cuts connections: each is done once, or said not to be."""
    await storage.open()
    before = await announced(storage)
    for way, size, reset in some_cuts:
        proxy.cut_after(size, way, reset=reset)
    sure = 0
    for _ in range(calls):
        try:
            reply = await announce(storage)
        except EngineUnavailable:
            continue  # certainly not done
        assert reply.answers == [True, True]
        sure += 1
    proxy.spare()
    assert await announced(storage) == before + sure
    await storage.close()
