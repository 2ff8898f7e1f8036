"""The storage: the client's side of a server that keeps a queue, as all parts of it share it.

Each call is done exactly once, though the connection breaks in the middle of it: it has a number, the
server remembers the last one of each caller with its reply, and what is not certain is asked again with
the same number.  An engine's own part is in the four methods at the end.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, TypeAlias

import attrs
import trio

from actorq.engine import EngineInDoubt
from actorq.engines.remote.acts import Act, Reply, Request, Topic
from actorq.engines.remote.information import ServerInformation
from actorq.errors import EngineUnavailable


log = logging.getLogger("actorq.storage")

#: Who calls: each has its numbers.
Lane: TypeAlias = Literal["broker", "results", "schedules"]
#: Called with a topic and the ids that were said, None: any; (None, None): anything may have happened.
Heard: TypeAlias = Callable[[Topic | None, Collection[str] | None], None]

#: The first and the longest pause, in seconds, before a connection is tried again.
SHORTEST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
#: Results that came with the word of them, and were not asked for yet, at most.
CARRIED: Final = 100
#: Replies to calls in doubt that are kept for who asks again, at most.
LATE: Final = 16


def understood(said: Any) -> tuple[str, Collection[str] | None]:
    """What is pushed: who did it, and the ids or words.  Raises ValueError for what is not of ours."""
    match said:
        case [str(peer), None]:
            return peer, None
        case [str(peer), [*ids]] if all(isinstance(each, str) for each in ids):
            return peer, ids
    raise ValueError(f"expected [peer, ids]; got {said!r}")


class NotSent(Exception):
    """Nothing of the call can have been done."""


class Interrupted(Exception):
    """The call may have been done, or not."""


@attrs.define(eq=False)
class _Caller:
    turn: trio.Lock = attrs.field(factory=trio.Lock)
    number: int = 0
    done: int = 0  #: the latest one that the server said it had done: of others it may know nothing
    doubt: Request | None = None  #: the last one, of which it is not known whether it was done
    late: dict[int, tuple[Request, Reply]] = attrs.field(factory=dict)  #: for who asks again


@attrs.define(eq=False)
class _Listener:
    topics: frozenset[Topic]
    heard: Heard
    own: bool  #: whether it hears of what this storage object did


class RemoteStorage:
    """A server's storage.  Give the same one to all parts that live in it: the broker does that.

    *recheck*: seconds after which what others did is seen, should the word of it be lost.  *timeout*:
    seconds that a call may take, trying again included.
    """

    #: How what is kept there is backed up, for who asks `actorq backup` to do it.
    backup = "back up its server as its documentation says"
    #: What to look after when nobody answers at the start.
    expected = "is the server running?"

    def __init__(self, *, recheck: float = 1.0, timeout: float = 10.0) -> None:
        if not recheck > 0:
            raise ValueError(f"recheck expects seconds, more than 0; got {recheck!r}")
        if not timeout > 0:
            raise ValueError(f"timeout expects seconds, more than 0; got {timeout!r}")
        self.recheck = recheck
        self.timeout = timeout
        self.peer = ""  #: who we are for the server; new at each opening
        self.generation = ""  #: of the data on the server
        self._users = 0
        self._opening = trio.Lock()
        self._callers: dict[Lane, _Caller] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        self._listeners: list[_Listener] = []
        self._leading = trio.Lock()
        self._carried: dict[str, bytes] = {}
        self._resubscribe = trio.CancelScope()
        self.subscribed = trio.Event()  #: set while what is pushed is heard

    # --- its life ---

    @property
    def is_open(self) -> bool:
        """Whether any part uses it."""
        return self._token is not None

    async def open(self) -> None:
        """Be used by one part more; the first one connects, and makes what is to be on the server.

        Raises `EngineUnavailable` if the server cannot be used, with why and what to do.
        """
        async with self._opening:
            if self._users == 0:
                self.peer = uuid.uuid4().hex
                self.generation = ""
                self._callers = {lane: _Caller() for lane in ("broker", "results", "schedules")}
                limit = trio.CancelScope(deadline=trio.current_time() + self.timeout)
                with limit:
                    try:
                        await self._connect()
                    except (NotSent, Interrupted) as why:
                        raise EngineUnavailable(f"{self}: {why}") from why
                if limit.cancelled_caught:
                    await self._disconnect()
                    raise EngineUnavailable(
                        f"{self} did not answer within {self.timeout:g} s; {self.expected}"
                    )
                self._token = trio.lowlevel.current_trio_token()
            elif self._token is not trio.lowlevel.current_trio_token():
                raise RuntimeError(f"{self}: this storage is open in another trio.run()")
            self._users += 1

    async def close(self) -> None:
        """Be used by one part less; the last one disconnects."""
        with trio.CancelScope(shield=True):
            async with self._opening:
                self._users -= 1
                if self._users == 0:
                    self._token = None
                    with trio.move_on_after(1.0):  # what is said here is a courtesy
                        await self._disconnect()

    def die(self) -> None:
        """For tests: as if the process was killed, now."""
        self._users = 0
        self._token = None
        self._abandon()

    # --- doing ---

    def request(self, acts: Iterable[Act] = (), *, writes: bool = True) -> Request:
        """One to be filled."""
        return Request(list(acts), writes=writes)

    @trio.lowlevel.enable_ki_protection
    async def call(self, request: Request, lane: Lane) -> Reply:
        """Do *request*, exactly once.  Always a checkpoint; to be cancelled only before it begins.

        Raises `EngineUnavailable` if nothing was done, and `EngineInDoubt` if that cannot be found out
        within the `timeout`.  Then the same request again finds out; another comes after it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._token is None:
            raise RuntimeError(f"{self}: this storage is not open; `await storage.open()` first")
        caller = self._callers[lane]
        try:
            caller.turn.acquire_nowait()  # to acquire it costs a round of Trio's loop
        except trio.WouldBlock:
            await caller.turn.acquire()
        try:
            return await self._in_turn(request, caller, lane)
        finally:
            caller.turn.release()

    async def _in_turn(self, request: Request, caller: _Caller, lane: Lane) -> Reply:
        if caller.doubt is not None:
            try:
                await self._resolve(caller, lane)
            except EngineInDoubt as why:
                if caller.doubt is request:
                    raise
                raise EngineUnavailable(str(why)) from why  # nothing of this one
            except Exception as why:
                # it will never be known; but what comes after it must not fail for ever
                caller.doubt = None
                log.exception("%s: what became of a call cannot be found out", self)
                raise EngineUnavailable(f"{self}: {why}") from why
        late = self.take_late(request, lane)
        if late is not None:
            return late
        number = 0
        if request.writes:
            caller.number += 1
            number = caller.number
        try:
            return await self._insist(request, lane, number)
        except EngineInDoubt:
            caller.doubt = request
            raise
        except EngineUnavailable:
            if number:
                caller.number -= 1  # the server has not seen it, and is not to be missed there
            raise

    def take_late(self, request: Request, lane: Lane) -> Reply | None:
        """The reply to a call that was in doubt, if that was found out meanwhile; once."""
        _, reply = self._callers[lane].late.pop(id(request), (None, None))
        return reply

    async def _resolve(self, caller: _Caller, lane: Lane) -> None:
        """Find out what became of the last call: nothing else may come before it."""
        request = caller.doubt
        assert request is not None
        reply = await self._insist(request, lane, caller.number, in_doubt=True)
        caller.doubt = None
        caller.late[id(request)] = request, reply
        if len(caller.late) > LATE:
            del caller.late[next(iter(caller.late))]

    async def _insist(
        self, request: Request, lane: Lane, number: int, *, in_doubt: bool = False
    ) -> Reply:
        """Until there is a reply, or it is certain that nothing was done, or time is over."""
        doubt = in_doubt
        pause = SHORTEST_PAUSE
        deadline = trio.current_time() + self.timeout
        while True:
            reply: Reply | None = None
            why: Exception | None = None
            asked = trio.current_time()
            # nobody cancels a call: a claim that was done for nobody would strand its tasks
            with trio.CancelScope(deadline=deadline, shield=True):
                try:
                    reply = await self._send(request, lane, number)
                except (NotSent, EngineUnavailable) as error:
                    why = error
                except Interrupted as error:
                    why, doubt = error, True
            if reply is not None:
                reply.asked, reply.came = asked, trio.current_time()
                self._check(reply, number, self._callers[lane])
                return reply
            if why is None:
                why, doubt = Interrupted(f"no answer within {self.timeout:g} s"), True
            if not doubt or not number:
                if isinstance(why, EngineUnavailable):
                    raise why
                raise EngineUnavailable(f"{self}: {why}") from why
            if trio.current_time() + pause >= deadline:
                raise EngineInDoubt(
                    f"{self}: {why}; whether a call was done before could not be found out within "
                    f"{self.timeout:g} s"
                ) from why
            with trio.CancelScope(shield=True):
                await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _check(self, reply: Reply, number: int, caller: _Caller) -> None:
        """Say so if the server has lost what it had accepted."""
        former, self.generation = self.generation, reply.generation
        if former and former != reply.generation:
            log.error(
                "%s has lost all its data: it was emptied, restarted without what it keeps on disk, "
                "or another server without the data has taken its place. What had been accepted and "
                "not ended is gone; everything goes on with an empty queue",
                self,
            )
        elif reply.previous is not None and reply.previous < caller.done:
            log.error(
                "%s has lost its latest writes: it was restarted with an older state, or a replica "
                "that lagged behind has taken its place. What was accepted or settled in the last "
                "moments before may be gone, or done again",
                self,
            )
        caller.done = number or caller.done

    # --- hearing ---

    async def listen(self, topics: Collection[Topic], heard: Heard, *, own: bool = False) -> None:
        """Call *heard* whenever somebody else, or with *own* anybody, touched one of these topics.

        Pushed; and with (None, None) at every `recheck` seconds, and whenever the subscription was
        broken.  Until cancelled.
        """
        listener = _Listener(frozenset(topics), heard, own)
        self._listeners.append(listener)
        self._resubscribe.cancel(reason="another listener, for other topics perhaps")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._look_again, listener, name=f"look at {self} again")
                while True:
                    async with self._leading:  # one of us runs the subscription for all
                        await self._lead()
        finally:
            self._listeners.remove(listener)

    @property
    def hears(self) -> bool:
        """Whether what is pushed can come here, now or soon."""
        return self.is_open

    def carry(self, peer: str, task_id: str, data: bytes) -> None:
        """For the engine's subscription, after `_hear`: the result came with the word of it."""
        if peer != self.peer:
            if len(self._carried) == CARRIED:
                del self._carried[next(iter(self._carried))]  # nobody asked for it
            self._carried[task_id] = data

    def take_carried(self) -> dict[str, bytes]:
        """Results that came so since somebody asked last: what was stored then."""
        carried, self._carried = self._carried, {}
        return carried

    async def _look_again(self, listener: _Listener) -> None:
        while True:
            await trio.sleep(self.recheck)
            listener.heard(None, None)

    async def _lead(self) -> None:
        pause = SHORTEST_PAUSE
        is_deaf = False

        def ready() -> None:
            nonlocal pause, is_deaf
            pause = SHORTEST_PAUSE
            if is_deaf:
                log.info("%s is heard again", self)
            is_deaf = False
            self.subscribed.set()
            for listener in self._listeners:
                listener.heard(None, None)  # what was said before we listened

        while True:
            topics = frozenset[Topic]().union(*[each.topics for each in self._listeners])
            try:
                with trio.CancelScope() as self._resubscribe:
                    try:
                        await self._subscribe(topics, self._hear, ready)
                    finally:
                        if self.subscribed.is_set():
                            self.subscribed = trio.Event()
            except (NotSent, Interrupted, EngineUnavailable) as why:
                if not is_deaf:  # one line, however long that takes
                    log.warning("%s: nothing is heard for a while: %s", self, why)
                is_deaf = True
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _hear(self, topic: Topic, peer: str, ids: Collection[str] | None) -> None:
        """For the engine's subscription: *peer* has touched a topic."""
        if topic == "results" and self._carried:
            for each in list(self._carried if ids is None else ids):  # it is not as it was
                self._carried.pop(each, None)
        for listener in self._listeners:
            if topic in listener.topics and (listener.own or peer != self.peer):
                listener.heard(topic, ids)

    # --- to be written by each engine ---

    async def _connect(self) -> None:
        """Connect, check the server, make what is to be there; sets nothing on failure.

        Raises `EngineUnavailable`, `NotSent` or `Interrupted`, with why and what to do.
        """
        raise NotImplementedError

    async def _disconnect(self) -> None:
        """Say that this peer has gone (an orderly end), and disconnect; never raises."""
        with suppress(Exception):
            raise NotImplementedError

    def _abandon(self) -> None:
        """Drop the connections without a word, at once: the process was killed."""
        raise NotImplementedError

    async def _send(self, request: Request, lane: Lane, number: int) -> Reply:
        """Do it: one try.  *number* 0: it only looks.

        Else, if *number* was the last of this peer and lane, its reply is given again, with a new view;
        if it is lower, nothing is done.  Connects again if the connection was lost.  Raises `NotSent` if
        nothing can have been done, `Interrupted` if that is not known, `EngineUnavailable` if the
        server refused it (no memory, disk full, read-only): nothing was done then.  When it is
        cancelled, at an `await`, the connection is not used any more.
        """
        raise NotImplementedError

    async def _subscribe(
        self,
        topics: Collection[Topic],
        hear: Callable[[Topic, str, Collection[str] | None], None],
        ready: Callable[[], None],
    ) -> None:
        """Call *hear* for what is pushed, *ready* once that has begun; until cancelled, or it breaks.

        On "lines" is heard what `say` says *to* this peer.
        """
        raise NotImplementedError

    async def say(self, topic: Topic, words: Sequence[str], *, to: str | None = None) -> None:
        """Push these words to who listens, or to one peer; nothing is stored, and nobody may hear it.

        At most 7,000 bytes.  Raises `EngineUnavailable`.
        """
        raise NotImplementedError

    async def information(self) -> ServerInformation:
        """What the server says of itself; what we may not ask it is left out.

        Raises `EngineUnavailable` if it cannot be asked.
        """
        return ServerInformation(str(self))

    def __str__(self) -> str:
        """Where it is, without passwords."""
        raise NotImplementedError
