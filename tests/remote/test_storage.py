"""Each call of a remote storage is done exactly once, whatever the connection does."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from actorq.engine import EngineInDoubt
from actorq.engines.remote.acts import Reply, Request, Topic
from actorq.engines.remote.storage import Interrupted, Lane, NotSent, RemoteStorage
from actorq.errors import EngineUnavailable


@attrs.define(slots=False)
class Law:
    """What a server does with numbers: the rule that each engine's law has to keep."""

    done: list[Any] = attrs.field(factory=list)
    last: dict[str, tuple[int, list[Any]]] = attrs.field(factory=dict)
    generation: str = "first"

    def perform(self, request: Request, lane: str, number: int) -> Reply:
        previous, saved = self.last.get(lane, (0, []))
        if number and number < previous:
            raise EngineUnavailable("an old call")
        if number == 0 or number > previous:
            saved = [(lane, number, act) for act in request.acts]
            if number:
                self.done += [act[0] for act in request.acts]
                self.last[lane] = (number, saved)
        return Reply(saved, 0.0, self.generation, previous=previous)


#: What becomes of one try to send.
FATES = ("done", "refused", "not sent", "cut before", "cut after", "silent before", "silent after")


class Server(RemoteStorage):
    """A storage whose connection has the fates that are drawn, and then is good."""

    def __init__(self, fates: list[str]) -> None:
        super().__init__(timeout=5.0)
        self.fates = fates
        self.law = Law()
        self.tries = 0

    async def _connect(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _disconnect(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _send(self, request: Request, lane: Lane, number: int) -> Reply:
        self.tries += 1
        fate = self.fates.pop(0) if self.fates else "done"
        await trio.lowlevel.checkpoint()
        if fate == "refused":
            raise EngineUnavailable("no memory")
        if fate == "not sent":
            raise NotSent("connection refused")
        if fate == "cut before":
            raise Interrupted("connection reset")
        if fate == "silent before":
            await trio.sleep_forever()
        reply = self.law.perform(request, lane, number)
        if fate == "cut after":
            raise Interrupted("connection reset")
        if fate == "silent after":
            await trio.sleep_forever()
        return reply

    async def _subscribe(
        self,
        topics: Collection[Topic],
        hear: Callable[[Topic, str, Collection[str] | None], None],
        ready: Callable[[], None],
    ) -> None:
        if self.fates and self.fates.pop(0) != "done":
            raise NotSent("connection refused")
        ready()
        hear("tasks", "another", None)
        hear("tasks", self.peer, None)
        hear("results", "another", ["a"])
        await trio.sleep_forever()

    def __str__(self) -> str:
        return "a drawn server"


def run(program: Callable[[], Any]) -> None:
    """In virtual time."""
    trio.run(program, clock=trio.testing.MockClock(autojump_threshold=0))


@given(
    fates=st.lists(st.sampled_from(FATES), max_size=12),
    again=st.lists(st.booleans(), min_size=6, max_size=6),
)
@settings(deadline=None)
def test_a_call_is_done_exactly_once_or_said_not_to_be(fates: list[str], again: list[bool]) -> None:
    """31: what returned was done once; what was unavailable never is; a doubt is found out."""
    server = Server(list(fates))

    async def program() -> None:
        await server.open()
        returned: list[int] = []
        refused: list[int] = []
        for n, insists in enumerate(again):
            request = server.request([[n]])
            while True:
                try:
                    reply = await server.call(request, "broker")
                except EngineInDoubt:
                    if insists:
                        continue
                    break
                except EngineUnavailable:
                    refused.append(n)
                else:
                    assert [act for _, _, act in reply.answers] == [[n]]
                    returned.append(n)
                break
        last = server.request([["last"]])
        while "last" not in server.law.done:
            try:
                await server.call(last, "broker")
            except EngineInDoubt:
                continue
            except EngineUnavailable:
                last = server.request([["last"]])
        done = server.law.done
        assert len(set(map(str, done))) == len(done), "something was done twice"
        assert [n for n in done if n in returned] == returned, "in another order, or not at all"
        assert not set(refused) & set(done), "what was said not to be done was done"
        await server.close()

    run(program)


def test_who_asks_again_hears_what_became_of_a_call_in_doubt() -> None:
    """Also if another call came between, which had to find it out first."""
    server = Server(["silent after", "cut before"] + ["not sent"] * 20)

    async def program() -> None:
        await server.open()
        request, other = server.request([["mine"]]), server.request([["other"]])
        with pytest.raises(EngineInDoubt, match="whether a call was done before"):
            await server.call(request, "broker")
        with pytest.raises(EngineUnavailable) as unavailable:
            await server.call(other, "broker")
        assert not isinstance(unavailable.value, EngineInDoubt), "nothing of the other was done"
        server.fates.clear()
        await server.call(other, "broker")
        tries = server.tries
        reply = await server.call(request, "broker")
        assert reply.answers == [("broker", 1, ["mine"])]
        assert server.tries == tries, "the reply was there"
        assert server.law.done == ["mine", "other"]
        await server.close()

    run(program)


def test_a_doubt_that_nothing_can_clear_up_does_not_last_for_ever() -> None:
    """A server that answers nonsense costs one call, and not all that come after it."""
    server = Server(["silent after"])

    async def program() -> None:
        await server.open()
        with pytest.raises(EngineInDoubt):
            await server.call(server.request([["mine"]]), "broker")
        right, server.law.perform = server.law.perform, broken  # type: ignore[method-assign, assignment]
        with pytest.raises(EngineUnavailable, match="an error of the law") as unavailable:
            await server.call(server.request([["other"]]), "broker")
        assert not isinstance(unavailable.value, EngineInDoubt)
        server.law.perform = right  # type: ignore[method-assign]
        await server.call(server.request([["next"]]), "broker")
        assert server.law.done == ["mine", "next"]
        await server.close()

    def broken(*_: object) -> Reply:
        raise ValueError("an error of the law")

    run(program)


def test_a_call_that_only_looks_is_never_in_doubt() -> None:
    """Nothing can have been done."""
    server = Server(["silent before"])

    async def program() -> None:
        await server.open()
        with pytest.raises(EngineUnavailable, match="no answer within 5 s") as unavailable:
            await server.call(server.request([["look"]], writes=False), "broker")
        assert not isinstance(unavailable.value, EngineInDoubt)
        await server.close()

    run(program)


def test_a_call_is_cancelled_before_it_begins_or_not_at_all() -> None:
    """A claim that was done for nobody would strand its tasks."""
    server = Server([])

    async def program() -> None:
        await server.open()
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.call(server.request([["early"]]), "broker")
        assert server.law.done == []
        server.fates = ["cut after"]
        with trio.move_on_after(0.001):  # it is over while the call is asked about again
            reply = await server.call(server.request([["late"]]), "broker")
        assert reply.answers == [("broker", 1, ["late"])]
        await server.close()

    run(program)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda law: setattr(law, "generation", "second"), "has lost all its data"),
        (lambda law: law.last.clear(), "has lost its latest writes"),
    ],
)
def test_a_server_that_has_lost_data_is_not_passed_over(
    change: Callable[[Law], None], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A failover to an empty replica, or to one that lagged, is said."""
    server = Server([])

    async def program() -> None:
        await server.open()
        for _ in range(2):
            await server.call(server.request([["store"]]), "broker")
        server.fates = ["refused"]
        with pytest.raises(EngineUnavailable):
            await server.call(server.request([["store"]]), "broker")
        await server.call(server.request([["store"]]), "broker")
        assert not caplog.records, "what was refused is not lost"
        change(server.law)
        await server.call(server.request([["store"]]), "broker")
        await server.close()

    with caplog.at_level("ERROR", "actorq.storage"):
        run(program)
    assert [said in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("fate", ["refused", "not sent"])
def test_what_was_refused_is_not_missed_afterwards(
    fate: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that was away for many calls has lost nothing: it never had them."""
    server = Server([])

    async def program() -> None:
        await server.open()
        await server.call(server.request([["store"]]), "broker")
        server.fates = [fate] * 3
        for _ in range(3):
            with pytest.raises(EngineUnavailable):
                await server.call(server.request([["store"]]), "broker")
        await server.call(server.request([["store"]]), "broker")
        server.fates = ["cut after"]
        await server.call(server.request([["store"]]), "broker")
        await server.close()

    with caplog.at_level("ERROR", "actorq.storage"):
        run(program)
    assert not caplog.records


def test_a_server_that_is_away_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is tried meanwhile; and that it is back."""
    server = Server([])

    async def program() -> None:
        await server.open()
        server.fates = ["not sent"] * 7
        with trio.move_on_after(30):
            await server.listen(["tasks"], lambda _topic, _ids: None)
        await server.close()

    with caplog.at_level("INFO", "actorq.storage"):
        run(program)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "nothing is heard for a while" in said[0]
    assert "is heard again" in said[1]


def test_what_is_pushed_is_heard_by_those_whom_it_concerns() -> None:
    """Others' doings on their topics; everything after a subscription broke; again each recheck."""
    server = Server([])
    heard: dict[str, list[Any]] = {"worker": [], "results": [], "own": []}

    def note(name: str) -> Callable[[Topic | None, Collection[str] | None], None]:
        return lambda topic, ids: heard[name].append((topic, ids))

    async def program() -> None:
        await server.open()
        server.fates = ["not sent", "not sent"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: server.listen(["tasks"], note("worker")))
            nursery.start_soon(lambda: server.listen(["results"], note("results")))
            nursery.start_soon(lambda: server.listen(["tasks"], note("own"), own=True))
            await trio.sleep(0.9)
            first = {name: list(said) for name, said in heard.items()}
            await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
        assert first["worker"][-2:] == [(None, None), ("tasks", None)]
        assert first["results"][-2:] == [(None, None), ("results", ["a"])]
        assert first["own"][-3:] == [(None, None), ("tasks", None), ("tasks", None)]
        for name, said in heard.items():
            assert said[len(first[name]) :] == [(None, None)], "looked again after a second"
        await server.close()

    run(program)


def test_another_takes_the_subscription_over() -> None:
    """Whoever runs it for all may go."""
    server = Server([])
    heard: list[Any] = []

    async def program() -> None:
        await server.open()
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def leader() -> None:
                with scope:
                    await server.listen(["ends"], lambda _t, _i: None)

            nursery.start_soon(leader)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(lambda: server.listen(["tasks"], lambda t, i: heard.append((t, i))))
            await trio.testing.wait_all_tasks_blocked()
            heard.clear()
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert heard == [(None, None), ("tasks", None)]
            nursery.cancel_scope.cancel()
        await server.close()

    run(program)
