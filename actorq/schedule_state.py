"""One schedule and how far it has come: which slots are decided, and which are owed (pure).

A `Schedule` is a value: each transition returns another one.  Who keeps schedules puts a new state
in place of the old one only if that is still there (`actorq.schedule_source`), so that several
schedulers may work on one.  No clock: transitions are told the time, in Unix seconds.

Every slot is decided once, when the clock has passed it; from then on it is owed until it is noted.
A schedule that owes slots plans no further ones; what passes meanwhile is caught up with later.  So
a broker that is away for an hour leaves at most `limit` slots of each schedule to enqueue.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import attrs

from actorq.errors import EnvelopeError, OptionError
from actorq.fields import Fields
from actorq.message import TaskMessage
from actorq.schedule import CatchUp, Trigger
from actorq.trigger_form import dump_trigger, load_trigger


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Seconds for which the slots that one scheduler has decided are left to it by the others.
PATIENCE = 5.0


@attrs.frozen
class Rules:
    """What holds unless a trigger says otherwise."""

    catch_up: CatchUp = attrs.field(default=CatchUp.LATEST, converter=CatchUp)
    limit: int = 100  #: the most slots that CatchUp.ALL fires after one pause: the newest
    grace: float = 10.0  #: how late, in seconds, CatchUp.SKIP still counts as on time

    def __attrs_post_init__(self) -> None:
        if self.limit < 1 or not self.grace >= 0:
            raise OptionError(
                f"schedules need limit >= 1 and grace >= 0, "
                f"not limit={self.limit!r} and grace={self.grace!r}"
            )


@attrs.frozen
class Slot:
    """One instant of one schedule that was decided to be fired."""

    schedule_id: str
    planned: float
    call: TaskMessage  #: what is enqueued, but for its id; its times count from its `enqueued_at`
    manual: str = ""  #: somebody said "run now": told apart from others who did

    @property
    def task_id(self) -> str:
        """The same for a slot in every scheduler and every life: enqueue it twice, it runs once."""
        instant = (_EPOCH + timedelta(microseconds=round(self.planned * 1e6))).isoformat()
        # quoted, so that ("a/b", "c") and ("a", "b/c") stay two tasks
        name, schedule_id = quote(self.call.task_name, safe=":"), quote(self.schedule_id, safe=":")
        return f"{name}/{schedule_id}@{instant}{self.manual and f'/{self.manual}'}"

    def message(self, now: float) -> TaskMessage:
        """What to enqueue now."""
        call = self.call
        shift = now - call.enqueued_at
        terms = call.terms
        if terms is not None and terms.expires_at is not None:
            terms = attrs.evolve(terms, expires_at=terms.expires_at + shift)
        return attrs.evolve(
            call,
            task_id=self.task_id,
            enqueued_at=now,
            eta=None if call.eta is None else call.eta + shift,
            terms=terms,
        )


@attrs.frozen
class Schedule:
    """Slots up to `cursor` are decided: fired, dropped, or in `owed`.  `cursor` never goes back."""

    id: str
    trigger: Trigger
    call: TaskMessage  #: what its slots enqueue from now on; see `Slot.call`
    activated: float
    cursor: float
    planned: float | None  #: the first slot after the cursor; None: there are no more
    due: float | None  #: when that one is fired: later by its jitter
    owed: tuple[Slot, ...] = ()  #: decided and not yet noted, oldest first
    previous: str | None = None  #: the task id of the newest slot that was fired
    previous_slot: float | None = None
    paused: bool = False
    declared: bool = False  #: it stands in a task's options
    holder: str = ""  #: the scheduler that decided what is owed
    held_until: float = 0.0  #: the others leave it to that one until then
    version: str = ""  #: another one for each state that is kept

    @classmethod
    def new(
        cls,
        schedule_id: str,
        trigger: Trigger,
        call: TaskMessage,
        now: float,
        *,
        declared: bool = False,
    ) -> Schedule:
        """Activated now."""
        call = call.with_labels(schedule_id=schedule_id)
        fresh = cls(schedule_id, trigger, call, now, 0.0, None, None, declared=declared)
        return fresh._from(trigger.since(now))

    def _from(self, cursor: float) -> Schedule:
        planned = self.trigger.next_after(cursor, self.activated)
        due = None
        if planned is not None:
            due = self.trigger.fires_at(planned, self.id, self.activated)
        return attrs.evolve(self, cursor=cursor, planned=planned, due=due)

    # --- what users do ---

    def renewed(self, trigger: Trigger, call: TaskMessage, now: float) -> Schedule:
        """Said again: the same rhythm keeps its progress, another one starts afresh from *now*.

        New arguments hold from the next slot on.  What is owed is still to be fired, as it was: it
        may have been enqueued already, and one task id with two sets of arguments is refused.
        """
        call = call.with_labels(schedule_id=self.id)
        changed = attrs.evolve(self, trigger=trigger, call=call)
        if self.trigger.ticks_like(trigger):
            return changed._from(self.cursor) if trigger.jitter != self.trigger.jitter else changed
        return attrs.evolve(changed, activated=now)._from(trigger.since(now))

    def pausing(self) -> Schedule:
        """No slot is decided from now on, and what is owed is dropped."""
        return self if self.paused else attrs.evolve(self, paused=True, owed=())

    def resuming(self, now: float) -> Schedule:
        """Go on from *now*: slots that went by during the pause are not caught up with."""
        if not self.paused:
            return self
        return attrs.evolve(self, paused=False)._from(max(self.cursor, now))

    def running_now(self, now: float, token: str) -> Schedule:
        """Owe one more, besides the rhythm; for a schedule that is paused too."""
        owed = (*self.owed, Slot(self.id, now, self.call, manual=token))
        return attrs.evolve(self, owed=owed, holder=self.holder if self.owed else "")

    # --- what schedulers do ---

    @property
    def is_over(self) -> bool:
        """There is nothing more to come of it."""
        return self.planned is None and not self.owed

    def look_at(self, me: str) -> float | None:
        """When scheduler *me* has to do something about it; None: never, as it is now."""
        if self.owed:
            return self.held_until if self.holder not in ("", me) else 0.0
        return None if self.paused else self.due

    def decided(self, me: str, now: float, rules: Rules) -> Schedule:
        """Decide the slots that are due; *me* is going to fire what is owed then."""
        if self.owed:
            return self._held(me, now) if self.holder != me else self
        if self.paused or self.due is None or self.due > now:
            return self
        assert self.planned is not None
        trigger, activated, slots = self.trigger, self.activated, [self.planned]
        policy = trigger.catch_up or rules.catch_up
        following = trigger.next_after(self.planned, activated)
        if following is not None and following <= now:  # a pause: more than one slot has passed
            limit = rules.limit if policy is CatchUp.ALL else 1
            slots = trigger.last_slots(self.cursor, now, activated, limit + 1)
            if trigger.fires_at(slots[-1], self.id, activated) > now:
                slots.pop()  # the newest is late by its jitter, and it alone
            slots = slots[-limit:]
        ahead = self._from(slots[-1])
        if policy is CatchUp.SKIP:
            on_time = now - rules.grace
            slots = [s for s in slots if trigger.fires_at(s, self.id, activated) >= on_time]
        if not slots:
            return ahead
        owed = tuple([Slot(self.id, slot, self.call) for slot in slots])
        return attrs.evolve(ahead, owed=owed)._held(me, now)

    def _held(self, me: str, now: float) -> Schedule:
        return attrs.evolve(self, holder=me, held_until=now + PATIENCE)

    def noted(self, slot: Slot, *, fired: bool, task_id: str | None = None) -> Schedule:
        """The broker has accepted the slot's task, or (not *fired*) it was dropped.

        *task_id*: of the task that stands for it, if that is another one (`unique`).
        No matter if that was said before, or by another scheduler.
        """
        owed = tuple([each for each in self.owed if each.task_id != slot.task_id])
        newer = self.previous_slot is None or slot.planned > self.previous_slot
        if fired and newer:
            return attrs.evolve(
                self, owed=owed, previous=task_id or slot.task_id, previous_slot=slot.planned
            )
        return self if len(owed) == len(self.owed) else attrs.evolve(self, owed=owed)

    # --- as plain data ---

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can carry: for a source that keeps schedules outside the process.

        `NotSerializable` for a trigger class of one's own.
        """
        call = _call_to_plain(self.call)
        return {
            "form": FORM,
            "id": self.id,
            "trigger": dump_trigger(self.trigger),
            "call": call,
            "activated": self.activated,
            "cursor": self.cursor,
            "planned": self.planned,
            "due": self.due,
            "owed": [_slot_to_plain(slot, call) for slot in self.owed],
            "previous": self.previous,
            "previous_slot": self.previous_slot,
            "paused": self.paused,
            "declared": self.declared,
            "holder": self.holder,
            "held_until": self.held_until,
            "version": self.version,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schedule:
        """The inverse of `to_dict`; the trigger's arguments come back as plain data.

        Raises `EnvelopeError` that names what is wrong.
        """
        if isinstance(data, Mapping) and data.get("form", FORM) != FORM:
            raise EnvelopeError(
                f"this version of actorq reads schedules of form {FORM}; got {data['form']!r}"
            )
        fields = Fields(data, "a schedule", _FIELDS)
        call = _call_from_plain(fields.any("call"), "a schedule's call")
        schedule_id = fields.text("id")
        return cls(
            id=schedule_id,
            trigger=load_trigger(fields.any("trigger"), call.args, dict(call.kwargs)),
            call=call,
            activated=fields.number("activated"),
            cursor=fields.number("cursor"),
            planned=fields.number_or_none("planned"),
            due=fields.number_or_none("due"),
            owed=tuple([_slot_from_plain(each, schedule_id, call) for each in fields.list("owed")]),
            previous=fields.text_or_none("previous"),
            previous_slot=fields.number_or_none("previous_slot"),
            paused=fields.flag("paused"),
            declared=fields.flag("declared"),
            holder=fields.text("holder"),
            held_until=fields.number("held_until"),
            version=fields.text("version"),
        )


#: The version of what `Schedule.to_dict` writes.
FORM = 1
_FIELDS = ("form", *[field.name for field in attrs.fields(Schedule)])


def _call_to_plain(call: TaskMessage) -> dict[str, Any]:
    """The message without an id: each slot has its own."""
    data = call.to_dict()
    del data["task_id"]
    return data


def _call_from_plain(data: object, what: str) -> TaskMessage:
    if not isinstance(data, Mapping) or "task_id" in data:
        raise EnvelopeError(f"{what} must be a task message without a task_id; got {data!r}")
    try:
        return attrs.evolve(TaskMessage.from_dict({**data, "task_id": "none"}), task_id="")
    except EnvelopeError as error:
        raise EnvelopeError(f"{what}: {error}") from error


def _slot_to_plain(slot: Slot, call: dict[str, Any]) -> dict[str, Any]:
    """`call` is null if it is the schedule's, as it nearly always is."""
    own = _call_to_plain(slot.call)
    return {
        "planned": slot.planned,
        "call": None if own == call else own,
        "manual": slot.manual,
    }


def _slot_from_plain(data: object, schedule_id: str, call: TaskMessage) -> Slot:
    what = "a slot that a schedule owes"
    fields = Fields(data, what, ("planned", "call", "manual"))
    own = fields.any("call")
    if own is not None:
        call = _call_from_plain(own, f"the call of {what}")
    return Slot(schedule_id, fields.number("planned"), call, fields.text("manual"))
